"""One Prefect task a stage: builds the request from the configuration, and says what came out.

Prefect's own cache is off; the artifacts are the only truth.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE

from covid_debug.artifacts import canonical_json
from covid_debug.audit.shortcuts import ShortcutsRequest
from covid_debug.audit.stage import AuditRequest, CalibrationRequest, ConfoundsRequest
from covid_debug.audit.transfer import TransferParams
from covid_debug.audit.transfer_record import conclude_transfer, load_transfer
from covid_debug.audit.transfer_stage import TransferRequest
from covid_debug.cleaning.arms import MADE_ARMS
from covid_debug.cleaning.scar import ProbeParams
from covid_debug.cleaning.stage import ProofRequest, tell_proof
from covid_debug.config.schema import RunConfig
from covid_debug.evaluation.comparison import BASE_ARM
from covid_debug.evaluation.stage import ComparisonRequest
from covid_debug.reporting.stage import ReportRequest
from covid_debug.stages import Means, Request, find_or_make
from covid_debug.terminal import RunConsole
from covid_debug.text.catalog import members_of
from covid_debug.text.stage import RegionsRequest, describe_regions
from covid_debug.training.params import EpochMetrics
from covid_debug.training.stage import TrainRequest

VIEW_CACHE = "views"


@dataclass(frozen=True)
class Run:
    """What every task needs besides its inputs.

    Attributes:
        config: The run.
        console: The terminal.
        command: Command line that started the run, for the report; decides no result.
    """

    config: RunConfig
    console: RunConsole
    command: str = ""

    def find_or_make(self, request: Request, store: Path | None = None) -> Path:
        """Return the artifact of a stage, by default in the run's folder of artifacts."""
        compute, data_dir = self.config.compute, self.config.data_dir
        means = Means(
            self.console,
            cache_dir=data_dir / VIEW_CACHE,
            n_workers=compute.n_workers,
            device=compute.device,
            max_failed_share=compute.max_failed_share,
        )
        return find_or_make(request, store or data_dir, means)


@task(task_run_name="ingest", cache_policy=NO_CACHE, persist_result=False)
def ingest(run: Run) -> Path:
    """Collect the films, audit them and split them by patient; the artifact is a film set."""
    return run.find_or_make(run.config.data)


@task(task_run_name="find text", cache_policy=NO_CACHE, persist_result=False)
def find_text(run: Run, filmset: Path) -> Path:
    """Look for burned-in text on every film of every split; the artifact holds regions.jsonl."""
    regions = run.find_or_make(RegionsRequest(filmset, run.config.text))
    for line in describe_regions(regions, filmset):
        run.console.say(line)
    return regions


@task(cache_policy=NO_CACHE, persist_result=False)
def make_arm(run: Run, arm: str, filmset: Path, regions: Path) -> Path:
    """Make the films on which an arm trains: COVIDx++, or its placebo."""
    config = run.config
    make = MADE_ARMS[arm].request
    return run.find_or_make(make(filmset, regions, config.cleaning, config.run_seed))


@task(task_run_name="prove the cleaning", cache_policy=NO_CACHE, persist_result=False)
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


@task(cache_policy=NO_CACHE, persist_result=False)
def train(run: Run, filmset: Path, seed: int, on_epoch: Callable[[EpochMetrics], None]) -> Path:
    """Train one classifier; the artifact is its checkpoint of the best validation epoch."""
    config = run.config
    return run.find_or_make(TrainRequest(filmset, config.training, config.view, seed, on_epoch))


@task(cache_policy=NO_CACHE, persist_result=False)
def audit(
    run: Run, checkpoint: Path, filmset: Path, regions: Path, *, with_maps: bool = True
) -> Path:
    """Test whether text drives the predictions of a model on the test films."""
    config = run.config
    params = config.audit if with_maps else replace(config.audit, max_explained=0)
    return run.find_or_make(AuditRequest(checkpoint, filmset, regions, params, config.run_seed))


@task(task_run_name="calibrate", cache_policy=NO_CACHE, persist_result=False)
def calibrate(run: Run, audited: Path, checkpoint: Path, filmset: Path) -> Path:
    """Hold the audit's flags against known truth, where there is one."""
    return run.find_or_make(CalibrationRequest(audited, checkpoint, filmset))


@task(task_run_name="lay markers", cache_policy=NO_CACHE, persist_result=False)
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


@task(task_run_name="compare", cache_policy=NO_CACHE, persist_result=False)
def compare(
    run: Run, checkpoints: Mapping[tuple[str, int], Path], filmsets: Mapping[str, Path]
) -> Path:
    """Test every model on every version of the test films."""
    return run.find_or_make(
        ComparisonRequest(checkpoints, filmsets, run.config.run_seed, with_twins=True)
    )


@task(task_run_name="confounds", cache_policy=NO_CACHE, persist_result=False)
def confounds(run: Run, filmset: Path, regions: Path) -> Path:
    """Test models that never see a lung."""
    config = run.config
    return run.find_or_make(ConfoundsRequest(filmset, regions, config.view, config.run_seed))


@task(task_run_name="map shortcuts", cache_policy=NO_CACHE, persist_result=False)
def shortcuts(
    run: Run, checkpoints: Sequence[Path], filmset: Path, regions: Path, cleaned: Path
) -> Path:
    """Rank what films carry by how far the models of an arm rely on it."""
    request = ShortcutsRequest(
        tuple(checkpoints), filmset, regions, cleaned, run_seed=run.config.run_seed
    )
    return run.find_or_make(request)


@task(task_run_name="report", cache_policy=NO_CACHE, persist_result=False)
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
