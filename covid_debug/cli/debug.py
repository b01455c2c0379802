"""`covid-debug debug`: does text drive the predictions of my model? One command, no training.

Heavy modules are imported inside the command so that `--help` stays quick.
"""

# ruff: noqa: PLC0415

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from covid_debug.cli.model import (
    CLASSES,
    ArchOption,
    ChannelsOption,
    FunctionOption,
    MeanOption,
    MultiLabelOption,
    OutputOption,
    SizeOption,
    StdOption,
    TopCropOption,
    TrustOption,
    find_source,
    read_facts,
    trust_model,
)
from covid_debug.cli.options import (
    ColumnOption,
    DeviceOption,
    FactoryOption,
    ImagesOption,
    LayoutOption,
    ResumedOption,
    SeedOption,
    WorkersOption,
    parse_columns,
)


def debug(
    films: Annotated[
        Path,
        typer.Option(
            "--films",
            help="Your films: a table (CSV or Parquet), a folder, or what --layout says, all of"
            " them test films; or a data set folder made by covid-debug, of which the test films"
            " are taken.",
        ),
    ],
    out: ResumedOption,
    model: Annotated[
        Path | None,
        typer.Option(
            "--model",
            help="Checkpoint folder; or a model file or MLflow model with --classes and what"
            " `model import` takes.",
        ),
    ] = None,
    classes: Annotated[str | None, CLASSES] = None,
    arch: ArchOption = None,
    function: FunctionOption = None,
    image_size: SizeOption = None,
    top_crop: TopCropOption = 0.0,
    channels: ChannelsOption = None,
    mean: MeanOption = None,
    std: StdOption = None,
    multi_label: MultiLabelOption = False,
    output: OutputOption = None,
    trust: TrustOption = False,
    target: Annotated[
        str | None,
        typer.Option(
            "--target",
            help="Audit the films for this class; default: each film for its predicted class. Which"
            " column of labels a table is read by is --finding.",
        ),
    ] = None,
    layout: LayoutOption = None,
    images: ImagesOption = None,
    column: ColumnOption = None,
    finding: Annotated[
        list[str] | None,
        typer.Option(
            "--finding",
            help="Where films have several labels, the one that makes the two classes, e.g. Edema;"
            " repeatable: a report for each, text is looked for once.",
        ),
    ] = None,
    maps: Annotated[
        int,
        typer.Option(
            "--maps",
            min=0,
            help="Most films that get maps, the suspected ones first; maps take most of the time.",
        ),
    ] = 12,
    seed: SeedOption = 0,
    workers: WorkersOption = 2,
    device: DeviceOption = "cpu",
    factory: FactoryOption = None,
) -> None:
    """Ask whether text drives a model: check it, find the text, audit, report; no training."""
    from covid_debug.artifacts import is_complete
    from covid_debug.cli.failures import termination_raised
    from covid_debug.cli.stopwatch import Stopwatch
    from covid_debug.data.stage import TableData
    from covid_debug.debugging import FINDINGS_NAME, DebugQuestion, debug_model
    from covid_debug.models.devices import find_device
    from covid_debug.models.import_stage import ModelImport
    from covid_debug.stages import Means
    from covid_debug.terminal import RunConsole, format_duration, wrap

    find_device(device)
    given: Path | TableData = films
    of_tables = {"--layout": layout, "--images": images, "--column": column, "--finding": finding}
    if is_complete(films):
        for option in [name for name, value in of_tables.items() if value]:
            raise typer.BadParameter(f"{option} is of a table; {films} is a data set already")
    else:
        layout = layout or ("folders" if films.is_dir() else "table")
        columns = parse_columns(column or [])
        first = finding[0] if finding else None
        given = TableData("table", films, layout, images, columns, first, split="marked")
    of_files = {
        "--arch": arch,
        "--function": function,
        "--image-size": image_size,
        "--top-crop": top_crop,
        "--channels": channels,
        "--mean": mean,
        "--std": std,
        "--multi-label": multi_label,
        "--output": output,
        "--trust": trust,
    }
    model, called = find_source(model, out / "fetched", classes)
    asked_model: Path | ModelImport
    if classes is not None:
        if model is not None and (is_complete(model) or function is not None):
            other = "a checkpoint already" if is_complete(model) else "given beside --function"
            raise typer.BadParameter(f"--model {model}: is {other}; leave one of them out")
        trust_model(model, trust)
        facts = read_facts(
            classes, image_size, top_crop, channels, mean, std, multi_label, output, function
        )
        asked_model = ModelImport(model, facts, arch, factory, function, called)
    elif model is None or any(of_files.values()):
        stray = next((f"; {name} goes with --classes" for name, one in of_files.items() if one), "")
        raise typer.BadParameter(
            "name a checkpoint folder with --model; or a model file or --function, with --classes"
            f"{stray}"
        )
    else:
        asked_model = model
    command = shlex.join(["covid-debug", *sys.argv[1:]])
    asked = DebugQuestion(asked_model, given, target, maps, seed, factory or function, command)
    findings = list(dict.fromkeys(finding or []))
    watch, console = Stopwatch(), RunConsole(asked.count_stages(len(findings)))
    console.headline("covid-debug debug (research tool, not for clinical use)")
    means = Means(console, out / "views", workers, device)
    with termination_raised():
        answers = debug_model(asked, out, console, means, findings)
    console.headline(f"\nFinished in {format_duration(watch.elapsed_s)}")
    for i, answer in enumerate(answers):
        if len(answers) > 1:
            console.headline(f"\n{findings[i]}")
        for line in answer.describe():
            console.rich.print(wrap(line, indent=2, width=console.rich.width), markup=False)
        console.rich.print(f"\nReport: {answer.page}", markup=False)
    if len(answers) > 1:
        console.rich.print(
            f"All findings: {out / FINDINGS_NAME}\n"
            "  p-values are corrected within a finding, not over all of them",
            markup=False,
        )
