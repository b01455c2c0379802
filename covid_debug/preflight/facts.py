"""What a run will work on, by its lists and tables: classes, films, patients, sources.

Opens no film.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from covid_debug.config.schema import RunConfig
from covid_debug.data.covidx import check_file_names, parse_split_file, select_class_names
from covid_debug.data.ingest import CLASS_NAMES as SOURCE_CLASS_NAMES
from covid_debug.data.phantom.plan import plan_pool
from covid_debug.data.phantom.signs import CLASS_NAMES as PHANTOM_CLASS_NAMES
from covid_debug.data.sources.catalog import SOURCES
from covid_debug.data.stage import CovidxData, PhantomData, SourceData, TableData
from covid_debug.errors import DataIntegrityError


@dataclass(frozen=True)
class RunFacts:
    """What a run will work on.

    Attributes:
        class_names: Classes of the films.
        n_films: Films that the lists or tables name; for sources those that the recipe keeps.
        n_test: Films for testing, about.
        folds: Sources that can be left out without losing a class of the training films, about.
        n_test_patients: Patients of these films, about.
    """

    class_names: tuple[str, ...]
    n_films: int
    n_test: int
    folds: tuple[str, ...]
    n_test_patients: int


def count_run(config: RunConfig) -> RunFacts:
    """Count films and patients of every class without opening a film.

    Args:
        config: The run.

    Returns:
        Classes and number of films.

    Raises:
        DataIntegrityError: If a folder, list or table is missing or broken, too many listed films
            are absent, or a class has too few patients.
    """
    match config.data:
        case PhantomData() as data:
            return _read_phantom(data)
        case SourceData() as data:
            return _read_sources(data, config.compute.max_failed_share)
        case CovidxData() as data:
            return _read_covidx(data, config.compute.max_failed_share)
        case TableData() as data:
            return _read_table(data, config.compute.max_failed_share)


def _read_phantom(data: PhantomData) -> RunFacts:
    plans = plan_pool(
        "train",
        data.n_train,
        seed=data.seed,
        text_correlation=data.text_correlation,
        val_share=data.val_share,
    )
    for split in ("train", "val"):
        found = {PHANTOM_CLASS_NAMES[plan.label_index] for plan in plans if plan.split == split}
        for name in PHANTOM_CLASS_NAMES:
            if name not in found:
                raise DataIntegrityError(
                    f"data.n_train is {data.n_train}: no {split} film of class {name!r} among them;"
                    " raise data.n_train"
                )
    groups = {(plan.site, PHANTOM_CLASS_NAMES[plan.label_index]) for plan in plans}
    tests = plan_pool("test", data.n_test, seed=data.seed, text_correlation=0, val_share=0)
    n_patients = len({(plan.label_index, plan.patient) for plan in tests})
    n_films = data.n_train + data.n_test
    return RunFacts(PHANTOM_CLASS_NAMES, n_films, data.n_test, _find_folds(groups), n_patients)


def _read_sources(data: SourceData, max_failed_share: float) -> RunFacts:
    if not data.sources:
        raise DataIntegrityError("data.sources is empty; expected at least one NAME: FOLDER")
    paths: set[Path] = set()
    groups: set[tuple[str, str]] = set()
    patients: dict[str, set[str]] = {name: set() for name in SOURCE_CLASS_NAMES}
    for name, folder in data.sources.items():
        read = SOURCES[name]
        check_folder(f"data.sources.{name}", folder)
        for record in read(folder.absolute()):
            if not record.dropped:
                paths.add(record.path)
                groups.add((name, record.label))
                patients[record.label].add(f"{name}:{record.patient_id}")
    where = f"data.sources ({', '.join(data.sources)})"
    _check_patients(where, patients, 3, "training, validation and test")
    _check_presence(where, paths, max_failed_share)
    n_patients = len(set().union(*patients.values()))
    return RunFacts(
        SOURCE_CLASS_NAMES,
        len(paths),
        round(len(paths) * data.test_share),
        _find_folds(groups),
        round(n_patients * data.test_share),
    )


def _read_covidx(data: CovidxData, max_failed_share: float) -> RunFacts:
    check_folder("data.folder", data.folder)
    if data.train_list is None:
        raise DataIntegrityError("data.train_list is null; a run needs films to train on")
    rows = {
        "train": parse_split_file(data.train_list),
        "test": parse_split_file(data.test_list),
    }
    labels = {row.label for listed in rows.values() for row in listed}
    class_names = select_class_names(labels, where=f"{data.train_list} and {data.test_list}")
    patients: dict[str, set[str]] = {name: set() for name in class_names}
    for row in rows["train"]:
        patients[row.label].add(f"{row.source}:{row.patient_id}")
    _check_patients(str(data.train_list), patients, 2, "training and validation")
    for split, place in (("train", data.train_list), ("test", data.test_list)):
        paths = {data.folder / split / row.filename for row in rows[split]}
        if not all(path.exists() for path in paths):
            check_file_names(place, data.folder / split)
        _check_presence(str(place), paths, max_failed_share)
    groups = {(row.source, row.label) for row in rows["train"]}
    n_films = sum(map(len, rows.values()))
    n_patients = len({(row.source, row.patient_id) for row in rows["test"]})
    return RunFacts(class_names, n_films, len(rows["test"]), _find_folds(groups), n_patients)


def _read_table(data: TableData, max_failed_share: float) -> RunFacts:
    listing, absent = data.list_films()
    films, where = listing.films, str(data.table)
    splits = {film.split for film in films}
    if not splits & {None, "train"}:
        raise DataIntegrityError(
            f"{where}: all films are test films (data.split is {data.split}); a run needs films to"
            " train on; leave data.split out, or audit a trained model with covid-debug audit"
        )
    _check_presence(where, {film.path for film in films}, max_failed_share, absent)
    train = [film for film in films if film.split in {None, "train"}]
    patients: dict[str, set[str]] = {name: set() for name in listing.class_names or ()}
    for film in train:
        patients[film.label].add(film.patient_id)
    if None in splits:
        _check_patients(where, patients, 3, "training, validation and test")
    else:
        _check_patients(where, patients, 1 if "val" in splits else 2, "training and validation")
    test = [film for film in films if film.split == "test"]
    n_test = len(test) or round(len(films) * data.test_share)
    n_patients = len({film.patient_id for film in test or films})
    return RunFacts(
        listing.class_names or (),
        len(films),
        n_test,
        _find_folds({(film.source, film.label) for film in train}),
        n_patients if test else round(n_patients * data.test_share),
    )


def _find_folds(groups: Collection[tuple[str, str]]) -> tuple[str, ...]:
    """Return the sources without which every class still has training films."""
    n_classes = len({label for _, label in groups})
    sources = sorted({source for source, _ in groups})
    return tuple(
        source
        for source in sources
        if len({label for other, label in groups if other != source}) == n_classes
    )


def check_folder(key: str, folder: Path) -> None:
    """Refuse a folder that is not there.

    Raises:
        DataIntegrityError: Naming the key of the configuration.
    """
    if not folder.is_dir():
        raise DataIntegrityError(
            f"{key}: no such folder {folder} (from {Path.cwd()}); set it with --set {key}=DIR"
        )


def _check_patients(
    where: str, patients: Mapping[str, set[str]], n_needed: int, splits: str
) -> None:
    for name, found in patients.items():
        if len(found) < n_needed:
            raise DataIntegrityError(
                f"{where}: class {name!r} has {len(found)} patients; {splits} need at least"
                f" {n_needed}; add films of that class"
            )


def _check_presence(
    where: str,
    paths: Collection[Path],
    max_failed_share: float,
    absent: Sequence[Path] | None = None,
) -> None:
    if absent is None:
        absent = sorted(path for path in paths if not path.is_file())
    if len(absent) > max_failed_share * len(paths):
        raise DataIntegrityError(
            f"{where}: {len(absent)} of {len(paths)} listed films are absent (first: {absent[0]});"
            f" expected at most {max_failed_share:.0%}; complete the folder or correct its path"
        )
