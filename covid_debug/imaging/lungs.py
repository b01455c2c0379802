"""Where the lungs lie on a frontal chest radiograph.

A convolutional network of 78,000 weights, trained on phantoms and on films of the training split
that were annotated by eye (``recipes/lungs``, ``benchmarks/lungs.md``), evaluated with NumPy.
Lung fields are what radiologists draw: both lungs down to the diaphragm, without what heart and
great vessels hide, with what disease has made white.
"""

import functools
from importlib.resources import files

import cv2
import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load

from covid_debug.errors import InputContractError
from covid_debug.imaging.masks import Mask

WEIGHTS_NAME = "lungs.safetensors"
# The network sees the whole film as a square of this side and answers at half of it.
INPUT_SIDE = 96
GRID_SIDE = INPUT_SIDE // 2
# name, channels in, channels out, stride; "up" doubles the grid and appends the layer named.
ENCODER = (("a", 1, 12), ("b", 12, 24), ("c", 24, 32), ("d", 32, 32))
DECODER = (("c", 64, 32), ("b", 56, 24), ("a", 36, 12))

_SMALLEST_SHARE, _LARGEST_SHARE = 0.06, 0.80
_SMALLEST_PIECE = 0.01  # of the film; smaller pieces and holes are noise

Plane = NDArray[np.float32]
Weights = dict[str, Plane]


def find_lungs(film: NDArray[np.uint8]) -> Mask:
    """Return the lung fields of a frontal chest radiograph.

    Works on the film as it is: borders, text and clipped or tilted lungs included. The film and
    its mirror image are both looked at, so a mirrored film gives the mirrored mask.

    Args:
        film: ``(H, W)`` uint8, bone bright; at least 8 pixels a side.

    Returns:
        Bool ``(H, W)``, True in both lungs; never empty. Where what was found covers less than
        6 % or more than 80 % of the film it is no pair of lungs, and the mask is that of the mean
        training film (:func:`draw_atlas`).

    Raises:
        InputContractError: If the film is not a ``(H, W)`` uint8 array of at least 8 by 8 pixels.
    """
    _check(film)
    probability = compute_lung_probability(film)
    height, width = film.shape
    smooth = cv2.resize(probability, (width, height), interpolation=cv2.INTER_LINEAR)
    lungs = _drop_specks(smooth > 0.5)
    if not _SMALLEST_SHARE <= float(lungs.mean()) <= _LARGEST_SHARE:
        return draw_atlas(height, width)
    return lungs


def draw_atlas(height: int, width: int) -> Mask:
    """Return where at least half of the annotated training films have lung, ``(H, W)``."""
    atlas = _load_weights()["atlas"]
    return np.asarray(cv2.resize(atlas, (width, height)) > 0.5, np.bool_)


def compute_lung_probability(film: NDArray[np.uint8]) -> Plane:
    """Return the network's probability of lung on a grid of 48 by 48 cells over the film."""
    seen = prepare_film(film)
    logits = _run(_load_weights(), np.stack([seen, seen[:, ::-1]]))
    logit = (logits[0] + logits[1][:, ::-1]) / 2
    return np.asarray(1 / (1 + np.exp(-logit)), np.float32)


def prepare_film(film: NDArray[np.uint8]) -> Plane:
    """Return the film as the network sees it: a square of equalised gray values in [-1, 1]."""
    small = cv2.resize(film, (INPUT_SIDE, INPUT_SIDE), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.equalizeHist(small) / np.float32(127.5) - 1, np.float32)


def _check(film: NDArray[np.uint8]) -> None:
    if not isinstance(film, np.ndarray) or film.dtype != np.uint8 or film.ndim != 2:
        found = (
            f"{film.dtype} {film.shape}" if isinstance(film, np.ndarray) else type(film).__name__
        )
        raise InputContractError(
            f"find_lungs: film is {found}; expected a (H, W) uint8 array,"
            " as read_film(...).to_uint8() returns it"
        )
    if min(film.shape) < 8:
        raise InputContractError(
            f"find_lungs: film is {film.shape}; expected at least 8 by 8 pixels"
        )


@functools.cache
def _load_weights() -> Weights:
    stored = load(files("covid_debug.imaging").joinpath(WEIGHTS_NAME).read_bytes())
    return {name: np.asarray(value, np.float32) for name, value in stored.items()}


def _run(weights: Weights, batch: Plane) -> Plane:
    """Return logits ``(N, 48, 48)`` of squares ``(N, 96, 96)``."""
    x = batch[..., None]
    skips: dict[str, Plane] = {}
    for name, _, _ in ENCODER:
        x = _convolve(weights, f"{name}0", x, stride=2)
        x = skips[name] = _convolve(weights, f"{name}1", x)
    for name, _, _ in DECODER:
        x = np.concatenate([x.repeat(2, axis=1).repeat(2, axis=2), skips[name]], axis=3)
        x = _convolve(weights, f"up_{name}", x)
    return np.asarray(x @ weights["head.weight"][:, 0] + weights["head.bias"], np.float32)


def _convolve(weights: Weights, name: str, x: Plane, stride: int = 1) -> Plane:
    """Return a 3 by 3 convolution with zero padding and ReLU of ``(N, H, W, C)``."""
    kernel, bias = weights[f"{name}.weight"], weights[f"{name}.bias"]
    _, height, width, _ = x.shape
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    windows = [
        padded[:, row : row + height : stride, column : column + width : stride]
        for row in range(3)
        for column in range(3)
    ]
    columns = np.concatenate(windows, axis=3)
    sums = columns @ kernel.reshape(-1, kernel.shape[-1]) + bias
    return np.asarray(np.maximum(sums, 0), np.float32)


def _drop_specks(lungs: Mask) -> Mask:
    """Return the mask without small pieces and small holes."""
    kept = lungs
    for wanted in (True, False):
        pieces = (kept == wanted).astype(np.uint8)
        _, labels, stats, _ = cv2.connectedComponentsWithStats(pieces, connectivity=4)
        small = stats[:, cv2.CC_STAT_AREA] < _SMALLEST_PIECE * lungs.size
        small[0] = False
        kept = np.where(small[labels], not wanted, kept)
    return np.asarray(kept, np.bool_)
