"""A small network that tells filled patches from untouched ones.

A second opinion beside the forest of the scar probe, which sees eight numbers only.
"""

from typing import Final

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from covid_debug.cleaning.patches import Features, Gray, measure_patch
from covid_debug.cleaning.scar import Labels, ProbeParams, Rows
from covid_debug.imaging.masks import Mask
from covid_debug.seeding import derive_seed

N_TEXTURES: Final = 8
_SIDE_PX: Final = 64
_N_EPOCHS: Final = 20
_BATCH: Final = 32
_EPSILON: Final = 0.25  # grey levels
_CLIP: Final = 6.0


def cut_patch(pixels: Gray, mask: Mask) -> Features | None:
    """Return the texture numbers of a patch and, behind them, what the network sees.

    Args:
        pixels: ``(H, W)``, gray levels as models see them.
        mask: ``(H, W)``, True inside the patch.

    Returns:
        ``(8 + 3 * 64 * 64,)``: see :func:`covid_debug.cleaning.patches.measure_patch`; then the 64
        px around the middle of the patch as grey level and as fine detail, both less the mean and
        over the spread of what is around the patch, and the mask. None if there is no ring.
    """
    textures = measure_patch(pixels, mask)
    if textures is None:
        return None
    rows, columns = np.nonzero(mask)
    middle = ((columns.min() + columns.max()) / 2, (rows.min() + rows.max()) / 2)
    at = [round(float(value)) for value in middle]
    half = _SIDE_PX // 2
    crop = _cut(pixels.astype(np.float32), at, half)
    inside = _cut(mask.astype(np.float32), at, half) > 0
    fine = crop - cv2.GaussianBlur(crop, (0, 0), 1.0)
    around = ~inside if (~inside).any() else inside
    layers = [
        np.clip((layer - layer[around].mean()) / (layer[around].std() + _EPSILON), -_CLIP, _CLIP)
        for layer in (crop, fine)
    ]
    return np.concatenate([textures, *(layer.ravel() for layer in (*layers, inside))])


def _cut(layer: NDArray[np.float32], at: list[int], half: int) -> NDArray[np.float32]:
    padded = np.pad(layer, half, mode="reflect")
    return padded[at[1] : at[1] + 2 * half, at[0] : at[0] + 2 * half]


class _Network(nn.Module):
    """Three convolutions; the answer is read off the filled pixels and those beside them."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 12, 3, padding=1),
            nn.BatchNorm2d(12),
            nn.ReLU(),
            nn.Conv2d(12, 24, 4, stride=2, padding=1),
            nn.BatchNorm2d(24),
            nn.ReLU(),
            nn.Conv2d(24, 32, 4, stride=2, padding=1),
            nn.BatchNorm2d(32),
            nn.ReLU(),
        )
        self.head = nn.Sequential(nn.Dropout(0.3), nn.Linear(64, 1))

    def forward(self, patches: Tensor) -> Tensor:
        """Return one logit for each patch ``(N, 3, 64, 64)``."""
        layers = self.body(patches)
        near = functional.max_pool2d(patches[:, 2:], 9, stride=4, padding=4)
        mean = (layers * near).sum((2, 3)) / near.sum((2, 3)).clamp_min(1.0)
        peak = (layers * near).amax((2, 3))
        logits: Tensor = self.head(torch.cat([mean, peak], 1))[:, 0]
        return logits


def score_by_network(rows: Rows, labels: Labels, further: Rows, params: ProbeParams) -> Rows:
    """Train the network on some patches and score others.

    Args:
        rows: ``(n, 3 * 64 * 64)``, the second part of what :func:`cut_patch` returns.
        labels: Which of them are filled.
        further: Patches to score, likewise.
        params: The seed is used.

    Returns:
        One logit for each of ``further``.
    """
    generator = np.random.default_rng(derive_seed(params.seed, "network probe", len(rows)))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(generator.integers(2**31)))
        network = _Network()
        patches, targets = _shape(rows), torch.from_numpy(labels.astype(np.float32))
        optimizer = torch.optim.AdamW(network.parameters(), 3e-3, weight_decay=1e-2)
        n_steps = _N_EPOCHS * -(-len(rows) // _BATCH)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=n_steps)
        for _ in range(_N_EPOCHS):
            order = generator.permutation(len(rows))
            for start in range(0, len(rows), _BATCH):
                index = torch.from_numpy(order[start : start + _BATCH])
                seen = patches[index]
                turned = [axis for axis in (2, 3) if generator.random() < 0.5]
                logits = network(seen.flip(turned))
                loss = functional.binary_cross_entropy_with_logits(logits, targets[index])
                optimizer.zero_grad()
                torch.autograd.backward(loss)
                optimizer.step()
                schedule.step()
        network.eval()
        with torch.no_grad():
            scores = torch.cat([network(part) for part in torch.split(_shape(further), _BATCH)])
    return scores.numpy().astype(np.float64)


def _shape(rows: Rows) -> Tensor:
    return torch.from_numpy(rows.astype(np.float32)).reshape(-1, 3, _SIDE_PX, _SIDE_PX)
