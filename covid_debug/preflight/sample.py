"""A few of a run's films, drawn by seed, as a film set of their own: what `plan` measures on."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from covid_debug.artifacts import write_artifact
from covid_debug.clock import NOTHING, Cost, TickingListener, now
from covid_debug.config.schema import RunConfig
from covid_debug.data.covidx import parse_split_file
from covid_debug.data.filmset import FilmSet, load_filmset, write_films
from covid_debug.data.fingerprints import examine_film
from covid_debug.data.phantom.plan import plan_pool
from covid_debug.data.phantom.signs import CLASS_NAMES as PHANTOM_CLASS_NAMES
from covid_debug.data.sources.catalog import SOURCES
from covid_debug.data.stage import CovidxData, PhantomData, SourceData, TableData
from covid_debug.errors import DataIntegrityError
from covid_debug.records import Film, Split
from covid_debug.seeding import derive_seed
from covid_debug.stages import Means


@dataclass(frozen=True, slots=True)
class SampledFilm:
    """A film of the run's lists; its file has not been opened.

    Attributes:
        path: Its file; None where it will be made.
        patient_id: As ingest will name it.
        label: Its class.
        source: Where it comes from.
        split: Where it will be used; for sources that are split by patient, in these proportions.
    """

    path: Path | None
    patient_id: str
    label: str
    source: str
    split: Split


@dataclass(frozen=True)
class Sample:
    """Films that are measured.

    Attributes:
        filmset: The films, all for testing.
        read: Cost of a film's ingest.
        listed: Cost of the ingest besides the films.
    """

    filmset: FilmSet
    read: Cost
    listed: Cost = NOTHING


def list_films(config: RunConfig) -> list[SampledFilm]:
    """Return every film that the lists or tables name, reading no film."""
    match config.data:
        case PhantomData() as data:
            return list(_list_phantoms(data))
        case SourceData() as data:
            return _share_out(list(_list_sources(data)), data.val_share, data.test_share, data.seed)
        case CovidxData() as data:
            listed = list(_list_covidx(data))
            train = [film for film in listed if film.split == "train"]
            test = [film for film in listed if film.split == "test"]
            return _share_out(train, data.val_share, 0.0, data.seed) + test
        case TableData() as data:
            return _list_table(data)


def _list_table(data: TableData) -> list[SampledFilm]:
    listing, _ = data.list_films()
    films = [
        SampledFilm(one.path, one.patient_id, one.label, one.source, one.split or "train")
        for one in listing.films
    ]
    splits = {one.split for one in listing.films}
    if None in splits:
        return _share_out(films, data.val_share, data.test_share, data.seed)
    if "val" in splits:
        return films
    train = [film for film in films if film.split == "train"]
    rest = [film for film in films if film.split != "train"]
    return _share_out(train, data.val_share, 0.0, data.seed) + rest


def _list_phantoms(data: PhantomData) -> Iterator[SampledFilm]:
    pools = (("train", data.n_train, data.val_share), ("test", data.n_test, 0.0))
    for pool, n, val_share in pools:
        plans = plan_pool(
            "test" if pool == "test" else "train",
            n,
            seed=data.seed,
            text_correlation=data.text_correlation,
            val_share=val_share,
        )
        for plan in plans:
            label = PHANTOM_CLASS_NAMES[plan.label_index]
            patient = f"{pool}:{label}:{plan.patient}"
            yield SampledFilm(None, patient, label, str(plan.site), plan.split)


def _list_sources(data: SourceData) -> Iterator[SampledFilm]:
    for name, folder in data.sources.items():
        for record in SOURCES[name](folder.absolute()):
            if not record.dropped:
                patient = f"{name}:{record.patient_id}"
                yield SampledFilm(record.path, patient, record.label, name, "train")


def _list_covidx(data: CovidxData) -> Iterator[SampledFilm]:
    lists: dict[Split, Path | None] = {"train": data.train_list, "test": data.test_list}
    for split, place in lists.items():
        for row in [] if place is None else parse_split_file(place):
            source = row.source or "unknown"
            path = data.folder.absolute() / split / row.filename
            yield SampledFilm(path, f"{source}:{row.patient_id}", row.label, source, split)


def _share_out(
    films: Sequence[SampledFilm], val_share: float, test_share: float, seed: int
) -> list[SampledFilm]:
    """Give films to splits in the shares asked for; the run does it by patient."""
    order = np.random.default_rng(derive_seed(seed, "planned splits")).permutation(len(films))
    n_test = round(test_share * len(films))
    n_held = n_test + round(val_share * len(films))

    def choose(place: int) -> Split:
        if place < n_test:
            return "test"
        return "val" if place < n_held else "train"

    return [replace(films[row], split=choose(place)) for place, row in enumerate(order)]


def take_sample(config: RunConfig, films: Sequence[SampledFilm], folder: Path, n: int) -> Sample:
    """Read some of the films where they lie, or make a few, and time it.

    Args:
        config: The run.
        films: What :func:`list_films` returned.
        folder: Where the film set is written.
        n: How many films, the classes alike.

    Returns:
        The sample; films that cannot be read are passed over, as ingest does.

    Raises:
        DataIntegrityError: If fewer than two films can be read.
    """
    if isinstance(config.data, PhantomData):
        return _make_phantoms(config.data, folder, n)
    found: dict[str, Film] = {}
    spent = Cost()
    n_read = 0
    wanted = _draw(films, n, config.run_seed)
    for item in wanted:
        if item.path is None:
            continue
        start = now()
        try:
            fact = examine_film(item.path)
        except DataIntegrityError:
            continue
        if n_read:  # the first one warms up
            spent += now() - start
        n_read += 1
        key = fact.sha256[:16]
        found[key] = Film(
            image_id=key,
            path=str(item.path),
            patient_id=item.patient_id,
            label=item.label,
            source=item.source,
            view="",
            split="test",
            width=fact.width,
            height=fact.height,
            sha256=fact.sha256,
            window_low=fact.window[0],
            window_high=fact.window[1],
        )
    if len(found) < 2:
        raise DataIntegrityError(
            f"plan: {len(found)} of {len(wanted)} films drawn from the run's lists can be read;"
            " expected two or more; check the folder of the films"
        )
    names = tuple(dict.fromkeys(film.label for film in films))
    return Sample(write_sample(folder, list(found.values()), names), spent * (1 / (n_read - 1)))


def write_sample(folder: Path, films: Sequence[Film], class_names: Sequence[str]) -> FilmSet:
    """Write films as a set of their own and load it."""
    with write_artifact(folder, kind="filmset", parameters={}) as draft:
        write_films(draft.path, films)
        draft.facts.update(name="sample", class_names=list(class_names), n_total=len(films))
    return load_filmset(folder)


def _make_phantoms(data: PhantomData, folder: Path, n: int) -> Sample:
    ticks = TickingListener()
    # Half the films for each pool: their text is laid differently.
    few = replace(data, n_train=max(n - n // 2, 15), n_test=max(n // 2, 3))
    few.make(folder.with_name("phantoms"), Means(ticks, n_workers=1))
    rest = ticks.measure_rest()
    made = load_filmset(folder.with_name("phantoms"))
    films = [replace(film, split="test", path=str(made.path_of(film))) for film in made.films[-n:]]
    return Sample(write_sample(folder, films, made.class_names), ticks.per_item, rest)


def _draw(films: Sequence[SampledFilm], n: int, seed: int) -> list[SampledFilm]:
    """Draw films at random, so that sizes and text are those of the set."""
    generator = np.random.default_rng(derive_seed(seed, "planned films"))
    order = generator.permutation(len(films))
    return [films[row] for row in order[:n]]
