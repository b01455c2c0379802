"""The stages of cleaning: COVIDx++, its placebo, and the proof that it is clean."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

from covid_debug.artifacts import check_absent
from covid_debug.cleaning.build import clean_filmset
from covid_debug.cleaning.decisions import read_decisions
from covid_debug.cleaning.film import CleaningParams
from covid_debug.cleaning.placebo import keep_places, read_places
from covid_debug.cleaning.proof import PROOF_KIND, CleaningProof, load_proof, prove_cleaning
from covid_debug.cleaning.provenance import read_actions
from covid_debug.cleaning.residual import find_makers
from covid_debug.cleaning.scar import ProbeParams
from covid_debug.data.filmset import FilmSet, load_filmset
from covid_debug.data.stage import check_failures
from covid_debug.imaging.reading import FilmFile
from covid_debug.imaging.regions import from_line
from covid_debug.progress import Listener
from covid_debug.records import FilmRegions
from covid_debug.shards import Records
from covid_debug.stages import Means, Request
from covid_debug.text.catalog import build_detector, choose_second, members_of
from covid_debug.text.contents import read_named_regions
from covid_debug.text.scan import scan_and_keep
from covid_debug.text.stage import describe_detection, name_params


@dataclass(frozen=True)
class CleanRequest(Request):
    """Inpaint every text region of every film: COVIDx++.

    Attributes:
        filmset: The films.
        regions: Artifact of the regions, or a file of JSON lines.
        params: How to clean.
        decisions: Reviewers' decisions, applied first; a file of JSON lines.
    """

    filmset: Path
    regions: Path
    params: CleaningParams = field(default_factory=CleaningParams)
    decisions: Path | None = None

    stage: ClassVar[str] = "cleaned"
    makes: ClassVar[str] = "filmset"
    code_version: ClassVar[int] = 7

    def parameters(self) -> object:
        """Return how to clean."""
        return self.params

    def make(self, out: Path, means: Means) -> FilmSet:
        """Clean; a killed build goes on from its last film."""
        filmset, regions = load_filmset(self.filmset), read_named_regions(self.regions)
        decisions = () if self.decisions is None else read_decisions(self.decisions)
        return clean_filmset(
            filmset,
            regions,
            self.params,
            out,
            inputs=self.inputs(),
            means=means,
            decisions=decisions,
            detection=describe_detection(self.regions),
        )

    def check(self, out: Path, means: Means) -> None:
        """Stop when too many films could not be cleaned."""
        check_failures(load_filmset(out), means.max_failed_share)


@dataclass(frozen=True)
class DecoysRequest(CleanRequest):
    """Clean, and fill every film at the places of other films' text as well.

    ``params`` decide how; boxes and three sets of fills a film unless they ask for more.
    """

    stage: ClassVar[str] = "decoys"
    _N_SETS: ClassVar[int] = 3

    def __post_init__(self) -> None:
        """Let every film end with the same number of fills, of a shape that fits any place."""
        n_sets = max(self.params.decoy_sets, self._N_SETS)
        params = replace(self.params, mask_shape="box", decoy_sets=n_sets)
        object.__setattr__(self, "params", params)


@dataclass(frozen=True)
class UniformMarkerRequest(CleanRequest):
    """Clean, and draw the same letter at the same place inside the view of every film."""

    stage: ClassVar[str] = "uniform-marker"

    def __post_init__(self) -> None:
        """Remove all text, whatever the parameters say, and draw the marker."""
        params = replace(self.params, policy={}, uniform_marker=True)
        object.__setattr__(self, "params", params)


@dataclass(frozen=True)
class PlaceboRequest(Request):
    """Inpaint as many, equally large places without text, like those of the text: the placebo.

    Attributes:
        filmset: The films.
        regions: Artifact of the regions, or a file of JSON lines.
        params: How to clean.
        seed: Decides the places.
    """

    filmset: Path
    regions: Path
    params: CleaningParams = field(default_factory=CleaningParams)
    seed: int = 0

    stage: ClassVar[str] = "placebo"
    makes: ClassVar[str] = "filmset"
    code_version: ClassVar[int] = 8

    def make(self, out: Path, means: Means) -> FilmSet:
        """Clean elsewhere."""
        filmset, regions = load_filmset(self.filmset), read_named_regions(self.regions)
        check_absent(out)
        places = keep_places(filmset, regions, self.seed, out, means)
        made = clean_filmset(
            filmset,
            read_places(filmset, places),
            self.params,
            out,
            inputs=self.inputs(),
            means=means,
            shapes_from=regions,
            name=f"{filmset.name}-placebo",
        )
        places.remove()
        return made


@dataclass(frozen=True)
class ProofRequest(Request):
    """Look for text that is left and for scars on cleaned films.

    Attributes:
        filmset: The films before cleaning.
        cleaned: The films after it.
        params: How to probe.
        detector: Second detector; None takes one that took no part.
        made_with: Detectors known to have found the text; those that saw a region always count.
        is_sample: Look at ``params.max_films`` films only, and do not make every film again.
    """

    filmset: Path
    cleaned: Path
    params: ProbeParams = field(default_factory=ProbeParams)
    detector: str | None = None
    made_with: frozenset[str] = frozenset()
    is_sample: bool = False

    stage: ClassVar[str] = PROOF_KIND
    makes: ClassVar[str] = PROOF_KIND
    code_version: ClassVar[int] = 6

    def parameters(self) -> object:
        """Return the probe and the second detector."""
        second = self._name_second()
        return {
            "probe": self.params,
            "detector": second,
            "resolved": name_params(build_detector(second)),
            "made_with": self.made_with,
            "is_sample": self.is_sample,
        }

    def make(self, out: Path, means: Means) -> CleaningProof:
        """Scan again and probe; without a sample, clean every film again too."""
        cleaned = load_filmset(self.cleaned)
        second = self._name_second()
        scanned: list[Records] = []

        def scan(films: Sequence[tuple[str, FilmFile]]) -> Iterator[FilmRegions]:
            records = scan_and_keep(films, out, second, means=means, is_last=self.is_sample)
            scanned.append(records)
            return (from_line(records[name]) for name, _ in films)

        proof = prove_cleaning(
            cleaned,
            load_filmset(self.filmset),
            scan,
            second,
            out,
            members=members_of(build_detector(second)),
            made_with=self.made_with,
            params=self.params,
            is_sample=self.is_sample,
            inputs=self.inputs(),
            means=means,
        )
        for records in scanned:
            records.remove()
        return proof

    def _name_second(self) -> str:
        used = self.made_with or find_makers(read_actions(self.cleaned))
        return self.detector or choose_second(used)


def tell_proof(folder: Path, listener: Listener) -> None:
    """Tell what a proof says, and what the user should act on."""
    proof = load_proof(folder)
    for line in proof.lines:
        listener.say(line)
    for flag in proof.flags:
        listener.finding(flag.severity, flag.message)
