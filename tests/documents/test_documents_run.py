"""What stands in a code block of README and docs works: blocks are run, or it is said why not.

Python blocks of a page run in order in one namespace, command lines in a folder that holds what
the pages speak of. Command lines that are not run are checked by ``test_cli_usage.py``.
"""

import contextlib
import json
import re
import shlex
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from covid_debug.cleaning.decisions import read_decisions
from covid_debug.config.loader import load_config
from covid_debug.data.filmset import load_filmset
from covid_debug.data.phantom import generate_phantom
from covid_debug.imaging.geometry import ViewSpec
from covid_debug.models.catalog import build_backbone
from covid_debug.models.checkpoint import save_checkpoint
from covid_debug.models.classifier import Classifier
from covid_debug.tracking.mlflow_tracker import MlflowTracker
from tests.cli import call
from tests.own_films import lay_out_own_films

pytestmark = pytest.mark.filterwarnings("default")  # other packages' deprecations

ROOT = Path(__file__).resolve().parents[2]
PAGES = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md")))
KEY = "0123456789abcdef"
SHELL = {"", "bash", "console", "sh", "shell"}

NOT_RUN = {  # pattern of a command line -> why it is only checked, not run
    r"^(run|demo)\b": "trains several models; tests/flows runs the whole loop",
    r"^ui$": "runs until it is interrupted",
    r"^bench\b": "takes minutes; the smoke tests run a small one of each",
    r"^prove\b": "trains classifiers; the smoke tests run it",
    r"^decisions\b": "needs films that were reviewed",
    r"--decisions proof/": "needs a person's decisions on a proof",
    r"\bDIR\b|\.\.\.": "holds a placeholder",
}
PICTURES = {  # first words of a block that is neither code nor a command -> what it is
    "ingest and check -> find text": "the loop",
}


@dataclass(frozen=True)
class Block:
    """A code block: where it stands, what language it says it has, and its text."""

    page: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def lines(self) -> list[str]:
        """Its lines without comments; those that end with a backslash are joined."""
        joined = self.text.replace("\\\n", " ").splitlines()
        stripped = [re.sub(r"^(\$ |\.venv/bin/)*", "", " ".join(one.split())) for one in joined]
        return [one for one in stripped if one and not one.startswith("#")]

    @property
    def kind(self) -> str:
        """What it is: python, yaml, shell, decisions or picture; ``unknown`` fails."""
        if self.language in {"python", "yaml"}:
            return self.language
        if self.language == "text" or self.text.startswith(tuple(PICTURES)):
            return "picture"
        if self.language in SHELL and self.lines:
            if all(line.split()[0] in {"covid-debug", "make"} for line in self.lines):
                return "shell"
            if all(line.startswith("{") for line in self.lines):
                return "decisions"
        return "unknown"


def iter_blocks(page: Path) -> Iterator[Block]:
    """Yield the fenced blocks of a page in order."""
    text = page.read_text(encoding="utf-8")
    for found in re.finditer(r"^( *)```(.*)\n((?:.*\n)*?)\1```$", text, flags=re.MULTILINE):
        yield Block(page, text.count("\n", 0, found.start()) + 1, found[2].strip(), found[3])


BLOCKS = {page: list(iter_blocks(page)) for page in PAGES}
ALL_BLOCKS = [block for blocks in BLOCKS.values() for block in blocks]
LINES = [
    line.removeprefix("covid-debug ")
    for block in ALL_BLOCKS
    if block.kind == "shell"
    for line in block.lines
    if line.startswith("covid-debug ")
]


def why_not_run(line: str) -> str | None:
    """Return why a command line is only checked; None if it is run."""
    return next((why for pattern, why in NOT_RUN.items() if re.search(pattern, line)), None)


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that the pages speak of: COVIDx by another name, other films, two models."""
    folder = tmp_path_factory.mktemp("documents")
    generate_phantom(folder / "data" / "covidx", n_train=12, n_test=3, seed=0)
    films = load_filmset(folder / "data" / "covidx")
    external = folder / "outside" / "data" / "external"
    for film in films.select("test"):
        (external / "test").mkdir(parents=True, exist_ok=True)
        shutil.copy(films.path_of(film), external / "test" / Path(film.path).name)
    shutil.copy(folder / "data" / "covidx" / "test.txt", external)
    lay_out_own_films(folder, external.parent)
    with contextlib.chdir(folder):
        options = "--arch resnet18_half --image-size 32 --epochs 1"
        for seed in (1, 2):
            line = f"train --data data/covidx --out data/checkpoint-{seed} --seed {seed} {options}"
            assert call(*line.split()).code == 0
    return folder


def make_names() -> dict[str, Any]:
    """Return what the pages' Python code takes for granted."""

    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 4, 7, stride=8), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten()]
    network = nn.Sequential(*layers, nn.Linear(64, 3))
    return {
        "__name__": "documents",
        "my_module": network,
        "my_network": network,
        "images": torch.rand(1, 1, 224, 224, generator=torch.Generator().manual_seed(0)),
        "targets": torch.tensor([2]),
        "seeds": [1],
    }


def track_models(folder: Path) -> None:
    """Leave what a run called demo leaves: its films, and two models in MLflow."""
    films = generate_phantom(folder / "data" / f"filmset-{KEY}", n_train=1, n_test=3, seed=0)
    for name in ("cleaned", "placebo"):
        shutil.copytree(films.root, films.root.with_name(f"{name}-{KEY}"))
    shutil.copy(films.path_of(films.films[0]), folder / "film.png")
    network = build_backbone("resnet18_half", 3)
    classifier = Classifier(network, class_names=films.class_names, image_size=(32, 32)).eval()
    view = ViewSpec(image_size=32)
    made = save_checkpoint(
        folder / "data" / f"checkpoint-{KEY}", classifier, arch="resnet18_half", arch_params={},
        view=view,
    )  # fmt: skip
    with MlflowTracker(f"sqlite:///{folder}/mlflow.db").run("key", "demo", {}, {}) as run:
        for arm in ("original", "cleaned"):
            run.register(run.log_model(made, arm, {}), "demo", arm, {})


@pytest.mark.parametrize("block", ALL_BLOCKS, ids=str)
def test_every_block_is_of_a_known_kind(block: Block) -> None:
    assert block.kind != "unknown", (
        f"{block} is neither code, configuration, command lines nor records; call a picture ```text"
    )


@pytest.mark.parametrize("page", [p for p in PAGES if any(b.kind == "python" for b in BLOCKS[p])],
                         ids=lambda page: page.name)  # fmt: skip
def test_python_of_a_page_runs(page: Path, tmp_path: Path) -> None:
    names = make_names()
    kept = max((ROOT / "tests" / "data" / "runs").glob("*.*/"))  # the run that the pages speak of
    shutil.copytree(kept / "report", tmp_path / "reports" / "demo-0123456789abcdef")
    shutil.copytree(kept / "audit", tmp_path / "data" / "audit-0123456789abcdef")
    with contextlib.chdir(tmp_path):
        if page.name == "mlflow.md":
            track_models(tmp_path)
        for block in BLOCKS[page]:
            if block.kind == "python":
                code = "\n" * block.line + block.text  # a traceback names the page's own line
                exec(compile(code, str(page), "exec"), names)  # noqa: S102


SHELL_PAGES = [
    page
    for page in PAGES
    if any(why_not_run(one.removeprefix("covid-debug ")) is None and not one.startswith("make ")
           for block in BLOCKS[page] if block.kind == "shell" for one in block.lines)
]  # fmt: skip


@pytest.mark.slow  # text detectors start anew for every block: a minute
@pytest.mark.parametrize("page", SHELL_PAGES, ids=lambda page: page.name)
def test_command_lines_of_a_page_run(page: Path, world: Path, tmp_path: Path) -> None:
    n_run = 0
    for number, block in enumerate(BLOCKS[page]):
        if block.kind != "shell":
            continue
        folder = tmp_path / str(number)  # a block may be another way to the same file
        shutil.copytree(world, folder)
        with contextlib.chdir(folder):
            for line in block.lines:
                words = shlex.split(line, comments=True)
                if words[0] != "covid-debug":
                    continue
                out = words[words.index("--out") + 1] if "--out" in words else ""
                if why_not_run(line.removeprefix("covid-debug ")) is None:
                    moved = [str(folder / "outside") + w if w[0] == "/" else w for w in words[1:]]
                    outcome = call(*moved)
                    assert outcome.code == 0, (str(block), line, outcome.err)
                    n_run += 1
                elif out.endswith("regions.jsonl"):
                    shutil.copy("data/covidx/truth_regions.jsonl", out)  # what it would have found
    assert n_run > 0


@pytest.mark.parametrize("block", [b for b in ALL_BLOCKS if b.kind == "yaml"], ids=str)
def test_configuration_of_a_page_is_valid(block: Block, tmp_path: Path) -> None:
    (tmp_path / "my.yaml").write_text(block.text, encoding="utf-8")

    assert load_config(tmp_path / "my.yaml").name


@pytest.mark.parametrize("block", [b for b in ALL_BLOCKS if b.kind == "decisions"], ids=str)
def test_decisions_of_a_page_can_be_read(block: Block, tmp_path: Path) -> None:
    (tmp_path / "decisions.jsonl").write_text(block.text, encoding="utf-8")

    found = read_decisions(tmp_path / "decisions.jsonl")

    assert len(found) == len(block.lines)
    assert all(json.loads(line)["reviewer"] for line in block.lines)


def test_make_targets_of_the_pages_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    lines = [line for b in ALL_BLOCKS if b.kind == "shell" for line in b.lines]
    named = {line.split()[1] for line in lines if line.startswith("make ")}

    assert {"demo", "test"} <= named <= targets


def test_no_reason_stands_for_lines_that_are_gone() -> None:
    assert [p for p in NOT_RUN if not any(re.search(p, line) for line in LINES)] == []
    text = "".join(block.text for block in ALL_BLOCKS)
    assert [words for words in PICTURES if words not in text] == []
    assert sum(why_not_run(line) is None for line in LINES) >= 5
    assert len(ALL_BLOCKS) > 20


def test_a_block_of_another_kind_is_found() -> None:
    kinds = {
        "": "x = 1\n", "bash": "rm -rf /\n", "rust": "covid-debug ui\n", "python": "x\n",
        "sh": "covid-debug ui\n# or\nmake demo\n", "text": "a -> b\n",
    }  # fmt: skip

    found = {name: Block(ROOT, 1, name, text).kind for name, text in kinds.items()}

    assert found == {
        "": "unknown", "bash": "unknown", "rust": "unknown", "python": "python", "sh": "shell",
        "text": "picture",
    }  # fmt: skip
