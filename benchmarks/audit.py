"""`covid-debug bench audit`: are the audit's flags right, and what do they cost?

Phantoms with known text, a small model trained on them, and the generator's own text regions, so
that neither a detector nor unknown truth stands between the audit and its score.
"""

import json
import time
from pathlib import Path

from benchmarks.phantoms import PhantomModel
from benchmarks.tables import to_markdown
from covid_debug.artifacts import write_text_atomic
from covid_debug.audit.calibration import measure_flags
from covid_debug.audit.pipeline import audit_filmset
from covid_debug.audit.planning import AuditParams, target_index
from covid_debug.audit.stage import AuditRequest
from covid_debug.data.counterfactuals import load_counterfactuals
from covid_debug.data.filmset import FilmSet
from covid_debug.data.phantom import TRUTH_REGIONS_NAME
from covid_debug.evaluation.predictions import predict_test_films
from covid_debug.models.checkpoint import LoadedModel
from covid_debug.records_json import to_plain
from covid_debug.stages import Means
from covid_debug.terminal import RunConsole

TARGET = "COVID-19"


def bench_audit(out: Path, *, seed: int, console: RunConsole) -> None:
    """Audit phantoms with the true regions; write ``audit.json`` and ``audit.md``.

    Args:
        out: Folder of the results; a phantom and a checkpoint that stand there are used again.
        seed: Seed of phantoms, training and audit.
        console: Terminal.
    """
    phantoms = PhantomModel(
        films=out / f"phantom-{seed}",
        checkpoint=out / f"checkpoint-{seed}",
        n_train=420,
        n_test=180,
        image_size=112,
        n_epochs=10,
        film_seed=seed,
        seed=seed,
    )
    films = phantoms.make(console)
    cache = phantoms.views
    request = AuditRequest(
        phantoms.checkpoint,
        phantoms.films,
        phantoms.films / TRUTH_REGIONS_NAME,
        AuditParams(target_class=TARGET, grid_size=28),
        seed,
    )
    means = Means(console, cache)
    subject = request.load(means)
    start = time.perf_counter()
    result = audit_filmset(subject, out / f"audit-{time.time_ns()}", means)
    seconds = time.perf_counter() - start
    scores = to_plain(measure_flags(result.films, _find_truth(subject.model, films, cache)))
    maps = [film.maps["igos_pp"] for film in result.films if "igos_pp" in film.maps]
    scores["seconds"] = round(seconds, 1)
    scores["n_maps"] = len(maps)
    scores["n_void"] = sum(item.void for item in maps)
    scores["evaluations_a_map"] = maps[0].n_evaluations if maps else 0
    write_text_atomic(out / "audit.json", json.dumps(scores, indent=1) + "\n")
    table = _to_markdown(scores)
    write_text_atomic(out / "audit.md", table)
    console.say(table)
    console.say(f"tables: {out}")


def _find_truth(model: LoadedModel, films: FilmSet, cache: Path) -> dict[str, bool]:
    """Return, for films predicted as the target, whether the text-free twin is not."""
    target = target_index(model.classifier.class_names, TARGET)
    versions = {"original": films, "text_free": load_counterfactuals(films)["text_free"]}
    predicted = {}
    for name, version in versions.items():
        answers = predict_test_films(
            model, version, arm="original", seed=0, test_data=name, cache_dir=cache
        )
        predicted[name] = dict(
            zip(answers.image_ids, answers.probabilities.argmax(axis=1), strict=True)
        )
    return {
        image_id: bool(predicted["text_free"][image_id] != target)
        for image_id, k in predicted["original"].items()
        if k == target
    }


def _to_markdown(scores: dict[str, object]) -> str:
    def share(name: str) -> str:
        row = scores[name]
        if not isinstance(row, dict) or row["value"] is None:
            return "undefined"
        return f"{row['value']:.1%} [{row['low']:.1%}, {row['high']:.1%}], n = {row['n']}"

    rows = {
        "flags that are right": share("precision"),
        "real changes that are flagged": share("recall"),
        "films predicted as the target / audited / flagged": (
            f"{scores['n_predicted']} / {scores['n_audited']} / {scores['n_flagged']}"
        ),
        "iGOS++ maps (void)": f"{scores['n_maps']} ({scores['n_void']})",
        "model evaluations a map": str(scores["evaluations_a_map"]),
        "seconds": str(scores["seconds"]),
    }
    return to_markdown([{"what": what, "measured": measured} for what, measured in rows.items()])
