"""The training recipe and what each epoch reports."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from covid_debug.errors import InputContractError
from covid_debug.ranges import check_range
from covid_debug.training.augmentation import AugmentationParams
from covid_debug.training.mitigation import MitigationParams

Precision = Literal["32-true", "bf16-mixed", "16-mixed"]


@dataclass(frozen=True)
class TrainingParams:
    """Recipe of a training; the same for every arm of a comparison.

    Attributes:
        arch: Name in :data:`covid_debug.models.catalog.BACKBONES`.
        arch_params: Parameters of the architecture, e.g. ``widths`` of ``covidnet``.
        channels: Planes that the network sees, 1 or 3.
        weights_path: Local file with weights to start from; None draws them.
        n_epochs: Most epochs.
        batch_size: Films per batch.
        learning_rate: Adam's first step size.
        schedule: ``"cosine"`` falls to zero over ``n_epochs``; ``"plateau"`` multiplies by 0.7
            after five epochs without a better validation loss (the COVID-Net paper's decay).
        patience: Stop after this many epochs without a better ``select_by``.
        select_by: What decides the best epoch, always on validation films: the class-balanced
            loss, or macro F1 with that loss between equals.
        target_class: Class whose share of each batch is fixed; ``""`` is the last class.
        target_share: That share, in (0, 1); None shuffles all films alike.
        class_weights: Class name -> weight in the loss; absent classes weigh 1.
        augmentation: Ranges of the random changes; None trains on the views as they are.
        precision: Lightning Fabric's name of the arithmetic.
        shuffle_labels: Deal the training and validation labels out anew, by the seed: the control
            of the label randomisation test [adebayo2018sanity], whose maps should differ.
        mitigation: Countermeasures against shortcuts; all off by default.
    """

    arch: str = "covidnet"
    arch_params: Mapping[str, Any] = field(default_factory=dict)
    channels: int = 1
    weights_path: Path | None = None
    n_epochs: int = 30
    batch_size: int = 32
    learning_rate: float = 2e-3
    schedule: Literal["cosine", "plateau"] = "cosine"
    patience: int = 8
    select_by: Literal["loss", "macro_f1"] = "loss"
    target_class: str = ""
    target_share: float | None = 0.3
    class_weights: Mapping[str, float] = field(default_factory=dict)
    augmentation: AugmentationParams | None = field(default_factory=AugmentationParams)
    precision: Precision = "32-true"
    shuffle_labels: bool = False
    mitigation: MitigationParams = field(default_factory=MitigationParams)

    def __post_init__(self) -> None:
        """Check the ranges that no class list is needed for.

        Raises:
            InputContractError: If a number is out of range.
        """
        check_range(self, "(0, inf)", "n_epochs", "patience", "learning_rate", where="training")
        check_range(self, "[2, inf)", "batch_size", where="training")
        check_range(self, "(0, 1)", "target_share", where="training")
        if any(weight <= 0 for weight in self.class_weights.values()):
            raise InputContractError(
                f"training: class_weights are {dict(self.class_weights)}; expected more than 0"
            )
        if self.class_weights and self.mitigation.objective == "group_dro":
            raise InputContractError(
                f"training: class_weights are {dict(self.class_weights)} and group_dro weighs the"
                " groups itself; leave one of the two out"
            )


@dataclass(frozen=True, slots=True)
class EpochMetrics:
    """One line of the training history.

    Attributes:
        epoch: Number of the epoch, from 1.
        n_epochs: Most epochs of this training.
        train_loss: Mean cross-entropy over the augmented, balanced batches, in nats.
        val_loss: Class-balanced cross-entropy on the validation films, in nats.
        val_accuracy: In [0, 1].
        val_macro_f1: In [0, 1].
        learning_rate: At the end of the epoch.
        films_per_s: Training films per second, validation excluded.
        seconds_left: Time until ``n_epochs`` at the mean pace so far; early stopping may save it.
    """

    epoch: int
    n_epochs: int
    train_loss: float
    val_loss: float
    val_accuracy: float
    val_macro_f1: float
    learning_rate: float
    films_per_s: float
    seconds_left: float
