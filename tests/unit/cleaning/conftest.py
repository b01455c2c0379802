"""Small films with text at known places, as a data set."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from covid_debug.artifacts import hash_file, write_artifact
from covid_debug.data.filmset import (
    FilmSet,
    load_filmset,
    write_films,
    write_split_lists,
    write_unusable,
)
from covid_debug.records import Film, FilmRegions, RegionKind, TextRegion
from tests.films import recorded

CLASS_NAMES = ("normal", "COVID-19")

SetMaker = Callable[..., tuple[FilmSet, dict[str, FilmRegions]]]


def textured(seed: int, width: int, height: int) -> np.ndarray:
    generator = np.random.default_rng(seed)
    smooth = cv2.GaussianBlur(generator.random((height, width)), (0, 0), 8)
    smooth = (smooth - smooth.min()) / np.ptp(smooth)
    return np.clip(60 + 90 * smooth + generator.normal(0, 4, smooth.shape), 0, 255).astype(np.uint8)


@pytest.fixture
def make_set(tmp_path: Path) -> SetMaker:
    """Return a function that writes films of 96 x 80 pixels with a letter where asked."""

    def make(
        boxes: list[list[tuple[int, int, int, int]]],
        labels: list[str] | None = None,
        *,
        content: str = "L",
        kind: RegionKind = "side_marker",
        name: str = "made",
    ) -> tuple[FilmSet, dict[str, FilmRegions]]:
        width, height = 96, 80
        films, regions = [], {}
        with write_artifact(tmp_path / name, kind="filmset") as draft:
            (draft.path / "train").mkdir()
            for index, film_boxes in enumerate(boxes):
                pixels = textured(index, width, height)
                found = []
                for x, y, wide, high in film_boxes:
                    pixels[y + 2 : y + high - 2, x + 2 : x + wide - 2 : 3] = 255
                    polygon = ((x, y), (x + wide, y), (x + wide, y + high), (x, y + high))
                    found.append(TextRegion(polygon, 0.9, content, "made", kind))
                path = draft.path / f"train/{index:03d}.png"
                cv2.imwrite(str(path), pixels)
                image_id = hash_file(path)[:16]
                label = labels[index] if labels else CLASS_NAMES[index % 2]
                films.append(
                    Film(
                        image_id,
                        f"train/{path.name}",
                        f"made:{index}",
                        label,
                        "made",
                        "PA",
                        "train",
                        width,
                        height,
                        *recorded(path),
                    )
                )
                regions[image_id] = FilmRegions(image_id, width, height, tuple(found))
            write_films(draft.path, films)
            write_unusable(draft.path, [])
            write_split_lists(draft.path, films)
            draft.facts.update(
                name=name, class_names=CLASS_NAMES, n_ok=len(films), n_total=len(films)
            )
        return load_filmset(tmp_path / name), regions

    return make
