"""The first stage of the loop: where the films come from, as requests for a film set."""

import hashlib
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from covid_debug.artifacts import hash_listing
from covid_debug.data.filmset import FilmSet, load_filmset
from covid_debug.data.ingest import ingest_covidx, ingest_sources
from covid_debug.data.layouts.base import Asked, Listing
from covid_debug.data.phantom import generate_phantom
from covid_debug.data.table import SplitRule, ingest_table, list_table, locate_films
from covid_debug.errors import DataIntegrityError
from covid_debug.stages import Means, Request

Share = Annotated[float, Field(gt=0.0, lt=1.0)]
Count = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0)]


class _FilmsRequest(Request):
    """What the ways to films share."""

    stage: ClassVar[str] = "filmset"
    makes: ClassVar[str] = "filmset"
    code_version: ClassVar[int] = 2

    def parameters(self) -> object:
        return self

    def make(self, out: Path, means: Means) -> FilmSet:
        return self._collect(out, means)

    def check(self, out: Path, means: Means) -> None:
        check_failures(load_filmset(out), means.max_failed_share)

    @abstractmethod
    def _collect(self, out: Path, means: Means) -> FilmSet: ...


@dataclass(frozen=True)
class PhantomData(_FilmsRequest):
    """The embedded procedural radiographs (:mod:`covid_debug.data.phantom`).

    Attributes:
        kind: Always ``"phantom"``.
        n_train: Films for training and validation.
        n_test: Films for testing; their text is independent of the label.
        seed: Seed of the generator.
        text_correlation: Share of training films whose marker belongs to their class.
        val_share: Share of the training patients held out for validation.
    """

    kind: Literal["phantom"]
    n_train: Count
    n_test: Count
    seed: Seed = 0
    text_correlation: Annotated[float, Field(ge=0.0, le=1.0)] = 0.9
    val_share: Share = 0.2

    def inputs(self) -> dict[str, str]:
        """Return nothing: phantoms are made from numbers."""
        return {}

    def _collect(self, out: Path, means: Means) -> FilmSet:
        with means.listener.progress("films") as progress:
            return generate_phantom(
                out,
                n_train=self.n_train,
                n_test=self.n_test,
                seed=self.seed,
                text_correlation=self.text_correlation,
                val_share=self.val_share,
                n_workers=means.n_workers,
                progress=progress,
            )


@dataclass(frozen=True)
class SourceData(_FilmsRequest):
    """COVIDx built from the public data sets that it is made of.

    Attributes:
        kind: Always ``"sources"``.
        sources: Source name (cohen, fig1, actmed, nih, rsna) -> its folder as published.
        seed: Seed of the patient-level split.
        val_share: Share of patients in validation.
        test_share: Share of patients in the test set.
    """

    kind: Literal["sources"]
    sources: dict[str, Path]
    seed: Seed = 0
    val_share: Share = 0.1
    test_share: Share = 0.2

    def inputs(self) -> dict[str, str]:
        """Return source -> fingerprint of its folder."""
        return {name: hash_listing(folder) for name, folder in self.sources.items()}

    def _collect(self, out: Path, means: Means) -> FilmSet:
        return ingest_sources(
            self.sources,
            out,
            seed=self.seed,
            val_share=self.val_share,
            test_share=self.test_share,
            means=means,
        )


@dataclass(frozen=True)
class CovidxData(_FilmsRequest):
    """A COVIDx folder with published split files.

    Attributes:
        kind: Always ``"covidx"``.
        folder: Folder with ``train/`` and ``test/``.
        train_list: Split file of the training films, any version of COVIDx; None for an external
            test set, on which no run can train.
        test_list: Split file of the test films.
        seed: Seed of the validation split, taken patient by patient from the training list.
        val_share: Share of the training patients in validation.
    """

    kind: Literal["covidx"]
    folder: Path
    train_list: Path | None
    test_list: Path
    seed: Seed = 0
    val_share: Share = 0.1

    def inputs(self) -> dict[str, str]:
        """Return fingerprints of the folder and its lists."""
        places = {"folder": self.folder, "train_list": self.train_list, "test_list": self.test_list}
        return {role: hash_listing(place) for role, place in places.items() if place is not None}

    def _collect(self, out: Path, means: Means) -> FilmSet:
        return ingest_covidx(
            self.folder,
            self.train_list,
            self.test_list,
            out,
            seed=self.seed,
            val_share=self.val_share,
            means=means,
        )


@dataclass(frozen=True)
class TableData(_FilmsRequest):
    """Films of people's own: a table, folders, a DICOM archive, or a public data set's layout.

    Attributes:
        kind: Always ``"table"``.
        table: CSV or Parquet with a row a film; a folder for ``folders``, and also for ``mimic``;
            a split file for ``covidx``.
        layout: How it is laid out: ``table``, ``folders``, ``dicom``, ``covidx``, ``chexpert``,
            ``mimic``, ``nih``, ``padchest`` or ``rsna``.
        images: Folder of the films; None is the usual place, for ``table`` the table's own folder.
        columns: What a column holds (path, label, patient, source, view, split) -> its name, where
            the name does not tell; ``""`` leaves a column out.
        finding: The finding that is asked about, where films have several labels.
        class_names: Classes in index order, the positive one last; None sorts them.
        split: ``"patients"`` takes the table's splits, or draws them by patient where it has none;
            ``"test"`` makes every film a test film, on which no run can train; ``"marked"`` those
            that the table marks so, and all where it marks none.
        seed: Seed of the splits that are drawn.
        val_share: Share of the training films in validation, where the table names none.
        test_share: Share of the films in the test set, where the table has no splits.
    """

    kind: Literal["table"]
    table: Path
    layout: str = "table"
    images: Path | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    finding: str | None = None
    class_names: tuple[str, ...] | None = None
    split: SplitRule = "patients"
    seed: Seed = 0
    val_share: Share = 0.1
    test_share: Share = 0.2

    @property
    def asked(self) -> Asked:
        """What the layout is asked."""
        return Asked(self.table, self.images, self.columns, self.finding)

    def list_films(self) -> tuple[Listing, list[Path]]:
        """Return the listed films, none of them opened, and which files are absent."""
        listing = list_table(
            self.asked, layout=self.layout, class_names=self.class_names, split=self.split
        )
        return listing, locate_films(self.asked, listing)

    def inputs(self) -> dict[str, str]:
        """Return fingerprints: of the folders, or of what the table says and the files it names."""
        if self.layout in {"folders", "dicom"}:  # more than names would have to be read
            places = {"table": self.table, "images": self.images}
            return {name: hash_listing(place) for name, place in places.items() if place}
        listing, _ = self.list_films()
        digest = hashlib.sha256()
        for film in listing.films:
            try:
                facts = film.path.stat()
                file = f"{facts.st_size}\x1f{facts.st_mtime_ns}"
            except (OSError, ValueError):
                file = ""
            said = (film.patient_id, film.label, film.source, film.view, film.split, film.path)
            line = "\x1f".join(map(str, said))
            digest.update(f"{line}\x1f{file}\n".encode("utf-8", "surrogateescape"))
        return {"films": digest.hexdigest()[:16]}

    def _collect(self, out: Path, means: Means) -> FilmSet:
        return ingest_table(
            self.asked,
            out,
            layout=self.layout,
            class_names=self.class_names,
            split=self.split,
            seed=self.seed,
            val_share=self.val_share,
            test_share=self.test_share,
            means=means,
        )


def check_failures(filmset: FilmSet, max_failed_share: float) -> None:
    """Stop when too many films of a set failed.

    Raises:
        DataIntegrityError: Naming the set and the list of the failed films.
    """
    n_failed = filmset.n_total - len(filmset.films)
    if n_failed > max_failed_share * filmset.n_total:
        raise DataIntegrityError(
            f"{filmset.root}: {n_failed} of {filmset.n_total} films cannot be used, more than the"
            f" tolerated share {max_failed_share:g}; see unusable.csv there, or raise"
            " compute.max_failed_share"
        )
