"""A published split file of COVIDx, any version, and the folder of its images."""

from covid_debug.data.covidx import check_file_names, parse_split_file, select_class_names
from covid_debug.data.layouts.base import Asked, Listing, find_split, refuse_columns
from covid_debug.data.listed import ListedFilm
from covid_debug.errors import DataIntegrityError


def list_covidx(asked: Asked) -> Listing:
    """List the films of one split file: ``patientid filename label [source]`` a line.

    The first word of the file's name says the split (``test_COVIDx9B.txt``), if it is one.

    Args:
        asked: ``table`` is the split file. ``images`` is the folder of the images, or that with a
            folder of the split, ``test/``; by default the file's own.

    Returns:
        The films, of the two or three classes that the version publishes.

    Raises:
        DataIntegrityError: If the file is no split file.
    """
    refuse_columns(asked, "covidx")
    if asked.finding is not None:
        raise DataIntegrityError(
            f"{asked.table}: --finding goes with films of several labels, and those of layout"
            " covidx have one; leave it out"
        )
    rows = parse_split_file(asked.table)
    word = asked.table.name.partition(".")[0].partition("_")[0]
    folder = (asked.images or asked.table.parent).absolute()
    if (folder / word).is_dir():
        folder /= word
    check_file_names(asked.table, folder)
    listing = Listing(
        asked.table.name.partition(".")[0],
        class_names=select_class_names([row.label for row in rows], where=str(asked.table)),
    )
    for row in rows:
        source = row.source or "unknown"
        patient = f"{source}:{row.patient_id}"
        path = folder / row.filename
        listing.films.append(
            ListedFilm(folder, path, patient, row.label, source, "", find_split(word))
        )
    return listing
