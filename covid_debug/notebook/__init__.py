"""What a notebook calls: each step of the loop with a model and films in memory, or in folders.

The functions here are the verbs of ``import covid_debug as cd``. They join what the packages
below own, and compute nothing themselves. A *film* is a file, a :class:`FilmImage` or its 8-bit
pixels ``(H, W)``; a *data set* is a :class:`FilmSet` or its folder.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, overload

import numpy as np
from torch import Tensor

from covid_debug.artifacts import check_absent
from covid_debug.audit.inputs import choose_kinds
from covid_debug.audit.pipeline import audit_filmset
from covid_debug.audit.planning import AuditParams, AuditSubject
from covid_debug.catalog import check_fields
from covid_debug.checking import check_model
from covid_debug.cleaning.build import clean_filmset
from covid_debug.cleaning.film import CleanedFilm, CleaningParams, clean_film
from covid_debug.data.filmset import FilmSet
from covid_debug.data.filmset import load_filmset as load_filmset
from covid_debug.errors import InputContractError
from covid_debug.errors import suggest as suggest
from covid_debug.evaluation.comparing import compare_arms
from covid_debug.evaluation.comparison import BASE_ARM, Comparison
from covid_debug.evaluation.predictions import predict_test_films
from covid_debug.imaging.geometry import ViewSpec as ViewSpec
from covid_debug.imaging.geometry import render_view
from covid_debug.imaging.reading import FilmFile as FilmFile
from covid_debug.imaging.reading import FilmImage as FilmImage
from covid_debug.imaging.reading import Pixels as Pixels
from covid_debug.imaging.reading import read_film as read_film
from covid_debug.imaging.regions import read_regions as read_regions
from covid_debug.models.checkpoint import LoadedModel
from covid_debug.models.checkpoint import load_classifier as load_classifier
from covid_debug.models.classifier import Classifier as Classifier
from covid_debug.models.classifier import evaluating as evaluating
from covid_debug.models.heads import ask_films_finding
from covid_debug.models.inference import to_canonical
from covid_debug.notebook.given import (
    DataSet,
    Found,
    Model,
    OneFilm,
    Place,
    Tested,
    by_image,
    classes_of,
    find_targets,
    list_given,
    load_model,
    open_films,
    open_tested,
    read_gray,
    read_pixels,
    view_of,
)
from covid_debug.records import FilmRegions
from covid_debug.reporting.shown_audit import FilmsBehind, ShownAudit
from covid_debug.saliency.base import Explanation
from covid_debug.saliency.catalog import build_explainer
from covid_debug.stages import Means
from covid_debug.text.base import check_gray_films as check_gray_films
from covid_debug.text.catalog import build_detector
from covid_debug.text.contents import build_content_reader
from covid_debug.text.scan import scan_films


def explain(
    classifier: Model,
    films: Sequence[OneFilm] | Tensor,
    targets: str | Sequence[int] | Tensor | None = None,
    *,
    method: str = "igos_pp",
    seed: int = 0,
    **params: Any,  # noqa: ANN401
) -> Explanation:
    """Show which pixels a classifier uses.

    Args:
        classifier: A model, or the folder of its checkpoint.
        films: Films, of which the classifier's views are made; or views as a tensor
            ``(N, 1, H, W)`` in [0, 1].
        targets: Class to explain: a name, or one index a film; None takes the predicted classes.
        method: Name in the catalogue of explainers.
        seed: Decides what a method draws; the same for every film, so that a film has the same
            map alone and among others.
        params: Parameters of the method, e.g. ``grid_size=32``.

    Returns:
        Maps ``(N, 1, H, W)``, larger = more evidence for the target, and what is needed to judge
        them.

    Raises:
        InputContractError: If there is no film, or a target is not a class of the model.
    """
    model = load_model(classifier)
    if isinstance(films, Tensor):
        images = films.to(model.device)
    else:
        view = view_of(model)
        views = [render_view(read_gray(film), view) for film in list_given(films, "explain")]
        images = to_canonical(np.stack(views), model.device)
    classes = find_targets(model, images, targets)
    explainer = build_explainer(method, **params)
    return explainer.explain(model, images, classes, seeds=[seed] * len(images))


def detect_text(
    films: DataSet | Sequence[OneFilm],
    *,
    detector: str = "default",
    read_content: bool = True,
    kinds: Path | None = None,
    n_workers: int = 1,
    **params: Any,  # noqa: ANN401
) -> list[FilmRegions]:
    """Find the burned-in text of films, and read it.

    Args:
        films: A data set, of which every film is looked at; or films.
        detector: Name in the catalogue of detectors.
        read_content: Whether found text is read, so that its kind is known.
        kinds: File of your own patterns that tell kinds.
        n_workers: Processes, for a data set; a script starts more than one only below
            ``if __name__ == "__main__":``.
        params: Parameters of the detector.

    Returns:
        One record a film, in order, with polygons in pixels of the film. ``image`` is the film's
        id in the data set, or its place in the list. A film of a data set that cannot be read is
        a record with its ``error``.

    Raises:
        InputContractError: If there is no film.
        DataIntegrityError: If a file of a list cannot be read.
        ConfigError: If a pattern is refused.
    """
    contents = build_content_reader(read_content=read_content, kinds=kinds)
    if isinstance(films, FilmSet | str | Path):
        filmset = open_films(films)
        pairs = [(film.image_id, filmset.file_of(film)) for film in filmset.films]
        return list(scan_films(pairs, detector, params, contents=contents, n_workers=n_workers))
    images = [read_gray(film) for film in list_given(films, "detect_text")]
    records = []
    for i, (image, one) in enumerate(
        zip(images, build_detector(detector, **params).inspect(images), strict=True)
    ):
        (height, width), said = image.shape, contents.complete(one.regions, image)
        records.append(FilmRegions(str(i), width, height, said, rejected=one.rejected))
    return records


def audit(
    classifier: Model,
    films: Tested,
    regions: Found | None = None,
    *,
    out: Place | None = None,
    seed: int = 0,
    n_workers: int = 1,
    **params: Any,  # noqa: ANN401
) -> ShownAudit:
    """Test, film by film, whether text drives the predictions of one class.

    Args:
        classifier: A model, or the folder of its checkpoint. Views are made as the checkpoint
            says; of a model in memory by ``classifier.view``, or by the default for its size.
        films: The data set whose test films are audited; or a table of films, a data frame or a
            CSV or Parquet file with a column of paths and one of labels, or a folder with a folder
            of films for each class, of which all are.
        regions: Its text, from :func:`detect_text`, or a file or artifact of it; None looks for it
            now.
        out: Folder in which the audit is kept; None keeps nothing on disk.
        seed: Decides everything that is drawn.
        n_workers: Processes that read films and look for text.
        params: Fields of :class:`AuditParams`, e.g. ``map_methods=("igos_pp", "grad_cam")``.

    Returns:
        A verdict a film and a summary, drawn where a notebook shows it, with what a check of the
        model on the labels found; without ``out`` nothing
        lies at its ``path``, and no map.

    Raises:
        InputContractError: If there are no test films, or the model lacks the audited class.
        ConfigError: If a parameter is not a field.
        ArtifactError: If ``out`` stands already.
    """
    model = load_model(classifier)
    _check_call("audit", params, AuditParams, out)
    chosen = AuditParams(**params)
    model = ask_films_finding(model, chosen.target_class, classes_of(films))
    model.require_classes("audit")
    chosen = replace(chosen, grid_size=min(chosen.grid_size, *model.image_size))
    view = view_of(model)
    with TemporaryDirectory(prefix="covid_debug-") as folder:
        filmset = open_tested(films, model, Path(folder), n_workers)
        tested = replace(filmset, films=filmset.select("test"))
        text = detect_text(tested, n_workers=n_workers) if regions is None else regions
        found = choose_kinds(by_image(text), chosen.kinds)
        loaded, means = LoadedModel(model, view, {}), Means(cache_dir=Path(folder, "views"))
        made = audit_filmset(
            AuditSubject(loaded, filmset, tested.films, found, chosen, seed),
            Path(folder, "audit") if out is None else Path(out),
            means,
            inputs={"filmset": filmset.root.name},
        )
        remarks: tuple[str, ...] = ()
        if set(filmset.class_names) <= set(model.class_names):
            remarks = check_model(loaded, filmset, means).remarks
    return ShownAudit.of(made, FilmsBehind(filmset, found, view), remarks)


@overload
def clean(
    films: Sequence[OneFilm],
    regions: Sequence[FilmRegions] | None = None,
    *,
    n_workers: int = 1,
    **params: Any,  # noqa: ANN401
) -> list[CleanedFilm]: ...


@overload
def clean(
    films: DataSet,
    regions: Found | None = None,
    *,
    out: Place,
    n_workers: int = 1,
    **params: Any,  # noqa: ANN401
) -> FilmSet: ...


def clean(
    films: DataSet | Sequence[OneFilm],
    regions: Found | None = None,
    *,
    out: Place | None = None,
    n_workers: int = 1,
    **params: Any,
) -> FilmSet | list[CleanedFilm]:
    """Fill the text of films: in memory, or a whole data set as a new one (COVIDx++).

    Args:
        films: Films; or a data set, together with ``out``.
        regions: Their text, from :func:`detect_text`, in the order of the films; None looks for it
            now.
        out: Folder of the new data set.
        n_workers: Processes, for a data set.
        params: Fields of :class:`CleaningParams`, e.g. ``method="telea"``.

    Returns:
        The cleaned films with the mask of what was filled; or the new data set, of the same ids.

    Raises:
        InputContractError: If a data set comes without ``out``, films come with it, or there is
            not one record of text a film.
        ConfigError: If a parameter is not a field.
        ArtifactError: If ``out`` stands already.
    """
    _check_call("clean", params, CleaningParams, out)
    chosen = CleaningParams(**params)
    if isinstance(films, FilmSet | str | Path):
        if out is None:
            raise InputContractError("clean: a data set needs out=FOLDER, or pass films as a list")
        filmset = open_films(films)
        found = detect_text(filmset, n_workers=n_workers) if regions is None else regions
        text, means = by_image(found), Means(n_workers=n_workers)
        return clean_filmset(filmset, text, chosen, Path(out), means=means)
    if out is not None:
        raise InputContractError("clean: out is for a data set; films of a list are returned")
    several = list_given(films, "clean")
    records = detect_text(several) if regions is None else list(by_image(regions).values())
    if len(records) != len(several):
        raise InputContractError(
            f"clean: got text of {len(records)} films for {len(several)} films; expected one each"
        )
    return [
        clean_film(read_pixels(film), record.regions, chosen)
        for film, record in zip(several, records, strict=True)
    ]


def compare(
    classifiers: Mapping[str, Model | list[Model] | tuple[Model, ...]],
    films: Mapping[str, DataSet],
    *,
    seed: int = 0,
) -> Comparison:
    """Test several models on several versions of the same test films, film by film.

    Args:
        classifiers: Name -> model, or several trainings of it with different seeds; of several
            names, ``"original"`` is what the others are compared with. Only several trainings of
            each give verdicts, and only to the questions of the catalogue, see
            :func:`covid_debug.results.questions`.
        films: Name -> data set whose test films are used, e.g. ``"original"``, ``"cleaned"``.
        seed: Seed of the bootstrap.

    Returns:
        The questions with their answers, metrics with intervals of every model on every version,
        and paired differences.

    Raises:
        InputContractError: If nothing is given, no model is called ``"original"``, or classes
            differ, or a model has labels instead.
    """
    if not classifiers or not films or (len(classifiers) > 1 and BASE_ARM not in classifiers):
        raise InputContractError(
            f"compare: got models {list(classifiers)} and films {list(films)}; expected some of"
            f" each, and of several models one called {BASE_ARM!r}"
        )
    filmsets = {name: open_films(place) for name, place in films.items()}
    asked = next(iter(filmsets.values())).class_names
    trainings = {
        name: [
            ask_films_finding(load_model(one), None, asked)
            for one in (given if isinstance(given, list | tuple) else [given])
        ]
        for name, given in classifiers.items()
    }
    for model in (one for several in trainings.values() for one in several):
        model.require_classes("compare")
    with TemporaryDirectory(prefix="covid_debug-") as folder:
        answers = [
            predict_test_films(
                LoadedModel(model, view_of(model), {}),
                filmset,
                arm=arm,
                seed=number,
                test_data=name,
                cache_dir=Path(folder),
            )
            for arm, given in trainings.items()
            for number, model in enumerate(given)
            for name, filmset in filmsets.items()
        ]
    return compare_arms(answers, next(iter(trainings.values()))[0].class_names, seed=seed)


def _check_call(where: str, params: Mapping[str, object], fields: type, out: Place | None) -> None:
    """Refuse before long work what would be refused after it."""
    check_fields(params, fields, where)
    if out is not None:
        check_absent(Path(out))
