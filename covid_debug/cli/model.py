"""`covid-debug model import` and `model check`: trained networks from elsewhere.

Heavy modules are imported inside the commands so that `--help` stays quick.
"""

# ruff: noqa: PLC0415

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from covid_debug.cli.options import DeviceOption, FactoryOption, OutOption, WorkersOption
from covid_debug.errors import InputContractError

if TYPE_CHECKING:
    from covid_debug.models.importing import ModelFacts

CLASSES = typer.Option("--classes", metavar="A,B", help="Name of each output, in order.")
ArchOption = Annotated[
    str | None,
    typer.Option("--arch", help="Of weights: resnet18, torchvision:NAME or timm:NAME."),
]
FunctionOption = Annotated[
    str | None,
    typer.Option(
        "--function",
        metavar="PKG.MODULE:FUNCTION",
        help="Instead of a file: images (N, channels, H, W) in NumPy to probabilities (N, K).",
    ),
]
SizeOption = Annotated[
    int | None,
    typer.Option(
        "--image-size",
        min=8,
        help="Side of what the network sees; default: as the file says, else 224.",
    ),
]
TopCropOption = Annotated[
    float, typer.Option("--top-crop", help="Share of a film's rows dropped at the top.")
]
ChannelsOption = Annotated[
    int | None, typer.Option("--channels", help="1 or 3; default: as the file says, else 3.")
]
MeanOption = Annotated[
    str | None,
    typer.Option(
        "--mean",
        help="Of [0, 1] intensity; one number or one a channel. For inputs in [-1, 1]: --mean 0.5"
        " --std 0.5; in [-1024, 1024]: --mean 0.5 --std 0.00048828125.",
    ),
]
StdOption = Annotated[str | None, typer.Option("--std", help="As --mean.")]
MultiLabelOption = Annotated[
    bool,
    typer.Option(
        "--multi-label", help="A film may have any number of the labels; commands ask about one."
    ),
]
OutputOption = Annotated[
    str | None,
    typer.Option("--output", help="logits or probabilities; a function returns the latter."),
]
TrustOption = Annotated[
    bool,
    typer.Option(
        "--trust",
        help="Reading a pickle or a torch.export file (.pt2) can run code that it holds: I know"
        " where it is from.",
    ),
]
model_app = typer.Typer(
    help="Networks trained elsewhere: make a checkpoint of one, check it.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@model_app.command("import")
def import_(
    out: OutOption,
    source: Annotated[
        Path | None,
        typer.Argument(
            help="State dict, .safetensors, TorchScript, torch.export or ONNX file, a pickle that"
            " you --trust; or an MLflow model: models:/NAME/VERSION, runs:/ID/NAME or its folder."
        ),
    ] = None,
    classes: Annotated[str | None, CLASSES] = None,
    arch: ArchOption = None,
    factory: FactoryOption = None,
    function: FunctionOption = None,
    image_size: SizeOption = None,
    top_crop: TopCropOption = 0.0,
    channels: ChannelsOption = None,
    mean: MeanOption = None,
    std: StdOption = None,
    multi_label: MultiLabelOption = False,
    output: OutputOption = None,
    trust: TrustOption = False,
) -> None:
    """Make a checkpoint folder of a trained network; runs no code of its file without --trust."""
    from shutil import copytree
    from tempfile import TemporaryDirectory

    from covid_debug.artifacts import check_absent, is_complete
    from covid_debug.models.import_stage import ModelImport
    from covid_debug.stages import Means
    from covid_debug.terminal import RunConsole

    if source is not None and function is not None:
        raise InputContractError(f"--function {function}: stands instead of {source}; give one")
    console = RunConsole()
    check_absent(out)
    with TemporaryDirectory(prefix="covid_debug-") as folder:
        found, called = find_source(source, Path(folder), classes)
        if called is not None and found is not None and is_complete(found):
            if classes is not None:
                raise InputContractError(f"--classes: {source} says them itself; leave it out")
            copytree(found, out)
        elif classes is None:
            raise InputContractError("model import: no --classes; name the class of each output")
        else:
            trust_model(found, trust)
            facts = read_facts(
                classes, image_size, top_crop, channels, mean, std, multi_label, output, function
            )
            ModelImport(found, facts, arch, factory, function, called).make(out, Means(console))
    console.say(f"checkpoint: {out}")


def find_source(
    source: Path | None, store: Path, classes: str | None
) -> tuple[Path | None, str | None]:
    """Return the file or checkpoint folder of a model, and its MLflow name where it has one.

    Raises:
        InputContractError: If a model of MLflow's has no classes of its own, and none are named.
    """
    from covid_debug.artifacts import is_complete
    from covid_debug.tracking.model_uris import fetch_model, is_mlflow_model

    if source is None or not is_mlflow_model(str(source)):
        return source, None
    found = fetch_model(str(source), store)
    if classes is None and not is_complete(found):
        raise InputContractError(f"{source}: has no names of its outputs; name them with --classes")
    return found, str(source)


def trust_model(source: Path | None, trust: bool) -> None:
    """Remember that a model file is trusted, where its user says so."""
    from covid_debug.models.trust import trust_file

    if trust and source is not None:
        trust_file(source)


def read_facts(
    classes: str,
    image_size: int | None,
    top_crop: float,
    channels: int | None,
    mean: str | None,
    std: str | None,
    multi_label: bool,
    output: str | None,
    function: str | None,
) -> "ModelFacts":
    """Return what the options of a model say of it.

    Raises:
        InputContractError: If one cannot be understood.
    """
    from covid_debug.models.importing import ModelFacts

    return ModelFacts(
        tuple(name.strip() for name in classes.split(",")),
        image_size,
        top_crop,
        channels,
        _parse_numbers("--mean", mean),
        _parse_numbers("--std", std),
        multi_label,
        output or ("logits" if function is None else "probabilities"),  # type: ignore[arg-type]  # checked there
    )


def _parse_numbers(option: str, text: str | None) -> tuple[float, ...] | None:
    if text is None:
        return None
    try:
        return tuple(float(number) for number in text.split(","))
    except ValueError as error:
        raise InputContractError(
            f"{option} {text!r}: expected a number, or one a channel, as 0.485,0.456,0.406"
        ) from error


@model_app.command("check")
def check(
    checkpoint: Annotated[Path, typer.Argument(help="Checkpoint folder.")],
    films: Annotated[Path, typer.Option("--films", help="Data set folder with labelled films.")],
    target: Annotated[
        str | None, typer.Option("--target", help="Finding to ask a multi-label model about.")
    ] = None,
    max_films: Annotated[int, typer.Option("--max-films", min=2)] = 100,
    workers: WorkersOption = 2,
    device: DeviceOption = "cpu",
    factory: FactoryOption = None,
) -> None:
    """Show what a model says of labelled films; where it is at chance, what may be wrong."""
    from tempfile import TemporaryDirectory

    from covid_debug.checking import check_model
    from covid_debug.data.filmset import load_filmset
    from covid_debug.models.checkpoint import load_checkpoint
    from covid_debug.models.factories import load_factory
    from covid_debug.stages import Means
    from covid_debug.terminal import RunConsole

    console = RunConsole()
    filmset = load_filmset(films)
    model = load_checkpoint(
        checkpoint,
        device=device,
        factory=load_factory(factory) if factory else None,
        finding=target,
        classes=filmset.class_names,
    )
    with TemporaryDirectory(prefix="covid_debug-") as folder:
        means = Means(console, Path(folder), workers, device)
        found = check_model(model, filmset, means, max_films=max_films)
    found.tell(console)
