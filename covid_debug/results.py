"""Finished runs for notebooks: what ``covid-debug run`` left, as pandas DataFrames.

Reads the files of runs through their owners; computes nothing. Pandas is loaded when it is needed.
"""

import dataclasses
import datetime
import html
import math
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
from covid_debug.evaluation.comparison import Row
from covid_debug.reporting.summary import (
    REPORT_NAME,
    Interval,
    RunSummary,
    load_run_summary,
)
from covid_debug.reporting.tables import COMPARISON_NAME, FLAGS_NAME, FlagRow

if TYPE_CHECKING:
    import pandas as pd

_DTYPES = {str: "string", int: "Int64", float: "float64", bool: "boolean"}


@dataclass(frozen=True, slots=True)
class Run:
    """A finished run; a notebook shows its headlines, its comparison and where its report lies.

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
        cells = [key.split("/", maxsplit=1) for key in summary.comparison]
        tests = list(dict.fromkeys(test for _, test in cells))
        head = "".join(f"<th>tested on {html.escape(test)}</th>" for test in tests)
        rows = "".join(
            f"<tr><th>trained on {html.escape(arm)}</th>"
            + "".join(
                f"<td>{_show(summary.comparison.get(f'{arm}/{test}', {}).get('all/accuracy'))}</td>"
                for test in tests
            )
            + "</tr>"
            for arm in dict.fromkeys(arm for arm, _ in cells)
        )
        table = f"<table><tr><th>accuracy, %</th>{head}</tr>{rows}</table>" if cells else ""
        return (
            f"<h4>{html.escape(summary.title)}</h4><ul>{items}</ul>{table}"
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
    return frame[list(dtypes)]


def _choose_dtype(hint: object) -> str:
    is_union = typing.get_origin(hint) in {types.UnionType, typing.Union}
    members: Sequence[object] = typing.get_args(hint) if is_union else (hint,)
    kinds = [each for each in members if each is not types.NoneType]
    # A seed is a number or a word: a word.
    return _DTYPES.get(typing.cast("Any", kinds[0]), "string") if len(kinds) == 1 else "string"


def _show(interval: Interval | None) -> str:
    if interval is None or math.isnan(interval.value):
        return "–"
    value, low, high = (100 * each for each in (interval.value, interval.low, interval.high))
    return f"{value:.1f} <small>{low:.1f}–{high:.1f}</small>"
