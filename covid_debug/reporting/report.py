"""Builds a run's folder: report.html, tables and figures.

Joins what the other modules of this package prepare; computes no result.
"""

import base64
import dataclasses
import hashlib
import importlib.resources
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from covid_debug.artifacts import canonical_json, read_manifest, write_artifact, write_text_atomic
from covid_debug.cleaning.decisions import Decision
from covid_debug.cleaning.proof import read_proof
from covid_debug.data.filmset import load_filmset
from covid_debug.data.integrity import AUDIT_JSON, IngestAudit, load_ingest_audit
from covid_debug.errors import ArtifactError, InputContractError
from covid_debug.evaluation.classification import ONE_SEED
from covid_debug.imaging.overlays import colour_bar
from covid_debug.imaging.regions import read_regions
from covid_debug.imaging.writing import encode_jpeg, to_data_uri
from covid_debug.reporting.cards import Card, build_cards
from covid_debug.reporting.comparison import (
    BASE,
    CLASS_METRIC_NAMES,
    METRIC_NAMES,
    ComparisonTable,
    arrange_comparison,
)
from covid_debug.reporting.figures import (
    COUNTERFACTUAL_NAMES,
    draw_calibration,
    draw_comparison,
    draw_confusion,
    draw_probability_shift,
    to_png,
    to_svg_uri,
)
from covid_debug.reporting.headlines import start_sentence, write_headlines
from covid_debug.reporting.inputs import ReportInputs
from covid_debug.reporting.tables import (
    COMPARISON_COLUMNS,
    FLAG_COLUMNS,
    flag_rows,
    summarise,
    write_csv,
)
from covid_debug.reporting.verdicts import (
    BASELINE_NAMES,
    UNKNOWN_BASELINE,
    VERDICT_NAMES,
    VERDICTS,
    AuditedFilm,
    read_audit_counts,
    read_verdicts,
)

REPORT_NAME = "report.html"
_DECISIONS_OPEN = '<script type="application/json" id="decisions">'
_DECISIONS_CLOSE = "</script>"
_MAX_TABLE_ROWS = 12
_INLINED_FIGURES = ("comparison", "calibration", "probability_shift")


def build_report(run_dir: Path, inputs: ReportInputs, n_workers: int = 2) -> Path:
    """Write the folder of a run.

    Args:
        run_dir: Folder to make, an artifact of kind ``"report"``; must not exist.
        inputs: What the report is made from.
        n_workers: Threads that read films.

    Returns:
        Path of ``report.html``, one file without any outside reference.

    Raises:
        ArtifactError: If the folder exists or cannot be written, or an input is broken.
        DataIntegrityError: If a film set or the regions cannot be read.
    """
    filmset = load_filmset(inputs.filmset)
    cleaned = None if inputs.cleaned is None else load_filmset(inputs.cleaned)
    regions = read_regions(inputs.regions)
    audited = () if inputs.audit is None else read_verdicts(inputs.audit)
    audit_counts = {} if inputs.audit is None else read_audit_counts(inputs.audit)
    table = arrange_comparison(inputs.comparison, inputs.contrasts)
    proof = None if inputs.proof is None else read_proof(inputs.proof)
    headlines = write_headlines(
        audited, table, inputs.baselines, inputs.calibration, proof, audit_counts
    )
    shown = audited[: inputs.max_cards]
    cards = (
        build_cards(shown, filmset, cleaned, regions, inputs.audit, inputs.view, n_workers)
        if inputs.audit
        else []
    )
    figures = _draw_figures(inputs, audited, table)
    ingest = _load_ingest(inputs.filmset)
    sources = _source_names(inputs)
    with write_artifact(run_dir, kind="report", inputs=sources) as draft:
        films = {film.image_id: film for film in filmset.films}
        flags = flag_rows(audited, films, regions, {film.image_id for film in shown})
        summary = summarise(
            inputs, filmset, regions, audited, audit_counts, table, headlines, len(cards), proof
        )
        (draft.path / "figures").mkdir()
        for name, figure in figures.items():
            (draft.path / "figures" / f"{name}.png").write_bytes(to_png(figure))
        _write(draft.path / "flags.csv", write_csv(FLAG_COLUMNS, flags))
        _write(
            draft.path / "comparison.csv",
            write_csv(COMPARISON_COLUMNS, [dict(row) for row in inputs.comparison]),
        )
        _write(draft.path / "summary.json", json.dumps(summary, indent=2, allow_nan=False) + "\n")
        context = {
            "inputs": inputs,
            "filmset": filmset,
            "summary": summary,
            "audited": audited,
            "table": table,
            "cards": cards,
            "ingest": ingest,
            "proof": proof,
            "sources": sources,
            "figures": {n: to_svg_uri(figures[n]) for n in _INLINED_FIGURES if n in figures},
            "baseline": BASELINE_NAMES.get(audit_counts.get("baseline", ""), UNKNOWN_BASELINE),
            **_page_facts(inputs, audited, cards, summary),
        }
        _write(draft.path / REPORT_NAME, _render(context))
    return run_dir / REPORT_NAME


def add_decisions(run_dir: Path, decisions: Mapping[str, Decision]) -> Path:
    """Write a copy of a run's report that opens with reviewers' decisions in it.

    Args:
        run_dir: Folder of the run; its own files stay as they are.
        decisions: As :func:`covid_debug.reporting.decisions.read_decisions` returns them.

    Returns:
        Path of ``report-reviewed.html`` in that folder.

    Raises:
        ArtifactError: If the folder holds no report or cannot be written.
        InputContractError: If the report shows none of the films that were decided on.
    """
    read_manifest(run_dir, kind="report")
    path = run_dir / REPORT_NAME
    try:
        page = path.read_text(encoding="utf-8")
        head, rest = page.split(_DECISIONS_OPEN, 1)
        tail = rest.split(_DECISIONS_CLOSE, 1)[1]
    except (OSError, ValueError, IndexError) as error:
        raise ArtifactError(f"{path}: is not a report of covid-debug; run report again") from error
    films = {decision.image_id for decision in decisions.values()}
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
        for key, decision in decisions.items()
    }
    target = run_dir / "report-reviewed.html"
    parts = (head, _DECISIONS_OPEN, _safe_json(rows), _DECISIONS_CLOSE, tail)
    write_text_atomic(target, "".join(parts))
    return target


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", newline="\n")


def _draw_figures(
    inputs: ReportInputs, audited: Sequence[AuditedFilm], table: ComparisonTable
) -> dict[str, Any]:
    figures = {}
    if table.cells:
        figures["comparison"] = draw_comparison(table)
    if "text_free" in table.tests or "text_swapped" in table.tests:
        figures["calibration"] = draw_calibration(table)
    if audited:
        figures["probability_shift"] = draw_probability_shift(
            audited, str(audited[0]["target_class"])
        )
    for entry in inputs.confusions:
        names = (entry["train_data"], entry["test_data"], f"seed{entry['seed']}")
        figures["confusion_" + "_".join(_file_part(str(name)) for name in names)] = draw_confusion(
            entry["matrix"],
            entry["class_names"],
            title=f"trained on {names[0]}, tested on {names[1]}",
        )
    return figures


def _file_part(text: str) -> str:
    return "".join(c if c.isalnum() or c in "-_" else "-" for c in text)


def _load_ingest(folder: Path) -> IngestAudit | None:
    return load_ingest_audit(folder) if (folder / AUDIT_JSON).is_file() else None


def _source_names(inputs: ReportInputs) -> dict[str, str]:
    places = {
        "films": inputs.filmset,
        "regions": inputs.regions.parent,
        "cleaned films": inputs.cleaned,
        "proof of cleaning": inputs.proof,
        "audit": inputs.audit,
    }
    return {name: place.name for name, place in places.items() if place is not None}


def _page_facts(
    inputs: ReportInputs,
    audited: Sequence[AuditedFilm],
    cards: Sequence[Card],
    summary: Mapping[str, Any],
) -> dict[str, Any]:
    manifest = read_manifest(inputs.filmset, kind="filmset")
    shown = [card.film for card in cards]
    identity = canonical_json([inputs.title, _source_names(inputs), summary])
    bar = colour_bar(160, 8)
    return {
        "base": BASE,
        "one_seed": ONE_SEED,
        "metric_names": METRIC_NAMES,
        "class_metric_names": CLASS_METRIC_NAMES,
        "counterfactual_names": COUNTERFACTUAL_NAMES,
        "verdicts": VERDICTS,
        "verdict_names": VERDICT_NAMES,
        "is_phantom": "text_free" in {row["test_data"] for row in inputs.comparison}
        or inputs.calibration is not None,
        "n_audited": len(audited),
        "packages": manifest["packages"],
        "python": manifest["python"],
        "config_text": json.dumps(inputs.config, indent=2, sort_keys=True, default=str),
        "choices": {
            "label": sorted({str(film["label"]) for film in shown}),
            "source": sorted({str(film["source"]) for film in shown}),
            "split": sorted({str(film["split"]) for film in shown}),
        },
        "report_key": hashlib.sha256(identity.encode()).hexdigest()[:16],
        "max_table_rows": _MAX_TABLE_ROWS,
        "colour_bar": to_data_uri(encode_jpeg(bar, 95), "image/jpeg"),
    }


def _render(context: Mapping[str, Any]) -> str:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("covid_debug.reporting"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = _percent
    environment.filters["points"] = _points
    environment.filters["number"] = _number
    environment.filters["sentence"] = start_sentence
    folder = importlib.resources.files("covid_debug.reporting") / "templates"
    style = (folder / "report.css").read_text(encoding="utf-8")
    script = (folder / "report.js").read_text(encoding="utf-8")
    # Only this script may run: a hostile string that slips into the page stays text.
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return environment.get_template("report.html").render(
        **context,
        style=Markup(style),  # noqa: S704  our own files
        script=Markup(script),  # noqa: S704
        script_hash=f"sha256-{digest}",
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
