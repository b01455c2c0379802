"""Films per second of training steps and inference, and what each setting of the loop is worth.

Run ``python -m benchmarks.train_speed [--threads 2] [--size 224] [--arch covidnet resnet18_half]``.
Variants take turns, step by step, and each number is the median of its steps, so that other work
on the machine disturbs all of them alike. Ratios are relative to the first variant.
"""

import argparse
import platform
import statistics
import time
from collections.abc import Callable

import torch
from torch.nn import functional

from covid_debug.models.catalog import GRAY_MEAN, GRAY_STD, build_backbone
from covid_debug.models.classifier import Classifier
from covid_debug.training.augmentation import AugmentationParams, augment

VARIANTS = {
    "default layout, float32": (torch.contiguous_format, False),
    "channels last, float32": (torch.channels_last, False),
    "channels last, bfloat16": (torch.channels_last, True),
}


def make_steps(
    arch: str, image_size: int, batch_size: int, layout: torch.memory_format, mixed: bool
) -> tuple[Callable[[], None], Callable[[], None]]:
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
            raise SystemExit(f"{arch}: the loss is not finite")

    def infer() -> None:
        classifier.eval()
        with (
            torch.inference_mode(),
            torch.autocast("cpu", dtype=torch.bfloat16, enabled=mixed),
        ):
            classifier(planes.float().div_(255))

    return train, infer


def measure(steps: dict[str, Callable[[], None]], n_rounds: int) -> dict[str, float]:
    """Return the median seconds of each step; the first round warms up."""
    durations: dict[str, list[float]] = {name: [] for name in steps}
    for index in range(n_rounds + 1):
        for name, step in steps.items():
            started = time.perf_counter()
            step()
            if index:
                durations[name].append(time.perf_counter() - started)
    return {name: statistics.median(values) for name, values in durations.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--arch", nargs="+", default=["covidnet", "resnet18_half"])
    parser.add_argument("--size", nargs="+", type=int, default=[128, 224])
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"{platform.machine()}, {options.threads} threads, torch {torch.__version__}")
    print(f"{'arch':<16}{'px':>5}  {'variant':<26}{'train films/s':>14}{'ratio':>7}", end="")
    print(f"{'inference':>11}{'ratio':>7}")
    for arch in options.arch:
        for size in options.size:
            pairs = {
                name: make_steps(arch, size, options.batch, layout, mixed)
                for name, (layout, mixed) in VARIANTS.items()
            }
            trained = measure({name: pair[0] for name, pair in pairs.items()}, options.rounds)
            inferred = measure({name: pair[1] for name, pair in pairs.items()}, options.rounds)
            first = next(iter(VARIANTS))
            for name in VARIANTS:
                rates = [options.batch / spent[name] for spent in (trained, inferred)]
                gains = [spent[first] / spent[name] for spent in (trained, inferred)]
                print(
                    f"{arch:<16}{size:>5}  {name:<26}{rates[0]:>14.0f}{gains[0]:>7.2f}"
                    f"{rates[1]:>11.0f}{gains[1]:>7.2f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
