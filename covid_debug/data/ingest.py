"""From public sources, or a COVIDx folder with split lists, to a data set that can be trusted.

Every listed film ends in ``films.csv`` or, with a reason, in ``unusable.csv``. Films stay where
they are; the data set points at them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from covid_debug.artifacts import check_absent
from covid_debug.data.admission import (
    admit,
    check_classes,
    check_presence,
    find_absent,
    refuse_failures,
    split_by_patient,
    split_off_validation,
    write_filmset,
)
from covid_debug.data.covidx import (
    SplitRow,
    check_file_names,
    parse_split_file,
    select_class_names,
)
from covid_debug.data.filmset import FilmSet
from covid_debug.data.listed import ListedFilm, describe_unusable
from covid_debug.data.sources.catalog import SOURCES
from covid_debug.errors import DataIntegrityError, InputContractError
from covid_debug.records import Film, Split
from covid_debug.stages import Means

CLASS_NAMES = ("normal", "pneumonia", "COVID-19")
_NAME = "covidx"


def ingest_sources(
    sources: Mapping[str, Path],
    out: Path,
    *,
    seed: int,
    val_share: float = 0.1,
    test_share: float = 0.2,
    means: Means | None = None,
) -> FilmSet:
    """Build COVIDx from public sources by the published recipe, split by patient, and audit it.

    Patients that share a film, or films that look the same, stay on one side of the split.

    Args:
        sources: Source name (cohen, fig1, actmed, nih, rsna) -> its folder.
        out: Folder of the new data set; must not exist.
        seed: Run seed of the split.
        val_share: Share of films for validation, per class.
        test_share: Share of films for test, per class.
        means: How it is carried out; None reads in this process.

    Returns:
        The loaded data set.

    Raises:
        ShardFinished: If ``means`` ask for a shard, and it did its part.
        InputContractError: If no source is given.
        DataIntegrityError: If a source is not as published, films fail or a class is empty.
    """
    if not sources:
        raise InputContractError("ingest_sources: sources is empty; expected at least one folder")
    parameters = {
        "sources": {name: str(folder) for name, folder in sources.items()},
        "seed": seed,
        "val_share": val_share,
        "test_share": test_share,
    }
    readers = {name: SOURCES[name] for name in sources}
    check_absent(out)
    means = means or Means(n_workers=1)
    candidates, unusable = [], []
    for name, folder in sources.items():
        place = folder.absolute()
        for record in readers[name](place):
            if record.dropped:
                unusable.append(describe_unusable(record.path, name, record.dropped))
                continue
            patient_id = f"{name}:{record.patient_id}"
            candidates.append(
                ListedFilm(place, record.path, patient_id, record.label, name, record.view)
            )
    where = f"ingest_sources ({', '.join(sources)})"
    admission = admit(candidates, unusable, out, means)
    refuse_failures(admission, where, means.max_failed_share, out)
    check_classes(admission, CLASS_NAMES, where)
    splits = split_by_patient(admission, seed=seed, val_share=val_share, test_share=test_share)
    pairs = zip(admission.films, splits, strict=True)
    films = [replace(film, split=split) for film, split in pairs]
    return write_filmset(out, films, admission, CLASS_NAMES, name=_NAME, parameters=parameters)


def ingest_covidx(
    covidx_dir: Path,
    train_list: Path | None,
    test_list: Path,
    out: Path,
    *,
    seed: int,
    val_share: float = 0.1,
    means: Means | None = None,
) -> FilmSet:
    """Take over a COVIDx folder with its published split, and audit it.

    The published test set stays as it is; validation patients are taken from the training list.

    Args:
        covidx_dir: Folder with ``train/`` and ``test/``.
        train_list: Split list of the training images, any COVIDx version; None for an external
            test set, which may lack classes.
        test_list: Split list of the test images.
        out: Folder of the new data set; must not exist.
        seed: Run seed of the validation split.
        val_share: Share of the training films for validation, per class.
        means: How it is carried out; None reads in this process.

    Returns:
        The loaded data set.

    Raises:
        ShardFinished: If ``means`` ask for a shard, and it did its part.
        DataIntegrityError: If a list is malformed, names too many absent images, or a class is
            empty.
    """
    lists: dict[Split, Path] = {"test": test_list}
    if train_list is not None:
        lists["train"] = train_list
    rows = {split: parse_split_file(path) for split, path in lists.items()}
    labels = [row.label for split_rows in rows.values() for row in split_rows]
    class_names = select_class_names(labels, where=" and ".join(map(str, lists.values())))
    if not covidx_dir.is_dir():
        raise DataIntegrityError(
            f"{covidx_dir}: no such folder; expected a COVIDx folder with train/ and test/;"
            " check the path"
        )
    parameters = {
        "covidx": str(covidx_dir),
        "train_list": None if train_list is None else str(train_list),
        "test_list": str(test_list),
        "seed": seed,
        "val_share": val_share,
    }
    check_absent(out)
    means = means or Means(n_workers=1)
    candidates = []
    for split, path in lists.items():
        found = [_to_candidate(row, covidx_dir.absolute(), split) for row in rows[split]]
        if absent := find_absent(found):
            check_file_names(path, covidx_dir / split)
        check_presence(
            found,
            absent,
            path,
            means.max_failed_share,
            out,
            remedy="complete the folder or use the list that belongs to it",
        )
        candidates += found
    where = f"ingest_covidx ({covidx_dir})"
    admission = admit(candidates, [], out, means)
    refuse_failures(admission, where, means.max_failed_share, out)
    films: Sequence[Film] = admission.films
    if train_list is not None:
        check_classes(admission, class_names, where)
        films = split_off_validation(admission, seed=seed, val_share=val_share)
    return write_filmset(out, films, admission, class_names, name=_NAME, parameters=parameters)


def _to_candidate(row: SplitRow, covidx_dir: Path, split: Split) -> ListedFilm:
    source = row.source or "unknown"
    path = covidx_dir / split / row.filename
    patient_id = f"{source}:{row.patient_id}"
    return ListedFilm(covidx_dir, path, patient_id, row.label, source, "", split)
