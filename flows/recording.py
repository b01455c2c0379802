"""What a run records in MLflow while it works; computes nothing."""

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from covid_debug.artifacts import artifact_key, canonical_json
from covid_debug.cleaning.proof import PROOF_NAME, read_proof
from covid_debug.config.schema import RunConfig
from covid_debug.data.filmset import load_filmset
from covid_debug.data.integrity import load_ingest_audit
from covid_debug.evaluation.comparison import POOLED
from covid_debug.reporting.figures import draw_confusion
from covid_debug.terminal import RunConsole
from covid_debug.tracking.mlflow_tracker import MlflowRun, MlflowTracker
from covid_debug.tracking.names import metric_name
from covid_debug.training.params import EpochMetrics

# MLflow cuts a column's heading after some twelve letters and shows every digit that it was given.
SHORT_METRICS = {"f1": "f1", "precision": "prec", "recall": "recall"}
SHOWN_COLUMNS = tuple(
    f"{short}.{test}" for short in SHORT_METRICS.values() for test in ("original", "cleaned")
)


class TrainingLog:
    """Sends one training to its MLflow run while it happens."""

    def __init__(self, run: MlflowRun) -> None:
        """Attach to an open run."""
        self._run = run

    def epoch(self, metrics: EpochMetrics) -> None:
        """Record one epoch."""
        values = {
            "train/loss": metrics.train_loss,
            "val/loss": metrics.val_loss,
            "val/accuracy": metrics.val_accuracy,
            "val/macro_f1": metrics.val_macro_f1,
            "train/films_per_s": metrics.films_per_s,
        }
        self._run.log_epoch(metrics.epoch, values)

    def checkpoint(self, folder: Path) -> None:
        """Keep the checkpoint's description and history with the run, not the weights."""
        for name in ("checkpoint.json", "history.json"):
            self._run.log_file(folder / name)


class RunRecorder:
    """The MLflow side of one run of the flow: a parent run and one child a training."""

    def __init__(self, config: RunConfig) -> None:
        """Reach the tracking store and find or create the parent run.

        Args:
            config: The run's configuration; the same configuration continues the same run.
        """
        self._config = config
        self._key = artifact_key(config.name, 1, config.without_places(), {})
        tracking = config.tracking
        self._tracker = MlflowTracker(tracking.uri, tracking.experiment, columns=SHOWN_COLUMNS)
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        """Open the parent run."""
        params = json.loads(canonical_json(self._config.without_places()))
        self._parent = self._stack.enter_context(
            self._tracker.parent(self._key, self._config.name, params, {})
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool | None:
        """Close the parent run as finished, failed or killed."""
        return self._stack.__exit__(kind, error, trace)

    def show_ingest(self, filmset_dir: Path, console: RunConsole) -> None:
        """Print the ingest audit's findings and keep them with the run."""
        audit = load_ingest_audit(filmset_dir)
        console.say(f"{audit.n_ok} of {audit.n_total} films usable ({filmset_dir})")
        for flag in audit.flags:
            console.finding(flag.severity, flag.message)
        self._parent.log_file(filmset_dir / "ingest_audit.md")
        self._parent.log_dataset(
            "films",
            filmset_dir.name.rsplit("-", 1)[-1],
            role="train and test",
            n_films=audit.n_ok,
            source=str(filmset_dir),
        )

    @contextmanager
    def training(self, arm: str, seed: int, filmset_dir: Path) -> Iterator[TrainingLog]:
        """Open the child run of one training.

        Yields:
            What the training stage reports to.
        """
        params = {"training": dataclasses.asdict(self._config.training), "seed": seed, "arm": arm}
        tags = {"train_data": arm, "seed": str(seed)}
        with self._tracker.child(self._parent, child_name(arm, seed), params, tags) as run:
            filmset = load_filmset(filmset_dir)
            run.log_dataset(
                arm,
                filmset_dir.name.rsplit("-", 1)[-1],
                role="train",
                n_films=len(filmset.select("train")),
                source=str(filmset_dir),
            )
            yield TrainingLog(run)

    def log_proof(self, folder: Path) -> None:
        """Record how clean the cleaned films are."""
        proof = read_proof(folder)
        residual, scars = proof["residual"], proof["scars"]
        for name, estimate in (
            ("text_before", residual["share_before"]),
            ("residual_text", residual["share"]),
            ("residual_text_in_filled", residual["share_in_filled"]),
            ("scar_auc", scars["patch_auc"]),
            *((f"mask_auc/{label}", value) for label, value in scars["class_auc"].items()),
        ):
            bounds = {"": "value", "_low": "low", "_high": "high"}
            self._parent.log_metrics(
                {
                    metric_name("proof", *f"{name}{end}".split("/")): estimate[key]
                    for end, key in bounds.items()
                }
            )
        self._parent.log_file(folder / PROOF_NAME)

    def finish(self, run_dir: Path, compared: Path) -> str:
        """Record the test results and the report.

        Args:
            run_dir: Folder of the report.
            compared: Artifact of the comparison.

        Returns:
            Address of the table of runs, for when MLflow is served.
        """
        comparison = json.loads((compared / "comparison.json").read_text(encoding="utf-8"))
        for arm, seed in sorted({(c["train_data"], c["seed"]) for c in comparison["cells"]}):
            with self._tracker.child(self._parent, child_name(arm, seed), {}, {}) as run:
                for cell in comparison["cells"]:
                    if (cell["train_data"], cell["seed"]) == (arm, seed):
                        run.log_metrics(_cell_metrics(cell))
                        run.log_metrics(_short_metrics(cell, self._config.audit.target_class))
                        figure = draw_confusion(
                            cell["confusion"],
                            cell["class_names"],
                            title=f"trained on {arm}, tested on {cell['test_data']}",
                        )
                        run.log_figure(figure, f"confusion/{cell['test_data']}.png")
        for contrast in comparison["contrasts"]:
            self._parent.log_metrics(_contrast_metrics(contrast))
        headlines = json.loads((run_dir / "summary.json").read_text(encoding="utf-8"))["headlines"]
        self._parent.describe(
            _describe(headlines, comparison["rows"], self._config.audit.target_class)
        )
        for name in ("report.html", "summary.json", "comparison.csv", "flags.csv"):
            self._parent.log_file(run_dir / name)
        self._parent.log_file(run_dir / "figures", "figures")
        return self._tracker.runs_url


def child_name(arm: str, seed: int) -> str:
    """Name the run of one training."""
    return f"{arm}-seed{seed}"


def accuracy_table(compared: Path) -> list[dict[str, str]]:
    """Return a row an arm and version of the test films, for Prefect's table of the run."""
    comparison = json.loads((compared / "comparison.json").read_text(encoding="utf-8"))
    return [
        {
            "trained on": row["train_data"],
            "tested on": row["test_data"],
            "accuracy": f"{row['value']:.3f}",
            "95 % interval": f"{row['low']:.3f} to {row['high']:.3f}",
            "films": str(row["n"]),
        }
        for row in comparison["rows"]
        if (row["seed"], row["metric"]) == (POOLED, "accuracy")
    ]


def _cell_metrics(cell: Mapping[str, Any]) -> dict[str, float | None]:
    metrics = {}
    for entry in cell["metrics"]:
        name = metric_name(f"test_{cell['test_data']}", entry["class_name"], entry["metric"])
        metrics[name] = entry["value"]
        metrics[f"{name}_low"], metrics[f"{name}_high"] = entry["low"], entry["high"]
    return metrics


def _short_metrics(cell: Mapping[str, Any], target_class: str) -> dict[str, float | None]:
    """Return the audited class's metrics under short names, rounded for MLflow's table."""
    return {
        metric_name(f"{SHORT_METRICS[entry['metric']]}.{cell['test_data']}"): round(
            entry["value"], 3
        )
        for entry in cell["metrics"]
        if entry["class_name"] == target_class and entry["value"] is not None
    }


def _describe(
    headlines: Sequence[str], rows: Sequence[Mapping[str, Any]], target_class: str
) -> str:
    """Return the run's description in Markdown: headlines and a small table over all seeds."""
    keys = (("all", "accuracy"), (target_class, "precision"), (target_class, "recall"))
    cells: dict[tuple[str, str], dict[tuple[str, str], str]] = {}
    for row in rows:
        if row["seed"] == POOLED:
            cell = cells.setdefault((row["train_data"], row["test_data"]), {})
            cell[row["class_name"], row["metric"]] = _in_percent(row)
    lines = [f"- {line}" for line in headlines]
    lines += [
        "",
        f"| trained on | tested on | accuracy, % | {target_class} precision, % | recall, % |",
    ]
    lines += ["|---|---|---|---|---|"]
    lines += [
        f"| {arm} | {test} | " + " | ".join(cell.get(key, "undefined") for key in keys) + " |"
        for (arm, test), cell in cells.items()
    ]
    return "\n".join([*lines, "", "95 % intervals. Research tool, not for clinical use."])


def _in_percent(row: Mapping[str, Any]) -> str:
    if row["value"] is None:
        return "undefined"
    value, low, high = (f"{100 * row[key]:.1f}" for key in ("value", "low", "high"))
    return f"{value} [{low}, {high}]"


def _contrast_metrics(contrast: Mapping[str, Any]) -> dict[str, float | None]:
    prefix = f"{contrast['train_data']}_minus_{contrast['against']}"
    metrics = {}
    for entry in contrast["pooled"]:
        name = metric_name(
            prefix, f"test_{contrast['test_data']}", entry["class_name"], entry["metric"]
        )
        metrics[name] = entry["mean"]
        metrics[f"{name}_low"], metrics[f"{name}_high"] = entry["low"], entry["high"]
    return metrics
