"""One Prefect task a stage: builds the request from the configuration, and says what came out."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from covid_debug.arms import ARMS, SWAPPED_TEST, VERSIONS, arm_training
from covid_debug.artifacts import canonical_json
from covid_debug.audit.shortcuts import ShortcutsRequest
from covid_debug.audit.stage import AuditRequest, CalibrationRequest, ConfoundsRequest
from covid_debug.audit.transfer import TransferParams
from covid_debug.audit.transfer_record import conclude_transfer, load_transfer
from covid_debug.audit.transfer_stage import TransferRequest
from covid_debug.cleaning.policy import find_risks
from covid_debug.cleaning.scar import ProbeParams
from covid_debug.cleaning.stage import ProofRequest, tell_proof
from covid_debug.config.schema import RunConfig
from covid_debug.data.counterfactuals import load_counterfactuals
from covid_debug.data.filmset import load_filmset
from covid_debug.data.selection import (
    ExternalTestRequest,
    LeaveOutRequest,
    SelectTestRequest,
    TwinsRequest,
)
from covid_debug.evaluation.comparison import BASE_ARM, CLEANED_ARM
from covid_debug.evaluation.stage import ComparisonRequest
from covid_debug.reporting.stage import ReportRequest
from covid_debug.stages import Means, Request, Runner, find_or_make
from covid_debug.terminal import RunConsole
from covid_debug.text.catalog import members_of
from covid_debug.text.stage import RegionsRequest, describe_regions
from covid_debug.training.params import EpochMetrics
from covid_debug.training.stage import TrainRequest
from flows.stage import stage

VIEW_CACHE = "views"


@dataclass(frozen=True)
class Run:
    """What every task needs besides its inputs.

    Attributes:
        config: The run.
        console: The terminal.
        command: Command line that started the run, for the report; decides no result.
        runner: Who works on films elsewhere; None works on them here.
    """

    config: RunConfig
    console: RunConsole
    command: str = ""
    runner: Runner | None = None

    def find_or_make(self, request: Request, store: Path | None = None) -> Path:
        """Return the artifact of a stage, by default in the run's folder of artifacts."""
        compute, data_dir = self.config.compute, self.config.data_dir
        means = Means(
            self.console,
            cache_dir=data_dir / VIEW_CACHE,
            n_workers=compute.n_workers,
            device=compute.device,
            n_devices=compute.devices,
            max_failed_share=compute.max_failed_share,
        )
        return find_or_make(request, store or data_dir, means, self.runner)


@stage("ingest")
def ingest(run: Run) -> Path:
    """Collect the films, audit them and split them by patient; the artifact is a film set."""
    return run.find_or_make(run.config.data)


@stage("find text")
def find_text(run: Run, filmset: Path) -> Path:
    """Look for burned-in text on every film of every split; the artifact holds regions.jsonl."""
    regions = run.find_or_make(RegionsRequest(filmset, run.config.text))
    for line in describe_regions(regions, filmset):
        run.console.say(line)
    return regions


@stage()
def make_version(run: Run, name: str, filmset: Path, regions: Path) -> Path:
    """Make a version of the films: COVIDx++, its placebo, or another one of the catalogue."""
    config = run.config
    make = VERSIONS[name].request
    if name == CLEANED_ARM:
        for risk in find_risks(config.cleaning.policy):
            run.console.warn(risk)
    return run.find_or_make(make(filmset, regions, config.cleaning, config.run_seed))


@stage("prove the cleaning")
def prove(run: Run, filmset: Path, cleaned: Path) -> Path:
    """Look for text that is left and for scars on a sample of the cleaned films."""
    config = run.config
    request = ProofRequest(
        filmset,
        cleaned,
        ProbeParams(max_films=config.proof.max_films, seed=config.run_seed),
        made_with=members_of(config.text.build()),
        is_sample=True,
    )
    proved = run.find_or_make(request)
    tell_proof(proved, run.console)
    return proved


@stage("make the versions of the test films")
def make_tests(run: Run, versions: Mapping[str, Path], regions: Path) -> dict[str, Path]:
    """Collect every version of the test films: name -> film set."""
    config, original = run.config, versions[BASE_ARM]
    tests = {BASE_ARM: original}
    for name in config.tests:
        if name in versions:
            tests[name] = versions[name]
            continue
        # The swapped films are test films already; of the others only these are made.
        films = original
        if name != SWAPPED_TEST:
            films = run.find_or_make(SelectTestRequest(original))
        made = VERSIONS[name].request(films, regions, config.cleaning, config.run_seed)
        tests[name] = run.find_or_make(made)
    for kind in load_counterfactuals(load_filmset(original)):
        tests[kind] = run.find_or_make(TwinsRequest(original, kind))
    for name, folder in config.external.items():
        tests[name] = run.find_or_make(ExternalTestRequest(folder))
    return tests


@stage("make what {arm} sees")
def make_seen(
    run: Run, arm: str, versions: Mapping[str, Path], tests: Mapping[str, Path]
) -> dict[str, Path]:
    """Put every version of the test films through what an arm's models see films through.

    That is part of what would be deployed: text is looked for on each version anew.

    Returns:
        Name of the version -> film set; empty for an arm that sees the films as they are.
    """
    config, sees = run.config, ARMS[arm].sees
    if not sees:
        return {}
    seen = {BASE_ARM: versions[sees]}
    for name, filmset in tests.items():
        if name == BASE_ARM:
            continue
        films = run.find_or_make(SelectTestRequest(filmset))
        version = VERSIONS[sees]
        regions = films
        if version.needs_text:
            regions = run.find_or_make(RegionsRequest(films, config.text))
        made = version.request(films, regions, config.cleaning, config.run_seed)
        seen[name] = run.find_or_make(made)
    return seen


@stage()
def train(
    run: Run,
    arm: str,
    filmset: Path,
    cleaned: Path,
    seed: int,
    on_epoch: Callable[[EpochMetrics], None] | None = None,
) -> Path:
    """Train one classifier; the artifact is its checkpoint of the best validation epoch."""
    config = run.config
    training = arm_training(config.training, arm)
    text_free = cleaned if training.mitigation.needs_text_free else None
    request = TrainRequest(filmset, training, config.view, seed, on_epoch, text_free)
    return run.find_or_make(request)


@stage("leave out {source}")
def leave_out(run: Run, source: str, filmset: Path) -> Path:
    """Choose the films of the fold that leaves a source out."""
    return run.find_or_make(LeaveOutRequest(filmset, source))


@stage()
def audit(
    run: Run, checkpoint: Path, filmset: Path, regions: Path, *, with_maps: bool = True
) -> Path:
    """Test whether text drives the predictions of a model on the test films."""
    config = run.config
    params = config.audit if with_maps else replace(config.audit, max_explained=0)
    return run.find_or_make(AuditRequest(checkpoint, filmset, regions, params, config.run_seed))


@stage("calibrate")
def calibrate(run: Run, audited: Path, checkpoint: Path, filmset: Path) -> Path:
    """Hold the audit's flags against known truth, where there is one."""
    return run.find_or_make(CalibrationRequest(audited, checkpoint, filmset))


@stage("lay markers")
def transfer(run: Run, checkpoints: Sequence[Path], filmset: Path, regions: Path) -> Path:
    """Lay the markers of each source on films of the others, and ask the models."""
    audit = run.config.audit
    params = TransferParams(
        dilation_px=audit.dilation_px,
        method=audit.method,
        radius_px=audit.radius_px,
        max_batch=audit.max_batch,
    )
    seed = run.config.run_seed
    request = TransferRequest(tuple(checkpoints), filmset, regions, params, seed)
    made = run.find_or_make(request)
    run.console.say(conclude_transfer(load_transfer(made)))
    return made


@stage("compare")
def compare(
    run: Run,
    checkpoints: Mapping[tuple[str, int], Path],
    tests: Mapping[str, Path],
    seen: Mapping[tuple[str, str], Path],
    unseen: Mapping[tuple[str, int, str], tuple[Path, Path]],
) -> Path:
    """Test every model on every version of the test films."""
    config = run.config
    request = ComparisonRequest(
        checkpoints, tests, config.run_seed, config.questions, seen=seen, unseen=unseen
    )
    return run.find_or_make(request)


@stage("confounds")
def confounds(run: Run, filmset: Path, regions: Path) -> Path:
    """Test models that never see a lung."""
    config = run.config
    return run.find_or_make(ConfoundsRequest(filmset, regions, config.view, config.run_seed))


@stage("map shortcuts")
def shortcuts(
    run: Run, checkpoints: Sequence[Path], filmset: Path, regions: Path, cleaned: Path
) -> Path:
    """Rank what films carry by how far the models of an arm rely on it."""
    request = ShortcutsRequest(
        tuple(checkpoints), filmset, regions, cleaned, run_seed=run.config.run_seed
    )
    return run.find_or_make(request)


@stage("report")
def report(
    run: Run,
    filmset: Path,
    regions: Path,
    cleaned: Path,
    *,
    proof: Path | None,
    audits: Mapping[tuple[str, int], Path],
    calibration: Path,
    comparison: Path,
    confounds: Path,
    transfer: Path,
    shortcuts: Path,
) -> Path:
    """Write the run's folder, from all that the other stages made."""
    config = run.config
    request = ReportRequest(
        title=config.name,
        filmset=filmset,
        regions=regions,
        view=config.view,
        cleaned=cleaned,
        proof=proof,
        audit=audits[BASE_ARM, config.seeds[0]],
        audits=audits,
        calibration=calibration,
        comparison=comparison,
        confounds=confounds,
        transfer=transfer,
        shortcuts=shortcuts,
        config=json.loads(canonical_json(config.without_places())),
        command=run.command,
    )
    return run.find_or_make(request, config.reports_dir)
