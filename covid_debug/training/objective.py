"""What a training minimises on a batch: the plain loss, or one with countermeasures."""

from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial

import lightning_fabric
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from covid_debug.models.classifier import Classifier
from covid_debug.training.group_dro import GroupDro
from covid_debug.training.last_layer import catch_features
from covid_debug.training.loss import JointLoss, joint_cross_entropy
from covid_debug.training.matching import compute_source_dependence
from covid_debug.training.mitigation import Labels, MitigationParams, number_groups
from covid_debug.training.right_reasons import WithSlopes, compute_wrong_reasons
from covid_debug.training.sharing import gather_rows


class BatchLoss:
    """The loss of batches of one training.

    Attributes:
        network: What Fabric wraps: the classifier, or what tells more of it than its logits.
    """

    def __init__(
        self,
        fabric: lightning_fabric.Fabric,
        classifier: Classifier,
        params: MitigationParams,
        class_weights: Tensor,
        labels: Labels,
        sources: Sequence[str] | None,
    ) -> None:
        """Number the groups.

        Args:
            fabric: Connects the processes.
            classifier: What is trained.
            params: The countermeasures.
            class_weights: One per class, > 0.
            labels: Class index of each training film.
            sources: Source of each training film; None where no countermeasure needs it.
        """
        self._fabric = fabric
        self._classifier = classifier
        self._params = params
        self._class_weights = class_weights
        self._labels = torch.from_numpy(labels)
        self.network = WithSlopes(classifier) if params.right_reasons > 0 else classifier
        if sources is not None:
            _, source_of = np.unique(np.asarray(sources), return_inverse=True)
            self._source_of = torch.from_numpy(source_of.astype(np.int64).ravel())
            self._group_of = torch.from_numpy(number_groups(labels, sources))
            n_groups = int(self._group_of.max()) + 1
            add_up = partial(fabric.all_reduce, reduce_op="sum")
            self._dro = GroupDro(n_groups, params.dro_step, fabric.device, add_up)

    def compute(
        self, model: nn.Module, images: Tensor, text: Tensor, films: Labels, share: slice
    ) -> JointLoss:
        """Run a process' share of a batch and return the loss of the batch.

        Args:
            model: The network as Fabric wraps it.
            images: ``(n, 1, S, S)`` in [0, 1], the share.
            text: ``(n, 1, S, S)``, above one half inside the text; without planes where
                ``right_reasons`` is off.
            films: ``(N,)`` which training films the batch is.
            share: Which of them this process has.

        Returns:
            The loss; bit by bit the plain one where every countermeasure is off.
        """
        params, n_ranks, own_films = self._params, self._fabric.world_size, films[share]
        target = self._numbers(self._labels, own_films)
        features: list[Tensor] = []
        with ExitStack() as stack:
            if params.matching > 0:
                features = stack.enter_context(catch_features(self._classifier.module))
            if params.right_reasons > 0:
                logits, slopes = model(lambda: images)
            else:
                logits, slopes = model(images), images
        logits = logits.float()
        if params.objective == "group_dro":
            each = functional.cross_entropy(logits, target, reduction="none")
            part = self._dro.compute(each, self._numbers(self._group_of, own_films))
            loss = self._share(part * n_ranks, len(films))
        else:
            loss = joint_cross_entropy(self._fabric, logits, target, self._class_weights)
        own = loss.own
        if params.matching > 0:
            rows = gather_rows(self._fabric, features[0].float(), len(films))
            classes, sources = (
                self._numbers(each, films) for each in (self._labels, self._source_of)
            )
            told = compute_source_dependence(rows, classes, sources)
            # Each process differentiates its own rows; the value is the same on all.
            own = own + params.matching * (told + (told - told.detach()) * (n_ranks - 1))
        if params.right_reasons > 0:
            inside = (text > 0.5).float()
            part = compute_wrong_reasons(slopes, inside) * (len(own_films) * n_ranks / len(films))
            own = own + params.right_reasons * part
        return loss if own is loss.own else self._share(own, len(films))

    def _share(self, own: Tensor, n_films: int) -> JointLoss:
        """Return the loss whose parts average to that of the batch."""
        value = self._fabric.all_reduce(own.detach().clone(), reduce_op="mean")
        return JointLoss(own, float(value), n_films)

    def _numbers(self, numbers: Tensor, films: Labels) -> Tensor:
        there: Tensor = self._fabric.to_device(numbers[torch.from_numpy(films)])
        return there
