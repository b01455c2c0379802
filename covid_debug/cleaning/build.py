"""Builds COVIDx++: every film of a data set cleaned by one rule and written without loss.

Owns the new data set. How a film is cleaned is in :mod:`covid_debug.cleaning.film`; the input data
set is only read.
"""

import dataclasses
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from covid_debug.artifacts import artifact_key, canonical_json, check_absent, write_artifact
from covid_debug.cleaning.card import write_card, write_contact_sheet
from covid_debug.cleaning.decisions import Decision, apply_decisions
from covid_debug.cleaning.decoys import plan_decoys
from covid_debug.cleaning.film import CleaningParams
from covid_debug.cleaning.names import choose_file_names
from covid_debug.cleaning.placebo import match_shapes, placebo_regions
from covid_debug.cleaning.policy import needs_reading, without_kept
from covid_debug.cleaning.provenance import compute_facts, write_decisions, write_provenance
from covid_debug.cleaning.staging import Staging
from covid_debug.cleaning.workers import Job, Record, Refusal, clean_to_file
from covid_debug.data.filmset import (
    FilmSet,
    load_filmset,
    load_unusable,
    write_films,
    write_split_lists,
    write_unusable,
)
from covid_debug.errors import ArtifactError, DataIntegrityError, InputContractError
from covid_debug.pool import run_in_order
from covid_debug.progress import Progress
from covid_debug.records import Film, FilmRegions, TextRegion, UnusableFilm

__all__ = ["CleaningParams", "clean_filmset", "placebo_regions"]

_CODE_VERSION: Final = 8


def clean_filmset(
    filmset: FilmSet,
    regions: Mapping[str, FilmRegions],
    params: CleaningParams,
    out: Path,
    *,
    inputs: Mapping[str, str] | None = None,
    n_workers: int = 1,
    progress: Progress | None = None,
    decisions: Sequence[Decision] = (),
    detection: Mapping[str, Any] | None = None,
    shapes_from: Mapping[str, FilmRegions] | None = None,
    name: str | None = None,
) -> FilmSet:
    """Write a cleaned copy of a data set in COVIDx layout.

    Every film of every class and split goes through the same reader, rule and PNG encoder, with
    text or without, so that the encoding does not tell which films were cleaned; 8 and 16 bits
    stay what they were (DICOM becomes PNG of its own depth). Films in flight are few and records
    go to disk, so memory does not grow while films are cleaned. A killed build goes on where it
    stopped when it is started again with the same arguments; the result is the same.

    Args:
        filmset: What to clean; only read.
        regions: Text regions by ``image_id``. A film whose line is missing, is an error or was
            made for another film size is recorded as unusable, never copied unclean.
        params: How to clean.
        out: Folder of the new data set; must not exist and must lie outside the input.
        inputs: Name -> key of the artifacts that went in, for the manifest.
        n_workers: Processes; 1 works in this process. The result does not depend on it.
        progress: Called with (films done, films in total).
        decisions: What reviewers said about the regions; applied before cleaning and kept with
            the data set.
        detection: How the regions were found (detector, thresholds), for the manifest.
        shapes_from: For the placebo arm: the true text regions, whose letter shapes are stamped
            at ``regions``, so that both arms fill equal areas.
        name: Name of the new data set; by default that of the input with ``-cleaned``.

    Returns:
        The new data set. Films keep the ``image_id`` of their originals.

    Raises:
        ArtifactError: If ``out`` exists, lies inside the input, cannot be written, or a worker
            dies; finished films are kept for the next start.
        FilmChangedError: If a film is not the one that ``filmset`` recorded.
        DataIntegrityError: If no film could be cleaned or a decision does not fit the regions.
        InputContractError: If ``n_workers`` is less than 1, or a policy about kinds of text meets
            regions whose kinds are not known.
    """
    _check_places(filmset, out)
    revised = apply_decisions(regions, decisions)
    _check_reading(shapes_from or revised, params)
    shapes = {} if shapes_from is None else match_shapes(revised, shapes_from)
    staging = Staging(out, _build_key(filmset.films, revised, shapes, params))
    finished = staging.open_records()
    refusals: dict[str, str] = {}

    jobs = _plan_jobs(filmset, revised, shapes, params, staging.path, finished, refusals)
    results = run_in_order(
        clean_to_file, jobs, n_workers, where="clean_filmset", name=lambda job: job.source.path
    )
    for result in results:
        if isinstance(result, Refusal):
            refusals[result.film.image_id] = result.reason
        else:
            finished.add(result)
        if progress is not None:
            progress(len(finished) + len(refusals), len(filmset.films))

    if not finished:
        staging.remove()
        first = next(iter(refusals.values()), "the data set is empty")
        raise DataIntegrityError(
            f"{filmset.root}: none of {len(filmset.films)} films could be cleaned (first: {first});"
            " expected text regions for these films; detect text on this data set first"
        )
    with write_artifact(
        out, kind="filmset", parameters=dataclasses.asdict(params), inputs=inputs
    ) as draft:
        staging.publish(draft.path)
        films = _write_lists(draft.path, filmset, finished, refusals)
        write_provenance(draft.path, films, finished, revised)
        write_decisions(draft.path, decisions)
        draft.facts.update(
            name=name or f"{filmset.name}-cleaned",
            class_names=list(filmset.class_names),
            n_ok=len(films),
            n_total=filmset.n_total,
            original=filmset.content_key,
            detection=dict(detection or {}),
            **compute_facts(films, finished, refusals, decisions),
        )
        write_contact_sheet(draft.path, filmset, films, finished)
        write_card(draft.path, films, finished, draft.facts, params)
    staging.remove()
    return load_filmset(out)


def _check_places(filmset: FilmSet, out: Path) -> None:
    check_absent(out)
    if out.resolve().is_relative_to(filmset.root.resolve()):
        raise ArtifactError(
            f"{out}: lies inside the data set being cleaned; expected a folder outside "
            f"{filmset.root}, which is only read"
        )


def _check_reading(regions: Mapping[str, FilmRegions], params: CleaningParams) -> None:
    found = [region for film in regions.values() for region in film.regions]
    if not found or not needs_reading(params.policy):
        return
    if all(region.kind in {"unknown", "annotation"} for region in found):
        told = ", ".join(f"{kind}={action}" for kind, action in params.policy.items())
        raise InputContractError(
            f"cleaning with policy {told}: what the text says is not known of any of {len(found)}"
            " regions, so that no kind could be told from another; detect text again with"
            " text.read_content=true (detect-text --read), or remove all text"
        )


def _build_key(
    films: Sequence[Film],
    regions: Mapping[str, FilmRegions],
    shapes: Mapping[str, tuple[TextRegion, ...]],
    params: CleaningParams,
) -> str:
    digest = hashlib.sha256()
    for film in films:
        parts = [film, regions.get(film.image_id), shapes.get(film.image_id)]
        digest.update(canonical_json(parts).encode())
    return artifact_key("cleaned-films", _CODE_VERSION, params, digest.hexdigest())


def _plan_jobs(
    filmset: FilmSet,
    regions: Mapping[str, FilmRegions],
    shapes: Mapping[str, tuple[TextRegion, ...]],
    params: CleaningParams,
    folder: Path,
    finished: Mapping[str, Record],
    refusals: dict[str, str],
) -> Iterator[Job]:
    # Films without usable regions go to the refusals as they come by.
    names = choose_file_names(filmset.films)
    removed = {key: without_kept(found, params.policy) for key, found in regions.items()}
    draw_decoys = plan_decoys(filmset.films, removed, params.decoy_sets, params.seed)
    for film in filmset.films:
        key = film.image_id
        if key in finished:
            continue
        found = regions.get(key)
        if found is None:
            refusals[key] = "text regions are missing for this film"
        elif found.error is not None:
            refusals[key] = f"text detection failed: {found.error}"
        else:
            yield Job(
                film,
                filmset.file_of(film),
                found,
                params,
                shapes.get(key),
                draw_decoys(film),
                folder / names[key],
                names[key],
            )


def _write_lists(
    folder: Path,
    filmset: FilmSet,
    finished: Mapping[str, Record],
    refusals: Mapping[str, str],
) -> list[Film]:
    films = [
        dataclasses.replace(film, path=str(done["path"]), sha256=str(done["output_sha256"]))
        for film in filmset.films
        if (done := finished.get(film.image_id)) is not None
    ]
    refused = [
        UnusableFilm(film.path, film.source, refusals[film.image_id])
        for film in filmset.films
        if film.image_id in refusals
    ]
    write_films(folder, films)
    write_unusable(folder, [*load_unusable(filmset.root), *refused])
    write_split_lists(folder, films)
    return films
