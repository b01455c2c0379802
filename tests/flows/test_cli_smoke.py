"""Every command once, as a newcomer types it, on one small phantom set; each keeps its promise.

The steps share one folder (its name has a space and an umlaut) and use relative paths. A step runs
what it needs first, so each can be run alone.
"""

import contextlib
import csv
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import pytest

from benchmarks.text.annotated import load_annotations
from covid_debug.artifacts import find_damage
from covid_debug.audit.shortcut_map import load_shortcuts
from covid_debug.audit.transfer_record import load_transfer
from covid_debug.cleaning.decisions import read_decisions
from covid_debug.cleaning.proof import load_proof
from covid_debug.cli import run as cli
from covid_debug.data.filmset import load_filmset
from covid_debug.imaging.regions import read_regions
from covid_debug.models.checkpoint import load_checkpoint
from tests.cli import Outcome, call, commands

pytestmark = pytest.mark.filterwarnings("default")  # other packages' deprecations

CONFIG = """\
name: tiny
data: {kind: phantom, n_train: 12, n_test: 6}
view: {image_size: 32}
text: {detector: marker}
training: {arch: resnet18_half, n_epochs: 1}
proof: {max_films: 0}
audit: {grid_size: 4, max_explained: 1, n_nulls: 4}
compute: {n_workers: 1}
"""


def load_run(page: Path) -> None:
    assert "not for clinical use" in page.read_text(encoding="utf-8").lower()
    assert find_damage(page.parent, kind="report") == []


def load_table(path: Path) -> None:
    with path.open(newline="", encoding="utf-8") as stream:
        assert list(csv.DictReader(stream))


def artifact(kind: str) -> Callable[[Path], None]:
    def load(folder: Path) -> None:
        assert find_damage(folder, kind=kind) == []

    return load


@dataclass(frozen=True)
class Step:
    """A command line and what it promises.

    Attributes:
        line: What is typed after `covid-debug`.
        made: What it makes and names at its end, as a pattern; empty if it only prints.
        load: Reads that.
        needs: Steps before it.
        prepare: Makes by hand what no command makes.
    """

    line: str
    made: str = ""
    load: Callable[[Path], object] | None = None
    needs: tuple[str, ...] = ()
    prepare: Callable[[], object] = lambda: None


def write_config() -> None:
    Path("tiny.yaml").write_text(CONFIG, encoding="utf-8")


def write_source() -> None:
    """Write phantoms as a COVIDx folder with its two lists."""
    films = load_filmset(Path("films"))
    for film in films.films:
        place = Path("covidx", "test" if film.split == "test" else "train", Path(film.path).name)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(films.path_of(film), place)
    for split in ("train", "val", "test"):
        shutil.copy(Path("films", f"{split}.txt"), Path("covidx", f"{split}.txt"))
    with Path("covidx/train.txt").open("a", encoding="utf-8") as stream:
        stream.write(Path("covidx/val.txt").read_text(encoding="utf-8"))


def write_own_table() -> None:
    """Write the phantoms' files, and a table that calls their classes otherwise."""
    films = load_filmset(Path("films"))
    names = dict(zip(films.class_names, ("A b", "C,D", "Größe"), strict=True))
    Path("own").mkdir()
    with Path("own/films.csv").open("w", encoding="utf-8-sig", newline="") as stream:
        table = csv.writer(stream, delimiter=";")
        table.writerow(["Image", "Befund", "Patient ID", "Hospital", "Split"])
        for film in films.films:
            shutil.copy(films.path_of(film), Path("own", f"{film.image_id}.png"))
            said = (names[film.label], film.patient_id, film.source, film.split)
            table.writerow([f"{film.image_id}.png", *said])


def write_decisions() -> None:
    image_id = next(iter(read_regions(Path("films/truth_regions.jsonl"))))
    line = {"image_id": image_id, "decision": "reject", "reviewer": "Å", "region_index": 0}
    Path("decisions.jsonl").write_text(json.dumps(line) + "\n", encoding="utf-8")


def write_verdict() -> None:
    with next(Path("reports").glob("tiny-*/flags.csv")).open(encoding="utf-8") as stream:
        image_id = next(csv.DictReader(stream))["image_id"]
    line = {"image_id": image_id, "decision": "accept", "reviewer": "Å", "note": "seen twice"}
    Path("verdicts.jsonl").write_text(json.dumps(line) + "\n", encoding="utf-8")


def tag_a_sample() -> None:
    exported = json.loads(Path("elsewhere/samples.json").read_text(encoding="utf-8"))
    exported["samples"][0]["tags"] = ["accept"]
    Path("tagged.json").write_text(json.dumps(exported), encoding="utf-8")


def write_annotations() -> None:
    films, found = load_filmset(Path("films")), read_regions(Path("films/truth_regions.jsonl"))
    entries = {}
    for film in films.films[:3]:
        boxes = []
        for region in found[film.image_id].regions:
            xs, ys = zip(*region.polygon, strict=True)
            box = [min(xs), min(ys), max(xs), max(ys)]
            boxes.append(
                {"box": box, "kind": "word", "legible": True, "polarity": "bright", "content": ""}
            )
        entries[film.path] = {"width": film.width, "height": film.height, "boxes": boxes}
    Path("boxes.json").write_text(json.dumps(entries), encoding="utf-8")
    assert len(load_annotations(Path("boxes.json"))) == 3


def reuse_phantoms() -> None:
    """Lay the small set and its model where `bench audit` looks for what stands."""
    shutil.copytree("films", "bench-audit/phantom-0")
    shutil.copytree("model", "bench-audit/checkpoint-0")


CLEAN = "clean --data films --regions films/truth_regions.jsonl --workers 1"
AUDIT = "audit --checkpoint model --data films --workers 1"
BOTH = ("phantom", "train")
STEPS = {
    "phantom": Step("phantom --out films --n-train 12 --n-test 6", "films", load_filmset),
    "ingest": Step(
        "ingest --covidx covidx --train-list covidx/train.txt --test-list covidx/test.txt"
        " --out ingested",
        "ingested",
        load_filmset,
        ("phantom",),
        write_source,
    ),
    "ingest, own table": Step(
        "ingest --table own/films.csv --column label=Befund --out own-films",
        "own-films",
        lambda folder: (
            load_filmset(folder).class_names == ("A b", "C,D", "Größe")
            or pytest.fail("other classes")
        ),
        ("phantom",),
        write_own_table,
    ),
    "train, own films": Step(
        "train --data own-films --arch resnet18_half --image-size 32 --epochs 1 --out own-model",
        "own-model",
        load_checkpoint,
        ("ingest, own table",),
    ),
    "detect-text, own films": Step(
        "detect-text --data own-films --detector marker --workers 1 --out own.jsonl",
        "own.jsonl",
        read_regions,
        ("ingest, own table",),
    ),
    "audit, own films": Step(
        "audit --checkpoint own-model --data own-films --regions own.jsonl --target C,D"
        " --workers 1 --out own-audit",
        "own-audit",
        artifact("audit"),
        ("train, own films", "detect-text, own films"),
    ),
    "clean, own films": Step(
        "clean --data own-films --regions own.jsonl --workers 1 --out own-cleaned",
        "own-cleaned",
        load_filmset,
        ("detect-text, own films",),
    ),
    "compare, own films": Step(
        "compare --arm original=own-model --arm cleaned=own-model --data original=own-films"
        " --data cleaned=own-cleaned --out own-compared",
        "own-compared",
        artifact("comparison"),
        ("train, own films", "clean, own films"),
    ),
    "train": Step(
        "train --data films --arch resnet18_half --image-size 32 --epochs 1 --out model",
        "model",
        load_checkpoint,
        ("phantom",),
    ),
    "train, another seed": Step(
        "train --data films --arch resnet18_half --image-size 32 --epochs 1 --seed 1 --devices 1"
        " --out model-1",
        "model-1",
        load_checkpoint,
        ("phantom",),
    ),
    "model import": Step(
        "model import model/model.safetensors --arch resnet18_half --classes a,b,c"
        " --image-size 32 --out imported",
        "imported",
        load_checkpoint,
        ("train",),
    ),
    "model check": Step(
        "model check model --films films --max-films 4 --workers 1",
        needs=BOTH,
    ),
    "detect-text": Step(
        "detect-text --data films --detector marker --workers 1 --out found.jsonl",
        "found.jsonl",
        read_regions,
        ("phantom",),
    ),
    "explain": Step(
        "explain --checkpoint model --data films --limit 2 --grid 4 --out maps",
        "maps",
        artifact("explanations"),
        BOTH,
    ),
    "audit": Step(f"{AUDIT} --out audit", "audit", artifact("audit"), BOTH),
    "audit of regions": Step(
        f"{AUDIT} --regions films/truth_regions.jsonl --calibrate --out audit-2",
        "audit-2-power",
        artifact("audit_power"),
        BOTH,
    ),
    "debug": Step(
        "debug --model model --films films --workers 1 --out asked",
        "asked/report/model-on-phantom-*/report.html",
        load_run,
        BOTH,
    ),
    "transfer": Step(
        "transfer --checkpoint model --checkpoint model-1 --data films"
        " --regions films/truth_regions.jsonl --draws 1 --workers 1 --out transfer",
        "transfer",
        load_transfer,
        (*BOTH, "train, another seed"),
    ),
    "shortcuts": Step(
        "shortcuts --checkpoint model --checkpoint model-1 --data films"
        " --regions films/truth_regions.jsonl --cleaned cleaned --max-films 4 --workers 1"
        " --out shortcuts",
        "shortcuts",
        load_shortcuts,
        (*BOTH, "train, another seed", "clean"),
    ),
    "clean": Step(f"{CLEAN} --out cleaned", "cleaned", load_filmset, ("phantom",)),
    "clean, verified": Step("clean --data films --out cleaned --verify", needs=("clean",)),
    "clean, replaced": Step(
        f"{CLEAN} --policy side_marker=replace --method transplant --out replaced",
        "replaced",
        load_filmset,
        ("phantom",),
    ),
    "clean, kept": Step(
        f"{CLEAN} --policy side_marker=keep --policy position=remove --out kept",
        "kept",
        load_filmset,
        ("phantom",),
    ),
    "clean, decided": Step(
        f"{CLEAN} --mask-shape box --decoy-sets 1 --decisions decisions.jsonl --out decided",
        "decided",
        load_filmset,
        ("phantom",),
        write_decisions,
    ),
    "prove": Step(
        "prove --data films --cleaned cleaned --detector strokes --workers 1 --out proof",
        "proof",
        load_proof,
        ("clean",),
    ),
    "diff": Step("diff cleaned decided", needs=("clean", "clean, decided")),
    "push": Step("push cleaned file://bucket/cleaned", "bucket/cleaned", load_filmset, ("clean",)),
    "pull": Step("pull file://bucket/cleaned fetched", "fetched", load_filmset, ("push",)),
    "compare": Step(
        "compare --arm original=model --arm cleaned=model --data original=films"
        " --data cleaned=cleaned --out compared",
        "compared",
        artifact("comparison"),
        ("train", "clean"),
    ),
    "plan": Step("plan tiny.yaml", prepare=write_config),
    "run": Step("run tiny.yaml", "reports/tiny-*/report.html", load_run, (), write_config),
    "run again": Step(
        "run tiny.yaml --set seeds=[0]", "reports/tiny-*/report.html", load_run, ("run",)
    ),
    "report": Step(
        "report --run {run} --decisions verdicts.jsonl",
        "reports/tiny-*/report-reviewed.html",
        lambda page: "seen twice" in page.read_text(encoding="utf-8") or pytest.fail("no note"),
        ("run",),
        write_verdict,
    ),
    "demo": Step("demo --out .", "reports/tiny-*/report.html", load_run, ("run",)),
    "audit-new": Step(
        "audit-new covidx --checkpoint model --data-dir store --detector marker --at-least 2"
        " --workers 1 --table flags.csv",
        "flags.csv",
        lambda path: path.read_text(encoding="utf-8").index("checkpoint,"),
        ("train", "ingest"),
    ),
    "decisions agree": Step(
        "decisions agree verdicts.jsonl verdicts.jsonl --run {run}", needs=("report",)
    ),
    "decisions export": Step(
        "decisions export --to fiftyone --data films --regions films/truth_regions.jsonl"
        " --out elsewhere",
        "elsewhere/samples.json",
        lambda path: json.loads(path.read_text(encoding="utf-8")),
        ("phantom",),
    ),
    "decisions import": Step(
        "decisions import tagged.json --reviewer mk --out returned.jsonl",
        "returned.jsonl",
        read_decisions,
        ("decisions export",),
        tag_a_sample,
    ),
    "bench text": Step(
        "bench text --data films --annotations boxes.json --detector marker --out bench-text",
        "bench-text",
        artifact("bench-text"),
        ("phantom",),
        write_annotations,
    ),
    "bench audit": Step(
        "bench audit --out bench-audit",
        "bench-audit",
        lambda folder: json.loads((folder / "audit.json").read_text(encoding="utf-8")),
        BOTH,
        reuse_phantoms,
    ),
    "bench plants": Step(
        "bench plants --data films --regions films/truth_regions.jsonl --correlation 1"
        " --trainings 1 --arch resnet18_half --size 32 --epochs 1 --maps 2 --method gradient"
        " --workers 1 --out bench-plants",
        "bench-plants",
        lambda folder: load_table(folder / "plants.csv"),
        ("phantom",),
    ),
    "bench shortcuts": Step(
        "bench shortcuts --data films --regions films/truth_regions.jsonl --films 6 --groups 1",
        needs=("phantom",),
    ),
    "bench clean": Step(
        "bench clean --films 10 --side 256 --workers 1 --out bench-clean",
        "bench-clean",
        artifact("bench-clean"),
    ),
    "bench scars": Step(
        "bench scars --data films --regions films/truth_regions.jsonl --fill telea=3 --no-network"
        " --out bench-scars",
        "bench-scars",
        artifact("bench-scars"),
        ("phantom",),
    ),
    "bench films": Step("bench films --films 2 --detector marker --workers 1 --out bench-films"),
    "bench saliency": Step(
        "bench saliency --checkpoint model --data films --films 2 --grid 4 --method igos_pp"
        " --out bench-saliency",
        "bench-saliency",
        lambda folder: load_table(folder / "saliency.csv"),
        BOTH,
    ),
    "bench localisation": Step(
        "bench localisation --arch covidnet --method gradient --size 64 --films 2"
        " --faithful-films 1 --sensitive-films 1 --phantom-train 60 --phantom-films 30"
        " --phantom-epochs 3 --workers 1 --out bench-localisation",
        "bench-localisation",
        lambda folder: load_table(folder / "localisation.csv"),
    ),
    "bench growth": Step(
        "bench growth --checkpoint model --data films --films 2 --grid 4", needs=BOTH
    ),
    "bench training": Step("bench training --arch resnet18_half --size 32 --batch 2"),
    "bench backbones": Step(
        "bench backbones --backbone resnet18 --method gradient --out bench-backbones",
        "bench-backbones",
        lambda folder: load_table(folder / "backbones.csv"),
    ),
}
ELSEWHERE = {
    "ui",  # waits until it is interrupted: test_cli_ui.py
    "bench transfer",  # needs ten patients of a source: tests/benchmarks/test_bench_transfer.py
    "bench mitigations",  # tests/benchmarks/test_bench_mitigations.py
    "bench planted",  # needs films without text: tests/benchmarks/test_text_planted.py
    "bench agreement",  # tests/benchmarks/test_text_agreement.py
    "bench comparison",  # trains twelve networks, which takes minutes
    "bench faults",  # runs the whole loop ten times: tests/benchmarks/test_bench_faults.py
    "bench lungs",  # needs the films that were annotated: tests/benchmarks/test_lungs.py
}


class Session:
    """One newcomer at work in one folder; every step is done once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._done: dict[str, Outcome] = {}

    def do(self, name: str) -> Outcome:
        if name not in self._done:
            step = STEPS[name]
            for earlier in step.needs:
                assert self.do(earlier).code == 0, earlier
            with contextlib.chdir(self.folder):
                step.prepare()
                runs = [str(path) for path in Path().glob("reports/tiny-*")]
                words = [word.format(run=runs[0] if runs else "") for word in step.line.split()]
                self._done[name] = call(*words)
        return self._done[name]


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory, prefect_server: None) -> Iterator[Session]:
    folder = tmp_path_factory.mktemp("newcomer") / "meine Röntgenbilder"
    folder.mkdir()
    with mock.patch.object(cli, "DEMO_CONFIG", folder / "tiny.yaml"):
        yield Session(folder)


@pytest.mark.parametrize("name", STEPS)
def test_command_ends_well_and_names_what_it_made(name: str, session: Session) -> None:
    step = STEPS[name]

    outcome = session.do(name)

    complaints = [line for line in outcome.err if "| INFO " not in line]  # the test server's log
    assert (outcome.code, complaints) == (0, [])
    assert outcome.out
    if step.load is not None:
        with contextlib.chdir(session.folder):
            (made,) = Path().glob(step.made)
            step.load(made)
        assert any(line.endswith(str(made)) for line in outcome.out[-20:]), outcome.out[-20:]


def test_every_command_has_a_step() -> None:
    names = commands()

    typed = {name for step in STEPS.values() for name in names if step.line.startswith(f"{name} ")}
    assert typed | ELSEWHERE == set(names)
