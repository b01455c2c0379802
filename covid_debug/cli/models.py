"""`covid-debug train`, `explain`, `audit`, `transfer`, `compare`, `report`: stages about models.

Heavy modules are imported inside the commands so that `--help` stays quick.
"""

# ruff: noqa: PLC0415

from pathlib import Path
from typing import Annotated

import typer

from covid_debug.cli.options import (
    CheckpointOption,
    DataOption,
    DeviceOption,
    FactoryOption,
    OutOption,
    SeedOption,
    ShardOption,
    WorkersOption,
    end_shard,
    parse_pairs,
    parse_shard,
    split_pairs,
)
from covid_debug.errors import InputContractError


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
    n_devices: Annotated[
        int,
        typer.Option("--devices", min=1, help="Devices or, of the CPU, processes that share it."),
    ] = 1,
) -> None:
    """Train a classifier on a data set."""
    from covid_debug.imaging.geometry import ViewSpec
    from covid_debug.stages import Means
    from covid_debug.terminal import RunConsole
    from covid_debug.training.checks import check_devices
    from covid_debug.training.params import TrainingParams
    from covid_debug.training.stage import TrainRequest

    training = TrainingParams(arch=arch, n_epochs=n_epochs, shuffle_labels=shuffle_labels)
    check_devices(device, n_devices, training.batch_size, where="--devices")
    console = RunConsole()
    request = TrainRequest(data, training, ViewSpec(image_size=image_size), seed)
    means = Means(console, out.parent / "views", device=device, n_devices=n_devices)
    request.make(out, means)
    console.say(f"checkpoint: {out}")


def explain(
    checkpoint: CheckpointOption,
    out: OutOption,
    images: Annotated[list[Path] | None, typer.Argument(help="Image files or folders.")] = None,
    data: Annotated[Path | None, typer.Option("--data", help="Or a data set: test films.")] = None,
    method: Annotated[str, typer.Option("--method")] = "igos_pp",
    grid: Annotated[int, typer.Option("--grid", min=2, help="Mask grid, cells a side.")] = 32,
    target_layer: Annotated[
        str | None,
        typer.Option(
            "--target-layer",
            help="Layer of grad_cam, grad_cam_pp and score_cam; default: the last with maps.",
        ),
    ] = None,
    target: Annotated[
        str | None, typer.Option("--target", help="Class to explain; default: the predicted one.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="At most so many films.")] = 32,
    seed: SeedOption = 0,
    device: DeviceOption = "cpu",
    factory: FactoryOption = None,
    shard: ShardOption = None,
) -> None:
    """Write saliency maps, overlays and their deletion and insertion scores."""
    from covid_debug.explaining import ExplainRequest
    from covid_debug.stages import Means
    from covid_debug.terminal import RunConsole

    console = RunConsole()
    request = ExplainRequest(
        checkpoint,
        tuple(images or ()),
        data,
        method=method,
        grid=grid,
        target_layer=target_layer,
        target=target,
        limit=limit,
        seed=seed,
        factory=factory,
    )
    means = Means(console, device=device, shard=parse_shard(shard))
    with end_shard(console, shard):
        explained = request.make(out, means)
    console.say(f"{len(explained.films)} films explained with {method}: {out}")


def audit(
    checkpoint: CheckpointOption,
    data: DataOption,
    out: OutOption,
    regions: Annotated[
        Path | None, typer.Option("--regions", help="From detect-text; default: detect now.")
    ] = None,
    target: Annotated[
        str | None,
        typer.Option("--target", help="Audit one class; default: every film for its prediction."),
    ] = None,
    kinds: Annotated[
        list[str] | None,
        typer.Option(
            "--kinds", metavar="KIND", help="Remove text of this kind only, e.g. side_marker."
        ),
    ] = None,
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
    shard: ShardOption = None,
) -> None:
    """Test whether burned-in text drives the predictions of a checkpoint."""
    from covid_debug.audit.describing import describe_audit
    from covid_debug.audit.pipeline import audit_filmset
    from covid_debug.audit.planning import AuditParams
    from covid_debug.audit.stage import AuditRequest, plant
    from covid_debug.models.devices import find_device
    from covid_debug.stages import Means
    from covid_debug.terminal import RunConsole

    find_device(device)
    console = RunConsole()
    views = out.parent / "views"
    means = Means(console, views, workers, device, shard=parse_shard(shard))
    chosen = {} if kinds is None else {"kinds": tuple(kinds)}
    params = AuditParams(target_class=target, **chosen)  # type: ignore[arg-type]  # checked there
    request = AuditRequest(checkpoint, data, regions, params, seed, factory)
    subject = request.load(means)
    with end_shard(console, shard):
        result = audit_filmset(subject, out, means, inputs=request.inputs())
    for line in describe_audit(result.summary):
        console.say(line)
    verdicts = result.summary.verdicts if result.summary.n_audited else {}
    for verdict, count in sorted(verdicts.items()):
        console.say(f"{verdict}: {count}")
    console.say(f"audit: {out}")
    if not calibrate:
        return
    power_out = out.with_name(f"{out.name}-power")
    power = plant(subject, power_out, means, request.inputs())
    for line in power.describe():
        console.say(line)
    console.say(f"power: {power_out}")


def transfer(
    checkpoint: Annotated[
        list[Path], typer.Option("--checkpoint", help="Checkpoint folder; repeat for more seeds.")
    ],
    data: DataOption,
    regions: Annotated[Path, typer.Option("--regions", help="From detect-text.")],
    out: OutOption,
    n_draws: Annotated[
        int, typer.Option("--draws", min=1, help="Markers of each group laid on every film.")
    ] = 4,
    seed: SeedOption = 0,
    workers: WorkersOption = 2,
    device: DeviceOption = "cpu",
    factory: FactoryOption = None,
) -> None:
    """Lay the markers of each source on films of the others: do they carry a label with them?"""
    from covid_debug.audit.transfer import TransferParams
    from covid_debug.audit.transfer_record import describe_transfer
    from covid_debug.audit.transfer_stage import TransferRequest
    from covid_debug.models.devices import find_device
    from covid_debug.stages import Means
    from covid_debug.terminal import RunConsole

    find_device(device)
    console = RunConsole()
    means = Means(console, out.parent / "views", n_workers=workers, device=device)
    params = TransferParams(n_draws=n_draws)
    request = TransferRequest(tuple(checkpoint), data, regions, params, seed, factory)
    for line in describe_transfer(request.make(out, means)):
        console.say(line)
    console.say(f"marker transfer: {out}")


def compare(
    arm: Annotated[
        list[str],
        typer.Option(
            "--arm",
            metavar="NAME=CHECKPOINT",
            help="One name 'original'; repeat a name for trainings with other seeds.",
        ),
    ],
    data: Annotated[
        list[str],
        typer.Option(
            "--data", metavar="NAME=DIR", help="Version of the test films; some classes will do."
        ),
    ],
    out: OutOption,
    seed: SeedOption = 0,
    device: DeviceOption = "cpu",
    factory: FactoryOption = None,
) -> None:
    """Test checkpoints on versions of the test films: the questions first, then the table."""
    from covid_debug.evaluation.comparison import BASE_ARM
    from covid_debug.evaluation.stage import ComparisonRequest
    from covid_debug.models.devices import find_device
    from covid_debug.reporting.answers import (
        list_train_test,
        write_answer,
        write_train_test,
        write_warnings,
    )
    from covid_debug.reporting.comparison import arrange_comparison
    from covid_debug.stages import Means
    from covid_debug.terminal import RunConsole

    find_device(device)
    checkpoints = collect_arms(arm)
    arms = list(dict.fromkeys(name for name, _ in checkpoints))
    if len(arms) > 1 and BASE_ARM not in arms:
        raise InputContractError(
            f"--arm: got {', '.join(arms)}; name the reference {BASE_ARM!r} so that the others can"
            " be compared with it"
        )
    console = RunConsole()
    request = ComparisonRequest(
        checkpoints,
        parse_pairs(data, "--data"),
        seed,
        factory=factory,
    )
    comparison = request.make(out, Means(console, out.parent / "views", device=device))
    table = arrange_comparison(comparison)
    lines = [*write_warnings(table.footing, table.arms), *map(write_answer, table.answers)]
    for line in [*lines, *write_train_test(list_train_test(table))]:
        console.say(line)
    console.say(f"tables: {out}")


def collect_arms(pairs: list[str]) -> dict[tuple[str, int], Path]:
    """Return arm and training seed -> checkpoint; weights without a seed count from 0.

    Args:
        pairs: NAME=CHECKPOINT, as given on the command line.

    Returns:
        The checkpoints, in order.

    Raises:
        InputContractError: If two of a name were trained with the same seed, or are the same.
    """
    from covid_debug.models.checkpoint import read_training_seed

    found: dict[tuple[str, int], Path] = {}
    given: set[tuple[str, Path]] = set()
    for name, folder in split_pairs(pairs, "--arm"):
        if (name, folder.resolve()) in given:
            raise InputContractError(f"--arm {name}={folder}: is given twice; give each seed once")
        given.add((name, folder.resolve()))
        seed = read_training_seed(folder)
        if seed is None:
            seed = next(n for n in range(len(pairs)) if (name, n) not in found)
        if (name, seed) in found:
            raise InputContractError(
                f"--arm {name}={folder}: was trained with seed {seed}, as {found[name, seed]} was;"
                " give trainings with different seeds, or another name"
            )
        found[name, seed] = folder
    return found


def report(
    run_dir: Annotated[Path, typer.Option("--run", help="Folder of a finished run.")],
    decisions: Annotated[
        Path | None, typer.Option("--decisions", help="Reviewers' decisions to show.")
    ] = None,
) -> None:
    """Write the report of a finished run again, with the reviewers' decisions in it."""
    from covid_debug.cleaning.decisions import count_disagreements, read_decisions
    from covid_debug.reporting.report import add_decisions

    lines = () if decisions is None else read_decisions(decisions)
    made = add_decisions(run_dir, lines)
    if n := count_disagreements(lines):
        typer.echo(
            f"{n} films or regions: reviewers of {decisions} differ, the last line is shown;"
            " see decisions agree"
        )
    typer.echo(f"report: {made}")
