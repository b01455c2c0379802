"""DICOM films of every encoding through `clean FILES` and back: what came back, how quickly.

Owns the comparison of files with what they were; a validator of DICOM objects (`dciodvfy`) is asked
where there is one.
"""

import io
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pydicom
from pydicom.pixels.encoders.base import get_encoder
from pydicom.uid import ExplicitVRLittleEndian

from benchmarks.dicoms import CODEC_ENCODINGS, ENCODINGS, Encoding, make_dicom, to_bytes
from benchmarks.tables import to_markdown, write_csv
from covid_debug.cleaning.archive import ArchiveResult, clean_archive
from covid_debug.cleaning.archive_film import ArchiveFilm
from covid_debug.data.filmset import load_filmset
from covid_debug.data.phantom import generate_phantom
from covid_debug.errors import InputContractError
from covid_debug.imaging.boxes import do_overlap
from covid_debug.imaging.dicom import DicomFilm
from covid_debug.imaging.reading import read_film
from covid_debug.imaging.regions import read_regions
from covid_debug.progress import Listener
from covid_debug.text.finder import Finder

TABLE_NAME: Final = "archive.csv"
_REACH_PX: Final = 24  # from a found region, where a mask of its glyphs with frame may end


@dataclass(frozen=True, slots=True)
class ArchiveBench:
    """What is measured.

    Attributes:
        n_films: Phantoms, dealt over the encodings in turn.
        seed: Seed of the phantoms.
        validator: Path of `dciodvfy`, or None.
        n_workers: Processes that clean.
    """

    n_films: int = 200
    seed: int = 0
    validator: Path | None = None
    n_workers: int = 1

    def __post_init__(self) -> None:
        """Check that the validator is a program."""
        if self.validator is not None and shutil.which(self.validator) is None:
            raise InputContractError(
                f"{self.validator}: is no program; expected dciodvfy of dicom3tools"
            )


def bench_archive(bench: ArchiveBench, finder: Finder, out: Path, console: Listener) -> str:
    """Make DICOM films, clean them, and compare each file with what it was.

    Args:
        bench: What is measured.
        finder: Finds the text.
        out: New folder: phantoms, ``dicom``, ``cleaned`` and the table.
        console: Told how far it is.

    Returns:
        The table as Markdown, and the seconds.
    """
    encodings = [one for one in (*ENCODINGS, *CODEC_ENCODINGS) if _is_available(one)]
    names = make_films(bench, encodings, out, console)
    started = time.perf_counter()
    result = clean_archive(
        [out / "dicom"], out / "cleaned", finder, n_workers=bench.n_workers, listener=console
    )
    seconds = time.perf_counter() - started
    rows = [
        _summarise(one, [film for film in result.films if names[film.film] == one.name], out, bench)
        for one in encodings
    ]
    write_csv(out / TABLE_NAME, list(rows[0]), rows)
    return f"{to_markdown(rows)}\n{_describe_speed(result, seconds)}\n"


def make_films(
    bench: ArchiveBench, encodings: Sequence[Encoding], out: Path, console: Listener
) -> dict[str, str]:
    """Write phantoms as DICOM films in all encodings; return file name -> name of its encoding."""
    out.mkdir(parents=True)
    with console.progress("phantoms") as progress:
        generate_phantom(
            out / "phantoms",
            n_train=max(bench.n_films - 2, 1),
            n_test=2,
            seed=bench.seed,
            progress=progress,
        )
    names = {}
    (out / "dicom").mkdir()
    filmset = load_filmset(out / "phantoms")
    for index, film in enumerate(filmset.films[: bench.n_films]):
        encoding = encodings[index % len(encodings)]
        name = f"{index:03d}-{film.image_id}.dcm"
        gray = read_film(filmset.file_of(film)).to_uint8()
        (out / "dicom" / name).write_bytes(make_dicom(gray, encoding, index))
        names[name] = encoding.name
    return names


def _is_available(encoding: Encoding) -> bool:
    return (
        not encoding.encoder or encoding.encoder in get_encoder(encoding.syntax).available_plugins
    )


def _summarise(
    encoding: Encoding, films: Sequence[ArchiveFilm], out: Path, bench: ArchiveBench
) -> dict[str, object]:
    counts: Counter[str] = Counter()
    truth = read_regions(out / "phantoms" / "truth_regions.jsonl")
    for film in films:
        before = (out / "dicom" / film.film).read_bytes()
        after = (out / "cleaned" / film.output).read_bytes() if film.output else b""
        counts[film.outcome] += 1
        found = [region.box for region in film.regions]
        for region in truth[film.film[4:-4]].regions:
            counts["texts"] += 1
            counts["found"] += any(do_overlap(region.box, box) for box in found)
        if film.outcome != "cleaned":
            continue
        counts["outside"] += _count_outside(film, before, after)
        counts["read"] += _can_be_read(after)
        if bench.validator is not None:
            new = find_errors(bench.validator, after) - find_errors(bench.validator, before)
            counts["errors"] += sum(new.values())
    return {
        "encoding": encoding.name,
        "transfer syntax": encoding.syntax.name,
        "written as": next((film.coding_out for film in films if film.coding_out), ""),
        "films": len(films),
        "cleaned": counts["cleaned"],
        "refused": counts["refused"],
        "texts": counts["texts"],
        "found": counts["found"],
        "values changed outside": counts["outside"],
        "read by pydicom": counts["read"],
        "new errors": counts["errors"] if bench.validator is not None else "not asked",
    }


def _count_outside(film: ArchiveFilm, before: bytes, after: bytes) -> int:
    """Count stored values that differ further from found text than a mask reaches."""
    first, second = DicomFilm(before, "before").planes, DicomFilm(after, "after").planes
    near = np.zeros(first.shape[:2], np.bool_)
    for region in film.regions:
        left, top, right, low = (round(value) for value in region.box)
        near[
            max(top - _REACH_PX, 0) : low + _REACH_PX, max(left - _REACH_PX, 0) : right + _REACH_PX
        ] = True
    differs = (first != second).any(axis=2)
    return int(np.count_nonzero(differs & ~near)) + film.n_changed_outside


def _can_be_read(data: bytes) -> bool:
    dataset = pydicom.dcmread(io.BytesIO(data))
    return bool(dataset.pixel_array.size) and dataset.BurnedInAnnotation == "NO"


def find_errors(validator: Path, data: bytes) -> Counter[str]:
    """Ask `dciodvfy` about an object; deflated ones are given to it inflated."""
    dataset = pydicom.dcmread(io.BytesIO(data))
    if dataset.file_meta.TransferSyntaxUID.is_deflated:
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        data = to_bytes(dataset)
    command = [str(validator), "/dev/stdin"]
    answer = subprocess.run(command, input=data, capture_output=True, check=False)
    lines = (answer.stdout + answer.stderr).decode(errors="replace").splitlines()
    return Counter(line for line in lines if line.startswith("Error"))


def _describe_speed(result: ArchiveResult, seconds: float) -> str:
    n_films = len(result.films)
    return f"{n_films} films in {seconds:.0f} s: {n_films / seconds:.2f} a second"
