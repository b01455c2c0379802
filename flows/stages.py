"""One Prefect task per stage: read artifacts, call the library, write an artifact, return its path.

Every stage is content-addressed: its folder is named after its code version, parameters and inputs,
so a finished stage is found again by any later run. A killed one leaves no artifact: a scan for
text and a cleaning go on from their last film, the others start over. Prefect's own cache is off;
the artifacts are the only truth.
"""

import json
import shutil
import uuid
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from prefect import task
from prefect.cache_policies import NO_CACHE

from covid_debug.artifacts import (
    MANIFEST_NAME,
    artifact_key,
    find_damage,
    hash_listing,
    is_complete,
    read_manifest,
    remove_partials,
    write_artifact,
)
from covid_debug.audit.calibration import calibrate
from covid_debug.audit.confounds import compute_confounds
from covid_debug.audit.pipeline import AuditPlan, audit_filmset
from covid_debug.cleaning.build import clean_filmset
from covid_debug.cleaning.placebo import placebo_regions
from covid_debug.cleaning.proof import PROOF_KIND, read_proof
from covid_debug.cleaning.scar import ProbeParams
from covid_debug.config.schema import CovidxData, PhantomData, RunConfig, SourceData
from covid_debug.data.counterfactuals import load_counterfactuals
from covid_debug.data.filmset import FilmSet, load_filmset
from covid_debug.data.ingest import ingest_covidx, ingest_sources
from covid_debug.data.phantom import generate_phantom
from covid_debug.errors import ArtifactError, DataIntegrityError
from covid_debug.evaluation.comparison import (
    compare_arms,
    predict_test_films,
    write_comparison,
    write_predictions,
)
from covid_debug.imaging.regions import iter_regions, read_regions
from covid_debug.models.checkpoint import load_checkpoint
from covid_debug.models.devices import describe_device
from covid_debug.terminal import RunConsole
from covid_debug.text.catalog import build_detector, choose_second, members_of
from covid_debug.text.scan import scan_to_file
from covid_debug.text.statistics import count_by_group
from covid_debug.training.params import EpochMetrics
from flows.proving import prove_with, show_proof
from flows.training import train_on_filmset

# Raise a number when a change of code changes what the stage writes.
CODE_VERSION = {
    "filmset": 2,
    "regions": 5,
    "cleaned": 4,
    "placebo": 4,
    "cleaning-proof": 3,
    "checkpoint": 1,
    "audit": 4,
    "comparison": 2,
}
VIEW_CACHE = "views"
REGIONS_NAME = "regions.jsonl"


@dataclass(frozen=True)
class Workbench:
    """What every stage needs besides its inputs.

    Attributes:
        config: The run.
        console: The terminal.
        command: Command line that started the run, for the report; decides no result.
    """

    config: RunConfig
    console: RunConsole
    command: str = ""

    @property
    def store(self) -> Path:
        """Folder of artifacts."""
        return self.config.data_dir

    @property
    def view_cache(self) -> Path:
        """Folder of decoded views."""
        return self.store / VIEW_CACHE


def find_or_make(
    bench: Workbench,
    stage: str,
    parameters: object,
    inputs: Mapping[str, str],
    make: Callable[[Path], object],
) -> Path:
    """Return the artifact of a stage, making it only when no intact one stands in the store.

    Args:
        bench: The run.
        stage: Name in :data:`CODE_VERSION`.
        parameters: Everything that decides the content besides the inputs.
        inputs: Role -> name of an artifact that goes in.
        make: Writes the artifact at the path it is given.

    Returns:
        Folder of the artifact.
    """
    key = artifact_key(stage, CODE_VERSION[stage], parameters, dict(inputs))
    kind = "filmset" if stage in {"cleaned", "placebo"} else stage
    return make_if_needed(bench, bench.store / key, kind, make)


def make_if_needed(
    bench: Workbench, target: Path, kind: str, make: Callable[[Path], object]
) -> Path:
    """Make an artifact unless an intact one stands at its place.

    Args:
        bench: The run.
        target: Folder of the artifact, named after its content.
        kind: What its manifest must say.
        make: Writes the artifact at the path it is given.

    Returns:
        ``target``.

    Raises:
        ArtifactError: If the stage reports success without leaving an artifact.
    """
    if is_complete(target):
        damaged = find_damage(target, kind=kind)
        if not damaged:
            bench.console.say(f"found finished: {target}")
            return target
        bench.console.warn(f"{target}: {len(damaged)} files differ from the manifest; making again")
        _discard(target, kind)
    make(target)
    if not is_complete(target):
        raise ArtifactError(f"{target}: the stage ended without its artifact")
    return target


def _discard(target: Path, kind: str) -> None:
    """Delete a damaged artifact, or put it aside when it holds files that no stage wrote."""
    own = {MANIFEST_NAME, *read_manifest(target, kind=kind)["files"]}
    files = (path for path in target.rglob("*") if path.is_file())
    if all(str(path.relative_to(target)) in own for path in files):
        shutil.rmtree(target)
    else:
        target.rename(target.with_name(f"{target.name}.damaged-{uuid.uuid4().hex[:8]}"))


def prepare_folders(config: RunConfig) -> None:
    """Create the folders of artifacts and reports and clear what killed runs left half-written."""
    for folder in (config.data_dir, config.reports_dir):
        folder.mkdir(parents=True, exist_ok=True)
        remove_partials(folder)


@task(task_run_name="ingest", cache_policy=NO_CACHE, persist_result=False)
def ingest(bench: Workbench) -> Path:
    """Collect the films, audit them and split them by patient; the artifact is a film set."""
    data = bench.config.data
    match data:
        case PhantomData():
            inputs: dict[str, str] = {}
        case SourceData():
            inputs = {name: hash_listing(folder) for name, folder in data.sources.items()}
        case CovidxData():
            inputs = {
                "folder": hash_listing(data.folder),
                "train_list": hash_listing(data.train_list),
                "test_list": hash_listing(data.test_list),
            }

    def make(target: Path) -> None:
        with bench.console.progress("films") as progress:
            match data:
                case PhantomData():
                    generate_phantom(
                        target,
                        n_train=data.n_train,
                        n_test=data.n_test,
                        seed=data.seed,
                        text_correlation=data.text_correlation,
                        val_share=data.val_share,
                        progress=progress,
                    )
                case SourceData():
                    ingest_sources(
                        data.sources,
                        target,
                        seed=data.seed,
                        val_share=data.val_share,
                        test_share=data.test_share,
                        max_failed_share=bench.config.compute.max_failed_share,
                        progress=progress,
                    )
                case CovidxData():
                    ingest_covidx(
                        data.folder,
                        data.train_list,
                        data.test_list,
                        target,
                        seed=data.seed,
                        val_share=data.val_share,
                        max_failed_share=bench.config.compute.max_failed_share,
                        progress=progress,
                    )

    folder = find_or_make(bench, "filmset", data, inputs, make)
    check_failures(bench.config, load_filmset(folder))
    return folder


def check_failures(config: RunConfig, filmset: FilmSet) -> None:
    """Stop when too many films of a set failed.

    Raises:
        DataIntegrityError: Naming the set and the list of the failed films.
    """
    n_failed = filmset.n_total - len(filmset.films)
    limit = config.compute.max_failed_share
    if n_failed > limit * filmset.n_total:
        raise DataIntegrityError(
            f"{filmset.root}: {n_failed} of {filmset.n_total} films cannot be used, more than the"
            f" tolerated share {limit:g}; see unusable.csv there, or raise"
            " compute.max_failed_share"
        )


@task(task_run_name="find text", cache_policy=NO_CACHE, persist_result=False)
def detect_text(bench: Workbench, filmset_dir: Path) -> Path:
    """Look for burned-in text on every film of every split; the artifact holds regions.jsonl."""
    filmset = load_filmset(filmset_dir)
    text = bench.config.text

    def make(target: Path) -> None:
        pairs = [(film.image_id, filmset.file_of(film)) for film in filmset.films]
        with (
            write_artifact(
                target, kind="regions", parameters=text, inputs={"filmset": filmset_dir.name}
            ) as draft,
            bench.console.progress("films") as progress,
        ):
            # Beside the artifact, so that a killed scan goes on from its last film.
            lines = target.with_name(f".{target.name}.jsonl")
            scan_to_file(
                pairs,
                lines,
                text.detector,
                text.params,
                n_workers=bench.config.compute.n_workers,
                progress=progress,
            )
            counts: Counter[str] = Counter()
            for line in iter_regions(lines):
                counts.update(
                    n_ok=line.error is None,
                    n_with_text=bool(line.regions),
                    n_regions=len(line.regions),
                )
            draft.facts |= {"n_total": len(pairs), **counts}
            lines.replace(draft.path / REGIONS_NAME)

    # The default detector uses the members whose weights are there: its resolved parameters count.
    parameters = {"text": text, "resolved": build_detector(text.detector, **text.params).params}
    folder = find_or_make(bench, "regions", parameters, {"filmset": filmset_dir.name}, make)
    facts = read_manifest(folder, kind="regions")["facts"]
    bench.console.say(
        f"{facts['n_regions']} text regions on {facts['n_with_text']} of {facts['n_total']} films"
        f" ({facts['n_total'] - facts['n_ok']} unreadable)"
    )
    records = read_regions(folder / REGIONS_NAME).values()
    _, *sources = count_by_group(records, {film.image_id: film.source for film in filmset.films})
    for source in sources:
        bench.console.say(source.describe())
    return folder


@task(task_run_name="clean", cache_policy=NO_CACHE, persist_result=False)
def clean(bench: Workbench, filmset_dir: Path, regions_dir: Path) -> Path:
    """Inpaint every text region of every film: COVIDx++."""
    params = bench.config.cleaning
    inputs = {"filmset": filmset_dir.name, "regions": regions_dir.name}

    def make(target: Path) -> None:
        with bench.console.progress("films") as progress:
            clean_filmset(
                load_filmset(filmset_dir),
                read_regions(regions_dir / REGIONS_NAME),
                params,
                target,
                inputs=inputs,
                n_workers=bench.config.compute.n_workers,
                progress=progress,
                detection=read_manifest(regions_dir, kind="regions")["parameters"],
            )

    folder = find_or_make(bench, "cleaned", params, inputs, make)
    check_failures(bench.config, load_filmset(folder))
    return folder


@task(task_run_name="prove the cleaning", cache_policy=NO_CACHE, persist_result=False)
def prove(bench: Workbench, filmset_dir: Path, cleaned_dir: Path) -> Path:
    """Look for text that is left and for scars on a sample of the cleaned films."""
    config = bench.config
    used = members_of(build_detector(config.text.detector, **config.text.params))
    second = build_detector(choose_second(used))
    params = ProbeParams(max_films=config.proof.max_films, seed=config.seeds[0])
    inputs = {"filmset": filmset_dir.name, "cleaned": cleaned_dir.name}

    def make(target: Path) -> None:
        with bench.console.progress("films") as progress:
            prove_with(
                second.name,
                load_filmset(filmset_dir),
                load_filmset(cleaned_dir),
                target,
                made_with=used,
                params=params,
                is_sample=True,
                inputs=inputs,
                n_workers=config.compute.n_workers,
                progress=progress,
            )

    parameters = {"probe": params, "detector": second.name, "resolved": second.params}
    folder = find_or_make(bench, PROOF_KIND, parameters, inputs, make)
    show_proof(read_proof(folder), bench.console)
    return folder


@task(task_run_name="clean the placebo", cache_policy=NO_CACHE, persist_result=False)
def clean_placebo(bench: Workbench, filmset_dir: Path, regions_dir: Path) -> Path:
    """Inpaint as many, equally large places without text: the placebo arm."""
    params = bench.config.cleaning
    inputs = {"filmset": filmset_dir.name, "regions": regions_dir.name}

    def make(target: Path) -> None:
        filmset = load_filmset(filmset_dir)
        regions = read_regions(regions_dir / REGIONS_NAME)
        with bench.console.progress("films") as progress:
            clean_filmset(
                filmset,
                placebo_regions(filmset, regions, seed=bench.config.seeds[0]),
                params,
                target,
                inputs=inputs,
                n_workers=bench.config.compute.n_workers,
                progress=progress,
                shapes_from=regions,
                name=f"{filmset.name}-placebo",
            )

    return find_or_make(
        bench, "placebo", {"params": params, "seed": bench.config.seeds[0]}, inputs, make
    )


@task(cache_policy=NO_CACHE, persist_result=False)
def train(
    bench: Workbench, filmset_dir: Path, seed: int, on_epoch: Callable[[EpochMetrics], None]
) -> Path:
    """Train one classifier; the artifact is its checkpoint of the best validation epoch."""
    config = bench.config
    inputs = {"filmset": filmset_dir.name}

    def make(target: Path) -> None:
        with bench.console.progress("epochs") as progress:

            def report(metrics: EpochMetrics) -> None:
                progress(metrics.epoch, metrics.n_epochs)
                on_epoch(metrics)

            train_on_filmset(
                load_filmset(filmset_dir),
                config.training,
                config.view,
                seed=seed,
                cache_dir=bench.view_cache,
                out=target,
                inputs=inputs,
                device=config.compute.device,
                on_epoch=report,
            )

    parameters = {"training": config.training, "view": config.view, "seed": seed}
    return find_or_make(bench, "checkpoint", parameters, inputs, make)


@task(task_run_name="audit", cache_policy=NO_CACHE, persist_result=False)
def audit(bench: Workbench, checkpoint_dir: Path, filmset_dir: Path, regions_dir: Path) -> Path:
    """Test whether text drives the predictions of the audited class on the test films."""
    config = bench.config
    inputs = {
        "checkpoint": checkpoint_dir.name,
        "filmset": filmset_dir.name,
        "regions": regions_dir.name,
    }

    def announce(plan: AuditPlan) -> None:
        for line in plan.describe():
            bench.console.say(line)

    def make(target: Path) -> None:
        filmset = load_filmset(filmset_dir)
        with bench.console.progress("films") as progress:
            audit_filmset(
                load_checkpoint(checkpoint_dir, device=config.compute.device),
                filmset,
                filmset.select("test"),
                read_regions(regions_dir / REGIONS_NAME),
                config.audit,
                run_seed=config.seeds[0],
                cache_dir=bench.view_cache,
                out=target,
                inputs=inputs,
                progress=progress,
                announce=announce,
            )

    parameters = {"audit": config.audit, "seed": config.seeds[0]}
    return find_or_make(bench, "audit", parameters, inputs, make)


@task(task_run_name="compare", cache_policy=NO_CACHE, persist_result=False)
def compare(
    bench: Workbench,
    checkpoints: Mapping[tuple[str, int], Path],
    filmsets: Mapping[str, Path],
    regions_dir: Path,
    audit_dir: Path,
) -> Path:
    """Test every model on every version of the test films, and the flags against known truth."""
    config = bench.config
    inputs = {f"checkpoint/{arm}/{seed}": path.name for (arm, seed), path in checkpoints.items()}
    inputs |= {f"filmset/{name}": path.name for name, path in filmsets.items()}
    inputs |= {"regions": regions_dir.name, "audit": audit_dir.name}

    def make(target: Path) -> None:
        original = load_filmset(filmsets["original"])
        versions = {
            "original": original,
            "cleaned": load_filmset(filmsets["cleaned"]),
            **load_counterfactuals(original),
        }
        answers = []
        with bench.console.progress("models x test sets") as progress:
            for (arm, seed), folder in checkpoints.items():
                model = load_checkpoint(folder, device=config.compute.device)
                for name, filmset in versions.items():
                    answers.append(
                        predict_test_films(
                            model,
                            filmset,
                            arm=arm,
                            seed=seed,
                            test_data=name,
                            cache_dir=bench.view_cache,
                        )
                    )
                    progress(len(answers), len(checkpoints) * len(versions))
        device = describe_device(config.compute.device)
        with write_artifact(target, kind="comparison", inputs=inputs, device=device) as draft:
            comparison = compare_arms(answers, original.class_names, seed=config.seeds[0])
            write_comparison(draft.path, comparison)
            write_predictions(draft.path / "predictions.csv", answers, original.class_names)
            confounds = compute_confounds(
                original,
                read_regions(regions_dir / REGIONS_NAME),
                seed=config.seeds[0],
                view=config.view,
                cache_dir=bench.view_cache,
            )
            for name, content in (
                ("confounds", confounds),
                ("calibration", calibrate(answers, audit_dir)),
            ):
                text = json.dumps(content, indent=1, allow_nan=False)
                (draft.path / f"{name}.json").write_text(text + "\n", encoding="utf-8")

    return find_or_make(bench, "comparison", {"seed": config.seeds[0]}, inputs, make)
