"""The stage that trains: training films of a data set, selection on its validation films."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import ClassVar

from covid_debug.artifacts import remove_partials
from covid_debug.data.filmset import load_filmset
from covid_debug.data.views import load_views
from covid_debug.errors import DataIntegrityError
from covid_debug.imaging.geometry import ViewSpec
from covid_debug.progress import SILENT
from covid_debug.records import Film
from covid_debug.stages import Means, Request
from covid_debug.training.checks import check_devices
from covid_debug.training.loop import TrainingResult, train_classifier
from covid_debug.training.mitigation import MitigationParams, Views
from covid_debug.training.params import EpochMetrics, TrainingParams
from covid_debug.training.ranks import run_ranks


@dataclass(frozen=True)
class TrainRequest(Request):
    """Train one classifier; the artifact is its checkpoint of the best validation epoch.

    Attributes:
        filmset: Films in ``train`` and ``val``.
        training: The recipe.
        view: What the model sees.
        seed: Of weights, order and augmentation.
        on_epoch: Receives the metrics of every epoch; decides no result.
        text_free: The cleaned film set, only where the recipe's mitigation needs text-free views.
    """

    filmset: Path
    training: TrainingParams
    view: ViewSpec
    seed: int
    on_epoch: Callable[[EpochMetrics], None] | None = field(default=None, compare=False)
    text_free: Path | None = None

    stage: ClassVar[str] = "checkpoint"
    makes: ClassVar[str] = "checkpoint"
    code_version: ClassVar[int] = 1

    def parameters(self) -> object:
        """Leave a mitigation that is off out, so that plain checkpoints keep their names."""
        training = asdict(self.training)
        if self.training.mitigation == MitigationParams():
            del training["mitigation"]
        return {"training": training, "view": self.view, "seed": self.seed}

    def make(self, out: Path, means: Means) -> TrainingResult:
        """Decode the views once and train; a set without films in train or val is refused."""
        check_devices(means.device, means.n_devices, self.training.batch_size)
        train = self.prepare(means)
        with means.listener.progress("epochs") as progress:

            def tell(metrics: EpochMetrics) -> None:
                progress(metrics.epoch, metrics.n_epochs)
                if self.on_epoch is not None:
                    self.on_epoch(metrics)

            if means.n_devices == 1:
                return train(out=out, on_epoch=tell)
            work = partial(
                _train_share, replace(self, on_epoch=None), out, replace(means, listener=SILENT)
            )
            try:
                return run_ranks(work, means.n_devices, means.device, tell)
            finally:
                remove_partials(out.parent, out.name)

    def prepare(self, means: Means) -> Callable[..., TrainingResult]:
        """Return the training, with its views decoded, that lacks its folder and its listener.

        Raises:
            DataIntegrityError: If the set has no films in train or val.
        """
        filmset = load_filmset(self.filmset)
        views, labels, sources = {}, {}, {}
        for split in ("train", "val"):
            films = filmset.select(split)
            if not films:
                raise DataIntegrityError(
                    f"{filmset.root}: has no films in {split!r}; training needs some in train and"
                    " val"
                )
            labels[split] = [filmset.label_index(film) for film in films]
            sources[split] = [film.source for film in films]
            views[split] = load_views(
                filmset, films, self.view, means.cache_dir, n_workers=means.n_workers
            )
        return partial(
            train_classifier,
            views["train"],
            labels["train"],
            views["val"],
            labels["val"],
            filmset.class_names,
            self.training,
            seed=self.seed,
            view=self.view,
            inputs=self.inputs(),
            device=means.device,
            train_sources=sources["train"],
            val_sources=sources["val"],
            train_text_free=self._load_text_free(filmset.select("train"), means),
        )

    def _load_text_free(self, films: Sequence[Film], means: Means) -> Views | None:
        """Return the cleaned films' views in the order of the films."""
        if self.text_free is None:
            return None
        cleaned = load_filmset(self.text_free)
        by_id = {film.image_id: film for film in cleaned.films}
        missing = [film.image_id for film in films if film.image_id not in by_id]
        if missing:
            raise DataIntegrityError(
                f"{self.text_free}: lacks {len(missing)} of {len(films)} training films of"
                f" {self.filmset}, e.g. {missing[0]}; clean that film set"
            )
        own = [by_id[film.image_id] for film in films]
        return load_views(cleaned, own, self.view, means.cache_dir, n_workers=means.n_workers)


def _train_share(
    request: TrainRequest, out: Path, means: Means, tell: Callable[[EpochMetrics], None] | None
) -> TrainingResult:
    """Train as one of several processes, which find the views in the cache."""
    return request.prepare(means)(out=out, on_epoch=tell)
