"""What a worker process does with one film.

Owns what happens to one file: read, clean, write, describe. Which films are cleaned is decided by
:mod:`covid_debug.cleaning.build`.
"""

import dataclasses
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from covid_debug.cleaning.film import CleanedFilm, CleaningParams, RegionRecord, clean_film
from covid_debug.cleaning.film_files import DIGEST, PATH, refuse, write_film
from covid_debug.errors import DataIntegrityError
from covid_debug.imaging.inpainting import TRANSPLANT
from covid_debug.imaging.jpeg import read_quantisation
from covid_debug.imaging.reading import FILM_ERRORS, FilmFile, FilmImage, read_film
from covid_debug.records import Film, FilmRegions, TextRegion
from covid_debug.shards import NAME, Record


@dataclass(frozen=True, slots=True)
class Job:
    """One film on its way through a worker.

    Attributes:
        film: The film.
        source: Its original file.
        regions: Its text regions.
        params: How to clean.
        shapes: Regions whose masks are stamped at ``regions`` (placebo arm), or None.
        decoys: Further places to fill.
        output: File to write.
        name: ``output`` relative to the new data set.
    """

    film: Film
    source: FilmFile
    regions: FilmRegions
    params: CleaningParams
    shapes: tuple[TextRegion, ...] | None
    decoys: tuple[TextRegion, ...]
    output: Path
    name: str


def read_and_clean(job: Job) -> tuple[FilmImage, CleanedFilm]:
    """Read a film and clean it in memory.

    Args:
        job: What to clean and how.

    Returns:
        The original and the cleaned film.

    Raises:
        DataIntegrityError: If the film cannot be read, its regions belong to another film size
            or the budget is exceeded.
        FilmChangedError: If the film is not the one that was recorded.
    """
    image = read_film(job.source)
    height, width = image.pixels.shape
    if (job.regions.width, job.regions.height) != (width, height):
        raise DataIntegrityError(
            f"text regions were made for {job.regions.width} x {job.regions.height} pixels, "
            f"the film has {width} x {height}"
        )
    cleaned = clean_film(
        image.pixels,
        job.regions.regions,
        job.params,
        shapes=job.shapes,
        decoys=job.decoys,
        table=read_quantisation(job.source.path) if job.params.method == TRANSPLANT else None,
    )
    return image, cleaned


def clean_to_file(job: Job) -> Record:
    """Clean one film into its file.

    Args:
        job: What to clean and how.

    Returns:
        The provenance record, or why the film cannot be cleaned, see
        :mod:`covid_debug.cleaning.film_files`.

    Raises:
        ArtifactError: If the file cannot be written, for example on a full disk: that is no
            fault of the film.
        FilmChangedError: If the film is not the one that was recorded.
    """
    try:
        image, cleaned = read_and_clean(job)
    except FILM_ERRORS as error:
        return refuse(job.film.image_id, str(error) or type(error).__name__)
    return _describe(job, cleaned, image, write_film(job.output, cleaned.pixels))


def _describe(job: Job, cleaned: CleanedFilm, image: FilmImage, digest: str) -> Record:
    actions = Counter(record.action for record in cleaned.records)
    marker = cleaned.marker
    return {
        NAME: job.film.image_id,
        "image_id": job.film.image_id,
        PATH: job.name,
        "input_sha256": image.sha256,
        DIGEST: digest,
        "encoding": image.encoding,
        "bits": 8 * cleaned.pixels.dtype.itemsize,
        "n_regions": len(cleaned.records) - actions["decoy"],
        "n_removed": actions["removed"],
        "n_kept": actions["kept"],
        "n_replaced": actions["replaced"],
        "n_outside": actions["outside_film"],
        "n_clipped": sum(record.clipped for record in cleaned.records),
        "n_decoys": actions["decoy"],
        "n_incomplete": sum(record.is_incomplete for record in cleaned.records),
        "masked_pixels": int(cleaned.mask.sum()),
        "changed_pixels": cleaned.n_changed,
        "changed_share": cleaned.n_changed / cleaned.mask.size,
        "marker": ""
        if marker is None
        else f"R {marker.side} {'assumed' if marker.is_assumed else 'read'}",
        "width": cleaned.mask.shape[1],
        "height": cleaned.mask.shape[0],
        "regions": [_to_json(entry) for entry in cleaned.records if entry.action != "decoy"],
        "decoys": [_to_json(entry) for entry in cleaned.records if entry.action == "decoy"],
    }


def _to_json(record: RegionRecord) -> Record:
    line: Record = {
        **dataclasses.asdict(record.region),
        "action": record.action,
        "clipped": record.clipped,
        "mask": record.mask_kind,
        "incomplete": record.is_incomplete,
    }
    if record.shape_of is not None:
        line["shape_of"] = dataclasses.asdict(record.shape_of)
    return line
