"""`covid-debug bench audit`: are the audit's flags right, and what do they cost?

Phantoms with known text, a small model trained on them, and the generator's own text regions, so
that neither a detector nor unknown truth stands between the audit and its score.
"""

import json
import time
from pathlib import Path

from covid_debug.artifacts import is_complete, write_text_atomic
from covid_debug.audit.calibration import measure_flags
from covid_debug.audit.pipeline import audit_filmset
from covid_debug.audit.planning import AuditParams, target_index
from covid_debug.data.counterfactuals import load_counterfactuals
from covid_debug.data.filmset import FilmSet, load_filmset
from covid_debug.data.phantom import generate_phantom
from covid_debug.evaluation.comparison import predict_test_films
from covid_debug.imaging.geometry import ViewSpec
from covid_debug.imaging.regions import read_regions
from covid_debug.models.checkpoint import LoadedModel, load_checkpoint
from covid_debug.terminal import RunConsole
from covid_debug.training.params import TrainingParams
from flows.training import train_on_filmset

N_TRAIN, N_TEST, IMAGE_SIZE, N_EPOCHS = 420, 180, 112, 10
CORRELATION = 0.9
TARGET = "COVID-19"


def bench_audit(out: Path, *, seed: int, console: RunConsole) -> None:
    """Audit phantoms with the true regions; write ``audit.json`` and ``audit.md``.

    Args:
        out: Folder of the results; a phantom and a checkpoint that stand there are used again.
        seed: Seed of phantoms, training and audit.
        console: Terminal.
    """
    films = _make_phantoms(out, seed, console)
    cache = out / "views"
    model = _train(out, films, seed, console)
    start = time.perf_counter()
    with console.progress("films") as progress:
        result = audit_filmset(
            model,
            films,
            films.select("test"),
            read_regions(films.root / "truth_regions.jsonl"),
            AuditParams(target_class=TARGET, grid_size=28),
            run_seed=seed,
            cache_dir=cache,
            out=out / f"audit-{time.time_ns()}",
            progress=progress,
        )
    seconds = time.perf_counter() - start
    scores = measure_flags(result.records, _find_truth(model, films, cache))
    maps = [record["saliency"] for record in result.records if record["saliency"]]
    scores["seconds"] = round(seconds, 1)
    scores["n_maps"] = len(maps)
    scores["n_void"] = sum(bool(item["void"]) for item in maps)
    scores["evaluations_a_map"] = maps[0]["n_evaluations"] if maps else 0
    write_text_atomic(out / "audit.json", json.dumps(scores, indent=1) + "\n")
    table = _to_markdown(scores)
    write_text_atomic(out / "audit.md", table)
    console.say(table)
    console.say(f"tables: {out}")


def _make_phantoms(out: Path, seed: int, console: RunConsole) -> FilmSet:
    folder = out / f"phantom-{seed}"
    if is_complete(folder):
        return load_filmset(folder)
    with console.progress("phantoms") as progress:
        return generate_phantom(
            folder,
            n_train=N_TRAIN,
            n_test=N_TEST,
            seed=seed,
            text_correlation=CORRELATION,
            progress=progress,
        )


def _train(out: Path, films: FilmSet, seed: int, console: RunConsole) -> LoadedModel:
    folder = out / f"checkpoint-{seed}"
    if not is_complete(folder):
        with console.progress("epochs") as progress:
            train_on_filmset(
                films,
                TrainingParams(n_epochs=N_EPOCHS),
                ViewSpec(image_size=IMAGE_SIZE),
                seed=seed,
                cache_dir=out / "views",
                out=folder,
                inputs={"filmset": films.root.name},
                device="cpu",
                on_epoch=lambda metrics: progress(metrics.epoch, metrics.n_epochs),
            )
    return load_checkpoint(folder)


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
    lines = ["| what | measured |", "|---|---|", *(f"| {k} | {v} |" for k, v in rows.items())]
    return "\n".join(lines) + "\n"
