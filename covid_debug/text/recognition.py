"""A second reader: the characters of the regions that a detector found.

Source: PP-OCR recognition network (CRNN with CTC, Shi et al. 2017, as trained by PaddleOCR), which
the ``rapidocr`` wheel carries as ONNX. Deviations: of its alphabet of 18,708 characters only those
of Latin script are looked at; a region that cannot be read upright is turned and mirrored, because
lead letters lie on films in every way; regions are read in batches of equal width.
"""

import importlib.util
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from covid_debug.errors import CheckpointError
from covid_debug.ranges import check_range
from covid_debug.records import TextRegion
from covid_debug.text.screening import Gray

_LATIN: Final = frozenset(
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
    " .,:;/-+()[]'&%#*=<>°×ÄÖÜäöüßÉÈéèñÑçÇ"
)
_HEIGHT_PX: Final = 48  # the network's input; its width is free
_WIDTH_STEP_PX: Final = 16
_MAX_WIDTH_PX: Final = 960
_BATCH: Final = 16
_PAD_SHARE: Final = 0.1
_CIRCLE_SHARE: Final = 0.18  # of the side, between a circle's box and the letter in it
_LONG: Final = 2.5  # times as long as high: a line, which nobody turns by a quarter
_SQUARE: Final = 1.4
# What is preferred among the readings of one region in several positions.
_UPRIGHT_GAIN: Final = 1.05
_SIDE_GAIN: Final = 1.08  # an R or L, by far the commonest single letters on films
_DIGIT_LOSS: Final = 0.85  # a digit in one or two characters is mostly a turned letter


@dataclass(frozen=True, slots=True)
class Reading:
    """What was read of one region.

    Attributes:
        content: Characters, ``""`` where there are none.
        score: Mean probability of the characters, in [0, 1].
    """

    content: str
    score: float


@dataclass(frozen=True, slots=True)
class ReaderParams:
    """Parameters of :class:`Reader`.

    Attributes:
        sure_score: A region read upright with this score is not turned; in [0, 1].
        min_score: Content with a lower score is not taken over; in [0, 1].
    """

    sure_score: float = 0.9
    min_score: float = 0.8

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            InputContractError: If a value is out of its range.
        """
        check_range(self, "[0, 1]", "sure_score", "min_score", where="text.recognition")


class Reader:
    """Reads found regions with the recognition network in the RapidOCR wheel, on one thread."""

    def __init__(self, params: ReaderParams | None = None) -> None:
        """Keep the parameters; the network is loaded on first use."""
        self.params = params or ReaderParams()
        self._session: Any = None
        self._characters: tuple[str, ...] = ()
        self._rows: NDArray[np.intp] = np.zeros(0, np.intp)

    def __getstate__(self) -> dict[str, Any]:
        """Return what is pickled: everything but the loaded network."""
        return {**self.__dict__, "_session": None}

    def prepare(self) -> None:
        """Load the network from the wheel; touches no network connection.

        Raises:
            CheckpointError: If the wheel lacks it.
        """
        if self._session is not None:
            return
        import onnxruntime  # noqa: PLC0415  slow to import, only when used

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        session = onnxruntime.InferenceSession(
            str(find_weights()), options, providers=["CPUExecutionProvider"]
        )
        names = session.get_modelmeta().custom_metadata_map["character"].splitlines()
        alphabet = ["", *names, " "]  # the blank of CTC first, the space last
        rows = [i for i, name in enumerate(alphabet) if i == 0 or name in _LATIN]
        self._rows = np.array(rows, np.intp)
        self._characters = tuple(alphabet[i] for i in rows)
        self._session = session

    def fill_in(self, regions: Sequence[TextRegion], image: Gray) -> tuple[TextRegion, ...]:
        """Return the regions with content where it is legible.

        Args:
            regions: Regions of one film. Annotations hold no characters and are left as they are.
            image: The film, uint8 ``(H, W)`` in [0, 255].

        Returns:
            The regions in their order; ``content`` is None where nothing could be read.
        """
        wanted = [index for index, region in enumerate(regions) if region.is_text]
        found = list(regions)
        readings = self.read([regions[index] for index in wanted], image)
        for index, reading in zip(wanted, readings, strict=True):
            is_legible = bool(reading.content) and reading.score >= self.params.min_score
            found[index] = replace(regions[index], content=reading.content if is_legible else None)
        return tuple(found)

    def read(self, regions: Sequence[TextRegion], image: Gray) -> list[Reading]:
        """Read regions, upright first, then in every position in which text may lie.

        Args:
            regions: Regions of one film.
            image: The film, uint8 ``(H, W)`` in [0, 255].

        Returns:
            The best reading of each region.
        """
        crops = [cut_upright(region, image) for region in regions]
        readings = self.recognise(crops)
        poor = [index for index, reading in enumerate(readings) if not self._is_sure(reading)]
        turned = [(index, crop) for index in poor for crop in _iter_positions(crops[index])]
        candidates: dict[int, list[tuple[float, Reading]]] = {
            index: [(_UPRIGHT_GAIN * _weigh(readings[index]), readings[index])] for index in poor
        }
        others = self.recognise([crop for _, crop in turned])
        for (index, _), reading in zip(turned, others, strict=True):
            candidates[index].append((_weigh(reading), reading))
        for index, several in candidates.items():
            readings[index] = max(several, key=lambda one: one[0])[1]
        return readings

    def _is_sure(self, reading: Reading) -> bool:
        return reading.score >= self.params.sure_score and not _is_doubtful(reading.content)

    def recognise(self, crops: Sequence[Gray]) -> list[Reading]:
        """Read crops as they are, each one line.

        Args:
            crops: uint8 ``(h, w)``, each of its own size.

        Returns:
            One reading each.
        """
        if crops:
            self.prepare()
        by_width: dict[int, list[int]] = defaultdict(list)
        for index, crop in enumerate(crops):
            by_width[_choose_width(crop)].append(index)
        readings: dict[int, Reading] = {}
        for width, members in by_width.items():
            for at in range(0, len(members), _BATCH):
                batch = members[at : at + _BATCH]
                pixels = np.stack([cv2.resize(crops[i], (width, _HEIGHT_PX)) for i in batch])
                values = pixels.astype(np.float32)[:, None] / 127.5 - 1
                (scores,) = self._session.run(None, {"x": np.repeat(values, 3, axis=1)})
                for index, steps in zip(batch, scores[:, :, self._rows], strict=True):
                    readings[index] = decode_steps(steps, self._characters)
        return [readings[index] for index in range(len(crops))]


def find_weights() -> Path:
    """Return the recognition network inside the installed ``rapidocr`` wheel.

    Raises:
        CheckpointError: If it is not there.
    """
    package = importlib.util.find_spec("rapidocr")
    folders = package.submodule_search_locations if package is not None else None
    for folder in folders or ():
        for path in sorted(Path(folder, "models").glob("*_rec_*.onnx")):
            return path
    raise CheckpointError(
        "text.recognition: the installed rapidocr carries no recognition network; install"
        " covid_debug's requirements again, or use text.read_content=false"
    )


def decode_steps(steps: NDArray[np.float32], characters: Sequence[str]) -> Reading:
    """Read the characters off the network's steps: the best one each, repetitions and blanks out.

    Args:
        steps: ``(T, C)`` probabilities; column 0 is the blank.
        characters: The ``C`` characters, the first one ``""``.

    Returns:
        The reading; its score is the mean probability of the first step of each character.
    """
    best = steps.argmax(axis=1)
    is_new = (best != 0) & (best != np.concatenate([[0], best[:-1]]))
    content = "".join(characters[index] for index in best[is_new])
    score = float(steps.max(axis=1)[is_new].mean()) if is_new.any() else 0.0
    return Reading(" ".join(content.split()), score)


def cut_upright(region: TextRegion, image: Gray) -> Gray:
    """Cut a region out of its film, its longer direction level where it lies aslant.

    Args:
        region: Polygon in film pixels; what lies outside the film repeats its edge.
        image: The film, uint8 ``(H, W)``.

    Returns:
        ``(h, w)`` uint8 with a little room around; a narrow letter gets as wide as it is high.
    """
    corners = np.asarray(region.polygon, np.float32)
    (x, y), (wide, high), angle = cv2.minAreaRect(corners)
    if angle > 45:
        wide, high, angle = high, wide, angle - 90
    if abs(angle) < 2 or _is_box(region):
        x0, y0, x1, y1 = region.box
        (x, y), (wide, high), angle = ((x0 + x1) / 2, (y0 + y1) / 2), (x1 - x0, y1 - y0), 0.0
    room = 2 * _PAD_SHARE * min(wide, high)
    size = max(round(max(wide, high if high < _LONG * wide else 0) + room), 3), round(high + room)
    turn = cv2.getRotationMatrix2D((x - 0.5, y - 0.5), angle, 1.0)
    turn[:, 2] += (size[0] / 2 - x, max(size[1], 3) / 2 - y)
    return np.asarray(
        cv2.warpAffine(image, turn, (size[0], max(size[1], 3)), borderMode=cv2.BORDER_REPLICATE),
        np.uint8,
    )


def _is_box(region: TextRegion) -> bool:
    x0, y0, x1, y1 = region.box
    return all(x in {x0, x1} and y in {y0, y1} for x, y in region.polygon)


def _iter_positions(crop: Gray) -> Iterator[Gray]:
    """Yield a crop in the other positions in which its text may lie."""
    aspect = crop.shape[1] / crop.shape[0]
    turns: Iterable[int] = range(4)
    if aspect >= _LONG:
        turns = (0, 2)
    elif aspect <= 1 / _LONG:
        turns = (1, 3)
    for is_mirrored in (False, True):
        seen = crop[:, ::-1] if is_mirrored else crop
        for turn in turns:
            if is_mirrored or turn:
                yield np.ascontiguousarray(np.rot90(seen, turn))
    if 1 / _SQUARE < aspect < _SQUARE:
        by_y, by_x = (math.floor(_CIRCLE_SHARE * side) for side in crop.shape)
        inner = crop[by_y : crop.shape[0] - by_y, by_x : crop.shape[1] - by_x]
        yield np.ascontiguousarray(inner)
        yield np.ascontiguousarray(inner[:, ::-1])


def _is_doubtful(content: str) -> bool:
    """Tell whether a reading may be a letter in another position."""
    letters = [character for character in content if character.isalnum()]
    return not letters or (len(letters) <= 2 and any(one.isdigit() for one in letters))


def _weigh(reading: Reading) -> float:
    if not any(character.isalnum() for character in reading.content):
        return 0.0
    loss = _DIGIT_LOSS if _is_doubtful(reading.content) else 1.0
    gain = _SIDE_GAIN if reading.content.strip(".()").upper() in {"R", "L"} else 1.0
    return reading.score * loss * gain


def _choose_width(crop: Gray) -> int:
    wide: float = crop.shape[1] * _HEIGHT_PX / crop.shape[0]
    steps = max(math.ceil(wide / _WIDTH_STEP_PX), _HEIGHT_PX // _WIDTH_STEP_PX)
    return min(steps * _WIDTH_STEP_PX, _MAX_WIDTH_PX)
