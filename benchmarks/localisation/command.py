"""What `covid-debug bench localisation` does from its request to the written tables."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch

from benchmarks.localisation.faithful import Faithful, judge
from benchmarks.localisation.films import Candidates, select_driven
from benchmarks.localisation.lines import Line, list_lines
from benchmarks.localisation.measure import Located, Subject, locate
from benchmarks.localisation.phantoms import PhantomRecipe, find_phantoms, train_on_phantoms
from benchmarks.localisation.planted import find_native_text, find_plants, train_on_plants
from benchmarks.localisation.sheets import write_sheet
from benchmarks.localisation.tables import write_results
from benchmarks.saliency.films import describe_weights
from benchmarks.tables import to_markdown
from covid_debug.data.filmset import load_filmset
from covid_debug.errors import InputContractError
from covid_debug.imaging.geometry import ViewSpec
from covid_debug.imaging.regions import read_regions
from covid_debug.models.checkpoint import load_checkpoint
from covid_debug.records import Split
from covid_debug.stages import Means

KINDS = ("plant", "mark", "sign", "text")
"""Kinds of truth, in the order in which they are worked through."""
ARCHS = ("covidnet", "resnet18_half", "densenet121")


@dataclass(frozen=True, slots=True)
class LocalisationBench:
    """What is measured.

    Attributes:
        data: Real films with train, val and test; None: phantoms only.
        regions: Their own text.
        archs: Backbones; each is trained on planted films and on phantoms.
        methods: Catalogue names; all but the slow presets where empty.
        kinds: Names of :data:`KINDS`; those of real films only with ``data``.
        again: Methods whose maps are made again, because their code changed.
        split: ``val`` to choose a method, ``test`` to report it.
        n_films: Most driven films of each model and kind of truth.
        n_costly: The same for methods of many evaluations.
        n_faithful: Films whose maps are judged for faithfulness, too.
        n_sensitive: Films that are explained again with noise.
        image_size: Side in pixels that models see.
        phantom: How phantoms are made.
        seed: Of draws, maps and intervals.
    """

    data: Path | None = None
    regions: Path | None = None
    archs: tuple[str, ...] = ARCHS
    methods: tuple[str, ...] = ()
    kinds: tuple[str, ...] = KINDS
    again: tuple[str, ...] = ()
    split: Split = "test"
    n_films: int = 24
    n_costly: int = 8
    n_faithful: int = 12
    n_sensitive: int = 3
    image_size: int = 112
    phantom: PhantomRecipe = field(default_factory=PhantomRecipe)
    seed: int = 0


def bench_localisation(bench: LocalisationBench, out: Path, means: Means) -> str:
    """Train, find driven films, explain and measure; write tables and sheets of maps.

    All maps are placed first, then judged for faithfulness. Finished films are found again.

    Args:
        bench: What is measured.
        out: Folder of artifacts and results.
        means: How it is carried out.

    Returns:
        The tables, as Markdown.

    Raises:
        InputContractError: If films are named without their text, a kind of truth is unknown, or
            no film is driven.
    """
    if (bench.data is None) != (bench.regions is None):
        raise InputContractError(
            "bench localisation: give --data DIR and --regions DIR together, or none of them for"
            " phantoms only"
        )
    if unknown := set(bench.kinds) - set(KINDS):
        raise InputContractError(f"--kind {min(unknown)!r}: expected one of {', '.join(KINDS)}")
    if bench.data is not None and bench.regions is not None:  # before anything is written
        load_filmset(bench.data)
        read_regions(bench.regions)
    out.mkdir(parents=True, exist_ok=True)
    say = means.listener.say
    subjects, heads = _find_subjects(bench, out, means)
    if not subjects:
        raise InputContractError(
            "bench localisation: no film's class is driven by a known cause; take more films or"
            " other models"
        )
    work: list[tuple[Subject, Line, list[Located]]] = []
    judged: dict[str, Faithful] = {}

    def write() -> str:
        found = [one for _, _, some in work for one in some]
        return write_results(out, found, judged, heads, seed=bench.seed)

    for subject in subjects:
        lines = list_lines(subject.classifier, bench.methods)
        done = [
            locate(
                subject,
                line,
                out,
                n_costly=bench.n_costly,
                seed=bench.seed,
                again=line.method in bench.again,
                say=say,
            )
            for line in lines
        ]
        work += [(subject, line, some) for line, some in zip(lines, done, strict=True)]
        sheet = out / f"maps-{subject.model}-{subject.films.kind}-{bench.split}.png"
        write_sheet(sheet, subject.films, done, out, n_films=6)
        write()
    for subject, line, some in work:
        judged |= {
            one.key: one
            for one in judge(
                subject,
                line,
                some,
                out,
                n_films=bench.n_faithful,
                n_sensitive=bench.n_sensitive,
                seed=bench.seed,
                again=line.method in bench.again,
                say=say,
            )
        }
    return write()


def _find_subjects(bench: LocalisationBench, out: Path, means: Means) -> tuple[list[Subject], str]:
    view = ViewSpec(image_size=bench.image_size)
    real: list[Candidates] = []
    train_real: Callable[[str], Path] | None = None
    if bench.data is not None and bench.regions is not None:
        data, regions = bench.data, bench.regions
        if "plant" in bench.kinds:
            real.append(find_plants(data, regions, view, bench.split, out, means))
        if "text" in bench.kinds:
            real.append(find_native_text(data, regions, view, bench.split))
        train_real = partial(train_on_plants, data, regions, view=view, store=out, means=means)
    phantoms: list[Candidates] = []
    if {"mark", "sign"} & set(bench.kinds):
        both = find_phantoms(bench.phantom, view, bench.split)
        phantoms = [one for one in both if one.kind in bench.kinds]
    subjects, rows = [], []
    for arch in bench.archs:
        pairs: list[tuple[Path, Sequence[Candidates]]] = []
        if real and train_real is not None:
            pairs.append((train_real(arch), real))
        if phantoms:
            trained = train_on_phantoms(bench.phantom, arch, view, out, means)
            pairs.append((trained, phantoms))
        for checkpoint, kinds in pairs:
            classifier = load_checkpoint(checkpoint, device=means.device).classifier
            for candidates in kinds:
                films = select_driven(
                    classifier, candidates, n_films=bench.n_films, seed=bench.seed
                )
                rows.append(
                    {
                        "model": arch,
                        "truth": films.kind,
                        f"films with the cause ({bench.split})": films.n_candidates,
                        "driven by it alone": films.n_driven,
                        "explained": len(films.names),
                        "patients": len(set(films.patients)),
                    }
                )
                if films.names:
                    key = describe_weights(classifier)
                    subjects.append(Subject(arch, key, classifier, films))
    with torch.no_grad():
        for subject in subjects:
            subject.classifier.eval()
            subject.classifier(subject.films.images[:1])  # warm up
    subjects.sort(key=lambda subject: KINDS.index(subject.films.kind))
    return subjects, f"### Films\n\n{to_markdown(rows) if rows else ''}"
