"""Hostile films: files that are damaged, lie about themselves or have names that do harm.

Owns the table of the kinds and the folder. What becomes of them is measured by
:mod:`benchmarks.hostile.measure`.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from benchmarks.hostile.damage import append, cut, draw_film, encode, flip, shuffle
from benchmarks.hostile.dicom_films import (
    coded_dicom,
    deflated_bomb,
    dicom,
    endless_sequence,
    lying_dicom,
    nested_dicom,
    rle_bomb,
)
from benchmarks.hostile.pictures import (
    animated,
    bad_exif,
    jpeg,
    lying_jpeg,
    lying_png,
    many_scans,
    odd_picture,
    other_picture,
    png,
    png_bomb,
    short_png,
    stranger,
    texts_png,
    tiff_loop,
    tiny,
)
from benchmarks.hostile.places import PLACES, iter_names, make_place

Maker = Callable[[random.Random], bytes]


KINDS: Final[dict[str, tuple[str, Maker]]] = {
    "PNG: cut off": (".png", lambda draw: cut(png(draw), draw)),
    "PNG: bits flipped": (".png", lambda draw: flip(png(draw), draw)),
    "PNG: pieces moved": (".png", lambda draw: shuffle(png(draw), draw)),
    "PNG: more behind its end": (".png", lambda draw: append(png(draw), draw)),
    "PNG: size that lies": (".png", lying_png),
    "PNG: rows missing": (".png", short_png),
    "PNG: bomb": (".png", png_bomb),
    "PNG: texts and profiles": (".png", texts_png),
    "JPEG: cut off": (".jpg", lambda draw: cut(jpeg(draw), draw)),
    "JPEG: bits flipped": (".jpg", lambda draw: flip(jpeg(draw), draw)),
    "JPEG: head flipped": (".jpg", lambda draw: flip(jpeg(draw), draw, n_head=700)),
    "JPEG: pieces moved": (".jpg", lambda draw: shuffle(jpeg(draw), draw)),
    "JPEG: more behind its end": (".jpg", lambda draw: append(jpeg(draw), draw)),
    "JPEG: size that lies": (".jpg", lying_jpeg),
    "JPEG: thousands of scans": (".jpg", many_scans),
    "EXIF that is broken": (".jpg", partial(bad_exif, "JPEG")),
    "EXIF that is broken, PNG": (".png", partial(bad_exif, "PNG")),
    "several pictures in one": (".png", animated),
    "rare depths and colours": (".tif", odd_picture),
    "one pixel, or one row": (".png", tiny),
    "another format than the name": (".png", other_picture),
    "TIFF: loops and lying tags": (".tif", tiff_loop),
    "no film at all": (".png", stranger),
    "DICOM: cut off": (".dcm", lambda draw: cut(dicom(draw), draw)),
    "DICOM: bits flipped": (".dcm", lambda draw: flip(dicom(draw), draw)),
    "DICOM: head flipped": (".dcm", lambda draw: flip(dicom(draw), draw, n_head=1200)),
    "DICOM: pieces moved": (".dcm", lambda draw: shuffle(dicom(draw), draw)),
    "DICOM: header that lies": (".dcm", lying_dicom),
    "DICOM: header that lies, again": (".dcm", lying_dicom),
    "DICOM: compressed frame damaged": (".dcm", coded_dicom),
    "DICOM: sequences in sequences": (".dcm", nested_dicom),
    "DICOM: endless sequences": (".dcm", endless_sequence),
    "DICOM: deflated bomb": (".dcm", deflated_bomb),
    "DICOM: run lengths that lie": (".dcm", rle_bomb),
}


@dataclass(frozen=True, slots=True)
class Hostile:
    """One thing in the folder.

    Attributes:
        name: Path below the folder, as the file system has it.
        kind: Family of the mutation, e.g. ``"PNG: bits flipped"``.
    """

    name: str
    kind: str


def make_hostile_films(folder: Path, n_films: int, *, seed: int) -> list[Hostile]:
    """Fill a folder: one of every kind in turn until there are enough, then pipes and links.

    Args:
        folder: Created; for links that lead out of it, its parent is written to as well.
        n_films: How many in all, at least one of each kind.
        seed: The same gives the same bytes and names.

    Returns:
        What was made, in order.
    """
    folder.mkdir(parents=True)
    made = [Hostile(*make_place(folder, index)) for index in range(len(PLACES))]
    kinds = [*KINDS.items()]
    names = [*iter_names()]
    for index in range(n_films - len(made)):
        draw = random.Random(f"{seed} {index}")
        kind, (suffix, make) = kinds[index % len(kinds)]
        if index < len(names):  # a hostile name, and a sound film
            kind, name = f"name: {names[index][0]}", names[index][1]
            content = encode(draw_film(draw), "PNG")
        else:
            name, content = f"{index:04d}{suffix}", make(draw)
        (folder / name).write_bytes(content)
        made.append(Hostile(name, kind))
    return made
