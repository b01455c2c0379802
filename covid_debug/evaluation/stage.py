"""The stage that tests every model on every version of the test films."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from covid_debug.artifacts import write_artifact
from covid_debug.data.counterfactuals import load_counterfactuals
from covid_debug.data.filmset import load_filmset
from covid_debug.evaluation.comparing import compare_arms
from covid_debug.evaluation.comparison import BASE_ARM, Comparison, write_comparison
from covid_debug.evaluation.predictions import predict_test_films, write_predictions
from covid_debug.models.checkpoint import load_checkpoint, load_factory
from covid_debug.models.devices import describe_device
from covid_debug.stages import Means, Request


@dataclass(frozen=True)
class ComparisonRequest(Request):
    """Test several checkpoints on several versions of the test films, with paired tests.

    Attributes:
        checkpoints: Arm and training seed -> checkpoint; ``"original"`` is what the other arms are
            compared with.
        filmsets: Name of a version -> film set whose test films are used.
        seed: Of the bootstrap.
        with_twins: Also test on the known counterfactuals of the version ``"original"``.
        factory: ``"package.module:function"`` that builds the network of every checkpoint that is
            the user's own; those of the catalogue need none.
    """

    checkpoints: Mapping[tuple[str, int], Path]
    filmsets: Mapping[str, Path]
    seed: int = 0
    with_twins: bool = False
    factory: str | None = None

    stage: ClassVar[str] = "comparison"
    makes: ClassVar[str] = "comparison"
    code_version: ClassVar[int] = 3

    def parameters(self) -> object:
        """Return what else decides the table; its rows follow the order of what goes in."""
        factory = {} if self.factory is None else {"factory": self.factory}
        order = list(self.inputs())
        return {"seed": self.seed, "with_twins": self.with_twins, "order": order, **factory}

    def inputs(self) -> dict[str, str]:
        """Return checkpoints and versions of the films."""
        places = {
            **{f"checkpoint/{arm}/{seed}": path for (arm, seed), path in self.checkpoints.items()},
            **{f"filmset/{name}": path for name, path in self.filmsets.items()},
        }
        return {role: path.name for role, path in places.items()}

    def make(self, out: Path, means: Means) -> Comparison:
        """Write comparison.csv, comparison.json and predictions.csv."""
        build = load_factory(self.factory) if self.factory else None
        versions = {name: load_filmset(folder) for name, folder in self.filmsets.items()}
        if self.with_twins:
            versions |= load_counterfactuals(versions[BASE_ARM])
        answers = []
        with means.listener.progress("models x test sets") as progress:
            for (arm, seed), folder in self.checkpoints.items():
                model = load_checkpoint(folder, device=means.device, factory=build)
                for name, filmset in versions.items():
                    answers.append(
                        predict_test_films(
                            model,
                            filmset,
                            arm=arm,
                            seed=seed,
                            test_data=name,
                            cache_dir=means.cache_dir,
                            n_workers=means.n_workers,
                        )
                    )
                    progress(len(answers), len(self.checkpoints) * len(versions))
        class_names = next(iter(versions.values())).class_names
        comparison = compare_arms(answers, class_names, seed=self.seed)
        with write_artifact(
            out,
            kind=self.makes,
            parameters=self.parameters(),
            inputs=self.inputs(),
            device=describe_device(means.device),
        ) as draft:
            write_comparison(draft.path, comparison)
            write_predictions(draft.path / "predictions.csv", answers, class_names)
        return comparison


def describe_comparison(comparison: Comparison) -> Iterator[str]:
    """Say how accurate every model is, and how the arms differ from the original one.

    Args:
        comparison: The table.

    Yields:
        Lines of plain text.
    """
    for cell in comparison.cells:
        accuracy = cell.metrics[0]
        yield (
            f"{cell.train_data} on {cell.test_data}: accuracy {accuracy.value:.3f}"
            f" [{accuracy.low:.3f}, {accuracy.high:.3f}], n = {accuracy.n}"
        )
    for contrast in comparison.contrasts:
        entry = contrast.pooled[0]
        yield (
            f"{contrast.train_data} minus {BASE_ARM} on {contrast.test_data}: accuracy"
            f" {entry.mean:+.3f} [{entry.low:+.3f}, {entry.high:+.3f}]"
        )
