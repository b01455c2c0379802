"""What people give to the functions of a notebook, made one of a kind.

Owns which things stand for a model, films or their text, and how others are refused.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, Union

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from covid_debug.artifacts import is_complete
from covid_debug.checking import advise_on_classes
from covid_debug.data.filmset import FilmSet, load_filmset
from covid_debug.data.layouts.base import Asked
from covid_debug.data.layouts.reading import find_named
from covid_debug.data.layouts.table import SYNONYMS
from covid_debug.data.table import StrangeLabelError, ingest_table
from covid_debug.errors import DataIntegrityError, InputContractError, suggest
from covid_debug.imaging.geometry import ViewSpec
from covid_debug.imaging.reading import FilmFile, FilmImage, Pixels, read_film
from covid_debug.imaging.regions import read_regions
from covid_debug.models.checkpoint import load_classifier
from covid_debug.models.classifier import Classifier, evaluating
from covid_debug.records import FilmRegions
from covid_debug.stages import Means
from covid_debug.text.base import check_gray_films

if TYPE_CHECKING:
    import pandas as pd

Place: TypeAlias = str | Path
OneFilm: TypeAlias = Place | FilmFile | FilmImage | Pixels
DataSet: TypeAlias = FilmSet | Place
Tested: TypeAlias = Union[DataSet, "pd.DataFrame"]
Model: TypeAlias = Classifier | Place
Found: TypeAlias = Iterable[FilmRegions] | Place


def load_model(classifier: Model) -> Classifier:
    """Return a model, or that of a checkpoint's folder.

    Raises:
        InputContractError: If it is neither.
    """
    if isinstance(classifier, str | Path):
        return load_classifier(Path(classifier))
    if not isinstance(classifier, Classifier):
        raise InputContractError(
            f"got a {type(classifier).__name__}; expected a classifier or the folder of its"
            " checkpoint; a network becomes one with cd.Classifier(network, class_names=..., ...)"
        )
    return classifier


def view_of(classifier: Classifier) -> ViewSpec:
    """Return how the views of a model are made; of whole films where nobody said.

    Raises:
        InputContractError: If it sees other views than squares and nobody said how.
    """
    height, width = classifier.image_size
    if classifier.view is None and height != width:
        raise InputContractError(
            f"views of films are square, the classifier takes {height} x {width}; pass images as a"
            " tensor, or a classifier of square images"
        )
    return classifier.view or ViewSpec(image_size=height, top_crop=0.0)  # as `model import`


def open_films(films: Tested) -> FilmSet:
    """Return a data set, or that of a folder.

    Raises:
        InputContractError: If it is neither.
    """
    if isinstance(films, FilmSet):
        return films
    if not isinstance(films, str | Path) or Path(films).is_file():
        got = films if isinstance(films, str | Path) else f"a {type(films).__name__}"
        raise InputContractError(f"got {got}; expected a data set (cd.load_filmset) or its folder")
    return load_filmset(Path(films))


def classes_of(films: Tested) -> tuple[str, ...]:
    """Return the classes of a data set; a table or folder takes those of the model."""
    if isinstance(films, FilmSet):
        return films.class_names
    if isinstance(films, str | Path) and _is_filmset(films):
        return open_films(films).class_names
    return ()


def _is_filmset(films: Place) -> bool:
    return is_complete(Path(films)) or not Path(films).exists()


def open_tested(films: Tested, model: Classifier, folder: Path, n_workers: int) -> FilmSet:
    """Return a data set; of a table or a folder of films every film is a test film.

    Args:
        films: A data set or its folder; or a table with a row a film, as a file or data frame,
            whose relative paths start from the file's folder, or from the working folder; or a
            folder with a folder of films for each class.
        model: Its classes are those of the films.
        folder: Where a table becomes a data set; the films stay where they are.
        n_workers: Processes that read them.

    Returns:
        The films.

    Raises:
        InputContractError: If it is none of these.
        DataIntegrityError: If the table or too many films cannot be used.
    """
    if isinstance(films, FilmSet) or (isinstance(films, str | Path) and _is_filmset(films)):
        return open_films(films)
    if isinstance(films, str | Path):
        table, named = Path(films), str(films)
    elif hasattr(films, "to_csv") and hasattr(films, "columns"):
        table, named = folder / "films.csv", "data frame"
        _start_here(films).to_csv(table, index=False)
    else:
        return open_films(films)
    try:
        return ingest_table(
            Asked(table),
            folder / "films",
            layout="folders" if table.is_dir() else "table",
            class_names=model.class_names,
            split="marked",
            means=Means(n_workers=n_workers),
        )
    except DataIntegrityError as error:
        said = str(error).replace(str(table), named)
        if isinstance(error, StrangeLabelError):
            said += advise_on_classes(model)
        if "--column" in said:
            said += "; in Python rename the columns to path and label"
        raise DataIntegrityError(said) from error


def _start_here(frame: "pd.DataFrame") -> "pd.DataFrame":
    """Return a table whose paths do not depend on where it lies."""
    started, here = frame.copy(), Path.cwd()
    started.columns = frame.columns.map(str)
    for name in find_named(list(started.columns), SYNONYMS["path"])[:1]:
        given = zip(started[name], started[name].isna(), strict=True)
        started[name] = ["" if is_blank else str(here / str(path)) for path, is_blank in given]
    return started


def list_given(films: Sequence[OneFilm], where: str) -> list[OneFilm]:
    """Return films as a list.

    Raises:
        InputContractError: If they are one film, a data set, or none.
    """
    if isinstance(films, FilmSet):
        raise InputContractError(
            f"{where}: got a data set; expected a list, e.g."
            " [films.file_of(film) for film in films.select('test')[:4]]"
        )
    if isinstance(films, str | Path | FilmFile | FilmImage) or getattr(films, "ndim", 3) == 2:
        raise InputContractError(f"{where}: got one film; expected a list; pass [film]")
    if len(films) == 0:
        raise InputContractError(f"{where}: got no film; expected at least one")
    return list(films)


def read_pixels(film: OneFilm) -> Pixels:
    """Return a film's pixels as stored."""
    if isinstance(film, np.ndarray):
        return film
    return (film if isinstance(film, FilmImage) else read_film(film)).pixels


def read_gray(film: OneFilm) -> NDArray[np.uint8]:
    """Return a film's pixels in 8 bits, ``(H, W)``."""
    if isinstance(film, np.ndarray):
        check_gray_films([film], where="films")
        return film.astype(np.uint8, copy=False)
    return (film if isinstance(film, FilmImage) else read_film(film)).to_uint8()


def by_image(found: Found) -> Mapping[str, FilmRegions]:
    """Return image id -> text, of records or of a file of them."""
    if isinstance(found, str | Path):
        return read_regions(Path(found))
    return {record.image: record for record in found}


def find_targets(
    classifier: Classifier, images: Tensor, targets: str | Sequence[int] | Tensor | None
) -> Tensor:
    """Return the class to explain for each image; None takes the predicted ones.

    Raises:
        InputContractError: If a name is not a class of the model.
    """
    names = classifier.class_names
    if targets is None:
        with evaluating(classifier), torch.inference_mode():
            logits: Tensor = classifier(images)
        return logits.argmax(dim=1)
    if isinstance(targets, str):
        if targets not in names:
            raise InputContractError(
                f"explain: {targets!r} is not a class of the model{suggest(targets, names)}"
                f" (known: {', '.join(names)})"
            )
        targets = [names.index(targets)] * len(images)
    return torch.as_tensor(targets, dtype=torch.int64, device=classifier.device)
