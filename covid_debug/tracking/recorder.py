"""What a run of the flow leaves in MLflow: a parent run and one child a training.

Owns which results become metrics and what they are called; computes nothing.
"""

import dataclasses
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from matplotlib.figure import Figure

from covid_debug.arms import ARMS
from covid_debug.artifacts import canonical_json
from covid_debug.audit.artifact import AuditSummary
from covid_debug.audit.shortcut_map import SHORTCUTS_NAME, ShortcutMap
from covid_debug.cleaning.proof import PROOF_NAME, CleaningProof
from covid_debug.data.filmset import load_filmset
from covid_debug.data.integrity import IngestAudit
from covid_debug.evaluation.comparison import POOLED, Cell, Comparison, Contrast, Row
from covid_debug.evaluation.questions import PrimaryAnswer
from covid_debug.tracking.mlflow_tracker import MlflowRun, MlflowTracker
from covid_debug.tracking.models import registered_name
from covid_debug.tracking.names import metric_name
from covid_debug.training.params import EpochMetrics, TrainingParams

Metrics = dict[str, float | None]

# MLflow cuts a column's heading after some twelve letters and shows every digit that it was given.
SHORT_METRICS = {"f1": "f1", "precision": "prec", "recall": "recall"}
_RUN_FILES = (
    *("report.html", "summary.json", "statistics.json"),
    *("questions.csv", "comparison.csv", "flags.csv"),
)
SHOWN_COLUMNS = tuple(
    f"{short}.{test}" for short in SHORT_METRICS.values() for test in ("original", "cleaned")
)


class TrainingLog:
    """Sends one training to its MLflow run while it happens.

    Attributes:
        model_id: MLflow's id of the model, once there is one.
    """

    def __init__(self, run: MlflowRun, arm: str, seed: int) -> None:
        """Attach to the open run of a training."""
        self._run, self._arm, self._seed = run, arm, seed
        self.model_id: str | None = None

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
        """Keep the checkpoint's description and history with the run, and log it as a model.

        A model whose arm sees films through something (:class:`covid_debug.arms.Arm`) cannot answer
        a raw film, so none is logged.
        """
        for name in ("checkpoint.json", "history.json"):
            self._run.log_file(folder / name)
        if ARMS[self._arm].sees:
            self._run.set_tag("model", f"none: sees films as {ARMS[self._arm].sees} only")
            return
        self.model_id = self._run.log_model(folder, _arm_tags(self._arm, self._seed))


class RunRecorder:
    """The MLflow side of one run of the flow."""

    def __init__(
        self,
        key: str,
        name: str,
        *,
        parameters: object,
        training: TrainingParams,
        first_seed: int,
        target_class: str | None,
        uri: str | None,
        experiment: str,
    ) -> None:
        """Reach the tracking store.

        Args:
            key: What the parent run is found again by: the same key continues the same run.
            name: Name of the parent run.
            parameters: Its parameters, anything that becomes a JSON object.
            training: Recipe of every training.
            first_seed: Of the configuration; its models stand for their arms in the registry.
            target_class: Class whose metrics get the short names; None is the last one.
            uri: MLflow tracking URI, None for the one in the working directory.
            experiment: MLflow experiment.
        """
        self._key, self._name, self._parameters = key, name, parameters
        self._training, self._target_class = training, target_class
        self._first_seed = first_seed
        self._tracker = MlflowTracker(uri, experiment, columns=SHOWN_COLUMNS)
        self._models: dict[tuple[str, int], str] = {}

    def __enter__(self) -> Self:
        """Find or create the parent run and open it."""
        params = json.loads(canonical_json(self._parameters))
        self._opened = self._tracker.run(self._key, self._name, params, {})
        self._parent = self._opened.__enter__()
        return self

    def __exit__(self, *error: Any) -> bool | None:  # noqa: ANN401
        """Close the parent run as finished, failed or killed."""
        return self._opened.__exit__(*error)

    def log_ingest(self, audit: IngestAudit, filmset_dir: Path) -> None:
        """Record which films went in, and keep the ingest audit with the run."""
        self._parent.log_file(filmset_dir / "ingest_audit.md")
        _log_films(self._parent, "films", filmset_dir, role="train and test", n_films=audit.n_ok)

    @contextmanager
    def training(self, arm: str, seed: int, filmset_dir: Path) -> Iterator[TrainingLog]:
        """Open the child run of one training.

        Yields:
            What the training stage reports to.
        """
        params = {"training": dataclasses.asdict(self._training), "seed": seed, "arm": arm}
        tags = _arm_tags(arm, seed)
        with self._tracker.child(self._parent, child_name(arm, seed), params, tags) as run:
            n_films = len(load_filmset(filmset_dir).select("train"))
            _log_films(run, arm, filmset_dir, role="train", n_films=n_films)
            log = TrainingLog(run, arm, seed)
            yield log
        if log.model_id is not None:
            self._models[arm, seed] = log.model_id

    def log_proof(self, proof: CleaningProof, folder: Path) -> None:
        """Record how clean the cleaned films are, and keep the page about it with the run."""
        residual, scars = proof.residual, proof.scars
        for name, estimate in (
            ("text_before", residual.share_before),
            ("residual_text", residual.share),
            ("residual_text_in_filled", residual.share_in_filled),
            ("scar_auc", scars.patch_auc),
            *((f"mask_auc/{label}", value) for label, value in scars.class_auc.items()),
        ):
            name = metric_name("proof", *name.split("/"))  # noqa: PLW2901
            self._parent.log_metrics(
                _with_interval(name, estimate.value, estimate.low, estimate.high)
            )
        self._parent.log_file(folder / PROOF_NAME)

    def log_audit(self, arm: str, seed: int, audit: AuditSummary) -> None:
        """Record how much of a model's predictions rests on text, for each predicted class."""
        metrics: Metrics = {}
        for label, group in audit.groups.by_class.items():
            values = {
                "n_predicted": group.n_predicted,
                "n_audited": group.n_audited,
                "driven": group.share_driven,
                "rests_on_text_upper": group.upper,
            }
            metrics |= {metric_name("audit", label, key): v for key, v in values.items()}
        with self._tracker.child(self._parent, child_name(arm, seed), {}, {}) as run:
            run.log_metrics(metrics)

    def log_shortcuts(self, found: ShortcutMap, folder: Path) -> None:
        """Record how far the models rely on what films carry, and keep the map with the run."""
        for item in found.attributes:
            pull = item.pull()
            if pull is not None and pull.share.is_defined:
                name, share = metric_name("reliance", item.name), pull.share
                self._parent.log_metrics(_with_interval(name, share.value, share.low, share.high))
            if item.utility.is_defined:
                name = metric_name("utility", item.name)
                self._parent.log_metrics({name: item.utility.value})
        self._parent.log_file(folder / SHORTCUTS_NAME)

    def finish(
        self,
        run_dir: Path,
        headlines: Sequence[str],
        comparison: Comparison,
        draw_confusion: Callable[[Cell], Figure],
    ) -> str:
        """Record the test results and the report.

        Args:
            run_dir: Folder of the report; its files are kept with the run.
            headlines: Sentences for the run's description.
            comparison: The comparison.
            draw_confusion: Draws the confusion matrix of a cell.

        Returns:
            Address of the table of runs, for when MLflow is served.
        """
        target = self._target_class or comparison.cells[0].class_names[-1]
        for arm, seed in sorted({(cell.train_data, cell.seed) for cell in comparison.cells}):
            model_id = self._models.get((arm, seed))
            with self._tracker.child(self._parent, child_name(arm, seed), {}, {}) as run:
                for cell in comparison.cells:
                    if (cell.train_data, cell.seed) == (arm, seed):
                        run.log_metrics(_cell_metrics(cell))
                        run.log_metrics(_short_metrics(cell, target), model_id)
                        run.log_figure(draw_confusion(cell), f"confusion/{cell.test_data}.png")
                if model_id is not None:
                    alias = arm if seed == self._first_seed else ""
                    name = registered_name(self._name)
                    run.register(model_id, name, alias, _arm_tags(arm, seed))
        for answer in comparison.questions:
            self._parent.log_metrics(_answer_metrics(answer))
            name = metric_name("question", answer.question.name).replace("/", ".")
            self._parent.set_tag(name, answer.verdict)
        for contrast in comparison.contrasts:
            self._parent.log_metrics(_contrast_metrics(contrast))
        self._parent.describe(_describe(headlines, comparison.rows, target))
        for name in _RUN_FILES:
            self._parent.log_file(run_dir / name)
        self._parent.log_file(run_dir / "figures", "figures")
        return self._tracker.runs_url


def _arm_tags(arm: str, seed: int) -> dict[str, str]:
    return {"train_data": arm, "seed": str(seed)}


def child_name(arm: str, seed: int) -> str:
    """Name the run of one training."""
    return f"{arm}-seed{seed}"


def _log_films(run: MlflowRun, name: str, folder: Path, *, role: str, n_films: int) -> None:
    digest = folder.name.rsplit("-", 1)[-1]
    run.log_dataset(name, digest, role=role, n_films=n_films, source=str(folder))


def _with_interval(name: str, value: float, low: float, high: float) -> Metrics:
    return {name: value, f"{name}_low": low, f"{name}_high": high}


def _cell_metrics(cell: Cell) -> Metrics:
    metrics: Metrics = {}
    for one in cell.metrics:
        name = metric_name(f"test_{cell.test_data}", one.class_name, one.metric)
        metrics |= _with_interval(name, one.value, one.low, one.high)
    return metrics


def _short_metrics(cell: Cell, target_class: str) -> Metrics:
    """Return one class's metrics under short names, rounded for MLflow's table."""
    return {
        metric_name(f"{SHORT_METRICS[one.metric]}.{cell.test_data}"): round(one.value, 3)
        for one in cell.metrics
        if one.class_name == target_class and one.metric in SHORT_METRICS
    }


def _answer_metrics(answer: PrimaryAnswer) -> Metrics:
    name = metric_name("question", answer.question.name)
    values = {f"{name}_p_holm": answer.p_holm, f"{name}_smallest": answer.smallest}
    return _with_interval(name, answer.value, answer.low, answer.high) | values


def _contrast_metrics(contrast: Contrast) -> Metrics:
    prefix = f"{contrast.train_data}_minus_{contrast.against}"
    metrics: Metrics = {}
    for one in contrast.pooled:
        name = metric_name(prefix, f"test_{contrast.test_data}", one.class_name, one.metric)
        metrics |= _with_interval(name, one.mean, one.low, one.high)
    return metrics


def _describe(headlines: Sequence[str], rows: Sequence[Row], target_class: str) -> str:
    """Return the run's description in Markdown: headlines and a small table over all seeds."""
    keys = ((target_class, "precision"), (target_class, "recall"), ("all", "balanced_accuracy"))
    cells: dict[tuple[str, str], dict[tuple[str, str], str]] = {}
    for row in rows:
        if row.seed == POOLED:
            cell = cells.setdefault((row.train_data, row.test_data), {})
            cell[row.class_name, row.metric] = _in_percent(row)
    lines = [f"- {line}" for line in headlines]
    heads = f"{target_class} precision, % | {target_class} recall, % | balanced accuracy, %"
    lines += ["", f"| trained on | tested on | {heads} |", "|---|---|---|---|---|"]
    lines += [
        f"| {arm} | {test} | " + " | ".join(cell.get(key, "undefined") for key in keys) + " |"
        for (arm, test), cell in cells.items()
    ]
    return "\n".join([*lines, "", "95 % intervals. Research tool, not for clinical use."])


def _in_percent(row: Row) -> str:
    if not row.estimate.is_defined:
        return "undefined"
    value, low, high = (f"{100 * number:.1f}" for number in (row.value, row.low, row.high))
    return f"{value} [{low}, {high}]"
