"""What the flow shows of a run in the terminal, in Prefect and in MLflow; computes nothing."""

from pathlib import Path

from prefect.artifacts import create_markdown_artifact, create_table_artifact

from covid_debug.artifacts import artifact_key
from covid_debug.config.schema import RunConfig
from covid_debug.data.integrity import IngestAudit
from covid_debug.reporting.answers import (
    name_p,
    name_points,
    name_question,
    name_share,
    write_three_answers,
)
from covid_debug.reporting.summary import RunSummary
from covid_debug.shown import to_markdown
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
        first_seed=config.seeds[0],
        view=config.view,
        target_class=config.audit.target_class,
        uri=config.tracking.uri,
        experiment=config.tracking.experiment,
    )


def show_ingest(audit: IngestAudit, filmset_dir: Path, console: RunConsole) -> None:
    """Print the ingest audit's findings."""
    console.say(f"{audit.n_ok} of {audit.n_total} films usable ({filmset_dir})")
    for flag in audit.flags:
        console.finding(flag.severity, flag.message)


def show_in_prefect(name: str, run_dir: Path, summary: RunSummary, mlflow_url: str) -> None:
    """Leave the answers, the small table and the headlines on Prefect's page of the run."""
    create_table_artifact(
        key="debug-covidx-questions",
        table=question_table(summary),
        description="The questions that were fixed before the training; verdicts stand only here",
    )
    create_table_artifact(
        key="debug-covidx-comparison",
        table=train_test_table(summary),
        description="Precision and recall of every arm on every version of the test films, all"
        " seeds pooled",
    )
    create_markdown_artifact(
        key="debug-covidx-summary",
        markdown="\n".join(
            [
                f"# {name}",
                *(f"- **{to_markdown(line)}**" for line in write_three_answers(summary)),
                "",
                # Browsers open no file from a page of a server: a path to copy.
                f"Report: `{(run_dir / 'report.html').resolve()}`",
                "",
                f"MLflow, while it is served: [{name}]({mlflow_url})",
                "",
                *(f"- {to_markdown(line)}" for line in summary.headlines),
            ]
        ),
        description="Headline numbers of the run; not for clinical use",
    )


def question_table(summary: RunSummary) -> list[dict[str, str]]:
    """Return a row a question, for Prefect's page of the run."""
    return [
        {
            "question": answer.question.words,
            "difference": name_question(answer.question),
            "value": name_points(answer.estimate) if answer.n_seeds else answer.reason,
            "p (Holm)": name_p(answer.p_holm),
            "answer": answer.verdict,
        }
        for answer in summary.questions
    ]


def train_test_table(summary: RunSummary) -> list[dict[str, str]]:
    """Return a row an arm and version of the test films, for Prefect's page of the run."""
    return [
        {
            "class": row.class_name,
            "trained on": row.train_data,
            "tested on": row.test_data,
            "precision, %": name_share(row.precision),
            "recall, %": name_share(row.recall),
        }
        for row in summary.train_test
    ]
