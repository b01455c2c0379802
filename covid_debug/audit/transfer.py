"""Marker transfer: native markers of one source laid on films of another.

Shows a site shortcut without planting anything. Every film with text inside the view is a donor
and a recipient: its text is taken off, and on the text-free film the markers of other films are
laid, each once as it is and once shuffled. Owns who gives to whom and the calls of the models; the
pixels are in :mod:`covid_debug.audit.markers`, the numbers in
:mod:`covid_debug.audit.transfer_effects`.
"""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from covid_debug.audit.inputs import check_models
from covid_debug.audit.interventions import text_in_view
from covid_debug.audit.markers import MarkedFilm, Marker, take_apart
from covid_debug.audit.transfer_record import Layings
from covid_debug.audit.verdicts import log_odds
from covid_debug.data.filmset import FilmSet
from covid_debug.imaging.inpainting import FILLS
from covid_debug.imaging.reading import FILM_OR_MODEL_ERRORS, read_film
from covid_debug.models.checkpoint import LoadedModel
from covid_debug.models.inference import predict_probabilities
from covid_debug.ranges import check_range
from covid_debug.records import Film, FilmRegions
from covid_debug.seeding import derive_seed
from covid_debug.stages import Means

_AHEAD = 8
"""Films whose views are held at once."""

Laid = tuple[int, int]
"""Row of the recipient, row of the donor."""


@dataclass(frozen=True)
class TransferParams:
    """How markers are taken and laid.

    Attributes:
        n_draws: Donors from each group of source and label, for every recipient; all of other
            patients, and fewer where the group has fewer patients.
        dilation_px: Growth of text regions in film pixels, as in the audit.
        method: Fill of the text, see :func:`covid_debug.imaging.inpainting.inpaint`.
        radius_px: Reach of the fill in film pixels.
        max_batch: Most images in one model call.
    """

    n_draws: int = 4
    dilation_px: int = 4
    method: str = "telea"
    radius_px: float = 10.0
    max_batch: int = 64

    def __post_init__(self) -> None:
        """Check names and ranges.

        Raises:
            InputContractError: If a value is out of range.
            CatalogError: If the fill is unknown.
        """
        FILLS[self.method]
        check_range(self, "[1, inf)", "n_draws", "max_batch")
        check_range(self, "[0, inf)", "dilation_px")
        check_range(self, "(0, inf)", "radius_px")


@dataclass(frozen=True, slots=True)
class TransferSubject:
    """Models and films of a marker transfer.

    Attributes:
        models: Name -> model, e.g. the seeds of one arm; all see the same views and know the same
            classes.
        filmset: Where the films live.
        films: Films whose markers are laid on each other, normally the test split.
        regions: Text by ``image_id``.
        params: How markers are taken and laid.
        run_seed: Every film's seed is derived from it.
    """

    models: Mapping[str, LoadedModel]
    filmset: FilmSet
    films: Sequence[Film]
    regions: Mapping[str, FilmRegions]
    params: TransferParams
    run_seed: int


def lay_markers(subject: TransferSubject, means: Means) -> tuple[Layings, Mapping[str, str]]:
    """Lay native markers on films of every group and ask the models.

    Args:
        subject: Models and films.
        means: How it is carried out; the number of model evaluations is said before they start.

    Returns:
        The answers, and ``image_id`` -> why a film could not be used.

    Raises:
        InputContractError: If there is no model, or the models differ in views or classes.
    """
    check_models("transfer", list(subject.models.values()), subject.filmset)
    transfer = _Transfer(subject, means)
    films, markers = transfer.collect()
    laid = draw_layings(films, subject.params.n_draws, subject.run_seed)
    n_sources = len({film.source for film in films})
    n_evaluations = 2 * (len(films) + len(laid)) * len(subject.models)
    means.listener.say(
        f"{len(films)} of {len(subject.films)} films of {n_sources} sources have text inside the"
        f" view; {len(laid):,} markers are laid, each with a shuffled control, and shown to"
        f" {len(subject.models)} models: {n_evaluations:,} model evaluations"
    )
    return transfer.ask(films, markers, laid), transfer.failed


def draw_layings(films: Sequence[Film], n_draws: int, run_seed: int) -> tuple[Laid, ...]:
    """Choose whose markers every film gets.

    From each group of source and label, its own included, patients other than the film's own are
    drawn without repetition, and one film of each. The draw belongs to the film: it depends on
    neither order nor number of the other films' draws.

    Args:
        films: Donors and recipients.
        n_draws: Donors of a group, for each recipient.
        run_seed: Seed of the run.

    Returns:
        Rows of recipient and donor, recipient by recipient.
    """
    groups: dict[tuple[str, str], dict[str, list[int]]] = {}
    for row in sorted(range(len(films)), key=lambda i: films[i].image_id):
        film = films[row]
        group = groups.setdefault((film.source, film.label), {})
        group.setdefault(film.patient_id, []).append(row)
    laid: list[Laid] = []
    for taker, film in enumerate(films):
        for (source, label), patients in sorted(groups.items()):
            seed = derive_seed(run_seed, film.image_id, source, label, "donors")
            generator = np.random.default_rng(seed)
            others = [patient for patient in sorted(patients) if patient != film.patient_id]
            chosen = [others[i] for i in generator.permutation(len(others))[:n_draws]]
            laid.extend((taker, int(generator.choice(patients[patient]))) for patient in chosen)
    return tuple(laid)


class _Transfer:
    """Reads films and asks models; keeps what failed."""

    def __init__(self, subject: TransferSubject, means: Means) -> None:
        self._subject, self._means = subject, means
        self._spec = next(iter(subject.models.values())).view
        self.failed: dict[str, str] = {}

    def collect(self) -> tuple[tuple[Film, ...], tuple[Marker, ...]]:
        """Return the films with text inside the view, and their markers."""
        marked = [film for film in self._subject.films if self._has_text(film)]
        films, markers = [], []
        with (
            ThreadPoolExecutor(self._means.n_workers) as pool,
            self._means.listener.progress("markers") as report,
        ):
            for start in range(0, len(marked), _AHEAD):
                part = marked[start : start + _AHEAD]
                for film, found in zip(part, pool.map(self._try_to_read, part), strict=True):
                    if found is not None:
                        films.append(film)
                        markers.append(found.marker)
                report(start + len(part), len(marked))
        return tuple(films), tuple(markers)

    def _has_text(self, film: Film) -> bool:
        found, params = self._subject.regions.get(film.image_id), self._subject.params
        if found is None or found.error is not None:
            reason = "not scanned for text" if found is None else f"text scan: {found.error}"
            self.failed[film.image_id] = reason
            return False
        size = (film.width, film.height)
        return bool(
            found.texts
            and text_in_view(found.texts, *size, self._spec, dilation_px=params.dilation_px)[
                1
            ].any()
        )

    def _try_to_read(self, film: Film) -> MarkedFilm | None:
        try:
            return self._read(film)
        except FILM_OR_MODEL_ERRORS as error:
            self.failed[film.image_id] = str(error)
            return None

    def _read(self, film: Film) -> MarkedFilm:
        params = self._subject.params
        return take_apart(
            read_film(self._subject.filmset.file_of(film)).to_uint8(),
            self._subject.regions[film.image_id],
            self._spec,
            dilation_px=params.dilation_px,
            method=params.method,
            radius_px=params.radius_px,
        )

    def ask(
        self, films: tuple[Film, ...], markers: tuple[Marker, ...], laid: Sequence[Laid]
    ) -> Layings:
        """Show every view to every model, recipient by recipient; views are made once."""
        models = list(self._subject.models.values())
        shape = (len(models), models[0].classifier.n_classes)
        films_as_is, text_free = np.empty((2, len(films), *shape))
        marked, shuffled = np.empty((2, len(laid), *shape))
        start = 0
        with self._means.listener.progress("recipients") as report:
            for taker, views in enumerate(self._iter_views(films, markers, laid)):
                answers = np.stack([self._predict(model, views) for model in models], axis=1)
                films_as_is[taker], text_free[taker] = answers[:2]
                n_laid = (len(views) - 2) // 2
                marked[start : start + n_laid] = answers[2 : 2 + n_laid]
                shuffled[start : start + n_laid] = answers[2 + n_laid :]
                start += n_laid
                report(taker + 1, len(films))
        takers, givers = np.array(laid, dtype=np.int64).reshape(-1, 2).T
        names = tuple(marker.name for marker in markers)
        return Layings(films, names, takers, givers, films_as_is, text_free, marked, shuffled)

    def _iter_views(
        self, films: Sequence[Film], markers: Sequence[Marker], laid: Sequence[Laid]
    ) -> Iterator[NDArray[np.uint8]]:
        """Yield each recipient's views: as it is, text-free, then the markers, then shuffled."""
        givers: list[list[int]] = [[] for _ in films]
        for taker, giver in laid:
            givers[taker].append(giver)

        def make(taker: int) -> NDArray[np.uint8]:
            film = self._read(films[taker])
            plain, dealt = [], []
            for giver in givers[taker]:
                scope = (films[taker].image_id, films[giver].image_id, "shuffle")
                control = markers[giver].shuffled(derive_seed(self._subject.run_seed, *scope))
                plain.append(markers[giver].laid_on(film.text_free))
                dealt.append(control.laid_on(film.text_free))
            return np.stack([film.view, film.text_free, *plain, *dealt])

        rows = iter(range(len(films)))
        with ThreadPoolExecutor(self._means.n_workers) as pool:
            while part := list(islice(rows, _AHEAD)):
                yield from pool.map(make, part)

    def _predict(self, model: LoadedModel, views: NDArray[np.uint8]) -> NDArray[np.float64]:
        rows = predict_probabilities(
            model.classifier, views, max_batch=self._subject.params.max_batch
        )
        return np.stack([log_odds(rows, k) for k in range(rows.shape[1])], axis=1)
