"""The stage that looks for burned-in text on every film, and reads it."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar

from covid_debug.artifacts import check_absent, read_manifest, write_artifact
from covid_debug.data.filmset import load_filmset
from covid_debug.imaging.regions import REGIONS_NAME, iter_regions, read_regions
from covid_debug.records import FilmRegions, Split
from covid_debug.stages import Means, Request, name_input
from covid_debug.text.base import RegionDetector
from covid_debug.text.catalog import build_detector
from covid_debug.text.contents import ContentReader, build_content_reader
from covid_debug.text.scan import scan_to_records, write_scan
from covid_debug.text.statistics import count_by_group


@dataclass(frozen=True)
class TextParams:
    """Which detector looks for text, and whether what it finds is read.

    Attributes:
        detector: Name in :mod:`covid_debug.text.catalog`.
        params: Parameters of that detector.
        read_content: Whether found text is read, so that what it says tells its kind.
        kinds: File of your own patterns that tell kinds, asked before those of the package.
    """

    detector: str = "default"
    params: dict[str, Any] = field(default_factory=dict)
    read_content: bool = True
    kinds: Path | None = None

    def build(self) -> RegionDetector:
        """Return the detector; its network is loaded when it is first used."""
        return build_detector(self.detector, **self.params)

    def named(self) -> dict[str, object]:
        """Return the parameters for a manifest; a file of patterns counts by its content."""
        return {**asdict(self), "kinds": None if self.kinds is None else name_input(self.kinds)}

    def build_reader(self) -> ContentReader:
        """Return what says what the regions say."""
        return build_content_reader(read_content=self.read_content, kinds=self.kinds)


def name_params(detector: RegionDetector) -> object:
    """Return a detector's parameters as they decide its regions: a file counts by its content."""
    params: Any = detector.params
    values = {item.name: getattr(params, item.name) for item in fields(params)}
    return {
        name: name_input(value) if isinstance(value, Path) else value
        for name, value in values.items()
    }


@dataclass(frozen=True)
class RegionsRequest(Request):
    """Look for text on every film; the artifact holds ``regions.jsonl``.

    Attributes:
        filmset: The films.
        text: Which detector.
        split: Films of this split only; None looks at all.
        known: Earlier scans by the same detector, whose films are not looked at again; the result
            is the same without them.
    """

    filmset: Path
    text: TextParams = field(default_factory=TextParams)
    split: Split | None = None
    known: tuple[Path, ...] = field(default=(), compare=False)

    stage: ClassVar[str] = "regions"
    makes: ClassVar[str] = "regions"
    code_version: ClassVar[int] = 9

    def parameters(self) -> object:
        """Return the detector; the default one uses the members whose weights are there."""
        return {
            "text": self.text.named(),
            "resolved": name_params(self.text.build()),
            "contents": self.text.build_reader().params,
            **({} if self.split is None else {"split": self.split}),
        }

    def make(self, out: Path, means: Means) -> dict[str, FilmRegions]:
        """Scan the films; a killed scan goes on from its last film."""
        filmset = load_filmset(self.filmset)
        films = filmset.films if self.split is None else filmset.select(self.split)
        pairs = [(film.image_id, filmset.file_of(film)) for film in films]
        check_absent(out)
        known = {
            image: found
            for scan in self.known
            for image, found in read_regions(scan).items()
            if found.error is None
        }
        with (
            scan_to_records(
                pairs,
                out,
                self.text.detector,
                self.text.params,
                contents=self.text.build_reader(),
                means=means,
                known=known,
            ) as records,
            write_artifact(
                out, kind=self.makes, parameters=self.text.named(), inputs=self.inputs()
            ) as draft,
        ):
            write_scan(records, pairs, draft.path / REGIONS_NAME)
            counts: Counter[str] = Counter()
            for line in iter_regions(draft.path / REGIONS_NAME):
                counts.update(
                    n_ok=line.error is None,
                    n_with_text=bool(line.regions),
                    n_regions=len(line.regions),
                )
            draft.facts |= {"n_total": len(pairs), **counts}
        return read_regions(out)


def describe_detection(place: Path) -> dict[str, Any]:
    """Return detector and parameters of an artifact of regions; nothing is known of a file."""
    if not place.is_dir():
        return {}
    parameters: dict[str, Any] = read_manifest(place, kind=RegionsRequest.makes)["parameters"]
    return parameters


def describe_regions(regions_dir: Path, filmset_dir: Path) -> Iterator[str]:
    """Say what a scan found, overall and by source.

    Args:
        regions_dir: Artifact of the regions.
        filmset_dir: The films.

    Yields:
        Lines of plain text.
    """
    facts = read_manifest(regions_dir, kind=RegionsRequest.makes)["facts"]
    films = load_filmset(filmset_dir).films
    records = read_regions(regions_dir).values()
    every, *sources = count_by_group(records, {film.image_id: film.source for film in films})
    n_drawn = facts["n_regions"] - every.n_regions
    drawn = f", besides {n_drawn} arrows or drawn lines" if n_drawn else ""
    yield (
        f"{every.n_regions} text regions on {every.n_with_text} of {facts['n_total']} films"
        f"{drawn} ({facts['n_total'] - facts['n_ok']} unreadable)"
    )
    for source in sources:
        yield source.describe()
