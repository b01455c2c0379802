"""What was done to every film, in files that travel with the cleaned data set.

Owns ``provenance.csv``, ``regions.jsonl`` and ``decisions.jsonl`` of a build and their reading.
"""

import csv
import dataclasses
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from covid_debug.cleaning.decisions import Decision, count_disagreements, render_decisions
from covid_debug.errors import DataIntegrityError
from covid_debug.records import Film, FilmRegions, TextRegion

Record = Mapping[str, Any]

_PROVENANCE_NAME: Final = "provenance.csv"
REGIONS_NAME: Final = "regions.jsonl"
DECISIONS_NAME: Final = "decisions.jsonl"
PROVENANCE_COLUMNS: Final = (
    "image_id",
    "path",
    "input_sha256",
    "output_sha256",
    "encoding",
    "bits",
    "n_regions",
    "n_removed",
    "n_kept",
    "n_replaced",
    "n_outside",
    "n_clipped",
    "n_decoys",
    "n_incomplete",
    "masked_pixels",
    "changed_pixels",
    "changed_share",
    "marker",
)
_TOTALS: Final = tuple(name for name in PROVENANCE_COLUMNS if name.startswith("n_"))


@dataclasses.dataclass(frozen=True, slots=True)
class FilmActions:
    """What a build did to one film, read back.

    Attributes:
        found: The regions that were given, in order, with those rejected before.
        actions: What happened to each region.
        shapes: Regions whose masks were stamped instead (placebo arm), or None.
        decoys: Further places that were filled.
        incomplete: Whether ink of each region goes on outside its mask; False in older files.
    """

    found: FilmRegions
    actions: tuple[str, ...]
    shapes: tuple[TextRegion, ...] | None
    decoys: tuple[TextRegion, ...]
    incomplete: tuple[bool, ...] = ()


def write_provenance(
    folder: Path,
    films: Sequence[Film],
    finished: Mapping[str, Record],
    regions: Mapping[str, FilmRegions],
) -> None:
    """Write ``provenance.csv`` and ``regions.jsonl``, one line a film, in the order of the set.

    Raises:
        OSError: If the disk is full; the writer of the artifact words it.
    """
    with (
        (folder / _PROVENANCE_NAME).open("w", encoding="utf-8", newline="") as table_file,
        (folder / REGIONS_NAME).open("w", encoding="utf-8") as lines,
    ):
        table = csv.DictWriter(
            table_file, PROVENANCE_COLUMNS, extrasaction="ignore", lineterminator="\n"
        )
        table.writeheader()
        for film in films:
            record = finished[film.image_id]
            table.writerow(record)
            line: dict[str, Any] = {"image": film.image_id}
            line |= {key: record[key] for key in ("width", "height", "regions", "decoys")}
            line["rejected"] = [
                {**dataclasses.asdict(region), "reason": reason}
                for region, reason in regions[film.image_id].rejected
            ]
            lines.write(json.dumps(line, allow_nan=False) + "\n")


def write_decisions(folder: Path, decisions: Sequence[Decision]) -> None:
    """Keep the reviewers' decisions with the data set; writes nothing when there are none."""
    if decisions:
        (folder / DECISIONS_NAME).write_text(render_decisions(decisions), encoding="utf-8")


def compute_facts(
    films: Sequence[Film],
    finished: Mapping[str, Record],
    refusals: Mapping[str, str],
    decisions: Sequence[Decision],
) -> dict[str, Any]:
    """Return counts of what was done, for the manifest."""
    totals: Counter[str] = Counter()
    detectors: Counter[str] = Counter()
    shares = []
    for film in films:
        record = finished[film.image_id]
        totals.update({name: record[name] for name in _TOTALS})
        totals["n_films_changed"] += record["changed_pixels"] > 0
        detectors.update(region["detector"] for region in record["regions"])
        shares.append(record["changed_share"])
    return {
        **{name: totals[name] for name in (*_TOTALS, "n_films_changed")},
        "n_refused": len(refusals),
        "mean_changed_share": sum(shares) / len(shares),
        "max_changed_share": max(shares),
        "detectors": dict(sorted(detectors.items())),
        "n_decisions": len(decisions),
        "n_disagreements": count_disagreements(line for line in decisions if line.is_about_region),
    }


def read_provenance(folder: Path) -> dict[str, dict[str, str]]:
    """Read ``provenance.csv`` of a cleaned data set.

    Returns:
        ``image_id`` -> row as text.

    Raises:
        DataIntegrityError: If the file is missing: the data set was not made by cleaning.
    """
    path = folder / _PROVENANCE_NAME
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            return {row["image_id"]: row for row in csv.DictReader(stream)}
    except (OSError, UnicodeDecodeError, csv.Error, KeyError) as error:
        raise DataIntegrityError(
            f"{path}: cannot be read; expected a data set made by covid-debug clean"
        ) from error


def read_actions(folder: Path) -> dict[str, FilmActions]:
    """Read back the regions and actions of a cleaned data set.

    Returns:
        By ``image_id``, in the order of the data set.

    Raises:
        DataIntegrityError: If the file is missing or damaged.
    """
    path = folder / REGIONS_NAME
    try:
        with path.open(encoding="utf-8") as stream:
            films = [_parse(json.loads(line)) for line in stream]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataIntegrityError(
            f"{path}: cannot be read; expected a data set made by covid-debug clean"
        ) from error
    return {film.found.image: film for film in films}


def _parse(line: Record) -> FilmActions:
    regions = tuple(_to_region(item) for item in line["regions"])
    shapes = [item.get("shape_of") for item in line["regions"]]
    return FilmActions(
        FilmRegions(line["image"], line["width"], line["height"], regions),
        tuple(item["action"] for item in line["regions"]),
        tuple(_to_region(item) for item in shapes) if shapes and shapes[0] else None,
        tuple(_to_region(item) for item in line["decoys"]),
        tuple(bool(item.get("incomplete")) for item in line["regions"]),
    )


def _to_region(item: Record) -> TextRegion:
    polygon = tuple((float(x), float(y)) for x, y in item["polygon"])
    kind = item.get("kind", "unknown")  # absent in artifacts of older versions
    return TextRegion(polygon, item["confidence"], item["content"], item["detector"], kind)
