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
from covid_debug.cleaning.film_files import (
    DIGEST,
    PATH,
    REASON,
    is_intact,
    list_refused,
    publish,
    refuse,
)
from covid_debug.cleaning.names import choose_file_names
from covid_debug.cleaning.placebo import match_shapes, placebo_regions
from covid_debug.cleaning.policy import needs_reading, without_kept
from covid_debug.cleaning.provenance import compute_facts, write_decisions, write_provenance
from covid_debug.cleaning.workers import Job, clean_to_file
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
from covid_debug.records import Film, FilmRegions, TextRegion
from covid_debug.shards import Record, Records
from covid_debug.stages import Means, lose_film, work_on_films

__all__ = ["CleaningParams", "clean_filmset", "placebo_regions"]

_CODE_VERSION: Final = 8


def clean_filmset(
    filmset: FilmSet,
    regions: Mapping[str, FilmRegions],
    params: CleaningParams,
    out: Path,
    *,
    inputs: Mapping[str, str] | None = None,
    means: Means | None = None,
    decisions: Sequence[Decision] = (),
    detection: Mapping[str, Any] | None = None,
    shapes_from: Mapping[str, FilmRegions] | None = None,
    name: str | None = None,
) -> FilmSet:
    """Write a cleaned copy of a data set in COVIDx layout.

    Every film of every class and split goes through the same reader, rule and PNG encoder, with
    text or without, so that the encoding does not tell which films were cleaned; 8 and 16 bits
    stay what they were (DICOM becomes PNG of its own depth). Films in flight are few and records
    go to disk, so memory does not grow while films are cleaned. A killed build, or one of shards,
    goes on where it stopped when it is started again with the same arguments; the result is the
    same.

    Args:
        filmset: What to clean; only read.
        regions: Text regions by ``image_id``. A film whose line is missing, is an error or was
            made for another film size is recorded as unusable, never copied unclean.
        params: How to clean.
        out: Folder of the new data set; must not exist and must lie outside the input.
        inputs: Name -> key of the artifacts that went in, for the manifest.
        means: How it is carried out; None works in this process.
        decisions: What reviewers said about the regions; applied before cleaning and kept with
            the data set.
        detection: How the regions were found (detector, thresholds), for the manifest.
        shapes_from: For the placebo arm: the true text regions, whose letter shapes are stamped
            at ``regions``, so that both arms fill equal areas.
        name: Name of the new data set; by default that of the input with ``-cleaned``.

    Returns:
        The new data set. Films keep the ``image_id`` of their originals.

    Raises:
        ShardFinished: If ``means`` ask for a shard, and it did its part.
        ArtifactError: If ``out`` exists, lies inside the input or cannot be written; finished
            films are kept for the next start.
        FilmChangedError: If a film is not the one that ``filmset`` recorded.
        DataIntegrityError: If no film could be cleaned or a decision does not fit the regions.
        InputContractError: If ``n_workers`` is less than 1, or a policy about kinds of text meets
            regions whose kinds are not known.
    """
    _check_places(filmset, out)
    revised = apply_decisions(regions, decisions)
    _check_reading(shapes_from or revised, params)
    shapes = {} if shapes_from is None else match_shapes(revised, shapes_from)
    refusals = {
        film.image_id: reason
        for film in filmset.films
        if (reason := _find_refusal(revised.get(film.image_id))) is not None
    }
    readable = [film for film in filmset.films if film.image_id not in refusals]
    records = _clean_films(
        filmset, readable, revised, shapes, params, out, means or Means(n_workers=1)
    )
    for film in readable:
        if REASON in (record := records[film.image_id]):
            refusals[film.image_id] = record[REASON]
    finished = [film for film in readable if film.image_id not in refusals]
    if not finished:
        records.remove()
        first = next(iter(refusals.values()), "the data set is empty")
        raise DataIntegrityError(
            f"{filmset.root}: none of {len(filmset.films)} films could be cleaned (first: {first});"
            " expected text regions for these films; detect text on this data set first"
        )
    with write_artifact(
        out, kind="filmset", parameters=dataclasses.asdict(params), inputs=inputs
    ) as draft:
        publish((records[film.image_id] for film in finished), records.folder, draft.path)
        films = _write_lists(draft.path, filmset, finished, records, refusals)
        write_provenance(draft.path, films, records, revised)
        write_decisions(draft.path, decisions)
        draft.facts.update(
            name=name or f"{filmset.name}-cleaned",
            class_names=list(filmset.class_names),
            n_ok=len(films),
            n_total=filmset.n_total,
            original=filmset.content_key,
            detection=dict(detection or {}),
            **compute_facts(films, records, refusals, decisions),
        )
        write_contact_sheet(draft.path, filmset, films, records)
        write_card(draft.path, films, records, draft.facts, params)
    records.remove()
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


def _find_refusal(found: FilmRegions | None) -> str | None:
    """Return why a film is not even read."""
    if found is None:
        return "text regions are missing for this film"
    return None if found.error is None else f"text detection failed: {found.error}"


def _clean_films(
    filmset: FilmSet,
    films: Sequence[Film],
    regions: Mapping[str, FilmRegions],
    shapes: Mapping[str, tuple[TextRegion, ...]],
    params: CleaningParams,
    out: Path,
    means: Means,
) -> Records:
    by_id = {film.image_id: film for film in films}
    file_names = choose_file_names(filmset.films)
    removed = {key: without_kept(found, params.policy) for key, found in regions.items()}
    draw_decoys = plan_decoys(filmset.films, removed, params.decoy_sets, params.seed)

    def plan(names: Sequence[str], folder: Path) -> Iterator[Job]:
        for name in names:
            film, file_name = by_id[name], file_names[name]
            yield Job(
                film,
                filmset.file_of(film),
                regions[name],
                params,
                shapes.get(name),
                draw_decoys(film),
                folder / file_name,
                file_name,
            )

    def work(names: Sequence[str], folder: Path) -> Iterator[Record]:
        return run_in_order(
            clean_to_file,
            plan(names, folder),
            means.n_workers,
            where="clean_filmset",
            name=lambda job: job.source.path,
            lose=lambda job, reason: lose_film(job.film.image_id, reason),
        )

    key = _build_key(filmset.films, regions, shapes, params)
    return work_on_films(out, key, list(by_id), work, means, refuse=refuse, is_intact=is_intact)


def _write_lists(
    folder: Path,
    filmset: FilmSet,
    finished: Sequence[Film],
    records: Mapping[str, Record],
    refusals: Mapping[str, str],
) -> list[Film]:
    films = []
    for film in finished:
        done = records[film.image_id]
        films.append(dataclasses.replace(film, path=str(done[PATH]), sha256=str(done[DIGEST])))
    write_films(folder, films)
    write_unusable(folder, [*load_unusable(filmset.root), *list_refused(filmset, refusals)])
    write_split_lists(folder, films)
    return films
