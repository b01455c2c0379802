"""`covid-debug compare`: several checkpoints on several versions of the test films."""

from collections.abc import Mapping
from pathlib import Path

import typer

from covid_debug.artifacts import write_artifact
from covid_debug.data.filmset import load_filmset
from covid_debug.errors import InputContractError
from covid_debug.evaluation.comparison import (
    BASE_ARM,
    compare_arms,
    predict_test_films,
    write_comparison,
    write_predictions,
)
from covid_debug.models.checkpoint import load_checkpoint, load_factory
from covid_debug.models.devices import describe_device, find_device


def compare_checkpoints(
    arms: Mapping[str, Path],
    data: Mapping[str, Path],
    out: Path,
    *,
    seed: int,
    device: str,
    factory: str | None,
) -> None:
    """Write comparison.csv, comparison.json and predictions.csv of arms x data sets.

    Args:
        arms: Name -> checkpoint; ``"original"`` is what the others are compared with.
        data: Name -> data set whose test films are used.
        out: Artifact of kind "comparison" to write.
        seed: Seed of the bootstrap.
        device: Torch device.
        factory: ``"package.module:function"`` that builds the network of every checkpoint that is
            the user's own; those of the catalogue need none.

    Raises:
        InputContractError: If several arms are given and none is called "original".
    """
    if len(arms) > 1 and BASE_ARM not in arms:
        raise InputContractError(
            f"--arm: got {', '.join(arms)}; name the reference {BASE_ARM!r} so that the others can"
            " be compared with it"
        )
    find_device(device)
    build = load_factory(factory) if factory else None
    filmsets = {name: load_filmset(folder) for name, folder in data.items()}
    answers = []
    for arm, folder in arms.items():
        model = load_checkpoint(folder, device=device, factory=build)
        answers += [
            predict_test_films(
                model,
                filmset,
                arm=arm,
                seed=0,
                test_data=name,
                cache_dir=out.parent / "views",
            )
            for name, filmset in filmsets.items()
        ]
    class_names = next(iter(filmsets.values())).class_names
    comparison = compare_arms(answers, class_names, seed=seed)
    inputs = {f"checkpoint/{name}": folder.name for name, folder in arms.items()}
    inputs |= {f"filmset/{name}": folder.name for name, folder in data.items()}
    with write_artifact(
        out,
        kind="comparison",
        parameters={"seed": seed},
        inputs=inputs,
        device=describe_device(device),
    ) as draft:
        write_comparison(draft.path, comparison)
        write_predictions(draft.path / "predictions.csv", answers, class_names)
    for cell in comparison.cells:
        accuracy = cell.classification.accuracy
        typer.echo(
            f"{cell.arm} on {cell.test_data}: accuracy {accuracy.value:.3f}"
            f" [{accuracy.low:.3f}, {accuracy.high:.3f}], n = {accuracy.n}"
        )
    for contrast in comparison.contrasts:
        entry = contrast.pooled[0]
        typer.echo(
            f"{contrast.arm} minus {BASE_ARM} on {contrast.test_data}: accuracy"
            f" {entry.summary.mean:+.3f} [{entry.summary.low:+.3f}, {entry.summary.high:+.3f}]:"
            f" {entry.verdict}"
        )
    typer.echo(f"tables: {out}")
