"""Films to Label Studio, and its annotations back as decisions.

Owns Label Studio's task format (its documentation, "Label Studio Task Format" and "Import
pre-annotated data"): a list of tasks with ``data`` and ``predictions`` goes in, the JSON export
with ``annotations`` comes back. Rectangles are in per cent of the film there.
"""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

from covid_debug.cleaning.decisions import FILM_ANSWERS, Decision
from covid_debug.errors import DataIntegrityError
from covid_debug.records import Box
from covid_debug.reporting.elsewhere import (
    REGION_ANSWERS,
    UNDECIDED,
    Rectangle,
    Returned,
    ReviewFilm,
    choose_reviewer,
    decide_regions,
    to_box,
)

TASKS_NAME: Final = "tasks.json"
CONFIG_NAME: Final = "label_config.xml"
_SENT_AS: Final = "region-"
_COLOURS: Final = {
    UNDECIDED: "#ffb000",
    "remove": "#2f7d4f",
    "keep": "#6fc3ea",
    "not text": "#aab4bd",
}


def write_label_studio(films: Sequence[ReviewFilm], out: Path) -> Path:
    """Write ``tasks.json`` and ``label_config.xml``.

    Args:
        films: The films, in the order in which they are shown.
        out: Folder to write into; is there.

    Returns:
        The folder that all films lie in, which Label Studio has to know as a local storage; the
        paths are relative to the folder above, its document root.
    """
    folder = Path(os.path.commonpath([film.file.parent for film in films]))
    tasks = [_make_task(film, folder.parent) for film in films]
    (out / TASKS_NAME).write_text(json.dumps(tasks, indent=1) + "\n", encoding="utf-8")
    (out / CONFIG_NAME).write_text(_make_config(), encoding="utf-8")
    return folder


def _make_task(film: ReviewFilm, root: Path) -> dict[str, Any]:
    width, height = film.film.width, film.film.height
    place = quote(film.file.relative_to(root).as_posix())
    regions = [
        {
            "id": f"{_SENT_AS}{index}",
            "from_name": "region",
            "to_name": "image",
            "type": "rectanglelabels",
            "original_width": width,
            "original_height": height,
            "image_rotation": 0,
            "value": {
                "x": 100 * region.box[0] / width,
                "y": 100 * region.box[1] / height,
                "width": 100 * (region.box[2] - region.box[0]) / width,
                "height": 100 * (region.box[3] - region.box[1]) / height,
                "rotation": 0,
                "rectanglelabels": [UNDECIDED],
            },
        }
        for index, region in enumerate(film.regions)
    ]
    return {
        "data": {
            "image": f"/data/local-files/?d={place}",
            "summary": film.summary,
            "image_id": film.film.image_id,
            "verdict": "" if film.entry is None else film.entry.verdict,
            "width": width,
            "height": height,
            "regions": [list(region.box) for region in film.regions],
        },
        "predictions": [{"model_version": "covid_debug", "result": regions}],
    }


def _make_config() -> str:
    choices = "".join(
        f"<Choice value={quoteattr(name)} hotkey={quoteattr(name[0])}/>" for name in FILM_ANSWERS
    )
    labels = "".join(
        f"<Label value={quoteattr(name)} background={quoteattr(colour)}/>"
        for name, colour in _COLOURS.items()
    )
    return f"""<View>
  <Header value="$summary"/>
  <Choices name="film" toName="image" choice="single" showInline="true">{choices}</Choices>
  <RectangleLabels name="region" toName="image" canRotate="false">{labels}</RectangleLabels>
  <Image name="image" value="$image" zoom="true" zoomControl="true" brightnessControl="true"/>
  <TextArea name="note" toName="image" placeholder="Note" maxSubmissions="1"/>
</View>
"""


def read_label_studio(tasks: object, name: str, reviewer: str | None = None) -> Returned:
    """Read the decisions of a JSON export.

    Args:
        tasks: The parsed file.
        name: How errors call it.
        reviewer: Whose answers, where several people annotated; where one did, their name, or
            None for what Label Studio calls them.

    Returns:
        Film verdicts and decisions on regions. Cancelled annotations are left out; of several by
        one person on a film the latest counts.

    Raises:
        DataIntegrityError: If it is no such export, or contradicts itself.
        InputContractError: If several people annotated and none was named.
    """
    with _told_as_one_error(name):
        answers = [
            (task["data"], annotation)
            for task in _list(tasks)
            for annotation in sorted(task["annotations"], key=lambda a: str(a.get("updated_at")))
            if not annotation.get("was_cancelled")
        ]
        people = tuple(dict.fromkeys(_name_person(annotation) for _, annotation in answers))
    chosen = choose_reviewer(people, reviewer)
    decisions: list[Decision] = []
    n_left = 0
    with _told_as_one_error(name):
        last = {
            data["image_id"]: (data, annotation)
            for data, annotation in answers
            if _name_person(annotation) == chosen
        }
        for data, annotation in last.values():
            found, left = _read_annotation(data, annotation["result"], reviewer or chosen or "")
            decisions += found
            n_left += left
    return Returned(tuple(decisions), people, len(_list(tasks)), n_left)


@contextmanager
def _told_as_one_error(name: str) -> Iterator[None]:
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise DataIntegrityError(
            f"{name}: is not a JSON export of Label Studio of tasks made here ({error!r}); expected"
            " the format JSON, not JSON-MIN, of a project with the exported tasks"
        ) from error


def _list(tasks: object) -> list[Any]:
    if not isinstance(tasks, list):
        raise TypeError("no list of tasks")
    return tasks


def _name_person(annotation: Mapping[str, Any]) -> str:
    who = annotation.get("completed_by")
    if isinstance(who, dict):
        who = who.get("email") or who.get("id")
    return "" if who is None else str(who)


def _read_annotation(
    data: Mapping[str, Any], results: Sequence[Mapping[str, Any]], reviewer: str
) -> tuple[list[Decision], int]:
    image_id, note, verdict = str(data["image_id"]), "", ""
    known = {place: to_box(box) for place, box in enumerate(data["regions"])}
    rectangles = []
    for result in results:
        name, value = result.get("from_name"), result.get("value", {})  # a relation has neither
        if name == "film":
            (verdict,) = value["choices"]
        elif name == "note":
            note = " ".join(value["text"])
        elif name == "region":
            (answer,) = value.get("rectanglelabels") or [UNDECIDED]  # its label was taken off
            if answer not in {UNDECIDED, *REGION_ANSWERS}:
                raise ValueError(f"label {answer!r}")
            box = _to_pixels(value, data["width"], data["height"])
            rectangles.append(Rectangle(box, answer, _sent_as(str(result.get("id", "")))))
    decisions = []
    if verdict:
        if verdict not in FILM_ANSWERS:
            raise ValueError(f"choice {verdict!r}")
        decisions.append(Decision(image_id, verdict, reviewer, note=note))
    about_regions, n_left = decide_regions(image_id, reviewer, rectangles, known)
    return [*decisions, *about_regions], n_left


def _sent_as(name: str) -> int | None:
    place = name.removeprefix(_SENT_AS)
    return int(place) if name.startswith(_SENT_AS) and place.isdecimal() else None


def _to_pixels(value: Mapping[str, float], width: int, height: int) -> Box:
    x, y = value["x"] / 100 * width, value["y"] / 100 * height
    return (x, y, x + value["width"] / 100 * width, y + value["height"] / 100 * height)
