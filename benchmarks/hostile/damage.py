"""A small film, and what is done to the bytes of any file."""

import io
import random
from typing import Final

import cv2
import numpy as np
from PIL import Image

SIDE: Final = 192


def draw_film(draw: random.Random, side: int = SIDE) -> np.ndarray:
    """Return a film ``(H, W)`` uint8 with a letter on it."""
    grid = np.random.default_rng(draw.getrandbits(32)).integers(60, 140, (7, 7), dtype=np.uint8)
    film = cv2.resize(grid, (side, side), interpolation=cv2.INTER_CUBIC)
    return np.asarray(cv2.putText(film, "R", (12, 44), cv2.FONT_HERSHEY_SIMPLEX, 1.2, 250, 3))


def encode(pixels: np.ndarray | Image.Image, file_format: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(stream, file_format, **options)
    return stream.getvalue()


def cut(data: bytes, draw: random.Random) -> bytes:
    return data[: int(len(data) * draw.choice((0, 0.01, 0.05, 0.3, 0.7, 0.97, 0.999)))]


def flip(data: bytes, draw: random.Random, *, n_head: int | None = None) -> bytes:
    flipped = bytearray(data)
    for _ in range(draw.choice((1, 3, 20, 200))):
        flipped[draw.randrange(min(n_head or len(data), len(data)))] ^= 1 << draw.randrange(8)
    return bytes(flipped)


def shuffle(data: bytes, draw: random.Random) -> bytes:
    """Drop, double or move a piece."""
    first, last = sorted(draw.sample(range(len(data)), 2))
    piece, at = data[first:last], draw.randrange(len(data))
    kept = data if draw.random() < 0.5 else data[:first] + data[last:]
    return kept[:at] + piece + kept[at:]


def append(data: bytes, draw: random.Random) -> bytes:
    return data + draw.choice((b"\0" * 10_000, b"<script>alert(1)</script>", data))
