"""The model-debugging loop: train, find the text, prove its effect, clean, retrain, compare.

Reads like the figure of the paper; every step is a task of :mod:`flows.tasks`.
"""

import datetime
import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from prefect import flow
from prefect.runtime import flow_run

from covid_debug.arms import ARMS, VERSIONS
from covid_debug.audit.artifact import load_audit
from covid_debug.audit.describing import describe_audit
from covid_debug.audit.shortcut_map import load_shortcuts
from covid_debug.cleaning.proof import load_proof
from covid_debug.config.schema import RunConfig
from covid_debug.data.filmset import load_filmset
from covid_debug.data.integrity import load_ingest_audit
from covid_debug.data.selection import plan_folds
from covid_debug.evaluation.comparison import BASE_ARM, CLEANED_ARM
from covid_debug.places import prepare_folders
from covid_debug.reporting.answers import write_three_answers
from covid_debug.reporting.figures import draw_confusion
from covid_debug.reporting.summary import RunSummary, load_run_summary
from covid_debug.terminal import RunConsole
from covid_debug.tracking.recorder import RunRecorder
from flows import tasks
from flows.recording import open_recorder, show_in_prefect, show_ingest
from flows.runners import open_runner


@dataclass(frozen=True)
class RunOutcome:
    """What a finished run leaves behind.

    Attributes:
        run_dir: Folder with report.html, summary.json, comparison.csv, flags.csv, figures.
        summary: What its summary.json says.
        mlflow_url: Page of the run in MLflow, when a server shows the tracking store.
    """

    run_dir: Path
    summary: RunSummary
    mlflow_url: str


def count_stages(config: RunConfig) -> int:
    """Return how many numbered stages the flow will print."""
    n_trainings = len(config.seeds) * len(config.arms)
    n_others = 7 + (config.proof.max_films > 0) + bool(config.leave_out_sources)
    return n_others + len(config.made_versions) + n_trainings + len(config.audited)


def _name_flow_run() -> str:
    start = datetime.datetime.now().astimezone().strftime("%Y-%m-%d %H:%M")
    return f"{flow_run.parameters['config'].name} {start}"


@flow(name="debug-covidx", flow_run_name=_name_flow_run, validate_parameters=False)
def debug_covidx(config: RunConfig, console: RunConsole, command: str = "") -> RunOutcome:
    """Run the whole loop; every finished stage is found again by a second start.

    Args:
        config: The run.
        console: The terminal.
        command: Command line that makes the run again, for the report.

    Returns:
        What the run leaves behind.
    """
    prepare_folders(config.data_dir, config.reports_dir)
    console.say(f"films are worked on by {config.compute.describe_runner()}")
    with open_recorder(config) as recorder, open_runner(config) as runner:
        run = tasks.Run(config, console, command, runner)
        with console.stage("Ingest and check the films"):
            original = tasks.ingest(run)
            found = load_ingest_audit(original)
            show_ingest(found, original, console)
            recorder.log_ingest(found, original)
        with console.stage("Find burned-in text on every film"):
            regions = tasks.find_text(run, original)
        versions = {BASE_ARM: original}
        for name in config.made_versions:
            with console.stage(VERSIONS[name].title):
                make = tasks.make_version.with_options(task_run_name=f"make the {name} films")
                versions[name] = make(run, name, original, regions)
        cleaned = versions[CLEANED_ARM]
        proved: Path | None = None
        if config.proof.max_films:
            with console.stage("Prove: is text left, did cleaning leave a scar?"):
                proved = tasks.prove(run, original, cleaned)
                recorder.log_proof(load_proof(proved), proved)

        with console.stage("Make the versions of the test films"):
            tests = tasks.make_tests(run, versions, regions)
            seen = _see(run, versions, tests)

        checkpoints: dict[tuple[str, int], Path] = {}
        for arm in config.arms:
            films = versions[ARMS[arm].films]
            for seed in config.seeds:
                with (
                    console.stage(f"Train {arm}, seed {seed}"),
                    recorder.training(arm, seed, films) as log,
                ):
                    train = tasks.train.with_options(task_run_name=f"train {arm} seed {seed}")
                    checkpoints[arm, seed] = train(run, arm, films, cleaned, seed, log.epoch)
                    log.checkpoint(checkpoints[arm, seed])
        unseen = _leave_sources_out(run, versions) if config.leave_out_sources else {}

        audits = _audit_models(run, recorder, checkpoints, versions, regions)
        with console.stage("Lay each source's markers on films of the others"):
            base = [checkpoints[arm, seed] for arm, seed in config.audited if arm == BASE_ARM]
            transferred = tasks.transfer(run, base, original, regions)
        with console.stage("Map what the models rely on"):
            mapped = tasks.shortcuts(run, base, original, regions, cleaned)
            recorder.log_shortcuts(load_shortcuts(mapped), mapped)
        with console.stage("Compare the models"):
            first = (BASE_ARM, config.seeds[0])
            calibrated = tasks.calibrate(run, audits[first], checkpoints[first], original)
            compared = tasks.compare(run, checkpoints, tests, seen, unseen)
            confounds = tasks.confounds(run, original, regions)
        with console.stage("Report"):
            run_dir = tasks.report(
                run,
                original,
                regions,
                cleaned,
                proof=proved,
                audits=audits,
                calibration=calibrated,
                comparison=compared,
                confounds=confounds,
                transfer=transferred,
                shortcuts=mapped,
            )
            summary = load_run_summary(run_dir)
            url = recorder.finish(
                run_dir,
                compared,
                answers=write_three_answers(summary),
                headlines=summary.headlines,
                draw_confusion=draw_confusion,
            )
    show_in_prefect(config.name, run_dir, summary, url)
    return RunOutcome(run_dir, summary, url)


def _see(
    run: tasks.Run, versions: Mapping[str, Path], tests: Mapping[str, Path]
) -> dict[tuple[str, str], Path]:
    """Return arm and name of a version -> the films as the arm's models see them, if otherwise."""
    return {
        (arm, name): folder
        for arm in run.config.arms
        if ARMS[arm].sees
        for name, folder in tasks.make_seen(run, arm, versions, tests).items()
    }


def _leave_sources_out(
    run: tasks.Run, versions: Mapping[str, Path]
) -> dict[tuple[str, int, str], tuple[Path, Path]]:
    """Return checkpoint and test films of every arm, seed and source that can be left out."""
    config = run.config
    unseen = {}
    with run.console.stage("Train every arm without each source"):
        possible, lost = plan_folds(load_filmset(versions[BASE_ARM]))
        for source, reason in lost.items():
            if config.leave_out_sources is True or source in config.choose_folds(lost):
                run.console.warn(f"{source} cannot be left out: {reason}")
        wanted = {BASE_ARM, *(ARMS[name].films for name in config.arms)}
        for source in config.choose_folds(possible):
            films = {name: tasks.leave_out(run, source, versions[name]) for name in sorted(wanted)}
            for name, seed in itertools.product(config.arms, config.seeds):
                title, arm = f"train {name} seed {seed} without {source}", ARMS[name]
                run.console.say(title)
                train = tasks.train.with_options(task_run_name=title)
                checkpoint = train(run, name, films[arm.films], versions[CLEANED_ARM], seed)
                unseen[name, seed, source] = (checkpoint, films[arm.sees or BASE_ARM])
    return unseen


def _audit_models(
    run: tasks.Run,
    recorder: RunRecorder,
    checkpoints: Mapping[tuple[str, int], Path],
    versions: Mapping[str, Path],
    regions: Path,
) -> dict[tuple[str, int], Path]:
    audits: dict[tuple[str, int], Path] = {}
    for arm, seed in run.config.audited:
        with run.console.stage(f"Audit: does text drive the {arm} model, seed {seed}?"):
            audit = tasks.audit.with_options(task_run_name=f"audit {arm} seed {seed}")
            is_first = (arm, seed) == (BASE_ARM, run.config.seeds[0])
            films = versions[ARMS[arm].sees or BASE_ARM]
            made = audit(run, checkpoints[arm, seed], films, regions, with_maps=is_first)
            audits[arm, seed] = made
            found = load_audit(made)
            if not is_first:  # the first one's lines are headlines
                for line in describe_audit(found.summary):
                    run.console.say(line)
            recorder.log_audit(arm, seed, found, films)
    return audits
