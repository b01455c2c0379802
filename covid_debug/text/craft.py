"""CRAFT: character region awareness for text detection.

Source: Baek et al. 2019; the network is the one of ``craft-text-detector`` 0.4.3 with the authors'
weights ``craft_mlt_25k.pth``; post-processing is ours (:mod:`covid_debug.text.heat_maps`). That
package is unmaintained, so everything it breaks on is isolated here: torchvision no longer has
``model_urls``, its constructor warns, and its own downloader is bypassed. Torch is imported when
the network is loaded: a worker of a scan with another detector does without.
"""

import hashlib
import math
import os
import urllib.error
import urllib.request
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray

from covid_debug.errors import CheckpointError
from covid_debug.optional import require
from covid_debug.ranges import check_range
from covid_debug.records import TextRegion
from covid_debug.text.base import MAX_AREA_SHARE, MIN_EDGE, Gray, RegionDetector, check_scales
from covid_debug.text.heat_maps import group_characters, merge_regions

if TYPE_CHECKING:
    import torch
    from torch import nn

_WEIGHTS_MD5 = "2f8227d2def4037cdb3b34389dcf9ec1"
WEIGHTS_NAME = "craft_mlt_25k.pth"
_WEIGHTS_URL = (
    "https://drive.usercontent.google.com/download?id=1bupFXqT-VU6Jjeul13XP7yx2Sg5IHr4J"
    "&export=download&confirm=t"
)
WEIGHTS_VARIABLE = "COVID_DEBUG_CRAFT_WEIGHTS"
_STRIDE = 32
_MAP_STRIDE = 2
_MEAN = 255 * np.array([0.485, 0.456, 0.406], np.float32)
_DEVIATION = 255 * np.array([0.229, 0.224, 0.225], np.float32)


@dataclass(frozen=True, slots=True)
class CraftParams:
    """Parameters of :class:`CraftDetector`; the thresholds are the authors'.

    Attributes:
        weights: Weight file; empty: the environment variable ``COVID_DEBUG_CRAFT_WEIGHTS``, then
            ``~/.cache/covid_debug/craft_mlt_25k.pth``.
        weights_md5: Expected MD5 of the file as 32 hex digits; empty accepts any weights.
        download: Fetch missing weights from ``weights_url`` and verify them.
        weights_url: Where ``download`` fetches from.
        text_threshold: Least peak of the region score, in (0, 1].
        link_threshold: Least affinity between two characters, in (0, 1].
        low_text: Region score at the border of a character, in (0, 1].
        long_size: Longest side of the film as the network sees it, in pixels.
        magnification: A film is enlarged at most by this factor.
        scales: The network runs once per factor times ``long_size``; ``(1.0, 2.0)`` finds smaller
            glyphs at five times the cost.
        max_area_share: Larger regions are rejected; share of the film's area, in (0, 1].
        min_edge: Regions with weaker edges are rejected as anatomy; gray levels/px.
    """

    weights: str = ""
    weights_md5: str = _WEIGHTS_MD5
    download: bool = False
    weights_url: str = _WEIGHTS_URL
    text_threshold: float = 0.7
    link_threshold: float = 0.4
    low_text: float = 0.4
    long_size: int = 640
    magnification: float = 1.5
    scales: tuple[float, ...] = (1.0,)
    max_area_share: float = MAX_AREA_SHARE
    min_edge: float = MIN_EDGE

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            InputContractError: If a value is out of its range.
        """
        where = "text.craft"
        object.__setattr__(self, "scales", check_scales(self.scales, where))
        shares = ("text_threshold", "link_threshold", "low_text", "max_area_share")
        check_range(self, "(0, 1]", *shares, where=where)
        check_range(self, f"[{_STRIDE}, inf)", "long_size", where=where)
        check_range(self, "(0, inf)", "magnification", where=where)


class CraftDetector(RegionDetector):
    """Finds words by their characters; its known weakness is the single character."""

    name: ClassVar[str] = "craft"
    params: CraftParams

    def __init__(self, params: CraftParams | None = None) -> None:
        """Keep the parameters and check that the weights are there.

        Raises:
            CheckpointError: If the weights are missing or not the expected file.
        """
        self.params = params or CraftParams()
        self.max_area_share = self.params.max_area_share
        self.min_edge = self.params.min_edge
        self._weights = locate_weights(self.params)
        self._network: "nn.Module | None" = None

    def __getstate__(self) -> dict[str, Any]:
        """Return what is pickled: everything but the loaded network."""
        return {**self.__dict__, "_network": None}

    def prepare(self) -> None:
        """Load network and weights.

        Raises:
            CheckpointError: If the file does not hold CRAFT's weights.
        """
        if self._network is None:
            self._network = load_network(self._weights)

    def _find(self, image: Gray) -> list[TextRegion]:
        regions = []
        for scale in self.params.scales:
            regions += self._find_at(image, scale)
        return merge_regions(regions) if len(self.params.scales) > 1 else regions

    def _find_at(self, image: Gray, scale: float) -> list[TextRegion]:
        import torch  # noqa: PLC0415

        longest = min(
            self.params.long_size * scale, self.params.magnification * scale * max(image.shape)
        )
        tensor, ratio = _to_network(image, longest / max(image.shape))
        with torch.inference_mode():
            scores = self._network(tensor)[0][0].numpy() if self._network else None
        if scores is None:
            return []
        found = group_characters(
            np.ascontiguousarray(scores[..., 0]),
            np.ascontiguousarray(scores[..., 1]),
            text_threshold=self.params.text_threshold,
            link_threshold=self.params.link_threshold,
            low_text=self.params.low_text,
        )
        to_film = _MAP_STRIDE / ratio
        return [
            TextRegion(
                tuple((x * to_film[0], y * to_film[1]) for x, y in region.polygon),
                region.confidence,
                None,
                self.name,
            )
            for region in found
        ]


def locate_weights(params: CraftParams) -> Path:
    """Return the weight file, fetched if asked, with its MD5 verified.

    Raises:
        CheckpointError: If the file is missing, cannot be fetched or is another file.
    """
    path = weights_path(params.weights)
    if not path.is_file():
        if not params.download:
            raise CheckpointError(
                f"text.craft: {path}: CRAFT's weights are not there; expected {WEIGHTS_NAME} "
                f"(MD5 {_WEIGHTS_MD5}); put the file there, name it by weights=FILE or "
                f"{WEIGHTS_VARIABLE}, pass download=True, or use the detector 'rapidocr'"
            )
        _download(params.weights_url, path, params.weights_md5)
    elif params.weights_md5 and (found := _hash_md5(path)) != params.weights_md5:
        raise CheckpointError(
            f"text.craft: {path}: MD5 is {found}; expected {params.weights_md5}; fetch the file "
            "again, or pass weights_md5='' to use other weights on purpose"
        )
    return path


def weights_path(weights: str = "") -> Path:
    """Return where CRAFT's weights are looked for; the file may be missing."""
    named = weights or os.environ.get(WEIGHTS_VARIABLE, "")
    return Path(named) if named else Path.home() / ".cache" / "covid_debug" / WEIGHTS_NAME


def load_network(weights: Path) -> "nn.Module":
    """Build CRAFT's network and load a state dictionary into it.

    Args:
        weights: A ``torch.save`` of tensors; keys may begin with ``module.``.

    Returns:
        The network in evaluation mode. It maps ``(N, 3, H, W)`` to ``((N, H/2, W/2, 2), features)``
        where the last axis holds region and affinity score.

    Raises:
        CheckpointError: If the file does not hold CRAFT's weights.
        MissingPackageError: If the package is missing.
    """
    import torch  # noqa: PLC0415

    with torch.device("meta"):  # every tensor comes from the file; initialising them takes seconds
        network = _build_network()
    try:
        state = torch.load(weights, map_location="cpu", weights_only=True)
        state = {key.removeprefix("module."): tensor for key, tensor in state.items()}
        network.load_state_dict(state, assign=True)
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(
            f"text.craft: {weights}: does not hold CRAFT's weights ({reason}); "
            f"expected {WEIGHTS_NAME}"
        ) from error
    return network.eval()


def _build_network() -> "nn.Module":
    require("craft_text_detector", "gdown", purpose="text.craft")
    with _torchvision_as_of_2021(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from craft_text_detector.models.craftnet import CraftNet  # noqa: PLC0415 - optional

        network: nn.Module = CraftNet(pretrained=False)
    return network


@contextmanager
def _torchvision_as_of_2021() -> Iterator[None]:
    """Lend torchvision the ``model_urls`` that craft-text-detector imports."""
    import torchvision.models.vgg as torchvision_vgg  # noqa: PLC0415

    if hasattr(torchvision_vgg, "model_urls"):
        yield
        return
    url = torchvision_vgg.VGG16_BN_Weights.IMAGENET1K_V1.url
    torchvision_vgg.model_urls = {"vgg16_bn": url}
    try:
        yield
    finally:
        del torchvision_vgg.model_urls


def _to_network(image: Gray, scale: float) -> "tuple[torch.Tensor, NDArray[np.float64]]":
    """Return the padded, normalised film ``(1, 3, H, W)`` and the exact (x, y) scales."""
    import torch  # noqa: PLC0415

    height, width = image.shape
    new_width, new_height = (max(1, round(side * scale)) for side in (width, height))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    resized = cv2.resize(image, (new_width, new_height), interpolation=method)
    padded = np.zeros([_STRIDE * math.ceil(side / _STRIDE) for side in resized.shape], np.float32)
    padded[:new_height, :new_width] = resized
    channels = (padded[None] - _MEAN[:, None, None]) / _DEVIATION[:, None, None]
    tensor = torch.from_numpy(channels.astype(np.float32))[None]
    return tensor, np.array([new_width / width, new_height / height])


def _download(url: str, path: Path, expected_md5: str) -> None:
    """Fetch a file beside its place, verify it, then rename it.

    Raises:
        CheckpointError: If it cannot be fetched or is another file.
    """
    partial = path.with_name(f"{path.name}.partial-{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with urllib.request.urlopen(url, timeout=60) as reply, partial.open("wb") as out:  # noqa: S310
            while block := reply.read(1 << 20):
                out.write(block)
        found = _hash_md5(partial)
        if expected_md5 and found != expected_md5:
            raise CheckpointError(
                f"text.craft: what {url} sent has MD5 {found}; expected {expected_md5}; fetch "
                f"{WEIGHTS_NAME} by hand and pass weights=FILE"
            )
        partial.replace(path)
    except (OSError, ValueError) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        raise CheckpointError(
            f"text.craft: {url}: CRAFT's weights cannot be fetched ({reason}); without network, "
            f"copy {WEIGHTS_NAME} to {path}, or use the detector 'rapidocr'"
        ) from error
    finally:
        partial.unlink(missing_ok=True)


def _hash_md5(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            # The published fingerprint is an MD5; it identifies the file, it does not secure it.
            return hashlib.file_digest(
                stream, lambda: hashlib.md5(usedforsecurity=False)
            ).hexdigest()
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror})") from error
