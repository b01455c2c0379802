"""Training of the marker detector: loss, schedule and the files that a training leaves.

Samples come from ``synthesis``; the command is ``python -m recipes.marker_detector``.
"""

import csv
import logging
import multiprocessing
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing.pool import AsyncResult
from pathlib import Path

import cv2
import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

from covid_debug.artifacts import canonical_json, hash_file, write_text_atomic
from covid_debug.errors import DataIntegrityError
from covid_debug.seeding import derive_seed
from recipes.marker_detector.backgrounds import (
    LIST_PATH,
    Background,
    load_backgrounds,
    render_phantom_backgrounds,
)
from recipes.marker_detector.glyphs import find_fonts
from recipes.marker_detector.network import N_MAPS, MarkerNet
from recipes.marker_detector.synthesis import Sample, render_sample

_LOGGER = logging.getLogger(__name__)
FONT_FOLDERS = (Path("/usr/share/fonts"),)
_LOG_EVERY = 100
_SAVE_EVERY = 500
_AHEAD = 6  # steps that are rendered ahead
_ANNOTATION_WEIGHT = 0.4


@dataclass(frozen=True, slots=True)
class MarkerTrainingParams:
    """How the detector is trained.

    Attributes:
        n_steps: Optimiser steps.
        batch_size: Crops a step.
        learning_rate: Peak of the one-cycle schedule.
        weight_decay: Of AdamW.
        averaging: Decay of the running average of the weights, which is what is saved.
        n_phantoms: Phantom films among the backgrounds.
        seed: Seed of weights and samples.
        exclude: Backgrounds whose path begins so are left out: a source held out.
    """

    n_steps: int = 11000
    batch_size: int = 8
    learning_rate: float = 3e-3
    weight_decay: float = 1e-3
    averaging: float = 0.998
    n_phantoms: int = 60
    seed: int = 0
    exclude: tuple[str, ...] = ()


def train_marker_detector(
    films: Path,
    out: Path,
    params: MarkerTrainingParams,
    *,
    listing: Path = LIST_PATH,
    font_folders: Sequence[Path] = FONT_FOLDERS,
    n_renderers: int = 0,
) -> Path:
    """Train and write ``weights.safetensors``, ``curve.csv`` and ``training.json``.

    Args:
        films: Folder that the listing's paths are relative to.
        out: Folder for the results.
        params: How to train.
        listing: Backgrounds and their own text.
        font_folders: Where fonts are searched, with those that matplotlib ships.
        n_renderers: Processes that render samples ahead; 0 renders in this one. The samples are
            the same.

    Returns:
        Path of the weights.

    Raises:
        DataIntegrityError: If films or fonts are missing.
    """
    import matplotlib  # noqa: PLC0415 - only its fonts

    cv2.setNumThreads(0)  # a forked renderer would wait for threads that it does not have
    fonts = find_fonts([Path(matplotlib.get_data_path()) / "fonts" / "ttf", *font_folders])
    backgrounds = [
        *load_backgrounds(films, listing, params.exclude),
        *render_phantom_backgrounds(params.n_phantoms, params.seed),
    ]
    if not fonts or not backgrounds:
        raise DataIntegrityError(
            f"marker training: {len(fonts)} fonts and {len(backgrounds)} films; expected some"
        )
    out.mkdir(parents=True, exist_ok=True)
    _LOGGER.info("%d backgrounds, %d fonts", len(backgrounds), len(fonts))
    torch.manual_seed(derive_seed(params.seed, "marker", "weights"))
    network = MarkerNet()
    weights_path = out / "weights.safetensors"
    batches = render_batches(backgrounds, fonts, params, n_renderers)
    curve = _optimise(network, batches, params, weights_path)
    with (out / "curve.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["step", "loss", "characters", "areas", "annotations", "seconds"])
        writer.writerows(curve)
    record = {
        "params": asdict(params),
        "n_backgrounds": len(backgrounds),
        "listing": hash_file(listing),
        "fonts": [font.name for font in fonts],
        "weights": hash_file(weights_path),
        "torch": torch.__version__,
    }
    write_text_atomic(out / "training.json", canonical_json(record) + "\n")
    return weights_path


def _optimise(
    network: MarkerNet,
    batches: Iterator[list[Sample]],
    params: MarkerTrainingParams,
    weights_path: Path,
) -> list[tuple[int, float, float, float, float, float]]:
    """Return the training curve; the averaged weights are saved on the way and at the end."""
    network = network.to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.AdamW(
        network.parameters(), params.learning_rate, weight_decay=params.weight_decay
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, params.learning_rate, total_steps=params.n_steps, pct_start=0.15
    )
    averaged = {name: value.detach().clone() for name, value in network.state_dict().items()}
    curve: list[tuple[int, float, float, float, float, float]] = []
    sums, start = np.zeros(1 + N_MAPS), time.monotonic()
    for step, samples in enumerate(batches, start=1):
        films, targets, weights = stack_samples(samples)
        with torch.autocast("cpu", torch.bfloat16):
            logits = network(films)
        losses = compute_losses(logits.float(), targets, weights)
        optimizer.zero_grad()
        torch.autograd.backward(losses)
        torch.nn.utils.clip_grad_norm_(network.parameters(), 2.0)
        optimizer.step()
        schedule.step()
        decay = min(params.averaging, step / (step + 20))
        for name, value in network.state_dict().items():
            if value.dtype.is_floating_point:
                averaged[name].lerp_(value, 1 - decay)
            else:
                averaged[name].copy_(value)
        parts = [float(loss.detach()) for loss in losses]
        sums += [sum(parts), *parts]
        if step % _LOG_EVERY == 0:
            mean = sums / _LOG_EVERY
            seconds = time.monotonic() - start
            curve.append((step, *(round(float(v), 5) for v in mean), round(seconds, 1)))  # type: ignore[arg-type]
            _LOGGER.info("step %d/%d loss %.4f (%.0f s)", step, params.n_steps, mean[0], seconds)
            sums[:] = 0
        if step % _SAVE_EVERY == 0 or step == params.n_steps:
            _save(averaged, weights_path)
    return curve


def render_batches(
    backgrounds: Sequence[Background],
    fonts: Sequence[Path],
    params: MarkerTrainingParams,
    n_renderers: int = 0,
) -> Iterator[list[Sample]]:
    """Yield the samples of every step; they depend on the seed alone.

    Args:
        backgrounds: Films to plant on.
        fonts: Font files to write with.
        params: Steps, crops a step and seed.
        n_renderers: Processes that render ahead; 0 renders in this one.
    """
    render = partial(_render_batch, params)
    steps = range(1, params.n_steps + 1)
    _materials[:] = [(backgrounds, fonts)]
    if not n_renderers:
        yield from map(render, steps)
        return
    # Forked processes share the films; with spawned ones every film would be read again.
    context = multiprocessing.get_context("fork")
    with context.Pool(n_renderers) as pool:
        waiting: deque[AsyncResult[list[Sample]]] = deque()
        for step in steps:
            waiting.append(pool.apply_async(render, (step,)))
            if len(waiting) > _AHEAD:
                yield waiting.popleft().get()
        while waiting:
            yield waiting.popleft().get()


_materials: list[tuple[Sequence[Background], Sequence[Path]]] = []


def _render_batch(params: MarkerTrainingParams, step: int) -> list[Sample]:
    backgrounds, fonts = _materials[0]
    return [
        render_sample(
            backgrounds, fonts,
            np.random.default_rng(derive_seed(params.seed, "marker", step, member)),
        )
        for member in range(params.batch_size)
    ]  # fmt: skip


def _save(averaged: dict[str, Tensor], path: Path) -> None:
    partial = path.with_suffix(".partial")
    save_file({name: value.contiguous() for name, value in averaged.items()}, partial)
    partial.replace(path)


def stack_samples(samples: Sequence[Sample]) -> tuple[Tensor, Tensor, Tensor]:
    """Return films ``(N, 1, H, W)`` in [0, 1], targets and weights ``(N, 3, h, w)``."""
    films = torch.from_numpy(np.stack([sample.pixels for sample in samples]))[:, None].float() / 255
    targets = np.stack(
        [np.stack([sample.characters, sample.areas, sample.annotations]) for sample in samples]
    )
    weights = np.stack([sample.weights for sample in samples])
    films = films.contiguous(memory_format=torch.channels_last)
    return films, torch.from_numpy(targets), torch.from_numpy(weights)


def compute_losses(logits: Tensor, targets: Tensor, weights: Tensor) -> tuple[Tensor, ...]:
    """Compare heat maps with their targets.

    Cross entropy on text pixels plus the three times as many hardest other pixels, as CRAFT mines
    hard negatives (Baek et al. 2019, section 3.2.3); the area map also gets a Dice term, which
    does not depend on how rare text is.

    Args:
        logits: ``(N, 3, h, w)``.
        targets: ``(N, 3, h, w)`` in [0, 1].
        weights: ``(N, 3, h, w)``, >= 0; pixels with 0 do not count, text counts by its weight.

    Returns:
        Loss of the character map, the area map and the annotation map, each >= 0.
    """
    entropy = functional.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    # The least entropy of a soft target is its own entropy; without it a perfect map scores 0.
    soft = targets.clamp(1e-6, 1 - 1e-6)
    entropy = (entropy + soft * soft.log() + (1 - soft) * (1 - soft).log()).clamp_min(0)
    losses = []
    for channel in range(N_MAPS):
        counts = weights[:, channel] > 0
        is_text = (targets[:, channel] > 0.05) & counts
        is_other = (targets[:, channel] <= 0.05) & counts
        text, other = entropy[:, channel][is_text], entropy[:, channel][is_other]
        n_hard = min(max(3 * len(text), 1000), len(other))
        hard = other.topk(n_hard).values if n_hard else other
        loss = hard.mean() if len(hard) else entropy.sum() * 0
        if len(text):
            importance = weights[:, channel][is_text]
            loss = loss + (text * importance).sum() / importance.sum()
        losses.append(loss + other.mean() if len(other) else loss)
    areas, truth, importance = torch.sigmoid(logits[:, 1]), targets[:, 1], weights[:, 1]
    both, either = (importance * areas * truth).sum(), (importance * (areas + truth)).sum()
    dice = 1 - (2 * both + 1) / (either + 1)
    return losses[0], losses[1] + dice, _ANNOTATION_WEIGHT * losses[2]
