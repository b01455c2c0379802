"""The text detectors by name."""

from collections.abc import Collection
from dataclasses import fields
from typing import Any

from covid_debug.catalog import Catalog
from covid_debug.errors import ConfigError, suggest
from covid_debug.text.base import RegionDetector
from covid_debug.text.combined import CombinedDetector, CombinedParams
from covid_debug.text.craft import CraftDetector, CraftParams, weights_path
from covid_debug.text.marker_detector.detector import MarkerDetector, MarkerParams
from covid_debug.text.rapidocr import RapidOcrDetector, RapidOcrParams
from covid_debug.text.strokes import StrokeDetector, StrokeParams

DETECTORS: Catalog[tuple[type[Any], type[Any]]] = Catalog(
    "text.catalog",
    {
        "rapidocr": (RapidOcrDetector, RapidOcrParams),
        "craft": (CraftDetector, CraftParams),
        "marker": (MarkerDetector, MarkerParams),
        "strokes": (StrokeDetector, StrokeParams),
        "default": (CombinedDetector, CombinedParams),
    },
)


def build_detector(name: str = "default", **params: object) -> RegionDetector:
    """Build a detector; its network is loaded when it is first used.

    Args:
        name: A name of :data:`DETECTORS`.
        params: Fields of the detector's parameter class.

    Returns:
        The detector.

    Raises:
        CatalogError: If the name is unknown.
        ConfigError: If a parameter is unknown to this detector.
        CheckpointError: If the detector's weights are missing.
    """
    detector_class, params_class = DETECTORS[name]
    known = [field.name for field in fields(params_class)]
    for key in params:
        if key not in known:
            raise ConfigError(
                f"text.catalog: detector {name!r} has no parameter {key!r}{suggest(key, known)} "
                f"(known: {', '.join(known)})"
            )
    detector: RegionDetector = detector_class(params_class(**params))
    return detector


def members_of(detector: RegionDetector) -> frozenset[str]:
    """Return the names of the detectors that take part in a detector; its own, if it is simple."""
    return frozenset(getattr(detector.params, "members", ()) or (detector.name,))


def choose_second(used: Collection[str]) -> str:
    """Choose a detector to check the work of others.

    Args:
        used: Names of the detectors whose work is checked, see :func:`members_of`.

    Returns:
        ``craft`` where its weights are, else ``rapidocr``, ``marker`` or ``strokes``: the first
        that took no part; ``strokes`` if all did.
    """
    has_craft = weights_path("").is_file()
    order = (*(("craft",) if has_craft else ()), "rapidocr", "marker")
    return next((name for name in order if name not in used), "strokes")
