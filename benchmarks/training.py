"""`covid-debug bench training`: films per second of training and inference by setting of the loop.

Variants take turns, step by step, and each number is the median of its steps, so that other work
on the machine disturbs all of them alike. Ratios are relative to the first variant.
"""

import platform
import statistics
import time
from collections.abc import Callable, Sequence

import torch
from torch.nn import functional

from covid_debug.errors import TrainingError
from covid_debug.models.catalog import GRAY_MEAN, GRAY_STD, build_backbone
from covid_debug.models.classifier import Classifier
from covid_debug.training.augmentation import AugmentationParams, augment

N_ROUNDS = 5
VARIANTS = {
    "default layout, float32": (torch.contiguous_format, False),
    "channels last, float32": (torch.channels_last, False),
    "channels last, bfloat16": (torch.channels_last, True),
}


def make_steps(
    arch: str, image_size: int, batch_size: int, layout: torch.memory_format, mixed: bool
) -> tuple[Callable[[], None], Callable[[], None]]:
    """Return one step of training and one of inference."""
    classifier = Classifier(
        build_backbone(arch, 3, 1),
        class_names=("normal", "pneumonia", "COVID-19"),
        image_size=(image_size, image_size),
        mean=GRAY_MEAN,
        std=GRAY_STD,
    ).to(memory_format=layout)
    optimizer = torch.optim.Adam(classifier.parameters(), lr=1e-3)
    generator = torch.Generator().manual_seed(0)
    planes = torch.randint(0, 256, (batch_size, 1, image_size, image_size), dtype=torch.uint8)
    labels = torch.randint(0, 3, (batch_size,), generator=generator)

    def train() -> None:
        classifier.train()
        images = augment(planes.float().div_(255), AugmentationParams(), generator)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=mixed):
            logits = classifier(images)
        loss = functional.cross_entropy(logits.float(), labels)
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        optimizer.step()
        if not torch.isfinite(loss):
            raise TrainingError(f"bench training: the loss of {arch} is not finite")

    def infer() -> None:
        classifier.eval()
        with (
            torch.inference_mode(),
            torch.autocast("cpu", dtype=torch.bfloat16, enabled=mixed),
        ):
            classifier(planes.float().div_(255))

    return train, infer


def measure(steps: dict[str, Callable[[], None]]) -> dict[str, float]:
    """Return the median seconds of each step; the first round warms up."""
    durations: dict[str, list[float]] = {name: [] for name in steps}
    for index in range(N_ROUNDS + 1):
        for name, step in steps.items():
            started = time.perf_counter()
            step()
            if index:
                durations[name].append(time.perf_counter() - started)
    return {name: statistics.median(values) for name, values in durations.items()}


def bench_training(
    architectures: Sequence[str], sizes: Sequence[int], batch_size: int, say: Callable[[str], None]
) -> None:
    """Measure every variant of every architecture and size; one line for each.

    Args:
        architectures: Names of :data:`covid_debug.models.catalog.BACKBONES`.
        sizes: Sides of the films in pixels.
        batch_size: Films a step.
        say: Receives the lines.
    """
    say(f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    say(
        f"{'arch':<16}{'px':>5}  {'variant':<26}{'train films/s':>14}{'ratio':>7}"
        f"{'inference':>11}{'ratio':>7}"
    )
    for arch in architectures:
        for size in sizes:
            pairs = {
                name: make_steps(arch, size, batch_size, layout, mixed)
                for name, (layout, mixed) in VARIANTS.items()
            }
            trained = measure({name: train for name, (train, _) in pairs.items()})
            inferred = measure({name: infer for name, (_, infer) in pairs.items()})
            first = next(iter(VARIANTS))
            for name in VARIANTS:
                rates = [batch_size / spent[name] for spent in (trained, inferred)]
                gains = [spent[first] / spent[name] for spent in (trained, inferred)]
                say(
                    f"{arch:<16}{size:>5}  {name:<26}{rates[0]:>14.0f}{gains[0]:>7.2f}"
                    f"{rates[1]:>11.0f}{gains[1]:>7.2f}"
                )
