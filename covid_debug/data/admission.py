"""Which listed films enter a data set: files examined, copies and failures put aside, splits drawn.

What every way to films shares. Who lists them is :mod:`covid_debug.data.ingest` and
:mod:`covid_debug.data.table`.
"""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from covid_debug.artifacts import is_there, write_artifact
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
from covid_debug.data.splits import group_patients, split_patients
from covid_debug.errors import DataIntegrityError
from covid_debug.records import Film, Split, UnusableFilm
from covid_debug.shards import Records
from covid_debug.shown import to_printable
from covid_debug.stages import Means

_ABSENT = f"{MISSING}: the list names it, the folder does not have it"


@dataclass
class Admission:
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


def find_absent(candidates: Sequence[ListedFilm]) -> list[Path]:
    """Return the listed files that do not exist, sorted."""
    return sorted(path for path in {one.path for one in candidates} if not is_there(path))


def check_presence(
    candidates: Sequence[ListedFilm],
    absent: Sequence[Path],
    where: Path,
    max_failed_share: float,
    out: Path,
    *,
    remedy: str,
) -> None:
    """Refuse a list of which too many files are absent, and leave their names beside the data set.

    Args:
        candidates: What the list names, at least one film.
        absent: What :func:`find_absent` returned.
        where: The list.
        max_failed_share: Tolerated share, in [0, 1].
        out: The data set that would have been made.
        remedy: What to do.

    Raises:
        DataIntegrityError: If all are absent, or more than tolerated.
    """
    source_of = {candidate.path: candidate.source for candidate in candidates}
    n_listed = len(source_of)
    if len(absent) < n_listed and len(absent) <= max_failed_share * n_listed:
        return
    examples = ", ".join(to_printable(path.name) for path in absent[:5])
    unusable = [describe_unusable(path, source_of[path], _ABSENT) for path in absent]
    raise DataIntegrityError(
        f"{where}: {len(absent)} of {n_listed} listed images are absent from"
        f" {to_printable(absent[0].parent)} (first: {examples}); expected at most"
        f" {max_failed_share:.0%}; {remedy}; {_leave_list(out, unusable)}"
    )


def _leave_list(out: Path, unusable: Sequence[UnusableFilm]) -> str:
    place = write_unusable(out.parent, unusable, name=f"{out.name}-unusable.csv")
    return (
        f"all of them are in {place}; `ingest --max-failed-share` (in a"
        " configuration compute.max_failed_share) allows more"
    )


def admit(
    candidates: Sequence[ListedFilm], unusable: list[UnusableFilm], out: Path, means: Means
) -> Admission:
    """Examine the files of listed films and part what can be used from what cannot.

    Args:
        candidates: The listed films.
        unusable: Films that the list itself leaves out, each with its reason.
        out: The data set that is being made.
        means: How it is carried out.

    Returns:
        Every film, admitted or with a reason; of copies the first one is admitted.

    Raises:
        ShardFinished: If ``means`` ask for a shard, and it did its part.
    """
    usable = [one.path for one in candidates if find_problem(one) is None]
    records = keep_facts(list(dict.fromkeys(usable)), out, means)
    admission = Admission(records, [], {}, list(unusable), [])
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


def _refuse(admission: Admission, candidate: ListedFilm, reason: str) -> None:
    admission.unusable.append(describe_unusable(candidate.path, candidate.source, reason))


def _refuse_copy(
    admission: Admission, candidate: ListedFilm, first: ListedFilm, category: str, what: str
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


def refuse_failures(admission: Admission, where: str, max_failed_share: float, out: Path) -> None:
    """Refuse when none or too few films could be read, and leave the reasons beside the data set.

    Raises:
        DataIntegrityError: Naming the first ones and the list of all.
    """
    failed = admission.failed
    if admission.films and len(failed) <= max_failed_share * admission.n_total:
        return
    examples = "; ".join(f"{Path(film.path).name}: {film.reason}" for film in failed[:5])
    raise DataIntegrityError(
        f"{where}: {len(failed)} of {admission.n_total} films are missing or unreadable"
        f" ({examples}); expected at most {max_failed_share:.0%}; complete the folder or check"
        f" its path; {_leave_list(out, admission.unusable)}"
    )


def check_classes(admission: Admission, class_names: Sequence[str], where: str) -> None:
    """Refuse classes without a film.

    Raises:
        DataIntegrityError: Naming them and the counts of all.
    """
    counts = Counter(film.label for film in admission.films)
    empty = [name for name in class_names if counts[name] == 0]
    if empty:
        have = ", ".join(f"{name} {counts[name]}" for name in class_names)
        raise DataIntegrityError(
            f"{where}: class {', '.join(map(repr, empty))} has no usable film ({have}); expected"
            " films of every class; add a source that has it"
        )


def _group(admission: Admission) -> list[str]:
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


def split_by_patient(
    admission: Admission, *, seed: int, val_share: float, test_share: float
) -> list[Split]:
    """Draw the split of every admitted film, by patient, as :func:`split_patients` does."""
    return split_patients(
        _group(admission),
        [film.label for film in admission.films],
        [film.source for film in admission.films],
        seed=seed,
        val_share=val_share,
        test_share=test_share,
    )


def split_off_validation(admission: Admission, *, seed: int, val_share: float) -> list[Film]:
    """Return the admitted films, of which some training patients are for validation now."""
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


def write_filmset(
    out: Path,
    films: Sequence[Film],
    admission: Admission,
    class_names: Sequence[str],
    *,
    name: str,
    parameters: object,
) -> FilmSet:
    """Write the data set with its audit.

    Args:
        out: Folder of the new data set; must not exist.
        films: The admitted films in their splits.
        admission: Where they come from.
        class_names: Classes in index order.
        name: Of the data set.
        parameters: What decided its content.

    Returns:
        The loaded data set.
    """
    with write_artifact(out, kind="filmset", parameters=parameters) as draft:
        facts = _write(draft.path, films, admission, class_names, name)
        draft.facts.update(facts)
    admission.records.remove()
    return load_filmset(out)


def _write(
    folder: Path,
    films: Sequence[Film],
    admission: Admission,
    class_names: Sequence[str],
    name: str,
) -> dict[str, Any]:
    write_films(folder, films)
    write_unusable(folder, admission.unusable)
    write_split_lists(folder, films)
    filmset = FilmSet(folder, name, tuple(class_names), tuple(films), admission.n_total)
    audit = check_filmset(filmset, unusable=admission.unusable, facts=admission.facts)
    write_ingest_audit(folder, audit)
    digest = hashlib.sha256("".join(sorted(admission.facts)).encode()).hexdigest()
    return {
        "name": name,
        "class_names": list(class_names),
        "n_ok": len(films),
        "n_total": admission.n_total,
        "films_digest": digest,
    }
