"""What a training minimises on a batch: the plain loss, or one with countermeasures."""

from collections.abc import Sequence
from contextlib import ExitStack

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
from covid_debug.training.right_reasons import compute_wrong_reasons


class BatchLoss:
    """The loss of batches of one training."""

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
        if sources is not None:
            _, source_of = np.unique(np.asarray(sources), return_inverse=True)
            self._source_of = torch.from_numpy(source_of.astype(np.int64).ravel())
            self._group_of = torch.from_numpy(number_groups(labels, sources))
            n_groups = int(self._group_of.max()) + 1
            self._dro = GroupDro(n_groups, params.dro_step, fabric.device)

    def compute(
        self, model: nn.Module, images: Tensor, text: Tensor, target: Tensor, films: Labels
    ) -> JointLoss:
        """Run a batch and return its loss.

        Args:
            model: The classifier as Fabric wraps it.
            images: ``(N, 1, S, S)`` in [0, 1].
            text: ``(N, 1, S, S)``, above one half inside the text; without planes where
                ``right_reasons`` is off.
            target: Class index of each image.
            films: Which training films they are.

        Returns:
            The loss; bit by bit the plain one where every countermeasure is off.
        """
        params = self._params
        if params.right_reasons > 0:
            images = images.contiguous().requires_grad_()
        features: list[Tensor] = []
        with ExitStack() as stack:
            if params.matching > 0:
                features = stack.enter_context(catch_features(self._classifier.module))
            logits = self._run(model, images).float()
        if params.objective == "group_dro":
            each = functional.cross_entropy(logits, target, reduction="none")
            joint = self._dro.compute(each, self._numbers(self._group_of, films))
            loss = JointLoss(joint, float(joint.detach()), len(target))
        else:
            loss = joint_cross_entropy(self._fabric, logits, target, self._class_weights)
        own = loss.own
        if params.matching > 0:
            sources = self._numbers(self._source_of, films)
            own = own + params.matching * compute_source_dependence(features[0], target, sources)
        if params.right_reasons > 0:
            inside = (text > 0.5).float()
            own = own + params.right_reasons * compute_wrong_reasons(logits, images, inside)
        return JointLoss(
            own, float(own.detach()) if own is not loss.own else loss.value, loss.n_films
        )

    def _run(self, model: nn.Module, images: Tensor) -> Tensor:
        logits: Tensor
        if self._params.right_reasons == 0:
            logits = model(images)
            return logits
        # Fabric's wrapper lets nobody else ask for gradients where precision is mixed.
        with self._fabric.autocast():
            logits = self._classifier(images)
        return logits

    def _numbers(self, numbers: Tensor, films: Labels) -> Tensor:
        there: Tensor = self._fabric.to_device(numbers[torch.from_numpy(films)])
        return there
