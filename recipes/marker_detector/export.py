"""Write trained weights as the ONNX file that ships: 8-bit integers, evaluated by ONNX Runtime.

The batch norms are folded into the convolutions, the scores come out in [0, 1], height and width
stay free. Weights keep 7 of their 8 bits, so that processors without VNNI instructions, which add
products in 16 bits, give the same scores. Needs ``onnx``.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor, nn

from covid_debug.imaging.reading import read_film
from recipes.marker_detector.backgrounds import LIST_PATH, WORKING_SIDE_PX
from recipes.marker_detector.network import MarkerNet

_OPSET = 17
_N_FILMS = 24  # of the listing, that say how large activations get


class _Scores(nn.Module):
    """The network with scores in place of logits."""

    def __init__(self, network: MarkerNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, films: Tensor) -> Tensor:
        """Return scores in [0, 1]."""
        return torch.sigmoid(self.network(films))


def export_weights(weights: Path, out: Path) -> Path:
    """Write the network in single precision.

    Args:
        weights: ``weights.safetensors`` of a training.
        out: File to write.

    Returns:
        ``out``.
    """
    network = MarkerNet()
    network.load_state_dict(load_file(weights))
    free = {2: "height", 3: "width"}
    torch.onnx.export(
        _Scores(network).eval(),
        (torch.zeros(1, 1, 256, 256),),
        str(out),
        opset_version=_OPSET,
        input_names=["films"],
        output_names=["scores"],
        dynamic_axes={"films": free, "scores": free},
        dynamo=False,
    )
    return out


def quantize_weights(single: Path, out: Path, films: Path, listing: Path = LIST_PATH) -> Path:
    """Write the network in 8-bit integers.

    Args:
        single: File of :func:`export_weights`.
        out: File to write.
        films: Folder that the listing's paths are relative to.
        listing: Training films; some say how large activations get.

    Returns:
        ``out``.
    """
    from onnxruntime.quantization import (  # noqa: PLC0415 - needs onnx
        CalibrationDataReader,
        QuantType,
        quant_pre_process,
        quantize_static,
    )

    class Films(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.waiting = _read_films(films, listing)

        def get_next(self) -> dict[str, NDArray[np.float32]] | None:
            return next(self.waiting, None)

    with TemporaryDirectory() as folder:
        prepared = Path(folder) / "prepared.onnx"
        quant_pre_process(str(single), str(prepared), skip_symbolic_shape=True)
        quantize_static(
            str(prepared),
            str(out),
            Films(),
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
    return out


def _read_films(films: Path, listing: Path) -> Iterator[dict[str, NDArray[np.float32]]]:
    names = list(json.loads(listing.read_text(encoding="utf-8")))
    for name in names[:: max(1, len(names) // _N_FILMS)][:_N_FILMS]:
        pixels = read_film(films / name).to_uint8()
        film = cv2.resize(pixels, (WORKING_SIDE_PX, WORKING_SIDE_PX)).astype(np.float32)
        yield {"films": np.asarray(film / np.float32(255), np.float32)[None, None]}
