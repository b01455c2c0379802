"""What can be known about a film file without its label: bytes, size, encoding, likeness.

Owns the perceptual hash that finds near duplicates. What follows from a duplicate is decided in
:mod:`covid_debug.data.ingest` and :mod:`covid_debug.data.integrity`.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from covid_debug.errors import DataIntegrityError
from covid_debug.imaging.geometry import ViewSpec, render_view
from covid_debug.imaging.reading import FilmFile, Window, read_film
from covid_debug.progress import Progress

# Among the 1.5 million pairs of the 1,757 public films that the project was built on, re-encoded
# copies differ in at most 16 of the 256 bits and different films in at least 48.
_NEAR_DUPLICATE_BITS = 24
_HASH_SIDE = 16
_HASH_SPEC = ViewSpec(image_size=64)
_N_PARTS = 13  # of a hash: the least number of which one is always alike up to one bit
_N_CANDIDATES = 1 << 20  # pairs compared at once

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class FilmFacts:
    """What the file of one film says.

    Attributes:
        sha256: Hash of the file's bytes, 64 hex digits.
        width: Film width in pixels.
        height: Film height in pixels.
        encoding: As :class:`covid_debug.imaging.reading.FilmImage` names it.
        perceptual_hash: 256 bits that survive re-encoding and resizing.
        is_blank: Whether the view holds a single gray value.
        window: Gray values that are shown black and white.
    """

    sha256: str
    width: int
    height: int
    encoding: str
    perceptual_hash: bytes
    is_blank: bool
    window: Window


@dataclass(frozen=True, slots=True)
class NearDuplicate:
    """Two films that look the same, by their places in the examined sequence."""

    first: int
    second: int
    distance_bits: int


def examine_film(file: Path | FilmFile) -> FilmFacts:
    """Return the facts of the film in a file; reads and decodes it once."""
    image = read_film(file)
    height, width = image.pixels.shape
    view = render_view(image.to_uint8(), _HASH_SPEC)
    return FilmFacts(
        sha256=image.sha256,
        width=width,
        height=height,
        encoding=image.encoding,
        perceptual_hash=_compute_perceptual_hash(view),
        is_blank=bool(view.min() == view.max()),
        window=image.window,
    )


def examine_films(
    files: Sequence[Path | FilmFile], n_workers: int = 2, progress: Progress | None = None
) -> list[FilmFacts | DataIntegrityError]:
    """Examine many films in parallel; a film that cannot be read yields its error.

    Args:
        files: The files.
        n_workers: Threads.
        progress: Called with (films done, films in total).

    Returns:
        Facts or error, in the order of ``files``.
    """
    results: list[FilmFacts | DataIntegrityError] = []
    with ThreadPoolExecutor(n_workers) as pool:
        for result in pool.map(_examine_or_explain, files):
            results.append(result)
            if progress is not None:
                progress(len(results), len(files))
    return results


def _examine_or_explain(file: Path | FilmFile) -> FilmFacts | DataIntegrityError:
    try:
        return examine_film(file)
    except DataIntegrityError as error:
        return error


def _compute_perceptual_hash(view: npt.NDArray[np.uint8]) -> bytes:
    """Hash a view by the signs of its coarse cosine transform.

    Args:
        view: ``(S, S)`` uint8.

    Returns:
        32 bytes; bit ``i`` tells whether coefficient ``i`` of the lowest 16 x 16 lies above their
        median. The mean brightness is left out.
    """
    coarse = cv2.resize(view, (64, 64), interpolation=cv2.INTER_AREA).astype(np.float32)
    coefficients = cv2.dct(coarse)[:_HASH_SIDE, :_HASH_SIDE].ravel()
    bits = coefficients > np.median(coefficients[1:])
    bits[0] = False
    return np.packbits(bits).tobytes()


def find_near_duplicates(hashes: Sequence[bytes]) -> list[NearDuplicate]:
    """Find all pairs of films whose perceptual hashes differ in at most 24 bits.

    Two such hashes agree up to one bit in at least one of 13 parts, as 13 parts with two or more
    would make 26; only films that share a part up to one bit are compared. No pair is missed.

    Args:
        hashes: Perceptual hashes, one a film.

    Returns:
        Pairs with ``first < second``, in that order.
    """
    if not hashes:
        return []
    packed = np.frombuffer(b"".join(hashes), np.uint8).reshape(len(hashes), -1)
    words = packed.view(np.uint64)
    bits = np.unpackbits(packed, axis=1)
    found: dict[tuple[int, int], int] = {}
    for part in range(_N_PARTS):
        for left, right in _iter_candidates(bits[:, part::_N_PARTS]):
            differing = words[left] ^ words[right]
            distances = np.bitwise_count(differing).sum(axis=1, dtype=np.int64)
            for row in np.flatnonzero(distances <= _NEAR_DUPLICATE_BITS):
                pair = sorted((int(left[row]), int(right[row])))
                found[pair[0], pair[1]] = int(distances[row])
    return [NearDuplicate(first, second, found[first, second]) for first, second in sorted(found)]


def _iter_candidates(bits: npt.NDArray[np.uint8]) -> Iterator[tuple[Rows, Rows]]:
    """Yield the pairs of films whose bits differ in one place at most, each pair once.

    Args:
        bits: ``(N, B)`` of 0 and 1, B at most 20.

    Yields:
        Rows of the pairs' films, a bounded number at a time.
    """
    n_bits = bits.shape[1]
    values = bits.astype(np.int64) @ (1 << np.arange(n_bits, dtype=np.int64))
    order = np.argsort(values, kind="stable")
    values = values[order]
    ends = np.cumsum(np.bincount(values, minlength=1 << n_bits))
    places = np.arange(len(values))
    for flipped in (0, *(1 << place for place in range(n_bits))):
        others = values ^ flipped
        starts = np.where(others > 0, ends[others - 1], 0)
        starts = np.where(others == values, places + 1, starts)
        # Of two films that differ the one with the smaller value asks.
        counts = np.where(others >= values, ends[others] - starts, 0)
        for part in _split_evenly(counts):
            n = counts[part]
            asking = np.repeat(places[part], n)
            within = np.arange(len(asking)) - np.repeat(np.cumsum(n) - n, n)
            if len(asking):
                yield order[asking], order[np.repeat(starts[part], n) + within]


def _split_evenly(counts: Rows) -> Iterator[slice]:
    """Yield slices of rows that have about as many candidates as fit into memory."""
    total = np.cumsum(counts)
    start = 0
    while start < len(counts):
        done = int(total[start - 1]) if start else 0
        stop = max(int(np.searchsorted(total, done + _N_CANDIDATES)), start + 1)
        yield slice(start, stop)
        start = stop
