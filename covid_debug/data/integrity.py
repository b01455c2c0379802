"""The ingest audit: what a data set would let a model learn by accident, before any training.

Counts, duplicates, leaks between splits and shortcuts such as "the source gives the label away".
It reports; it changes no data set.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from covid_debug.artifacts import write_text_atomic
from covid_debug.data.filmset import FilmSet, load_unusable
from covid_debug.data.fingerprints import FilmFacts, examine_films, find_near_duplicates
from covid_debug.data.shortcuts import Row, measure_shortcuts
from covid_debug.errors import DataIntegrityError
from covid_debug.records import SPLITS, Film, Flag, Severity, UnusableFilm
from covid_debug.records_json import read_record, write_record
from covid_debug.shown import to_markdown

Tables = Mapping[str, tuple[Row, ...]]

AUDIT_JSON = "ingest_audit.json"
_AUDIT_MARKDOWN = "ingest_audit.md"
# Categories of UnusableFilm.reason, the part before the first colon.
MISSING, UNREADABLE, BLANK = "missing file", "unreadable", "blank film"
DUPLICATE, CONFLICT, LISTED_AGAIN = "exact duplicate", "label conflict", "listed again"
FAILURES = (MISSING, UNREADABLE, BLANK)
_TODO = "todo finding"
_NON_CHEST = re.compile(
    r"abdomen|flat_plate|(?<![a-z0-9])(?:abd|kub|lateral)(?![a-z0-9])", flags=re.IGNORECASE
)
_MIN_TEST_FILMS = 30
_SHORTCUT_MARGIN = 0.1
_SHORTCUT_CRITICAL = 0.9
_N_SHOWN = 20


@dataclass(frozen=True)
class IngestAudit:
    """What the audit found.

    Attributes:
        name: Name of the data set.
        n_ok: Usable films.
        n_total: Films asked for.
        flags: Findings, most severe first.
        tables: Table name -> rows; every row of a table has the same columns.
    """

    name: str
    n_ok: int
    n_total: int
    flags: tuple[Flag, ...]
    tables: Tables

    def render_markdown(self) -> str:
        """Return the audit as a readable page; long tables show their first 20 rows."""
        lines = [
            f"# Ingest audit: {self.name}",
            "",
            f"{self.n_ok} / {self.n_total} films usable.",
            "",
        ]
        lines += ["## Findings", ""]
        lines += [
            f"- **{flag.severity}** `{flag.rule}`: {to_markdown(flag.message)}"
            for flag in self.flags
        ]
        lines += [] if self.flags else ["Nothing to report."]
        for title, rows in self.tables.items():
            if rows:
                lines += ["", f"## {title.replace('_', ' ').capitalize()}", "", *_to_markdown(rows)]
        return "\n".join(lines) + "\n"


def _to_markdown(rows: Sequence[Row]) -> list[str]:
    columns = list(rows[0])
    lines = [f"| {' | '.join(columns)} |", f"|{' --- |' * len(columns)}"]
    for row in rows[:_N_SHOWN]:
        cells = (to_markdown(row[column]) for column in columns)
        lines.append(f"| {' | '.join(cells)} |")
    if len(rows) > _N_SHOWN:
        lines += ["", f"{len(rows) - _N_SHOWN} more rows in {AUDIT_JSON}."]
    return lines


def write_ingest_audit(folder: Path, audit: IngestAudit) -> None:
    """Write ``ingest_audit.json`` and ``ingest_audit.md``."""
    write_record(folder / AUDIT_JSON, audit, indent=1)
    write_text_atomic(folder / _AUDIT_MARKDOWN, audit.render_markdown())


def load_ingest_audit(folder: Path) -> IngestAudit:
    """Load the audit of a data set.

    Args:
        folder: The data set.

    Returns:
        The audit as written.

    Raises:
        DataIntegrityError: If there is none or it is broken.
    """
    return read_record(
        folder / AUDIT_JSON,
        IngestAudit,
        broken="is not a readable ingest audit",
        remedy="ingest the data set again",
        error=DataIntegrityError,
    )


def check_filmset(
    filmset: FilmSet,
    *,
    unusable: Sequence[UnusableFilm] | None = None,
    facts: Mapping[str, FilmFacts] | None = None,
    n_workers: int = 2,
) -> IngestAudit:
    """Audit a data set of any origin.

    Args:
        filmset: The data set.
        unusable: Films left out with their reasons; read from the folder when None.
        facts: Image id -> what its file says; read from the files when None.
        n_workers: Threads that read files.

    Returns:
        Findings and tables.
    """
    unusable = load_unusable(filmset.root) if unusable is None else unusable
    broken: tuple[str, ...] = ()
    if facts is None:
        results = examine_films([filmset.file_of(film) for film in filmset.films], n_workers)
        pairs = list(zip(filmset.films, results, strict=True))
        facts = {film.image_id: fact for film, fact in pairs if isinstance(fact, FilmFacts)}
        broken = tuple(str(fact) for _, fact in pairs if isinstance(fact, DataIntegrityError))
    films = [film for film in filmset.films if film.image_id in facts]
    near = _list_near_duplicates(films, facts)
    shortcuts = measure_shortcuts(filmset, facts)
    tables: dict[str, tuple[Row, ...]] = {
        "counts": _count_films(films),
        "left_out": _count_unusable(unusable),
        "shortcuts": shortcuts,
        "near_duplicates": near,
        "shared_patients": _list_shared_patients(films),
        "non_chest": _list_non_chest(films),
        "encodings": _count_encodings(films, facts),
    }
    flags = [
        *_flag_unusable(unusable, filmset.n_total, broken),
        *_flag_leaks(tables),
        *_flag_near_duplicates(near),
        *_flag_shortcuts(shortcuts),
        *_flag_small_classes(filmset),
    ]
    order = {"critical": 0, "warning": 1, "info": 2}
    flags.sort(key=lambda flag: order[flag.severity])
    n_ok = len(filmset.films) - len(broken)
    return IngestAudit(filmset.name, n_ok, filmset.n_total, tuple(flags), tables)


def categorise(film: UnusableFilm) -> str:
    """Return the category of the reason why a film was left out."""
    return film.reason.split(":", maxsplit=1)[0]


def _count_films(films: Iterable[Film]) -> tuple[Row, ...]:
    cells: dict[tuple[str, str, str, str], list[str]] = defaultdict(list)
    for film in films:
        cells[film.split, film.label, film.source, film.view].append(film.patient_id)
    return tuple(
        {
            "split": split,
            "label": label,
            "source": source,
            "view": view,
            "n_films": len(patients),
            "n_patients": len(set(patients)),
        }
        for (split, label, source, view), patients in sorted(
            cells.items(), key=lambda item: (SPLITS.index(item[0][0]), item[0])
        )
    )


def _count_unusable(unusable: Iterable[UnusableFilm]) -> tuple[Row, ...]:
    counts: Counter[tuple[str, str]] = Counter()
    examples: dict[tuple[str, str], str] = {}
    for film in unusable:
        cell = categorise(film), film.source
        counts[cell] += 1
        detail = film.reason.partition(": ")[2]
        examples.setdefault(cell, f"{Path(film.path).name}: {detail}")
    return tuple(
        {"reason": reason, "source": source, "n_films": n, "example": examples[reason, source]}
        for (reason, source), n in sorted(counts.items())
    )


def _count_encodings(films: Iterable[Film], facts: Mapping[str, FilmFacts]) -> tuple[Row, ...]:
    counts = Counter((facts[film.image_id].encoding, film.label) for film in films)
    return tuple(
        {"encoding": encoding, "label": label, "n_films": n}
        for (encoding, label), n in sorted(counts.items())
    )


def _list_near_duplicates(films: Sequence[Film], facts: Mapping[str, FilmFacts]) -> tuple[Row, ...]:
    pairs = find_near_duplicates([facts[film.image_id].perceptual_hash for film in films])
    rows: list[Row] = []
    for pair in pairs:
        first, second = films[pair.first], films[pair.second]
        rows.append(
            {
                "first": Path(first.path).name,
                "second": Path(second.path).name,
                "image_ids": " / ".join((first.image_id, second.image_id)),
                "distance_bits": pair.distance_bits,
                "labels": " / ".join((first.label, second.label)),
                "patients": " / ".join((first.patient_id, second.patient_id)),
                "splits": " / ".join((first.split, second.split)),
            }
        )
    return tuple(rows)


def _list_shared_patients(films: Iterable[Film]) -> tuple[Row, ...]:
    of_patient: dict[str, list[Film]] = defaultdict(list)
    for film in films:
        of_patient[film.patient_id].append(film)
    return tuple(
        {
            "patient": patient,
            "splits": " / ".join(split for split in SPLITS if split in {f.split for f in group}),
            "labels": " / ".join(sorted({film.label for film in group})),
            "n_films": len(group),
        }
        for patient, group in sorted(of_patient.items())
        if len({film.split for film in group}) > 1
    )


def _list_non_chest(films: Iterable[Film]) -> tuple[Row, ...]:
    rows: list[Row] = []
    for film in films:
        match = _NON_CHEST.search(Path(film.path).name)
        if match:
            word = match.group().lower()
            rows.append(
                {
                    "film": Path(film.path).name,
                    "image_id": film.image_id,
                    "word": word,
                    "label": film.label,
                    "split": film.split,
                }
            )
    return tuple(rows)


def _flag(rule: str, severity: Severity, message: str, n: int, **evidence: float | int) -> Flag:
    return Flag(rule, severity, message, {"n": n, **evidence})


def _flag_unusable(
    unusable: Sequence[UnusableFilm], n_total: int, broken: Sequence[str]
) -> list[Flag]:
    counts = Counter(categorise(film) for film in unusable)
    rules: list[tuple[str, str, Severity, str]] = [
        (MISSING, "missing_files", "warning", "listed films have no file"),
        (UNREADABLE, "unreadable_files", "warning", "films cannot be read"),
        (BLANK, "blank_films", "warning", "films hold a single gray value"),
        (CONFLICT, "label_conflicts", "critical", "copies of a film carry another label than it"),
        (DUPLICATE, "exact_duplicates", "info", "copies of other films were left out"),
        (LISTED_AGAIN, "listed_again", "info", "lines list a film that is listed before"),
        (_TODO, "todo_findings", "warning", "films are still labelled 'todo' by their source"),
    ]
    flags = [
        _flag(rule, severity, f"{counts[category]} {text}", counts[category], n_total=n_total)
        for category, rule, severity, text in rules
        if counts[category]
    ]
    if broken:
        message = f"{len(broken)} films of the set cannot be read any more (first: {broken[0]})"
        flags.append(_flag("broken_films", "critical", message, len(broken)))
    return flags


def _flag_leaks(tables: Tables) -> list[Flag]:
    flags = []
    shared = tables["shared_patients"]
    if shared:
        names = ", ".join(str(row["patient"]) for row in shared[:5])
        message = f"{len(shared)} patients have films in more than one split (first: {names})"
        flags.append(_flag("patients_on_both_sides", "critical", message, len(shared)))
    non_chest = tables["non_chest"]
    if non_chest:
        words = Counter(str(row["word"]) for row in non_chest)
        listed = ", ".join(f"{word} {n}" for word, n in words.most_common())
        message = f"{len(non_chest)} films are no frontal chest films by their name ({listed})"
        flags.append(_flag("non_chest_by_name", "warning", message, len(non_chest)))
    return flags


def _flag_near_duplicates(near: Sequence[Row]) -> list[Flag]:
    def differ(row: Row, column: str) -> bool:
        first, second = str(row[column]).split(" / ")
        return first != second

    across = [row for row in near if differ(row, "splits")]
    relabelled = [row for row in near if differ(row, "labels")]
    flags = []
    if near:
        message = f"{len(near)} pairs of films look the same"
        flags.append(_flag("near_duplicates", "info", message, len(near)))
    if across:
        message = f"{len(across)} pairs of films that look the same lie in different splits"
        flags.append(_flag("near_duplicates_across_splits", "critical", message, len(across)))
    if relabelled:
        message = f"{len(relabelled)} pairs of films that look the same have different labels"
        flags.append(_flag("near_duplicate_labels", "critical", message, len(relabelled)))
    return flags


def _flag_shortcuts(shortcuts: Sequence[Row]) -> list[Flag]:
    flags = []
    told = set()
    for row in shortcuts:  # test rows come first; what they show is not repeated for validation
        accuracy, majority = float(row["accuracy"]), float(row["majority_accuracy"])
        topic = row["question"], row["known"]
        if accuracy < majority + _SHORTCUT_MARGIN or topic in told:
            continue
        told.add(topic)
        message = (
            f"the {row['known']} alone answers '{row['question']}' for {row['n_correct']} of"
            f" {row['n_films']} {row['split']} films"
            f" ({accuracy:.1%}; always the majority: {majority:.1%})"
        )
        severity: Severity = "critical" if accuracy >= _SHORTCUT_CRITICAL else "warning"
        rule = f"{str(row['known']).replace(' ', '_')}_predicts_label"
        evidence = {"accuracy": accuracy, "majority_accuracy": majority}
        flags.append(_flag(rule, severity, message, int(row["n_correct"]), **evidence))
    return flags


def _flag_small_classes(filmset: FilmSet) -> list[Flag]:
    counts = Counter(film.label for film in filmset.select("test"))
    return [
        _flag(
            "small_test_class",
            "warning",
            f"the test split has {counts[label]} films of class {label}; intervals will be wide"
            if counts[label]
            else f"the test split has no film of class {label}; nothing is measured on it",
            counts[label],
        )
        for label in filmset.class_names
        if counts[label] < _MIN_TEST_FILMS
    ]
