"""Which countermeasures against shortcuts a training takes, and the groups that they speak of.

Owns the choice and what it needs; each countermeasure is a module of its own. Everything is off by
default, and then a training is bit by bit the plain one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from covid_debug.errors import InputContractError
from covid_debug.ranges import check_choices, check_range

Views = NDArray[np.uint8]
Labels = NDArray[np.int64]

_SAY_SOURCES = "pass train_sources and val_sources"
_SAY_TEXT_FREE = "pass the views of the cleaned films (text_free: the folder from clean)"


@dataclass(frozen=True)
class MitigationParams:
    """Changes of a training recipe that shall keep a model from shortcuts; all off by default.

    Groups are class x source of the films.

    Attributes:
        sampling: ``"source"`` shows, within each class, every source equally often; the classes'
            shares stay those of the recipe.
        objective: ``"group_dro"`` weighs the groups' losses by how bad they are [sagawa2020dro].
        dro_step: Step size of those weights.
        matching: Weight of the distance correlation between penultimate features and source
            within a class; 0 is off.
        right_reasons: Weight of the squared input gradients inside the text [ross2017right];
            0 is off.
        random_text: Share of the training films, in each epoch, that show the text of another
            training film, drawn at random, instead of their own; in [0, 1].
        last_layer: Whether the last layer is fitted anew on group-balanced validation films
            [kirichenko2023last].
    """

    sampling: Literal["class", "source"] = "class"
    objective: Literal["mean", "group_dro"] = "mean"
    dro_step: float = 0.01
    matching: float = 0.0
    right_reasons: float = 0.0
    random_text: float = 0.0
    last_layer: bool = False

    def __post_init__(self) -> None:
        """Check names and ranges.

        Raises:
            InputContractError: If a name is unknown or a number out of range.
        """
        check_choices(self, "mitigation")
        check_range(self, "(0, inf)", "dro_step", where="mitigation")
        check_range(self, "[0, inf)", "matching", "right_reasons", where="mitigation")
        check_range(self, "[0, 1]", "random_text", where="mitigation")

    @property
    def needs_sources(self) -> bool:
        """Whether the films' sources take part."""
        return (
            self.sampling == "source"
            or self.objective == "group_dro"
            or self.matching > 0
            or self.last_layer
        )

    @property
    def needs_text_free(self) -> bool:
        """Whether text-free views of the training films take part."""
        return self.right_reasons > 0 or self.random_text > 0


def check_mitigation(
    params: MitigationParams,
    *,
    train_views: Views,
    val_views: Views,
    train_sources: Sequence[str] | None,
    val_sources: Sequence[str] | None,
    text_free: Views | None,
) -> None:
    """Check that a training has what its countermeasures need.

    Args:
        params: The countermeasures.
        train_views: ``(N, S, S)``.
        val_views: Of the validation films.
        train_sources: Source of each training film, or None.
        val_sources: Source of each validation film, or None.
        text_free: ``(N, S, S)`` of the training films without text, or None.

    Raises:
        InputContractError: If something is missing, does not fit or would not be used.
    """
    for name, views, sources in (
        ("train_sources", train_views, train_sources),
        ("val_sources", val_views, val_sources),
    ):
        if sources is None and params.needs_sources:
            raise InputContractError(f"mitigation: {name} is missing; {_SAY_SOURCES}")
        if sources is not None and len(sources) != len(views):
            raise InputContractError(
                f"mitigation: {name} has {len(sources)} entries for {len(views)} films"
            )
    if (text_free is not None) != params.needs_text_free:
        if text_free is None:
            raise InputContractError(
                f"mitigation: random_text and right_reasons need text-free views; {_SAY_TEXT_FREE}"
            )
        raise InputContractError(
            "mitigation: text-free views are given, but neither random_text nor right_reasons is"
            " on; leave them out or switch one on"
        )
    if text_free is not None and (
        text_free.dtype != np.uint8 or text_free.shape != train_views.shape
    ):
        raise InputContractError(
            f"mitigation: text-free views are {text_free.dtype} {text_free.shape}; expected uint8"
            f" {train_views.shape}, one per training view"
        )


def number_groups(labels: Labels, sources: Sequence[str]) -> Labels:
    """Return the number of each film's group, class x source, counted from 0 without gaps."""
    _, source_of = np.unique(np.asarray(sources), return_inverse=True)
    pairs = np.stack([np.asarray(labels, np.int64), source_of.astype(np.int64)], axis=1)
    _, group_of = np.unique(pairs, axis=0, return_inverse=True)
    return group_of.astype(np.int64).ravel()
