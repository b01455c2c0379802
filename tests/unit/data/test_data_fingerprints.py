"""Perceptual hashes and what a file says."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from covid_debug.artifacts import hash_file
from covid_debug.data import fingerprints
from covid_debug.data.fingerprints import (
    FilmFacts,
    NearDuplicate,
    examine_film,
    examine_films,
    find_near_duplicates,
)
from covid_debug.errors import DataIntegrityError
from tests.films import draw_film, draw_pixels


def test_examine_film_reads_size_encoding_and_hash(tmp_path: Path) -> None:
    path = draw_film(tmp_path / "a.png", seed=0)

    facts = examine_film(path)

    assert (facts.width, facts.height, facts.encoding) == (64, 70, "png-L")
    assert facts.sha256 == hash_file(path)
    assert len(facts.perceptual_hash) == 32
    assert not facts.is_blank


def test_examine_film_notices_a_blank_film(tmp_path: Path) -> None:
    Image.new("L", (40, 40), 90).save(tmp_path / "a.png")

    assert examine_film(tmp_path / "a.png").is_blank


def test_examine_films_keeps_order_and_errors(tmp_path: Path) -> None:
    paths = [draw_film(tmp_path / f"{seed}.png", seed) for seed in range(4)]
    paths[2].write_bytes(b"")
    seen: list[tuple[int, int]] = []

    results = examine_films(paths, progress=lambda *n: seen.append(n))

    assert [type(result) for result in results] == [
        FilmFacts,
        FilmFacts,
        DataIntegrityError,
        FilmFacts,
    ]
    assert seen[-1] == (4, 4)


def test_near_duplicates_survive_resizing_brightness_and_jpeg(tmp_path: Path) -> None:
    smooth = cv2.GaussianBlur(draw_pixels(1, 400, 440), (0, 0), 9)
    other = cv2.GaussianBlur(draw_pixels(2, 400, 440), (0, 0), 9)
    Image.fromarray(smooth).save(tmp_path / "0.png")
    Image.fromarray(other).save(tmp_path / "1.png")
    small = cv2.resize(smooth, (200, 220), interpolation=cv2.INTER_AREA)
    Image.fromarray((small * 0.8 + 20).astype(np.uint8)).save(tmp_path / "2.jpg", quality=60)
    names = ("0.png", "1.png", "2.jpg")

    pairs = find_near_duplicates([examine_film(tmp_path / name).perceptual_hash for name in names])

    assert [(pair.first, pair.second) for pair in pairs] == [(0, 2)]


@pytest.mark.parametrize("n_candidates", [1 << 20, 3])
def test_no_near_duplicate_is_missed_or_added(
    n_candidates: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fingerprints, "_N_CANDIDATES", n_candidates)
    generator = np.random.default_rng(5)
    bits = generator.integers(0, 2, (60, 256), dtype=np.uint8)
    for row in range(30):  # films 30 to 59 differ from the first ones in 0 to 29 bits
        bits[30 + row] = bits[row]
        # Spread over all parts, and all in few of them: the two ways to be hard to find.
        places = generator.permutation(256) if row % 2 else np.arange(256)
        bits[30 + row, places[:row]] ^= 1
    bits[31] = bits[0]  # more than two alike
    hashes = [np.packbits(row).tobytes() for row in bits]
    distances = (bits[:, None] != bits[None]).sum(axis=2)

    found = find_near_duplicates(hashes)

    assert found == [
        NearDuplicate(i, j, int(distances[i, j]))
        for i in range(60)
        for j in range(i + 1, 60)
        if distances[i, j] <= 24
    ]
    assert {pair.distance_bits for pair in found} >= {0, 23, 24}


def test_find_near_duplicates_of_nothing_is_empty() -> None:
    assert find_near_duplicates([]) == []
