"""`covid-debug`: every stage and the whole loop from the command line.

Parses arguments, prints results and turns errors into one line; the work is done elsewhere. Heavy
modules are imported inside the commands so that `--help` stays quick.
"""

# ruff: noqa: PLC0415

import re
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer
from typer.exceptions import TyperException

from covid_debug.cli.failures import (
    INTERRUPTED,
    TERMINATED,
    describe_failure,
    find_interruption,
    termination_raised,
)
from covid_debug.cli.neighbours import DEMO_CONFIG, IS_CHECKOUT, check_own, is_own
from covid_debug.cli.options import (
    CheckpointOption,
    DataOption,
    DeviceOption,
    FactoryOption,
    OutOption,
    SeedOption,
    WorkersOption,
    check_data_dir,
    check_new_folder,
)
from covid_debug.errors import ConfigError
from covid_debug.optional import require

if TYPE_CHECKING:
    from covid_debug.config.schema import RunConfig

app = typer.Typer(
    name="covid-debug",
    help="Find text-driven predictions of chest radiograph classifiers, test them, clean the films."
    " A research tool, not for clinical use.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

if IS_CHECKOUT and is_own("benchmarks"):
    from benchmarks.cli import bench_app

    app.add_typer(bench_app, name="bench")
else:

    @app.command(
        "bench", context_settings={"ignore_unknown_options": True, "allow_extra_args": True}
    )
    def _refuse_bench() -> None:
        """Measure the parts; only in a checkout, which holds the yardsticks and annotations."""
        if IS_CHECKOUT:
            check_own("benchmarks")
        raise ConfigError(
            "bench: what it measures with is not installed; call it in a checkout of the project"
        )


def main() -> None:
    """Run the command line; exit code 0 only on success; a mendable error is one line."""
    try:
        code = app(prog_name="covid-debug", standalone_mode=False)
    except TyperException as error:
        _refuse(error)
    except SystemExit:
        raise
    except BaseException as error:
        code = find_interruption(error)
        if code is None:
            line = describe_failure(error)
            if line is None:
                raise
            typer.echo(f"error: {line}", err=True)
            sys.exit(1)
    if code in {INTERRUPTED, TERMINATED}:  # Typer returns the first by itself
        typer.echo("interrupted; finished stages are kept, start again to go on", err=True)
    if code:
        sys.exit(code)


def _refuse(error: TyperException) -> NoReturn:
    """Say in one line what is wrong with the arguments; without arguments, show the help."""
    message, context = error.format_message(), getattr(error, "ctx", None)
    if "\n" in message:
        typer.echo(message, err=True)
    else:
        hint = f" (see {context.command_path} --help)" if context else ""
        typer.echo(f"error: {message.rstrip('.')}{hint}", err=True)
    sys.exit(error.exit_code)


def _show_version(is_wanted: bool) -> None:
    if is_wanted:
        from importlib.metadata import version

        from covid_debug.artifacts import describe_code

        release, code = f"covid_debug {version('covid_debug')}", describe_code()
        commit = "" if code == release else f" (commit {code})"
        typer.echo(f"covid-debug {version('covid_debug')}{commit}")
        raise typer.Exit


@app.callback()
def _choose(
    _version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Show the version and end."
        ),
    ] = False,
) -> None:
    pass


# --------------------------------------------------------------------------- the whole loop


@app.command()
def demo(
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder of this demo's data and report.")
    ] = None,
) -> None:
    """Run the whole loop on embedded phantom radiographs (minutes on 2 cores)."""
    overrides = [] if out is None else [f"data_dir={out}/data", f"reports_dir={out}/reports"]
    _run(DEMO_CONFIG, overrides)


@app.command()
def run(
    config: Annotated[Path, typer.Argument(help="YAML file, e.g. configs/covidx.yaml.")],
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override one value.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Folder of the reports.")] = None,
) -> None:
    """Run the whole loop of a configuration; a second start resumes a killed run."""
    extra = [] if out is None else [f"reports_dir={out}"]
    _run(config, [*(overrides or []), *extra])


def _run(config_path: Path, overrides: list[str]) -> None:
    check_own("flows")
    require("prefect", "mlflow", purpose="a run of the whole loop")
    from covid_debug.config.loader import load_config
    from covid_debug.places import hold_store
    from covid_debug.preflight.checks import check_run
    from flows.server import configure_environment, prefect_server

    config = load_config(config_path, overrides)
    check_run(config)
    with termination_raised(), hold_store(config.data_dir):
        configure_environment(config.data_dir)
        with prefect_server():
            _run_flow(config)


def _run_flow(config: "RunConfig") -> None:
    from prefect import tags

    from covid_debug.cli.stopwatch import Stopwatch
    from covid_debug.terminal import RunConsole, format_duration
    from flows.debug_covidx import count_stages, debug_covidx

    console = RunConsole(count_stages(config))
    console.headline(f"covid-debug: {config.name} (research tool, not for clinical use)")
    watch = Stopwatch()
    with tags("covid-debug", config.name):
        outcome = debug_covidx(config, console, _command_line())
    console.headline(
        f"\nFinished in {format_duration(watch.elapsed_s)},"
        f" peak memory {watch.peak_memory_gb:.1f} GB"
    )
    for line in outcome.headlines:
        console.rich.print(f"  {line}", markup=False)
    console.rich.print(f"\nReport:    {outcome.run_dir / 'report.html'}", markup=False)
    console.rich.print(f"Tables:    {outcome.run_dir}/comparison.csv, flags.csv, summary.json")
    console.rich.print(
        f"Dashboard: run `covid-debug ui`, then open {outcome.mlflow_url}", markup=False
    )


def _command_line() -> str:
    """Return the command as it was given, quoted for a shell, without the passwords in it."""
    line = shlex.join(["covid-debug", *sys.argv[1:]])
    return re.sub(r"(://[^/:@\s]*:)[^/@\s]+@", r"\1***@", line)


@app.command()
def ui(
    data_dir: Annotated[
        Path,
        typer.Option(
            "--data-dir", help="Folder of artifacts of the runs.", callback=check_data_dir
        ),
    ] = Path("data"),
    tracking_uri: Annotated[
        str | None, typer.Option("--tracking-uri", help="MLflow store; default ./mlflow.db.")
    ] = None,
    mlflow_port: Annotated[int, typer.Option(help="Port of MLflow.")] = 5000,
    prefect_port: Annotated[int, typer.Option(help="Port of Prefect.")] = 4200,
) -> None:
    """Serve MLflow and Prefect on localhost until interrupted; prints the addresses."""
    from covid_debug.terminal import alive

    check_own("flows")
    require("prefect", "mlflow", purpose="the pages of MLflow and Prefect")
    from flows.server import configure_environment

    typer.echo(f"Starting MLflow and Prefect ({data_dir.resolve()}); takes tens of seconds ...")
    configure_environment(data_dir)
    with alive("loading"):
        from covid_debug.cli.ui import serve

    serve(data_dir, tracking_uri, mlflow_port=mlflow_port, prefect_port=prefect_port)


@app.command()
def plan(
    config: Annotated[Path, typer.Argument(help="YAML file.")],
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override one value.")
    ] = None,
) -> None:
    """Say what a run will cost before anything runs: films, evaluations, hours, disk, memory."""
    from covid_debug.config.loader import load_config
    from covid_debug.preflight.costs import describe_plan

    for line in describe_plan(load_config(config, overrides or [])):
        typer.echo(line)


# --------------------------------------------------------------------------- single stages


@app.command()
def phantom(
    out: OutOption,
    n_train: Annotated[int, typer.Option("--n-train", min=1)],
    n_test: Annotated[int, typer.Option("--n-test", min=1)],
    seed: SeedOption = 0,
    text_correlation: Annotated[float, typer.Option("--text-correlation", min=0, max=1)] = 0.9,
) -> None:
    """Generate phantom radiographs with known text and known causal effect."""
    from covid_debug.data.phantom import generate_phantom
    from covid_debug.terminal import RunConsole

    console = RunConsole()
    with console.progress("films") as progress:
        films = generate_phantom(
            out,
            n_train=n_train,
            n_test=n_test,
            seed=seed,
            text_correlation=text_correlation,
            progress=progress,
        )
    console.say(f"{len(films.films)} films in {out}")


@app.command()
def ingest(
    out: OutOption,
    source: Annotated[
        list[str] | None,
        typer.Option("--source", metavar="NAME=DIR", help="cohen, fig1, actmed, nih or rsna."),
    ] = None,
    covidx: Annotated[Path | None, typer.Option("--covidx", help="Folder with train/, test/.")] = (
        None
    ),
    train_list: Annotated[
        Path | None, typer.Option("--train-list", help="Leave out for an external test set.")
    ] = None,
    test_list: Annotated[Path | None, typer.Option("--test-list", help="COVIDx split file.")] = (
        None
    ),
    seed: SeedOption = 0,
    val_share: Annotated[float, typer.Option("--val-share", min=0.01, max=0.5)] = 0.1,
    test_share: Annotated[float, typer.Option("--test-share", min=0.01, max=0.5)] = 0.2,
    max_failed_share: Annotated[
        float,
        typer.Option(
            "--max-failed-share", min=0, max=1, help="Refuse when a larger share is unusable."
        ),
    ] = 0.05,
) -> None:
    """Build a data set from public sources or a COVIDx folder, and audit it."""
    from covid_debug.data.ingest import ingest_covidx, ingest_sources
    from covid_debug.data.integrity import load_ingest_audit
    from covid_debug.terminal import RunConsole

    console = RunConsole()
    if covidx is not None and test_list is not None and not source:
        with console.progress("films") as progress:
            ingest_covidx(
                covidx,
                train_list,
                test_list,
                out,
                seed=seed,
                val_share=val_share,
                max_failed_share=max_failed_share,
                progress=progress,
            )
    elif source and covidx is None:
        folders = _parse_pairs(source, "--source")
        with console.progress("films") as progress:
            ingest_sources(
                folders,
                out,
                seed=seed,
                val_share=val_share,
                test_share=test_share,
                max_failed_share=max_failed_share,
                progress=progress,
            )
    else:
        raise typer.BadParameter(
            "give either --source NAME=DIR (once per source) or --covidx with --test-list"
        )
    console.say(load_ingest_audit(out).render_markdown())
    console.say(f"data set: {out}")


def _parse_pairs(pairs: list[str], option: str) -> dict[str, Path]:
    result = {}
    for pair in pairs:
        name, sign, folder = pair.partition("=")
        if not sign or not name or not folder:
            raise typer.BadParameter(f"{option} {pair!r}: expected NAME=DIR")
        if name in result:
            raise typer.BadParameter(f"{option} {pair!r}: {name!r} is given twice")
        result[name] = Path(folder)
    return result


@app.command()
def train(
    data: DataOption,
    out: OutOption,
    arch: Annotated[str, typer.Option("--arch", help="covidnet, resnet18, ...")] = "covidnet",
    seed: SeedOption = 0,
    image_size: Annotated[int, typer.Option("--image-size", min=16)] = 224,
    n_epochs: Annotated[int, typer.Option("--epochs", min=1)] = 15,
    shuffle_labels: Annotated[
        bool,
        typer.Option("--shuffle-labels", help="Control for bench saliency: labels dealt out anew."),
    ] = False,
    device: DeviceOption = "cpu",
) -> None:
    """Train a classifier on a data set."""
    from covid_debug.data.filmset import load_filmset
    from covid_debug.imaging.geometry import ViewSpec
    from covid_debug.models.devices import find_device
    from covid_debug.terminal import RunConsole
    from covid_debug.training.params import TrainingParams
    from flows.training import train_on_filmset

    find_device(device)
    console = RunConsole()
    with console.progress("epochs") as progress:
        train_on_filmset(
            load_filmset(data),
            TrainingParams(arch=arch, n_epochs=n_epochs, shuffle_labels=shuffle_labels),
            ViewSpec(image_size=image_size),
            seed=seed,
            cache_dir=out.parent / "views",
            out=out,
            inputs={"filmset": data.name},
            device=device,
            on_epoch=lambda metrics: progress(metrics.epoch, metrics.n_epochs),
        )
    console.say(f"checkpoint: {out}")


@app.command(name="detect-text")
def detect_text(
    images: Annotated[list[Path] | None, typer.Argument(help="Image files or folders.")] = None,
    data: Annotated[Path | None, typer.Option("--data", help="Or a data set or folder.")] = None,
    detector: Annotated[str, typer.Option("--detector")] = "default",
    out: Annotated[Path, typer.Option("--out", help="JSON lines to write.")] = Path(
        "regions.jsonl"
    ),
    read: Annotated[
        bool,
        typer.Option("--read", help="Also read the characters: for clean --policy keep, replace."),
    ] = False,
    workers: WorkersOption = 2,
) -> None:
    """Find burned-in text; writes one line an image, also for images that cannot be read."""
    from covid_debug.cli.films import collect_films
    from covid_debug.imaging.regions import iter_regions
    from covid_debug.terminal import RunConsole
    from covid_debug.text.scan import scan_to_file

    console = RunConsole()
    pairs = collect_films(images or [], data, console)
    params = {"read_content": True} if read else {}
    with console.progress("films") as progress:
        scan_to_file(pairs, out, detector, params, n_workers=workers, progress=progress)
    n_regions = n_failed = 0
    for film in iter_regions(out):
        n_regions += len(film.regions)
        if film.error is not None:
            n_failed += 1
            console.say(f"not read: {film.error}")
    console.say(f"{n_regions} regions on {len(pairs) - n_failed} of {len(pairs)} films: {out}")


@app.command()
def explain(
    checkpoint: CheckpointOption,
    out: OutOption,
    images: Annotated[list[Path] | None, typer.Argument(help="Image files or folders.")] = None,
    data: Annotated[Path | None, typer.Option("--data", help="Or a data set: test films.")] = None,
    method: Annotated[str, typer.Option("--method")] = "igos_pp",
    grid: Annotated[int, typer.Option("--grid", min=2, help="Mask grid, cells a side.")] = 32,
    target_layer: Annotated[
        str | None,
        typer.Option("--target-layer", help="Layer of grad_cam; default: the last with maps."),
    ] = None,
    target: Annotated[
        str | None, typer.Option("--target", help="Class to explain; default: the predicted one.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="At most so many films.")] = 32,
    seed: SeedOption = 0,
    device: DeviceOption = "cpu",
    factory: FactoryOption = None,
) -> None:
    """Write saliency maps, overlays and their deletion and insertion scores."""
    from covid_debug.cli.explaining import explain_films
    from covid_debug.terminal import RunConsole

    explain_films(
        checkpoint,
        out,
        images=images or [],
        data=data,
        method=method,
        grid=grid,
        target_layer=target_layer,
        target=target,
        limit=limit,
        seed=seed,
        device=device,
        factory=factory,
        console=RunConsole(),
    )


@app.command()
def audit(
    checkpoint: CheckpointOption,
    data: DataOption,
    out: OutOption,
    regions: Annotated[
        Path | None, typer.Option("--regions", help="From detect-text; default: detect now.")
    ] = None,
    target: Annotated[str, typer.Option("--target", help="Audited class.")] = "COVID-19",
    calibrate: Annotated[
        bool,
        typer.Option(
            "--calibrate", help="Also plant text of known effect; writes OUT-power beside OUT."
        ),
    ] = False,
    seed: SeedOption = 0,
    workers: WorkersOption = 2,
    device: DeviceOption = "cpu",
    factory: FactoryOption = None,
) -> None:
    """Test whether burned-in text drives the predictions of a checkpoint."""
    from covid_debug.terminal import RunConsole
    from flows.auditing import audit_checkpoint

    audit_checkpoint(
        checkpoint,
        data,
        out,
        regions=regions,
        target=target,
        calibrate=calibrate,
        seed=seed,
        n_workers=workers,
        device=device,
        factory=factory,
        console=RunConsole(),
    )


@app.command()
def clean(
    data: DataOption,
    out: Annotated[
        Path, typer.Option("--out", help="Folder to create; with --verify, the COVIDx++ there.")
    ],
    regions: Annotated[
        Path | None, typer.Option("--regions", help="JSON lines from detect-text.")
    ] = None,
    policy: Annotated[str, typer.Option(help="Side markers: remove, keep or replace.")] = "remove",
    method: Annotated[
        str, typer.Option(help="Fill: telea, transplant, navier_stokes, ...")
    ] = "telea",
    mask_shape: Annotated[str, typer.Option(help="What is filled: glyphs or box.")] = "glyphs",
    decoy_sets: Annotated[
        int, typer.Option(help="Fill every film at the places of so many films; needs box.")
    ] = 0,
    dilation: Annotated[
        int, typer.Option(help="Pixels by which masks grow; 6 also covers halos.")
    ] = 3,
    grain: Annotated[bool, typer.Option("--grain", help="Lay texture over the fills.")] = False,
    decisions: Annotated[
        Path | None, typer.Option("--decisions", help="Reviewers' decisions from the report.")
    ] = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Check the COVIDx++ that stands at --out instead.")
    ] = False,
    workers: WorkersOption = 2,
) -> None:
    """Inpaint every text region of every film: COVIDx++."""
    from covid_debug.cleaning.film import CleaningParams
    from covid_debug.terminal import RunConsole
    from flows.cleaning import clean_data_set, verify_data_set

    if verify:
        verify_data_set(data, out, n_workers=workers, console=RunConsole())
        return
    check_new_folder(out)
    if regions is None:
        raise typer.BadParameter("--regions is needed to clean; make it with detect-text")
    clean_data_set(
        data,
        regions,
        out,
        CleaningParams(
            policy=policy,  # type: ignore[arg-type]
            method=method,
            mask_shape=mask_shape,  # type: ignore[arg-type]
            decoy_sets=decoy_sets,
            dilation_px=dilation,
            grain=grain,
        ),
        decisions=decisions,
        n_workers=workers,
        console=RunConsole(),
    )


@app.command()
def diff(
    first: Annotated[Path, typer.Argument(help="A COVIDx++ folder.")],
    second: Annotated[Path, typer.Argument(help="Another one.")],
) -> None:
    """Say how two COVIDx++ builds differ: parameters, films, regions, pixels."""
    from covid_debug.terminal import RunConsole
    from flows.cleaning import diff_data_sets

    diff_data_sets(first, second, RunConsole())


@app.command()
def prove(
    data: DataOption,
    cleaned: Annotated[Path, typer.Option("--cleaned", help="Folder of the COVIDx++ to prove.")],
    out: OutOption,
    detector: Annotated[
        str | None,
        typer.Option("--detector", help="Second detector; by default one that took no part."),
    ] = None,
    seed: SeedOption = 0,
    workers: WorkersOption = 2,
) -> None:
    """Check a COVIDx++: make every film again, scan for text again, probe for inpainting scars."""
    from covid_debug.terminal import RunConsole
    from flows.proving import prove_data_set

    prove_data_set(data, cleaned, detector, out, seed=seed, n_workers=workers, console=RunConsole())


@app.command()
def compare(
    arm: Annotated[
        list[str], typer.Option("--arm", metavar="NAME=CHECKPOINT", help="One name 'original'.")
    ],
    data: Annotated[list[str], typer.Option("--data", metavar="NAME=DIR")],
    out: OutOption,
    seed: SeedOption = 0,
    device: DeviceOption = "cpu",
    factory: FactoryOption = None,
) -> None:
    """Test several checkpoints on several versions of the test films, with paired tests."""
    from flows.comparing import compare_checkpoints

    compare_checkpoints(
        _parse_pairs(arm, "--arm"),
        _parse_pairs(data, "--data"),
        out,
        seed=seed,
        device=device,
        factory=factory,
    )


@app.command()
def report(
    run_dir: Annotated[Path, typer.Option("--run", help="Folder of a finished run.")],
    decisions: Annotated[
        Path | None, typer.Option("--decisions", help="Reviewers' decisions to show.")
    ] = None,
) -> None:
    """Write the report of a finished run again, with the reviewers' decisions in it."""
    from flows.recording import rewrite_report

    typer.echo(f"report: {rewrite_report(run_dir, decisions)}")


if __name__ == "__main__":
    main()
