"""Films to FiftyOne, and its tags back as decisions.

Owns FiftyOne's dataset format (``LegacyFiftyOneDataset``: one ``samples.json``; the newer
``FiftyOneDataset`` is read as well). A reviewer tags samples with the film's verdict and regions
with what should become of them. Boxes are shares of the film there.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from covid_debug.cleaning.decisions import FILM_ANSWERS, Decision
from covid_debug.errors import DataIntegrityError, InputContractError
from covid_debug.records import Box
from covid_debug.records_json import to_plain
from covid_debug.reporting.elsewhere import (
    REGION_ANSWERS,
    Rectangle,
    Returned,
    ReviewFilm,
    decide_regions,
    to_box,
)

SAMPLES_NAME: Final = "samples.json"


def write_fiftyone(films: Sequence[ReviewFilm], out: Path) -> None:
    """Write ``samples.json``.

    Args:
        films: The films, in the order in which they are shown.
        out: Folder to write into; is there.
    """
    samples = {"samples": [_make_sample(rank, film) for rank, film in enumerate(films, start=1)]}
    (out / SAMPLES_NAME).write_text(json.dumps(samples, indent=1) + "\n", encoding="utf-8")


def _make_sample(rank: int, film: ReviewFilm) -> dict[str, Any]:
    width, height = film.film.width, film.film.height
    sample = {
        "filepath": str(film.file),
        "tags": [],
        "rank": rank,
        "image_id": film.film.image_id,
        "film_width": width,
        "film_height": height,
        "source": film.film.source,
        "split": film.film.split,
        "true_class": {"_cls": "Classification", "label": film.film.label},
        "text": {
            "_cls": "Detections",
            "detections": [
                {
                    "_cls": "Detection",
                    "label": region.content or "text",
                    "tags": [],
                    "bounding_box": _to_shares(region.box, width, height),
                    "confidence": region.confidence,
                    "region_index": index,
                    "film_box": list(region.box),
                }
                for index, region in enumerate(film.regions)
            ],
        },
    }
    entry = film.entry
    if entry is not None:
        sample |= {
            "verdict": {"_cls": "Classification", "label": entry.verdict},
            "predicted": {
                "_cls": "Classification",
                "label": entry.predicted_class,
                "confidence": entry.probability,
            },
            "drop": to_plain(entry.drop),
            "q_value": to_plain(entry.q_value),
        }
    return sample


def read_fiftyone(exported: object, name: str, reviewer: str | None) -> Returned:
    """Read the decisions from the tags of an exported data set.

    Args:
        exported: The parsed ``samples.json``.
        name: How errors call it.
        reviewer: Who tagged; FiftyOne does not know.

    Returns:
        Film verdicts from tags of samples, decisions on regions from tags of detections; a new
        detection that is tagged "remove" is text that no detector saw. Other tags say nothing.

    Raises:
        DataIntegrityError: If it is no such export, or a film has two verdicts.
        InputContractError: If no reviewer was named.
    """
    if not reviewer:
        raise InputContractError(
            f"{name}: FiftyOne keeps no names; name who tagged the films with --reviewer"
        )
    decisions: list[Decision] = []
    n_left = 0
    try:
        samples = exported["samples"]  # type: ignore[index]
        for sample in samples:
            image_id = str(sample["image_id"])
            verdict = _one_answer(sample["tags"], FILM_ANSWERS, f"film {image_id!r}")
            if verdict:
                decisions.append(Decision(image_id, verdict, reviewer))
            detections = (sample.get("text") or {}).get("detections", [])
            sent = [one for one in detections if one.get("film_box")]
            known = {int(one["region_index"]): to_box(one["film_box"]) for one in sent}
            rectangles = [_to_rectangle(one, sample) for one in detections]
            found, left = decide_regions(image_id, reviewer, rectangles, known)
            decisions += found
            n_left += left
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise DataIntegrityError(
            f"{name}: is not the samples.json of films exported from here ({error!r}); expected a"
            " FiftyOne data set of them"
        ) from error
    return Returned(tuple(decisions), (reviewer,), len(samples), n_left)


def _one_answer(tags: Sequence[str], answers: Sequence[str], what: str) -> str:
    said = [answer for answer in answers if answer in {tag.replace("-", " ") for tag in tags}]
    if len(said) > 1:
        raise DataIntegrityError(
            f"{what}: is tagged {' and '.join(said)}; expected one of them; mend the tags and"
            " export again"
        )
    return said[0] if said else ""


def _to_rectangle(one: Mapping[str, Any], sample: Mapping[str, Any]) -> Rectangle:
    answer = _one_answer(
        one.get("tags", []), tuple(REGION_ANSWERS), f"a region of film {sample['image_id']!r}"
    )
    if one.get("film_box"):
        return Rectangle(to_box(one["film_box"]), answer, one.get("region_index"))
    width, height = float(sample["film_width"]), float(sample["film_height"])
    x, y, w, h = one["bounding_box"]
    return Rectangle((x * width, y * height, (x + w) * width, (y + h) * height), answer)


def _to_shares(box: Box, width: int, height: int) -> list[float]:
    x_min, y_min, x_max, y_max = box
    return [
        x_min / width,
        y_min / height,
        (x_max - x_min) / width,
        (y_max - y_min) / height,
    ]
