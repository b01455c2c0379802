"""What a run of the flow leaves in MLflow: a parent run and one child a training.

Owns which results become metrics and what they are called; computes nothing.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from covid_debug.arms import ARMS
from covid_debug.artifacts import canonical_json
from covid_debug.audit.artifact import Audit
from covid_debug.audit.shortcut_map import SHORTCUTS_NAME, ShortcutMap
from covid_debug.cleaning.proof import PROOF_NAME, CleaningProof
from covid_debug.data.filmset import FilmSet, load_filmset
from covid_debug.data.integrity import IngestAudit
from covid_debug.data.views import render_film
from covid_debug.evaluation.comparison import BASE_ARM, Cell, Contrast, load_comparison
from covid_debug.imaging.geometry import ViewSpec
from covid_debug.tracking.curves import draw_precision_recall, read_answers
from covid_debug.tracking.describing import describe_run
from covid_debug.tracking.mlflow_run import MlflowRun
from covid_debug.tracking.mlflow_tracker import MlflowTracker
from covid_debug.tracking.models import registered_name
from covid_debug.tracking.names import SHORT_METRICS, metric_name
from covid_debug.tracking.pictures import draw_film, rank_severe
from covid_debug.tracking.ready_view import ORDER_TAG, READY_VIEW
from covid_debug.training.params import EpochMetrics, TrainingParams

Metrics = dict[str, float | None]

# MLflow writes all parameters of a run above its pictures; the parent holds the others.
_CHILD_PARAMS = ("arch", "n_epochs", "batch_size", "learning_rate")
_CONTRASTED = ("precision", "recall")
_RUN_FILES = (
    *("report.html", "summary.json", "statistics.json"),
    *("questions.csv", "comparison.csv", "flags.csv", "maps.csv"),
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
        tags, name = _arm_tags(self._arm, self._seed), f"{self._arm}-seed{self._seed}"
        self.model_id = self._run.log_model(folder, name, tags)


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
        view: ViewSpec,
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
            view: What the models see of a film.
            target_class: Class whose metrics get the short names; None is the last one.
            uri: MLflow tracking URI, None for the one in the working directory.
            experiment: MLflow experiment.
        """
        self._key, self._name, self._parameters = key, name, parameters
        self._training, self._target_class = training, target_class
        self._first_seed, self._view = first_seed, view
        self._tracker = MlflowTracker(uri, experiment, ready_view=READY_VIEW)
        self._models: dict[tuple[str, int], str] = {}
        self._pictured: list[str] = []
        self._n_trained = 0

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
        recipe = {name: getattr(self._training, name) for name in _CHILD_PARAMS}
        recipe |= {"image_size": self._view.image_size, **ARMS[arm].training}
        params = {"arm": arm, "seed": seed, **recipe}
        place = f"{self._parent.started:%Y-%m-%d %H:%M} {999 - self._n_trained:03d}"
        self._n_trained += 1
        tags = {**_arm_tags(arm, seed), "run": self._name, ORDER_TAG: place}
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
            self._parent.log_metrics({name: estimate.value})
        self._parent.log_file(folder / PROOF_NAME)

    def log_audit(self, arm: str, seed: int, audit: Audit, filmset_dir: Path) -> None:
        """Record how much of a model's predictions rests on text, for each predicted class.

        The most severe films of the first audit are shown with every audited model, so that
        MLflow's grid of images compares the models film by film.

        Args:
            arm: Of the model.
            seed: Of the model.
            audit: Its audit.
            filmset_dir: The films as the model saw them.
        """
        metrics: Metrics = {}
        for label, group in audit.summary.groups.by_class.items():
            values = {
                "n_predicted": group.n_predicted,
                "n_audited": group.n_audited,
                "driven": group.share_driven,
                "rests_on_text_upper": group.upper,
            }
            metrics |= {metric_name("audit", label, key): v for key, v in values.items()}
        self._pictured = self._pictured or rank_severe(audit.films)
        with self._tracker.child(self._parent, child_name(arm, seed), {}, {}) as run:
            run.log_metrics(metrics)
            for image_id, picture in self._draw(audit, load_filmset(filmset_dir)):
                run.log_image(f"films/{image_id}", picture)

    def _draw(self, audit: Audit, filmset: FilmSet) -> Iterator[tuple[str, NDArray[np.uint8]]]:
        audited = {film.image_id: film for film in audit.films}
        files = {film.image_id: filmset.file_of(film) for film in filmset.films}
        for image_id in self._pictured:
            if image_id in audited and image_id in files:
                view = render_film(files[image_id], self._view)
                maps = {name: audit.load_map(image_id, name) for name in audit.map_methods}
                yield image_id, draw_film(audited[image_id], view, maps)

    def log_shortcuts(self, found: ShortcutMap, folder: Path) -> None:
        """Record how far the models rely on what films carry, and keep the map with the run."""
        for item in found.attributes:
            pull = item.pull()
            if pull is not None and pull.share.is_defined:
                name, share = metric_name("reliance", item.name), pull.share
                self._parent.log_metrics({name: share.value})
            if item.utility.is_defined:
                name = metric_name("utility", item.name)
                self._parent.log_metrics({name: item.utility.value})
        self._parent.log_file(folder / SHORTCUTS_NAME)

    def finish(
        self,
        run_dir: Path,
        compared: Path,
        *,
        answers: Sequence[str],
        headlines: Sequence[str],
        draw_confusion: Callable[[Cell], Figure],
    ) -> str:
        """Record the test results and the report, and register the models.

        Args:
            run_dir: Folder of the report; its files are kept with the run.
            compared: The comparison.
            answers: The short answers, first in the run's description.
            headlines: Further sentences of the description.
            draw_confusion: Draws the confusion matrix of a cell.

        Returns:
            Address of the table of runs, for when MLflow is served.
        """
        comparison = load_comparison(compared)
        target = self._target_class or comparison.class_names[-1]
        films = read_answers(compared)
        for arm, seed in dict.fromkeys((c.train_data, c.seed) for c in comparison.cells):
            cells = [c for c in comparison.cells if (c.train_data, c.seed) == (arm, seed)]
            with self._tracker.child(self._parent, child_name(arm, seed), {}, {}) as run:
                self._finish_training(run, arm, seed, cells, target)
                for cell in cells:
                    run.log_figure(draw_confusion(cell), f"confusion/{cell.test_data}.png")
                curve = draw_precision_recall(films, arm, seed, target)
                if curve is not None:
                    run.log_figure(curve, "precision_recall.png")
        for answer in comparison.questions:
            name = metric_name("question", answer.question.name)
            self._parent.log_metrics({name: answer.value, f"{name}_p_holm": answer.p_holm})
            self._parent.set_tag(name.replace("/", "."), answer.verdict)
        for contrast in comparison.contrasts:
            if contrast.against == BASE_ARM:
                self._parent.log_metrics(_contrast_metrics(contrast, target))
        self._parent.describe(describe_run(answers, headlines, comparison.rows, target))
        for name in _RUN_FILES:
            self._parent.log_file(run_dir / name)
        self._parent.log_file(run_dir / "figures", "figures")
        return self._tracker.runs_url

    def _finish_training(
        self, run: MlflowRun, arm: str, seed: int, cells: Sequence[Cell], target: str
    ) -> None:
        model_id = self._models.get((arm, seed))
        for cell in cells:
            run.log_metrics(_cell_metrics(cell))
            run.log_metrics(_short_metrics(cell, target), model_id)
        if model_id is not None:
            alias = arm if seed == self._first_seed else ""
            run.register(model_id, registered_name(self._name), alias, _arm_tags(arm, seed))


def _arm_tags(arm: str, seed: int) -> dict[str, str]:
    return {"train_data": arm, "seed": str(seed)}


def child_name(arm: str, seed: int) -> str:
    """Name the run of one training, as the rows of MLflow's table."""
    return f"trained on {arm}, seed {seed}"


def _log_films(run: MlflowRun, name: str, folder: Path, *, role: str, n_films: int) -> None:
    digest = folder.name.rsplit("-", 1)[-1]
    run.log_dataset(name, digest, role=role, n_films=n_films, source=str(folder))


def _cell_metrics(cell: Cell) -> Metrics:
    """Return the metrics of a cell; their intervals stand in ``comparison.csv``."""
    return {
        metric_name(f"test_{cell.test_data}", one.class_name, one.metric): one.value
        for one in cell.metrics
    }


def _short_metrics(cell: Cell, target_class: str) -> Metrics:
    """Return one class's metrics under short names, rounded for MLflow's table.

    On the original test films they are ``prec``, ``recall``, ...; on others ``prec.<films>``.
    """
    end = "" if cell.test_data == BASE_ARM else f".{cell.test_data}"
    return {
        metric_name(f"{SHORT_METRICS[one.metric]}{end}"): round(one.value, 3)
        for one in cell.metrics
        if one.class_name == target_class and one.metric in SHORT_METRICS
    }


def _contrast_metrics(contrast: Contrast, target_class: str) -> Metrics:
    keys = {(target_class, metric) for metric in _CONTRASTED} | {("all", "balanced_accuracy")}
    prefix = f"{contrast.train_data}_minus_{contrast.against}"
    return {
        metric_name(prefix, f"test_{contrast.test_data}", one.class_name, one.metric): one.mean
        for one in contrast.pooled
        if (one.class_name, one.metric) in keys
    }
