"""What the flow shows of a run in the terminal, in Prefect and in MLflow; computes nothing."""

from pathlib import Path

from covid_debug.artifacts import artifact_key
from covid_debug.config.schema import RunConfig
from covid_debug.data.integrity import IngestAudit
from covid_debug.evaluation.comparison import POOLED, Comparison
from covid_debug.terminal import RunConsole
from covid_debug.tracking.recorder import RunRecorder


def open_recorder(config: RunConfig) -> RunRecorder:
    """Return the recorder of a run; the same configuration continues the same run in MLflow."""
    decisive = config.without_places()
    return RunRecorder(
        artifact_key(config.name, 1, decisive, {}),
        config.name,
        parameters=decisive,
        training=config.training,
        target_class=config.audit.target_class,
        uri=config.tracking.uri,
        experiment=config.tracking.experiment,
    )


def show_ingest(audit: IngestAudit, filmset_dir: Path, console: RunConsole) -> None:
    """Print the ingest audit's findings."""
    console.say(f"{audit.n_ok} of {audit.n_total} films usable ({filmset_dir})")
    for flag in audit.flags:
        console.finding(flag.severity, flag.message)


def accuracy_table(comparison: Comparison) -> list[dict[str, str]]:
    """Return a row an arm and version of the test films, for Prefect's table of the run."""
    return [
        {
            "trained on": row.train_data,
            "tested on": row.test_data,
            "accuracy": f"{row.value:.3f}",
            "95 % interval": f"{row.low:.3f} to {row.high:.3f}",
            "films": str(row.n),
        }
        for row in comparison.rows
        if (row.seed, row.metric) == (POOLED, "accuracy")
    ]
