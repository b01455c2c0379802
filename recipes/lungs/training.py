"""The network in PyTorch, its loss, its schedule and the file it becomes."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save_file
from torch import Tensor, nn
from torch.nn import functional

from covid_debug.imaging.lungs import DECODER, ENCODER, GRID_SIDE
from recipes.lungs.synthesis import KnownFilm, draw_example

_LOG = logging.getLogger(__name__)
_NORM_EPS = 1e-5


@dataclass(frozen=True, slots=True)
class LungTrainingParams:
    """How the network is trained.

    Attributes:
        n_steps: Optimiser steps.
        batch_size: Examples a step.
        real_share: Share of the examples made from real films; the others from phantoms.
        n_phantoms: Phantoms rendered.
        learning_rate: Peak of a one-cycle schedule.
        seed: Seed of phantoms, weights and examples.
    """

    n_steps: int = 3000
    batch_size: int = 8
    real_share: float = 0.75
    n_phantoms: int = 300
    learning_rate: float = 3e-3
    seed: int = 0


class LungNet(nn.Module):
    """What ``covid_debug.imaging.lungs`` evaluates, with batch norms that are folded away."""

    def __init__(self) -> None:
        """Build the layers of :data:`ENCODER` and :data:`DECODER`."""
        super().__init__()
        self.layers = nn.ModuleDict()
        for name, wide_in, wide_out in ENCODER:
            self.layers[f"{name}0"] = _layer(wide_in, wide_out, 2)
            self.layers[f"{name}1"] = _layer(wide_out, wide_out, 1)
        for name, wide_in, wide_out in DECODER:
            self.layers[f"up_{name}"] = _layer(wide_in, wide_out, 1)
        self.head = nn.Conv2d(DECODER[-1][2], 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits ``(N, 48, 48)`` of squares ``(N, 96, 96)``."""
        x = x[:, None]
        skips = {}
        for name, _, _ in ENCODER:
            x = skips[name] = self.layers[f"{name}1"](self.layers[f"{name}0"](x))
        for name, _, _ in DECODER:
            x = torch.cat([functional.interpolate(x, scale_factor=2), skips[name]], dim=1)
            x = self.layers[f"up_{name}"](x)
        logits: Tensor = self.head(x)[:, 0]
        return logits


def _layer(wide_in: int, wide_out: int, stride: int) -> nn.Sequential:
    convolution = nn.Conv2d(wide_in, wide_out, 3, stride, 1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(wide_out, eps=_NORM_EPS), nn.ReLU())


def train_lung_net(
    real: Sequence[KnownFilm], phantoms: Sequence[KnownFilm], params: LungTrainingParams
) -> LungNet:
    """Return the trained network, in evaluation mode."""
    torch.manual_seed(params.seed)
    rng = np.random.default_rng(params.seed)
    net = LungNet()
    optimiser = torch.optim.AdamW(net.parameters(), weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, params.learning_rate, params.n_steps, pct_start=0.1
    )
    for step in range(params.n_steps):
        examples = []
        for _ in range(params.batch_size):
            pool = real if real and rng.random() < params.real_share else phantoms
            examples.append(draw_example(pool[int(rng.integers(len(pool)))], rng))
        seen, target = (torch.from_numpy(np.stack(part)) for part in zip(*examples, strict=True))
        loss = _loss(net(seen), target)
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
        schedule.step()
        if step % 200 == 0:
            _LOG.info("step %d: loss %.4f", step, loss.item())
    return net.eval()


def _loss(logits: Tensor, target: Tensor) -> Tensor:
    """Return cross entropy plus one minus the soft Dice of each film."""
    probability = torch.sigmoid(logits)
    shared = (probability * target).sum((1, 2))
    dice = (2 * shared + 1) / (probability.sum((1, 2)) + target.sum((1, 2)) + 1)
    return functional.binary_cross_entropy_with_logits(logits, target) + (1 - dice).mean()


def save_lung_net(net: LungNet, real: Sequence[KnownFilm], path: Path) -> None:
    """Write weights with folded batch norms, and the mean film's lungs, in half precision."""
    tensors = {}
    for name, layer in net.layers.items():
        state = layer.state_dict()
        scale = state["1.weight"] / torch.sqrt(state["1.running_var"] + _NORM_EPS)
        kernel = state["0.weight"] * scale[:, None, None, None]
        tensors[f"{name}.weight"] = _to_half(kernel.permute(2, 3, 1, 0))
        tensors[f"{name}.bias"] = _to_half(state["1.bias"] - state["1.running_mean"] * scale)
    tensors["head.weight"] = _to_half(net.head.weight[:, :, 0, 0].T)
    tensors["head.bias"] = _to_half(net.head.state_dict()["bias"])
    tensors["atlas"] = _draw_atlas(real)
    save_file(tensors, path)


def _to_half(values: Tensor) -> np.ndarray:
    return np.ascontiguousarray(values.detach().numpy().astype(np.float16))


def _draw_atlas(films: Sequence[KnownFilm]) -> np.ndarray:
    mean = np.mean([film.lungs for film in films], axis=0, dtype=np.float64) / 255
    blocks = torch.from_numpy(mean)[None, None]
    return _to_half(functional.interpolate(blocks, (GRID_SIDE, GRID_SIDE), mode="area")[0, 0])
