"""Names that do harm, and things in a folder that are no files."""

import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from benchmarks.hostile.pictures import png


def iter_names() -> Iterator[tuple[str, str]]:
    yield "line breaks", "a\nerror: all is well\n.png"
    yield "carriage return", "a\rb.png"
    yield "terminal escapes", "\x1b[2J\x1b]0;owned\x07.png"
    yield "control characters", "a\x01\x08\x7f\x9b31m.png"
    yield "direction turned", "a\u202egnp.exe.png"
    yield "markup", "<script>alert(1)<!--.png"
    yield "markup", "<img src=x onerror=alert(1)>.png"
    yield "Markdown", "[x](javascript:alert(1)) `a` |b| **c**.png"
    yield "template", "{{7*7}}${7*7}{% raw %}.png"
    yield "quotes", "a'b\"c`d;$(touch owned).png"
    yield "formula", "=cmd!A0.png"
    yield "formula", "@SUM(1+1).png"
    yield "leading dash", "-rf.png"
    yield "leading dash", "--out=owned.png"
    yield "very long", "x" * 250 + ".png"
    yield "spaces and a tab", "a\tb .png"
    yield "backslashes", "..\\..\\a.png"
    yield "percent", "%2e%2e%2fa%00.png"
    yield "no UTF-8", os.fsdecode(b"caf\xe9\xff.png")
    yield "letters of many scripts", "\u0440\u0435\u043d\u0442\u0433\u0435\u043d \U0001fa7b.png"
    yield "brackets of patterns", "a[0-9]*?.png"
    yield "like a file of ours", ".regions.jsonl.scan-0.partial.png"


PLACES: Final = (
    "pipe", "folder", "link to nothing", "link to itself", "links in a ring",
    "link to a folder above", "link to a device", "folders a thousand deep", "not readable",
)  # fmt: skip


def make_place(folder: Path, index: int) -> tuple[str, str]:
    kind, name = PLACES[index], f"place-{index}.png"
    place = folder / name
    if kind == "pipe":
        os.mkfifo(place)
    elif kind == "folder":
        place.mkdir()
    elif kind == "folders a thousand deep":
        here = os.open(folder, os.O_RDONLY)
        for _ in range(1500):
            os.mkdir("d", dir_fd=here)
            below = os.open("d", os.O_RDONLY, dir_fd=here)
            os.close(here)
            here = below
        os.close(here)
    elif kind == "not readable":
        place.write_bytes(png(random.Random(0)))
        place.chmod(0)
    else:
        target = {
            "link to nothing": "nowhere.png",
            "link to itself": name,
            "links in a ring": f"{name}.other.png",
            "link to a folder above": "..",
            "link to a device": "/dev/zero",
        }[kind]
        place.symlink_to(target)
        if kind == "links in a ring":
            (folder / target).symlink_to(name)
    return name, f"place: {kind}"
