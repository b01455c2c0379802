"""Builds a run's folder: report.html, tables and figures.

Joins what the other modules of this package prepare; computes no result.
"""

import base64
import dataclasses
import hashlib
import importlib.resources
import json
import math
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2
from markupsafe import Markup

from covid_debug.artifacts import canonical_json, read_manifest, write_artifact, write_text_atomic
from covid_debug.audit.artifact import Audit, AuditedFilm, load_audit
from covid_debug.audit.calibration import load_calibration
from covid_debug.audit.confounds import load_confounds
from covid_debug.audit.describing import name_bound
from covid_debug.audit.groups import GroupCounts
from covid_debug.audit.shortcut_map import load_shortcuts
from covid_debug.audit.transfer_record import load_transfer
from covid_debug.audit.verdicts import VERDICTS
from covid_debug.cleaning.decisions import Decision
from covid_debug.cleaning.proof import load_proof
from covid_debug.data.filmset import load_filmset
from covid_debug.data.integrity import AUDIT_JSON, IngestAudit, load_ingest_audit
from covid_debug.errors import ArtifactError, InputContractError
from covid_debug.evaluation.comparison import (
    BASE_ARM,
    CLEANED_ARM,
    STATISTICS_NAME,
    Comparison,
    load_comparison,
)
from covid_debug.evaluation.questions import NOT_MEASURED
from covid_debug.imaging.overlays import colour_bar
from covid_debug.imaging.regions import read_regions
from covid_debug.imaging.writing import encode_jpeg, to_data_uri
from covid_debug.records_json import to_plain, write_record
from covid_debug.reporting.answers import name_p, name_question
from covid_debug.reporting.cards import N_FIRST, Card, build_cards, rank_films
from covid_debug.reporting.comparison import (
    ComparisonTable,
    arrange_comparison,
    name_metric,
    name_test,
)
from covid_debug.reporting.figures import (
    COUNTERFACTUAL_NAMES,
    draw_comparison,
    draw_confusion,
    draw_counterfactuals,
    draw_probability_shift,
    draw_questions,
    to_png,
    to_svg_uri,
)
from covid_debug.reporting.headlines import collect_critical, start_sentence, write_headlines
from covid_debug.reporting.maps import describe_maps
from covid_debug.reporting.short_answers import answer_briefly
from covid_debug.reporting.shortcut_map import draw_shortcut_map
from covid_debug.reporting.summary import (
    REPORT_KIND,
    REPORT_NAME,
    SUMMARY_NAME,
    RunSummary,
    summarise,
    summarise_audits,
)
from covid_debug.reporting.tables import (
    COMPARISON_COLUMNS,
    COMPARISON_NAME,
    FLAG_COLUMNS,
    FLAGS_NAME,
    MAP_COLUMNS,
    MAPS_NAME,
    QUESTION_COLUMNS,
    QUESTIONS_NAME,
    flag_rows,
    map_rows,
    question_rows,
    write_csv,
)
from covid_debug.reporting.transfer import show_transfer
from covid_debug.reporting.verdicts import BASELINE_NAMES, UNKNOWN_BASELINE, VERDICT_NAMES

if TYPE_CHECKING:
    from covid_debug.reporting.stage import ReportRequest

_DECISIONS_OPEN = '<script type="application/json" id="decisions">'
_DECISIONS_CLOSE = "</script>"
_SCRIPTS = ("page.js", "decisions.js", "viewer.js", "scatter.js", "films.js")  # in this order
_MAX_TABLE_ROWS = 12
_FIRST = (BASE_ARM, CLEANED_ARM)
MAX_CARDS = 1000  # films that get a card; all of them are in flags.csv
_INLINED_FIGURES = ("questions", "shortcut_map", "comparison", "calibration")


def build_report(run_dir: Path, request: "ReportRequest", n_workers: int = 2) -> Path:
    """Write the folder of a run.

    Args:
        run_dir: Folder to make, an artifact of kind ``"report"``; must not exist.
        request: What the report is made from.
        n_workers: Threads that read films.

    Returns:
        Path of ``report.html``, one file without any outside reference.

    Raises:
        ArtifactError: If the folder exists or cannot be written, or an input is broken.
        DataIntegrityError: If a film set or the regions cannot be read.
    """
    filmset = load_filmset(request.filmset)
    cleaned = None if request.cleaned is None else load_filmset(request.cleaned)
    regions = read_regions(request.regions)
    audit = None if request.audit is None else load_audit(request.audit)
    audited = rank_films(audit)
    comparison = None if request.comparison is None else load_comparison(request.comparison)
    table = arrange_comparison(comparison, audit.summary.target_class if audit else None)
    baselines = () if request.confounds is None else load_confounds(request.confounds)
    calibration = None if request.calibration is None else load_calibration(request.calibration)
    proof = None if request.proof is None else load_proof(request.proof)
    transfer = None if request.transfer is None else load_transfer(request.transfer)
    shortcuts = None if request.shortcuts is None else load_shortcuts(request.shortcuts)
    ingest = _load_ingest(request.filmset)
    critical = collect_critical(ingest, proof)
    told = (baselines, calibration, proof, shortcuts, critical, request.remarks)
    headlines = write_headlines(audit, table, *told)
    cards = (
        build_cards(audit, filmset, cleaned, regions, request.view, MAX_CARDS, n_workers)
        if audit
        else []
    )
    figures = _draw_figures(comparison, audited, table)
    if shortcuts is not None:
        figures["shortcut_map"] = draw_shortcut_map(shortcuts)
    sources = _source_names(request)
    summary = summarise(
        request.title,
        headlines.lines,
        filmset,
        regions,
        proof,
        audit,
        len(cards),
        table,
        baselines,
        calibration,
        summarise_audits(request.audits),
        shortcuts,
        critical,
    )
    summary = dataclasses.replace(summary, short_answers=answer_briefly(summary))
    films = {film.image_id: film for film in filmset.films}
    with_card = {card.film.image_id for card in cards}
    first_method = next(iter(audit.map_methods), "") if audit else ""
    flags = flag_rows(audited, films, regions, with_card, first_method)
    rows = comparison.rows if comparison else ()
    with write_artifact(run_dir, kind=REPORT_KIND, inputs=sources) as draft:
        (draft.path / "figures").mkdir()
        for name, figure in figures.items():
            (draft.path / "figures" / f"{name}.png").write_bytes(to_png(figure))
        _write(draft.path / FLAGS_NAME, write_csv(FLAG_COLUMNS, flags))
        _write(draft.path / MAPS_NAME, write_csv(MAP_COLUMNS, map_rows(audited)))
        _write(draft.path / COMPARISON_NAME, write_csv(COMPARISON_COLUMNS, rows))
        questions = write_csv(QUESTION_COLUMNS, question_rows(table.answers))
        _write(draft.path / QUESTIONS_NAME, questions)
        statistics = request.comparison and request.comparison / STATISTICS_NAME
        if statistics and statistics.is_file():  # not in runs of version 0.1
            shutil.copyfile(statistics, draft.path / STATISTICS_NAME)
        write_record(draft.path / SUMMARY_NAME, summary)
        context = {
            "config": _show_config(request.config),
            "command": request.command,
            "filmset": filmset,
            "summary": summary,
            "headlines": headlines,
            "audited": audited,
            "table": table,
            "cards": cards,
            "ingest": ingest,
            "proof": proof,
            "transfer": show_transfer(transfer),
            "sources": sources,
            "confusions": comparison.cells if comparison else (),
            "figures": {n: to_svg_uri(figures[n]) for n in _INLINED_FIGURES if n in figures},
            "baseline": _name_baseline(audit),
            "map_legend": describe_maps(audit),
            **_page_facts(request, table, audited, cards, summary),
        }
        _write(draft.path / REPORT_NAME, _render(context))
    return run_dir / REPORT_NAME


def add_decisions(run_dir: Path, decisions: Iterable[Decision]) -> Path:
    """Write a copy of a run's report that opens with reviewers' decisions in it.

    Args:
        run_dir: Folder of the run; its own files stay as they are.
        decisions: Of several about the same film or region the last one is shown.

    Returns:
        Path of ``report-reviewed.html`` in that folder.

    Raises:
        ArtifactError: If the folder holds no report or cannot be written.
        InputContractError: If the report shows none of the films that were decided on.
    """
    read_manifest(run_dir, kind=REPORT_KIND)
    path = run_dir / REPORT_NAME
    try:
        page = path.read_text(encoding="utf-8")
        head, rest = page.split(_DECISIONS_OPEN, 1)
        tail = rest.split(_DECISIONS_CLOSE, 1)[1]
    except (OSError, ValueError, IndexError) as error:
        raise ArtifactError(f"{path}: is not a report of covid-debug; run report again") from error
    last = {decision.subject: decision for decision in decisions}
    films = {decision.image_id for decision in last.values()}
    if films and not any(film in page for film in films):
        raise InputContractError(
            f"{path}: shows none of the {len(films)} films that were decided on (first:"
            f" {min(films)}); expected decisions of this run"
        )
    rows = {
        key: {
            name: value
            for name, value in dataclasses.asdict(decision).items()
            if name != "image_id" and value is not None
        }
        for key, decision in last.items()
    }
    target = run_dir / "report-reviewed.html"
    parts = (head, _DECISIONS_OPEN, _safe_json(rows), _DECISIONS_CLOSE, tail)
    write_text_atomic(target, "".join(parts))
    return target


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", newline="\n")


def _draw_figures(
    comparison: Comparison | None, audited: Sequence[AuditedFilm], table: ComparisonTable
) -> dict[str, Any]:
    figures = {}
    if any(answer.verdict != NOT_MEASURED for answer in table.answers):
        figures["questions"] = draw_questions(table.answers)
    if table.cells:
        figures["comparison"] = draw_comparison(table)
    if "text_free" in table.tests or "text_swapped" in table.tests:
        figures["calibration"] = draw_counterfactuals(table)
    if audited:
        figures["probability_shift"] = draw_probability_shift(audited)
    for cell in comparison.cells if comparison else ():
        names = (cell.train_data, cell.test_data, f"seed{cell.seed}")
        figures["confusion_" + "_".join(map(_file_part, names))] = draw_confusion(cell)
    return figures


def _file_part(text: str) -> str:
    return "".join(c if c.isalnum() or c in "-_" else "-" for c in text)


def _name_baseline(audit: Audit | None) -> tuple[str, str]:
    return (
        UNKNOWN_BASELINE
        if audit is None
        else BASELINE_NAMES.get(audit.summary.baseline, UNKNOWN_BASELINE)
    )


def _load_ingest(folder: Path) -> IngestAudit | None:
    return load_ingest_audit(folder) if (folder / AUDIT_JSON).is_file() else None


def _show_config(config: object) -> str:
    return json.dumps(json.loads(canonical_json(config)), indent=2, sort_keys=True)


def _source_names(request: "ReportRequest") -> dict[str, str]:
    places = {
        "films": request.filmset,
        "regions": request.regions,
        "cleaned films": request.cleaned,
        "proof of cleaning": request.proof,
        "audit": request.audit,
        "marker transfer": request.transfer,
    }
    return {name: place.name for name, place in places.items() if place is not None}


def _page_facts(
    request: "ReportRequest",
    table: ComparisonTable,
    audited: Sequence[AuditedFilm],
    cards: Sequence[Card],
    summary: RunSummary,
) -> dict[str, Any]:
    manifest = read_manifest(request.filmset, kind="filmset")
    shown = [card.film for card in cards]
    identity = canonical_json([request.title, _source_names(request), to_plain(summary)])
    bar = colour_bar(160, 8)
    return {
        "base": BASE_ARM,
        "is_lone": table.is_lone,
        "first_arms": _first(table.arms),
        "first_tests": _first(table.tests),
        "n_first": N_FIRST,
        "counterfactual_names": COUNTERFACTUAL_NAMES,
        "verdicts": VERDICTS,
        "verdict_names": VERDICT_NAMES,
        "is_phantom": "text_free" in table.tests or summary.calibration is not None,
        "n_audited": len(audited),
        "packages": manifest["packages"],
        "python": manifest["python"],
        "choices": {
            "label": sorted({film.label for film in shown}),
            "predicted": sorted({film.predicted_class for film in shown}),
            "source": sorted({film.source for film in shown}),
            "split": sorted({film.split for film in shown}),
        },
        "report_key": hashlib.sha256(identity.encode()).hexdigest()[:16],
        "max_table_rows": _MAX_TABLE_ROWS,
        "colour_bar": to_data_uri(encode_jpeg(bar, 95), "image/jpeg"),
    }


def _first(names: Sequence[str]) -> list[str]:
    """Return the names of the first screen's table: original and cleaned, or the first two."""
    return [name for name in names if name in _FIRST] or list(names[:2])


def _group_rows(groups: Mapping[str, GroupCounts]) -> list[tuple[str, str, GroupCounts]]:
    return [(name, "", row) for name, row in groups.items()]


def _render(context: Mapping[str, Any]) -> str:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("covid_debug.reporting"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": _percent, "points": _points, "number": _number}
    environment.filters |= {"bound": name_bound, "p_value": name_p}
    environment.globals["name_metric"] = name_metric
    environment.globals["name_question"] = name_question
    environment.globals["name_test"] = name_test
    environment.filters |= {"group_rows": _group_rows, "sentence": start_sentence}
    folder = importlib.resources.files("covid_debug.reporting") / "templates"
    styles = [(folder / name).read_text("utf-8") for name in ("report.css", "summary.css")]
    scripts = [(folder / name).read_text("utf-8") for name in _SCRIPTS]
    # Only these scripts may run: a hostile string that slips into the page stays text.
    digests = [hashlib.sha256(script.encode()).digest() for script in scripts]
    return environment.get_template("report.html").render(
        **context,
        style=Markup("".join(styles)),  # noqa: S704  our own files
        scripts=[Markup(script) for script in scripts],  # noqa: S704
        script_hashes=[f"sha256-{base64.b64encode(digest).decode()}" for digest in digests],
        decisions_open=Markup(_DECISIONS_OPEN),  # noqa: S704
        decisions_close=Markup(_DECISIONS_CLOSE),  # noqa: S704
    )


def _safe_json(value: object) -> str:
    """Return JSON that cannot end the script element which holds it."""
    text = json.dumps(value, ensure_ascii=True, sort_keys=True)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _percent(share: float | None, digits: int = 1) -> str:
    return "–" if share is None or math.isnan(share) else f"{100 * share:.{digits}f}"


def _points(share: float | None) -> str:
    return "–" if share is None or math.isnan(share) else f"{100 * share:+.1f}".replace("-", "−")


def _number(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
