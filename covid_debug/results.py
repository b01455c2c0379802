"""Finished runs for notebooks: what ``covid-debug run`` left, as pandas DataFrames.

Reads the files of runs through their owners; computes nothing. Pandas is loaded when it is needed.
"""

import dataclasses
import datetime
import html
import types
import typing
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from covid_debug.artifacts import MANIFEST_NAME, is_complete
from covid_debug.audit.groups import GroupCounts
from covid_debug.audit.verdicts import VERDICTS
from covid_debug.errors import ArtifactError
from covid_debug.evaluation.comparison import Comparison, Row
from covid_debug.reporting.answers import list_train_test, name_share, write_three_answers
from covid_debug.reporting.comparison import arrange_comparison
from covid_debug.reporting.summary import REPORT_NAME, RunSummary, load_run_summary
from covid_debug.reporting.tables import (
    COMPARISON_NAME,
    FLAGS_NAME,
    MAPS_NAME,
    FlagRow,
    MapRow,
    QuestionRow,
    question_rows,
)
from covid_debug.shown import from_cell

if TYPE_CHECKING:
    import pandas as pd

_DTYPES = {str: "string", int: "Int64", float: "float64", bool: "boolean"}


@dataclass(frozen=True, slots=True)
class Run:
    """A finished run; a notebook shows its answers, headlines, precision and recall, and its place.

    Attributes:
        folder: Folder of the run, below ``reports/``.
        summary: What ``summary.json`` says.
    """

    folder: Path
    summary: RunSummary = field(repr=False)

    @property
    def report(self) -> Path:
        """The report, one file for any browser."""
        return self.folder / REPORT_NAME

    def _repr_html_(self) -> str:
        summary = self.summary
        items = "".join(f"<li>{html.escape(line)}</li>" for line in summary.headlines)
        answers = "".join(f"<p><b>{html.escape(a)}</b></p>" for a in write_three_answers(summary))
        tests = list(dict.fromkeys(row.test_data for row in summary.train_test))
        head = "".join(f"<th>tested on {html.escape(test)}</th>" for test in tests)
        rows = "".join(
            f"<tr><th>trained on {html.escape(arm)}</th>"
            + "".join(
                f"<td>{name_share(row.precision)}<br>{name_share(row.recall)}</td>"
                for row in summary.train_test
                if row.train_data == arm
            )
            + "</tr>"
            for arm in dict.fromkeys(row.train_data for row in summary.train_test)
        )
        name = html.escape(summary.train_test[0].class_name) if summary.train_test else ""
        title = f"<th>{name} precision and recall, %</th>"
        table = f"<table><tr>{title}{head}</tr>{rows}</table>" if rows else ""
        return (
            f"<h4>{html.escape(summary.title)}</h4>{answers}<ul>{items}</ul>{table}"
            f"<p>Report: <code>{html.escape(str(self.report.resolve()))}</code></p>"
            "<p>Research tool, not for clinical use.</p>"
        )


def runs(folder: Path | str = "reports") -> "pd.DataFrame":
    """List the finished runs of a folder, the latest first.

    Args:
        folder: Folder of runs; what is no finished run in it is passed over.

    Returns:
        One row a run: ``run`` (its folder, string), ``title`` (string), ``finished`` (datetime64),
        ``n_films``, ``n_audited``, ``text_driven``, ``text_sensitive``, ``n_seeds`` (Int64) and
        ``headline`` (string, the first one).

    Raises:
        ArtifactError: If there is no such folder, or a run is broken or of a newer covid_debug.
    """
    import pandas as pd  # noqa: PLC0415  slow to import

    place = Path(folder)
    if not place.is_dir():
        raise ArtifactError(f"{place}: no such folder (from {Path.cwd()}); expected one of runs")
    rows = []
    for path in sorted(place.iterdir()):
        if not is_complete(path) or not (path / FLAGS_NAME).is_file() or ".damaged-" in path.name:
            continue
        summary = load_run_summary(path)
        finished = datetime.datetime.fromtimestamp((path / MANIFEST_NAME).stat().st_mtime)
        rows.append(
            {
                "run": str(path),
                "title": summary.title,
                "finished": finished,
                "n_films": summary.films.n_ok,
                "n_audited": summary.audit.n_audited,
                "text_driven": summary.audit.verdicts["text_driven"],
                "text_sensitive": summary.audit.verdicts["text_sensitive"],
                "n_seeds": summary.n_seeds,
                "headline": next(iter(summary.headlines), ""),
            }
        )
    counts = dict.fromkeys(
        ("n_films", "n_audited", "text_driven", "text_sensitive", "n_seeds"), "Int64"
    )
    words = dict.fromkeys(("run", "title", "headline"), "string")
    columns = ["run", "title", "finished", *counts, "headline"]
    frame = pd.DataFrame(rows, columns=columns).astype(
        {**words, **counts, "finished": "datetime64[ns]"}
    )
    return frame.sort_values("finished", ascending=False, ignore_index=True)


def load_run(folder: Path | str) -> Run:
    """Load a finished run.

    Args:
        folder: Folder of the run, below ``reports/``.

    Returns:
        The run.

    Raises:
        ArtifactError: If the folder holds no run, or one that is broken or of a newer covid_debug.
    """
    return Run(Path(folder), load_run_summary(Path(folder)))


def films(run: Run | Path | str) -> "pd.DataFrame":
    """Return the audited films of a run, the most severe first.

    Args:
        run: The run or its folder.

    Returns:
        One row a film with the columns of ``flags.csv``, which docs/reference/files.md describes:
        words are ``string``, counts ``Int64``, numbers ``float64``, yes or no ``boolean``,
        ``verdict`` an ordered category from ``text_driven`` to ``not_text_driven``. An empty cell
        is ``<NA>`` or NaN.

    Raises:
        ArtifactError: If the folder holds no run, or one that is broken or of a newer covid_debug.
    """
    import pandas as pd  # noqa: PLC0415  slow to import

    frame = _read_table(_open(run).folder / FLAGS_NAME, FlagRow)
    verdicts = pd.Categorical(frame["verdict"], categories=list(VERDICTS), ordered=True)
    return frame.assign(verdict=verdicts)


def maps(run: Run | Path | str) -> "pd.DataFrame":
    """Return the evidence maps of a run's films, each method's in a row of its own.

    Args:
        run: The run or its folder.

    Returns:
        One row a film and method with the columns of ``maps.csv``, which docs/reference/files.md
        describes, with types as in :func:`films`; films in the same order.

    Raises:
        ArtifactError: If the folder holds no run, or one that is broken or of a newer covid_debug,
            or one of before ``maps.csv``.
    """
    return _read_table(_open(run).folder / MAPS_NAME, MapRow)


def comparison(run: Run | Path | str) -> "pd.DataFrame":
    """Return every number of a run's comparison.

    Args:
        run: The run or its folder.

    Returns:
        One row a metric, training arm, version of the test films and seed, with the columns of
        ``comparison.csv``: ``train_data``, ``test_data``, ``seed`` (``"pooled"`` for all seeds),
        ``class_name``, ``metric`` (string), ``value``, ``low``, ``high`` (float64, NaN where
        undefined), ``n`` (Int64).

    Raises:
        ArtifactError: If the folder holds no run, or one that is broken or of a newer covid_debug.
    """
    return _read_table(_open(run).folder / COMPARISON_NAME, Row)


def questions(run: Run | Comparison | Path | str) -> "pd.DataFrame":
    """Return the questions that were fixed before the training, with their answers.

    Args:
        run: The run or its folder, or a comparison in memory, see :func:`covid_debug.compare`.

    Returns:
        One row a question, with the columns of ``questions.csv``, which docs/reference/files.md
        describes; a share of 0.05 is 5 points. Empty for a run of version 0.1.

    Raises:
        ArtifactError: If the folder holds no run, or one that is broken or of a newer covid_debug.
    """
    answers = run.questions if isinstance(run, Comparison) else _open(run).summary.questions
    return _make_table(question_rows(answers), QuestionRow)


def train_test(run: Run | Comparison | Path | str) -> "pd.DataFrame":
    """Return precision and recall of one class: every arm on every version of the test films.

    Args:
        run: The run or its folder, or a comparison in memory, see :func:`covid_debug.compare`.

    Returns:
        One row an arm and version: ``train_data``, ``test_data``, ``class_name`` (string) and, for
        ``precision`` and ``recall``, the value over all seeds and its interval's ends ``_low`` and
        ``_high`` (float64). Empty for a run of version 0.1.

    Raises:
        ArtifactError: If the folder holds no run, or one that is broken or of a newer covid_debug.
    """
    import pandas as pd  # noqa: PLC0415  slow to import

    if isinstance(run, Comparison):
        rows = list_train_test(arrange_comparison(run))
    else:
        rows = _open(run).summary.train_test
    dtypes = dict.fromkeys(("train_data", "test_data", "class_name"), "string")
    for metric in ("precision", "recall"):
        dtypes |= dict.fromkeys((metric, f"{metric}_low", f"{metric}_high"), "float64")
    values = [
        (
            *(row.train_data, row.test_data, row.class_name),
            *(row.precision.value, row.precision.low, row.precision.high),
            *(row.recall.value, row.recall.low, row.recall.high),
        )
        for row in rows
    ]
    return pd.DataFrame(values, columns=list(dtypes)).astype(dtypes)


def audits(run: Run | Path | str) -> "pd.DataFrame":
    """Return how much of each model's predictions rests on text.

    Args:
        run: The run or its folder.

    Returns:
        One row a model and predicted class: ``arm``, ``seed``, ``class_name``, ``n_predicted``,
        ``n_audited``, ``n_driven``, ``n_sensitive``, ``n_resting``, ``n_patients`` (Int64),
        ``share_driven`` and ``upper`` (float64), as docs/reference/files.md describes them. Empty
        for a run of version 0.1.

    Raises:
        ArtifactError: If the folder holds no run, or one that is broken or of a newer covid_debug.
    """
    import pandas as pd  # noqa: PLC0415  slow to import

    dtypes = {"arm": "string", "seed": "Int64", "class_name": "string"}
    hints = typing.get_type_hints(GroupCounts)
    dtypes |= {name: _choose_dtype(hint) for name, hint in hints.items() if name != "not_audited"}
    rows = [
        {"arm": one.arm, "seed": one.seed, "class_name": name}
        | {field.name: getattr(group, field.name) for field in dataclasses.fields(group)}
        for one in _open(run).summary.audits
        for name, group in one.by_class.items()
    ]
    return pd.DataFrame(rows, columns=list(dtypes)).astype(dtypes)


def _open(run: Run | Path | str) -> Run:
    return run if isinstance(run, Run) else load_run(run)


def _make_table(rows: Sequence[object], record: type[Any]) -> "pd.DataFrame":
    import pandas as pd  # noqa: PLC0415  slow to import

    dtypes = {name: _choose_dtype(hint) for name, hint in typing.get_type_hints(record).items()}
    values = [[getattr(row, name) for name in dtypes] for row in rows]
    return pd.DataFrame(values, columns=list(dtypes)).astype(dtypes)


def _read_table(path: Path, record: type[Any]) -> "pd.DataFrame":
    import pandas as pd  # noqa: PLC0415  slow to import

    hints = typing.get_type_hints(record)
    dtypes = {name: _choose_dtype(hint) for name, hint in hints.items()}
    try:
        frame = pd.read_csv(
            path,
            dtype=typing.cast("Any", dtypes),
            keep_default_na=False,
            na_values=[""],
        )
    except (OSError, ValueError) as error:
        problem = str(error).splitlines()[0]
        raise ArtifactError(
            f"{path}: is not readable ({problem}); make the report again"
        ) from error
    missing = [name for name in dtypes if name not in frame.columns]
    if missing:
        raise ArtifactError(f"{path}: has no column {', '.join(missing)}; make the report again")
    for name in (name for name, dtype in dtypes.items() if dtype == "string"):
        frame[name] = frame[name].map(from_cell, na_action="ignore").astype("string")
    return frame[list(dtypes)]


def _choose_dtype(hint: object) -> str:
    is_union = typing.get_origin(hint) in {types.UnionType, typing.Union}
    members: Sequence[object] = typing.get_args(hint) if is_union else (hint,)
    kinds = [each for each in members if each is not types.NoneType]
    # A seed is a number or a word: a word.
    return _DTYPES.get(typing.cast("Any", kinds[0]), "string") if len(kinds) == 1 else "string"
