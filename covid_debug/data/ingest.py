"""From public sources, or a COVIDx folder with split lists, to a data set that can be trusted.

Every listed film ends in ``films.csv`` or, with a reason, in ``unusable.csv``. Films stay where
they are; the data set points at them.
"""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from covid_debug.artifacts import check_absent, is_there, write_artifact
from covid_debug.data.covidx import (
    SplitRow,
    check_file_names,
    parse_split_file,
    select_class_names,
)
from covid_debug.data.facts import keep_facts, read_facts
from covid_debug.data.filmset import (
    FilmSet,
    load_filmset,
    write_films,
    write_split_lists,
    write_unusable,
)
from covid_debug.data.fingerprints import FilmFacts, find_near_duplicates
from covid_debug.data.integrity import (
    BLANK,
    CONFLICT,
    DUPLICATE,
    FAILURES,
    LISTED_AGAIN,
    MISSING,
    UNREADABLE,
    categorise,
    check_filmset,
    write_ingest_audit,
)
from covid_debug.data.listed import ListedFilm, describe_unusable, find_problem
from covid_debug.data.sources.catalog import SOURCES
from covid_debug.data.splits import group_patients, split_patients
from covid_debug.errors import DataIntegrityError, InputContractError
from covid_debug.records import Film, Split, UnusableFilm
from covid_debug.shards import Records
from covid_debug.shown import to_printable
from covid_debug.stages import Means

CLASS_NAMES = ("normal", "pneumonia", "COVID-19")
_NAME = "covidx"
_ABSENT = f"{MISSING}: the list names it, the folder does not have it"


@dataclass
class _Admission:
    """Films that may enter, films that may not, the patients that share a file; what was read."""

    records: Records
    films: list[Film]
    facts: dict[str, FilmFacts]
    unusable: list[UnusableFilm]
    patient_links: list[tuple[str, str]]

    @property
    def n_total(self) -> int:
        """Distinct films asked for: usable ones, and those whose file failed."""
        return len(self.films) + len(self.failed)

    @property
    def failed(self) -> list[UnusableFilm]:
        """Films that are missing, unreadable or blank."""
        return [film for film in self.unusable if categorise(film) in FAILURES]


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
    admission = _admit(candidates, unusable, out, means)
    _check_failures(admission, where, means.max_failed_share, out)
    _check_classes(admission, CLASS_NAMES, where)
    splits = _split(admission, seed=seed, val_share=val_share, test_share=test_share)
    pairs = zip(admission.films, splits, strict=True)
    films = [replace(film, split=split) for film, split in pairs]
    with write_artifact(out, kind="filmset", parameters=parameters) as draft:
        draft.facts.update(_publish(draft.path, films, admission, CLASS_NAMES))
    admission.records.remove()
    return load_filmset(out)


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
        _check_presence(found, path, covidx_dir / split, means.max_failed_share, out)
        candidates += found
    where = f"ingest_covidx ({covidx_dir})"
    admission = _admit(candidates, [], out, means)
    _check_failures(admission, where, means.max_failed_share, out)
    films: Sequence[Film] = admission.films
    if train_list is not None:
        _check_classes(admission, class_names, where)
        films = _split_off_validation(admission, seed=seed, val_share=val_share)
    with write_artifact(out, kind="filmset", parameters=parameters) as draft:
        draft.facts.update(_publish(draft.path, films, admission, class_names))
    admission.records.remove()
    return load_filmset(out)


def _to_candidate(row: SplitRow, covidx_dir: Path, split: Split) -> ListedFilm:
    source = row.source or "unknown"
    path = covidx_dir / split / row.filename
    patient_id = f"{source}:{row.patient_id}"
    return ListedFilm(covidx_dir, path, patient_id, row.label, source, "", split)


def _check_presence(
    candidates: Sequence[ListedFilm],
    split_list: Path,
    folder: Path,
    max_failed_share: float,
    out: Path,
) -> None:
    source_of = {candidate.path: candidate.source for candidate in candidates}
    absent = sorted(path for path in source_of if not is_there(path))
    n_listed = len(source_of)
    if absent:
        check_file_names(split_list, folder)
    if len(absent) == n_listed or len(absent) > max_failed_share * n_listed:
        examples = ", ".join(path.name for path in absent[:5])
        unusable = [describe_unusable(path, source_of[path], _ABSENT) for path in absent]
        raise DataIntegrityError(
            f"{split_list}: {len(absent)} of {n_listed} listed images are absent from"
            f" {candidates[0].path.parent} (first: {examples}); expected at most"
            f" {max_failed_share:.0%}; complete the folder or use the list that belongs to it;"
            f" {_leave_list(out, unusable)}"
        )


def _leave_list(out: Path, unusable: Sequence[UnusableFilm]) -> str:
    place = write_unusable(out.parent, unusable, name=f"{out.name}-unusable.csv")
    return (
        f"all of them are in {place}; --max-failed-share (in a configuration"
        " compute.max_failed_share) allows more"
    )


def _admit(
    candidates: Sequence[ListedFilm], unusable: list[UnusableFilm], out: Path, means: Means
) -> _Admission:
    usable = [one.path for one in candidates if find_problem(one) is None]
    records = keep_facts(list(dict.fromkeys(usable)), out, means)
    admission = _Admission(records, [], {}, list(unusable), [])
    listed: dict[Path, ListedFilm] = {}
    for candidate in candidates:
        if problem := find_problem(candidate):
            _refuse(admission, candidate, f"{UNREADABLE}: {problem}; correct the list")
            continue
        first = listed.setdefault(candidate.path, candidate)
        if first is not candidate:
            _refuse_copy(admission, candidate, first, LISTED_AGAIN, "the same file is")
    unique = list(listed.values())
    first_with: dict[str, ListedFilm] = {}
    for candidate in unique:
        fact = read_facts(records, candidate.path)
        if isinstance(fact, str):
            reason = f"{UNREADABLE}: {fact.removeprefix(f'{to_printable(candidate.path)}: ')}"
            if not is_there(candidate.path):
                reason = _ABSENT
            _refuse(admission, candidate, reason)
        elif fact.is_blank:
            _refuse(admission, candidate, f"{BLANK}: its view holds a single gray value")
        elif (first := first_with.setdefault(fact.sha256[:16], candidate)) is not candidate:
            _refuse_copy(admission, candidate, first, DUPLICATE, "the same bytes are")
        else:
            admission.films.append(_to_film(candidate, fact))
            admission.facts[fact.sha256[:16]] = fact
    return admission


def _refuse(admission: _Admission, candidate: ListedFilm, reason: str) -> None:
    admission.unusable.append(describe_unusable(candidate.path, candidate.source, reason))


def _refuse_copy(
    admission: _Admission, candidate: ListedFilm, first: ListedFilm, category: str, what: str
) -> None:
    reason = f"{category}: {what} listed before as {first.path}"
    if first.label != candidate.label:
        reason = (
            f"{CONFLICT}: {what} listed before as {first.path} with label {first.label!r},"
            f" here with {candidate.label!r}"
        )
    _refuse(admission, candidate, reason)
    admission.patient_links.append((first.patient_id, candidate.patient_id))


def _to_film(candidate: ListedFilm, fact: FilmFacts) -> Film:
    return Film(
        image_id=fact.sha256[:16],
        path=str(candidate.path),
        patient_id=candidate.patient_id,
        label=candidate.label,
        source=candidate.source,
        view=candidate.view,
        split=candidate.split or "train",
        width=fact.width,
        height=fact.height,
        sha256=fact.sha256,
        window_low=fact.window[0],
        window_high=fact.window[1],
    )


def _check_failures(admission: _Admission, where: str, max_failed_share: float, out: Path) -> None:
    failed = admission.failed
    if admission.films and len(failed) <= max_failed_share * admission.n_total:
        return
    examples = "; ".join(f"{Path(film.path).name}: {film.reason}" for film in failed[:5])
    raise DataIntegrityError(
        f"{where}: {len(failed)} of {admission.n_total} films are missing or unreadable"
        f" ({examples}); expected at most {max_failed_share:.0%}; complete the folder or check"
        f" its path; {_leave_list(out, admission.unusable)}"
    )


def _check_classes(admission: _Admission, class_names: Sequence[str], where: str) -> None:
    counts = Counter(film.label for film in admission.films)
    empty = [name for name in class_names if counts[name] == 0]
    if empty:
        have = ", ".join(f"{name} {counts[name]}" for name in class_names)
        raise DataIntegrityError(
            f"{where}: class {', '.join(map(repr, empty))} has no usable film ({have}); expected"
            " films of every class; add a source that has it"
        )


def _group(admission: _Admission) -> list[str]:
    films = admission.films
    hashes = [admission.facts[film.image_id].perceptual_hash for film in films]
    alike = [
        (films[pair.first].patient_id, films[pair.second].patient_id)
        for pair in find_near_duplicates(hashes)
    ]
    linked = {patient for link in admission.patient_links for patient in link}
    patients = linked | {film.patient_id for film in films}
    group_of = group_patients(patients, [*admission.patient_links, *alike])
    return [group_of[film.patient_id] for film in films]


def _split(admission: _Admission, *, seed: int, val_share: float, test_share: float) -> list[Split]:
    return split_patients(
        _group(admission),
        [film.label for film in admission.films],
        [film.source for film in admission.films],
        seed=seed,
        val_share=val_share,
        test_share=test_share,
    )


def _split_off_validation(admission: _Admission, *, seed: int, val_share: float) -> list[Film]:
    groups = _group(admission)
    train = [index for index, film in enumerate(admission.films) if film.split == "train"]
    splits = split_patients(
        [groups[index] for index in train],
        [admission.films[index].label for index in train],
        [admission.films[index].source for index in train],
        seed=seed,
        val_share=val_share,
        test_share=0.0,
    )
    films = list(admission.films)
    for index, split in zip(train, splits, strict=True):
        films[index] = replace(films[index], split=split)
    return films


def _publish(
    folder: Path, films: Sequence[Film], admission: _Admission, class_names: Sequence[str]
) -> dict[str, Any]:
    write_films(folder, films)
    write_unusable(folder, admission.unusable)
    write_split_lists(folder, films)
    filmset = FilmSet(folder, _NAME, tuple(class_names), tuple(films), admission.n_total)
    audit = check_filmset(filmset, unusable=admission.unusable, facts=admission.facts)
    write_ingest_audit(folder, audit)
    digest = hashlib.sha256("".join(sorted(admission.facts)).encode()).hexdigest()
    return {
        "name": _NAME,
        "class_names": list(class_names),
        "n_ok": len(films),
        "n_total": admission.n_total,
        "films_digest": digest,
    }
