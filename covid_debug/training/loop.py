"""The training loop: one classifier from uint8 views to a checkpoint.

Runs on Lightning Fabric, so the same lines serve a CPU, a GPU, or several processes started by
:mod:`covid_debug.training.ranks` or ``torchrun``. These share every batch: loss, gradient, batch
norms and augmentation are those of one process, apart from the order of sums; dropout is drawn by
each process. The model is selected on validation films; test films never come near.
"""

import copy
import json
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import lightning_fabric
import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from covid_debug.errors import InputContractError, TrainingError
from covid_debug.imaging.geometry import ViewSpec
from covid_debug.models.checkpoint import save_checkpoint
from covid_debug.models.classifier import Classifier
from covid_debug.models.inference import predict_probabilities, to_canonical
from covid_debug.seeding import derive_seed
from covid_debug.training.augmentation import augment
from covid_debug.training.batch_norm import join_batch_norms, refresh_batch_norm
from covid_debug.training.batches import BalancedBatches
from covid_debug.training.checks import (
    Labels,
    Views,
    check_films,
    find_target_class,
    order_class_weights,
)
from covid_debug.training.last_layer import refit_last_layer
from covid_debug.training.metrics import ValidationMetrics, compute_validation_metrics
from covid_debug.training.mitigation import check_mitigation, number_groups
from covid_debug.training.objective import BatchLoss
from covid_debug.training.params import EpochMetrics, TrainingParams
from covid_debug.training.reading import prefetch
from covid_debug.training.setup import build_classifier, build_fabric
from covid_debug.training.sharing import gather_rows
from covid_debug.training.source_batches import SourceBatches
from covid_debug.training.text_exchange import make_reader

__all__ = ["EpochMetrics", "TrainingParams", "TrainingResult", "train_classifier"]

_LOG = logging.getLogger(__name__)
_N_NORM_FILMS = 512
_TIMINGS = ("films_per_s", "seconds_left")


@dataclass(frozen=True)
class TrainingResult:
    """What came out of a training.

    Attributes:
        checkpoint: Folder of the best epoch's classifier.
        history: One entry per epoch, the fields of :class:`EpochMetrics`.
        best_epoch: Epoch of the checkpoint, from 1.
    """

    checkpoint: Path
    history: list[dict[str, Any]]
    best_epoch: int


def train_classifier(
    train_views: Views,
    train_labels: ArrayLike,
    val_views: Views,
    val_labels: ArrayLike,
    class_names: Sequence[str],
    params: TrainingParams,
    *,
    seed: int,
    view: ViewSpec,
    out: Path,
    inputs: Mapping[str, str] | None = None,
    on_epoch: Callable[[EpochMetrics], None] | None = None,
    device: str = "cpu",
    train_sources: Sequence[str] | None = None,
    val_sources: Sequence[str] | None = None,
    train_text_free: Views | None = None,
) -> TrainingResult:
    """Train a backbone and write the checkpoint of its best validation epoch.

    On a CPU the same seed, thread count and library versions give the same weights bit by bit. The
    checkpoint appears only when the training is over; a killed run leaves nothing behind.

    Args:
        train_views: ``(N, S, S)``; may be a memory map, it is read batch by batch in a thread.
        train_labels: Class index of each training view.
        val_views: Views that select the epoch.
        val_labels: Class index of each validation view.
        class_names: Class of each index.
        params: The recipe.
        seed: Of weights, order and augmentation.
        view: How the views were made; kept in the checkpoint.
        out: Checkpoint folder to create.
        inputs: Name -> key or hash of the data, for the manifest.
        on_epoch: Receives the metrics after each epoch.
        device: ``"cpu"``, ``"cuda"`` or ``"cuda:1"``; never changed silently.
        train_sources: Source of each training film, for mitigations by group.
        val_sources: Source of each validation film, for the same.
        train_text_free: ``(N, S, S)`` the training views without text, for ``random_text`` and
            ``right_reasons``; refused where neither is on.

    Returns:
        The history and the best epoch.

    Raises:
        InputContractError: If views, labels or the recipe do not fit each other.
        DataIntegrityError: If a class has no training or no validation film.
        TrainingError: If the loss is not finite.
    """
    train_y = check_films("training", train_views, train_labels, class_names, view)
    val_y = check_films("validation", val_views, val_labels, class_names, view)
    if params.shuffle_labels:
        generator = np.random.default_rng(derive_seed(seed, "shuffled labels"))
        train_y, val_y = generator.permutation(train_y), generator.permutation(val_y)
    weights = order_class_weights(params.class_weights, class_names)
    plain = BalancedBatches(
        train_y,
        target_class=find_target_class(params, class_names),
        target_share=params.target_share,
        batch_size=params.batch_size,
        seed=derive_seed(seed, "batches"),
    )
    batches: BalancedBatches | SourceBatches = plain
    fabric = build_fabric(device, params.precision)
    if batches.smallest < fabric.world_size:
        raise InputContractError(
            f"training: batches of {batches.smallest} film for {fabric.world_size} processes;"
            " raise training.batch_size or start fewer processes"
        )
    check_mitigation(
        params.mitigation,
        train_views=train_views,
        val_views=val_views,
        train_sources=train_sources,
        val_sources=val_sources,
        text_free=train_text_free,
    )
    if params.mitigation.sampling == "source" and train_sources is not None:
        batches = SourceBatches(plain, train_y, train_sources, seed=seed)
    fabric.launch()
    with ExitStack() as stack:
        cuda = [fabric.device] if fabric.device.type == "cuda" else []
        # Weights and dropout draw from torch's global generator; put it back afterwards.
        stack.enter_context(torch.random.fork_rng(devices=cuda))
        if cuda:
            stack.enter_context(torch.backends.cudnn.flags(enabled=True, deterministic=True))
        torch.manual_seed(derive_seed(seed, "weights"))
        classifier = build_classifier(params, class_names, view)
        if fabric.world_size > 1:
            join_batch_norms(classifier)
            torch.manual_seed(derive_seed(seed, "dropout", fabric.global_rank))
        objective = BatchLoss(
            fabric,
            classifier,
            params.mitigation,
            weights.to(fabric.device),
            train_y,
            train_sources if params.mitigation.needs_sources else None,
        )
        run = _Run(fabric, classifier, params, batches, objective, seed)
        history, best = run.fit(train_views, train_text_free, val_views, val_y, on_epoch)
    classifier.module.load_state_dict(best.state)
    if params.mitigation.last_layer and val_sources is not None and fabric.is_global_zero:
        groups = number_groups(val_y, val_sources)
        refit_last_layer(classifier, val_views, val_y, groups, seed=seed)
    if fabric.is_global_zero:
        lasting = [
            {key: value for key, value in asdict(line).items() if key not in _TIMINGS}
            for line in history
        ]
        save_checkpoint(
            out,
            classifier,
            arch=params.arch,
            arch_params=params.arch_params,
            view=view,
            facts={"best_epoch": best.epoch, "n_epochs_run": len(history), "seed": seed}
            | ({"n_devices": fabric.world_size} if fabric.world_size > 1 else {})
            | {f"val_{name}": value for name, value in best.metrics._asdict().items()},
            parameters={"training": params, "seed": seed},
            inputs=inputs,
            texts={"history.json": json.dumps(lasting, indent=2) + "\n"},
        )
    fabric.barrier()
    return TrainingResult(out, [asdict(line) for line in history], best.epoch)


@dataclass(frozen=True)
class _Best:
    """The best epoch so far."""

    epoch: int
    metrics: ValidationMetrics
    state: dict[str, Tensor]


class _Run:
    """One training in progress."""

    def __init__(
        self,
        fabric: lightning_fabric.Fabric,
        classifier: Classifier,
        params: TrainingParams,
        batches: BalancedBatches | SourceBatches,
        objective: BatchLoss,
        seed: int,
    ) -> None:
        self._fabric = fabric
        self._classifier = classifier
        self._params = params
        self._batches = batches
        self._objective = objective
        self._seed = seed
        self._share = slice(fabric.global_rank, None, fabric.world_size)
        self._shown: Labels = np.empty(0, dtype=np.int64)
        optimizer = torch.optim.Adam(classifier.parameters(), lr=params.learning_rate)
        self._model, self._optimizer = fabric.setup(objective.network, optimizer)
        n_steps = params.n_epochs * batches.n_batches
        self._cosine = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: 0.5 * (1 + math.cos(math.pi * min(step / n_steps, 1.0)))
        )
        self._plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(
            optimizer, factor=0.7, patience=5
        )

    def fit(
        self,
        train_views: Views,
        text_free: Views | None,
        val_views: Views,
        val_labels: Labels,
        on_epoch: Callable[[EpochMetrics], None] | None,
    ) -> tuple[list[EpochMetrics], _Best]:
        """Train until the last epoch or until patience ends.

        Returns:
            One entry per epoch, and the best epoch.

        Raises:
            TrainingError: If the training diverged.
        """
        history: list[EpochMetrics] = []
        best: _Best | None = None
        started = time.perf_counter()
        for epoch in range(1, self._params.n_epochs + 1):
            epoch_started = time.perf_counter()
            train_loss = self._train_epoch(epoch, train_views, text_free)
            duration_s = time.perf_counter() - epoch_started
            self._refresh_batch_norm(epoch, train_views)
            metrics = self._validate(epoch, val_views, val_labels)
            if self._params.schedule == "plateau":
                self._plateau.step(metrics.loss)
            if best is None or self._rank(metrics) > self._rank(best.metrics):
                best = _Best(epoch, metrics, copy.deepcopy(self._classifier.module.state_dict()))
            pace_s = (time.perf_counter() - started) / epoch
            history.append(
                EpochMetrics(
                    epoch=epoch,
                    n_epochs=self._params.n_epochs,
                    train_loss=train_loss,
                    val_loss=metrics.loss,
                    val_accuracy=metrics.accuracy,
                    val_macro_f1=metrics.macro_f1,
                    learning_rate=float(self._optimizer.param_groups[0]["lr"]),
                    films_per_s=self._batches.n_films / duration_s,
                    seconds_left=pace_s * (self._params.n_epochs - epoch),
                )
            )
            if on_epoch is not None and self._fabric.is_global_zero:
                on_epoch(history[-1])
            if epoch - best.epoch >= self._params.patience:
                _LOG.info("training stops after epoch %d, best was %d", epoch, best.epoch)
                break
        if best is None:
            raise TrainingError("training: no epoch was run; raise training.n_epochs")
        return history, best

    def _train_epoch(self, epoch: int, views: Views, text_free: Views | None) -> float:
        """Train one epoch.

        Returns:
            The mean loss over films, in nats.

        Raises:
            TrainingError: If the loss is not finite.
        """
        self._model.train()
        # The last number once was the process'; now all draw the same and take their share.
        generator = torch.Generator().manual_seed(derive_seed(self._seed, "augmentation", epoch, 0))
        rng = np.random.default_rng(derive_seed(self._seed, "random text", epoch, 0))
        read = make_reader(views, text_free, self._params.mitigation, rng, self._share)
        loss_sum, n_films = 0.0, 0
        shown: list[Labels] = []
        for films, read_planes in prefetch(read, self._batches.draw_epoch(epoch)):
            planes = self._fabric.to_device(read_planes).float().div_(255)
            if self._params.augmentation is not None:
                planes = augment(
                    planes,
                    self._params.augmentation,
                    generator,
                    n_drawn=len(films),
                    share=self._share,
                )
            images, text = planes[:, :1], planes[:, 1:]
            loss = self._objective.compute(self._model, images, text, films, self._share)
            if not math.isfinite(loss.value):
                raise TrainingError(
                    f"training: the loss became {loss.value} in epoch {epoch}; lower learning_rate"
                    f" ({self._params.learning_rate:g}) or use precision 32-true"
                )
            self._optimizer.zero_grad(set_to_none=True)
            self._fabric.backward(loss.own)
            self._optimizer.step()
            if self._params.schedule == "cosine":
                self._cosine.step()
            loss_sum += loss.value * loss.n_films
            n_films += loss.n_films
            shown.append(films)
        self._shown = np.concatenate(shown)
        return loss_sum / n_films

    def _refresh_batch_norm(self, epoch: int, views: Views) -> None:
        """Match batch-norm statistics to the new weights, on balanced and unchanged films."""
        rng = np.random.default_rng(derive_seed(self._seed, "batch norm", epoch))
        films = rng.choice(self._shown, min(_N_NORM_FILMS, len(self._shown)), replace=False)
        parts = np.array_split(films, -(-len(films) // self._params.batch_size))
        refresh_batch_norm(
            self._classifier,
            (to_canonical(views[part[self._share]], self._fabric.device) for part in parts),
        )

    def _validate(self, epoch: int, views: Views, labels: Labels) -> ValidationMetrics:
        """Measure, each process its share of the films.

        Returns:
            The metrics.

        Raises:
            TrainingError: If a probability is not finite.
        """
        try:
            own = predict_probabilities(self._classifier, views[self._share])
        except InputContractError as error:
            raise TrainingError(
                f"training: the weights are not finite after epoch {epoch};"
                f" lower learning_rate ({self._params.learning_rate:g})"
            ) from error
        there = self._fabric.to_device(torch.from_numpy(own))
        probabilities = gather_rows(self._fabric, there, len(views)).cpu().numpy()
        return compute_validation_metrics(labels, probabilities)

    def _rank(self, metrics: ValidationMetrics) -> tuple[float, ...]:
        """Return what the best epoch maximises."""
        if self._params.select_by == "macro_f1":
            return metrics.macro_f1, -metrics.loss
        return (-metrics.loss,)
