"""Phantom films and a small classifier trained on them, for benchmarks without any data at hand."""

from dataclasses import dataclass
from pathlib import Path

from covid_debug.artifacts import is_complete
from covid_debug.data.filmset import FilmSet, load_filmset
from covid_debug.data.phantom import generate_phantom
from covid_debug.imaging.geometry import ViewSpec
from covid_debug.progress import Listener
from covid_debug.stages import Means
from covid_debug.training.params import TrainingParams
from covid_debug.training.stage import TrainRequest


@dataclass(frozen=True, slots=True)
class PhantomModel:
    """Which phantoms are made, and how the classifier is trained on them.

    Attributes:
        films: Folder of the films.
        checkpoint: Folder of the classifier; decoded films are kept beside it.
        n_train: Films for training and selection.
        n_test: Test films.
        image_size: Side in pixels that the classifier sees.
        n_epochs: Epochs.
        film_seed: Seed of the films.
        seed: Seed of the training.
    """

    films: Path
    checkpoint: Path
    n_train: int
    n_test: int
    image_size: int
    n_epochs: int
    film_seed: int
    seed: int

    @property
    def views(self) -> Path:
        """Folder of decoded films."""
        return self.checkpoint.parent / "views"

    def make(self, listener: Listener) -> FilmSet:
        """Make films and classifier, whichever is not there yet.

        Args:
            listener: Told how far it is.

        Returns:
            The films.
        """
        if not is_complete(self.films):
            self.films.parent.mkdir(parents=True, exist_ok=True)
            with listener.progress("phantoms") as progress:
                generate_phantom(
                    self.films,
                    n_train=self.n_train,
                    n_test=self.n_test,
                    seed=self.film_seed,
                    progress=progress,
                )
        films = load_filmset(self.films)
        if not is_complete(self.checkpoint):
            training = TrainingParams(n_epochs=self.n_epochs)
            view = ViewSpec(image_size=self.image_size)
            request = TrainRequest(self.films, training, view, self.seed)
            request.make(self.checkpoint, Means(listener, self.views))
        return films
