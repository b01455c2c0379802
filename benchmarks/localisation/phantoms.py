"""Phantom films on which a site's mark, or the disease, is known to drive the class."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.localisation.films import Candidates, Masks, Views
from covid_debug.artifacts import is_complete
from covid_debug.data.phantom import generate_phantom, plan_pool, render_phantom, render_truth
from covid_debug.imaging.geometry import ViewSpec, render_view, render_view_mask
from covid_debug.records import Split
from covid_debug.stages import Means, find_or_make
from covid_debug.training.params import TrainingParams
from covid_debug.training.stage import TrainRequest


@dataclass(frozen=True, slots=True)
class PhantomRecipe:
    """How phantoms are made and learned.

    Attributes:
        n_train: Films for training and selection.
        n_probe: Films of the test pool that are looked through for driven ones; for ``val``, as
            many others of that pool.
        correlation: Share of the training patients whose site goes with their class: below 1, so
            that a model needs both, the mark and the disease.
        n_epochs: Epochs.
        seed: Of films and training.
    """

    n_train: int = 300
    n_probe: int = 150
    correlation: float = 0.8
    n_epochs: int = 8
    seed: int = 7


def train_on_phantoms(
    recipe: PhantomRecipe, arch: str, view: ViewSpec, store: Path, means: Means
) -> Path:
    """Return a checkpoint of a model trained on phantoms; finished ones are found again."""
    films = store / f"phantom-{recipe.n_train}-{recipe.correlation:g}-{recipe.seed}"
    if not is_complete(films):
        with means.listener.progress("phantoms") as progress:
            generate_phantom(
                films,
                n_train=recipe.n_train,
                n_test=1,
                seed=recipe.seed,
                text_correlation=recipe.correlation,
                progress=progress,
            )
    training = TrainingParams(arch=arch, n_epochs=recipe.n_epochs)
    return find_or_make(TrainRequest(films, training, view, recipe.seed), store, means)


def find_phantoms(
    recipe: PhantomRecipe, view: ViewSpec, split: Split
) -> tuple[Candidates, Candidates]:
    """Return phantoms with a site's mark, and phantoms with a disease, each with their twins.

    A film counts for one cause only where the other alone does not change its class.

    Args:
        recipe: How phantoms are made.
        view: What the model sees.
        split: ``test``: the first films of the test pool; ``val``: the following ones.
    """
    n_films = 2 * recipe.n_probe
    plans = plan_pool(
        "test", n_films, seed=recipe.seed, text_correlation=recipe.correlation, val_share=0.0
    )
    plans = plans[: recipe.n_probe] if split == "test" else plans[recipe.n_probe :]
    rows = []
    for plan in plans:
        truth = render_truth(recipe.seed, plan)
        pixels = (
            render_phantom(recipe.seed, plan).marked,
            truth.without_mark,
            truth.without_sign,
        )
        masks = (truth.mark, truth.sign, truth.neutral)
        rows.append(
            (
                *(render_view(film, view) for film in pixels),
                *(render_view_mask(mask, view) for mask in masks),
            )
        )
    views, without_mark, without_sign, mark, sign, neutral = (
        np.stack(column) for column in zip(*rows, strict=True)
    )
    names = [f"phantom-{plan.pool}-{plan.index:06d}" for plan in plans]
    patients = [f"{plan.label_index}-{plan.patient}" for plan in plans]

    def choose(kind: str, truth: Masks, twins: Views, other: Views) -> Candidates:
        kept = np.flatnonzero(truth.any(axis=(1, 2)))
        return Candidates(
            kind=kind,
            names=[names[row] for row in kept],
            patients=[patients[row] for row in kept],
            views=views[kept],
            twins=twins[kept],
            truth=truth[kept],
            ink=truth[kept],
            harmless=neutral[kept],
            text=(mark | neutral)[kept],
            others=(other[kept],),
        )

    return (
        choose("mark", mark, without_mark, without_sign),
        choose("sign", sign, without_sign, without_mark),
    )
