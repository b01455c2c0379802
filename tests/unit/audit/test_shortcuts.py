"""The stage: a model that reads the border of films whose border tells the label."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from covid_debug.artifacts import write_artifact
from covid_debug.audit import shortcuts
from covid_debug.audit.shortcut_map import SHORTCUTS_NAME, load_shortcuts
from covid_debug.audit.shortcuts import (
    ShortcutParams,
    ShortcutsRequest,
    choose_films,
    map_shortcuts,
)
from covid_debug.data.filmset import FilmSet, load_filmset, write_films
from covid_debug.errors import ArtifactError, DataIntegrityError, InputContractError
from covid_debug.imaging.geometry import ViewSpec
from covid_debug.imaging.regions import write_regions
from covid_debug.imaging.writing import write_png
from covid_debug.models.checkpoint import LoadedModel
from covid_debug.models.classifier import Classifier
from covid_debug.records import Film, FilmRegions
from covid_debug.stages import Means
from tests.films import recorded

SIDE = 48
NAMES = ("normal", "COVID-19")
SPEC = ViewSpec(SIDE, 0.0)


class ReadsTopEdge(nn.Module):
    def __init__(self, slope: float = 30.0) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(slope))

    def forward(self, images: Tensor) -> Tensor:
        logit = self.slope * (images[:, 0, 0, 16:32].mean(dim=1) - 0.5)
        return torch.stack([torch.zeros_like(logit), logit], dim=1)


def load(slope: float = 30.0, names: tuple[str, ...] = NAMES) -> LoadedModel:
    network = ReadsTopEdge(slope)
    classifier = Classifier(network, class_names=names, image_size=(SIDE, SIDE)).eval()
    return LoadedModel(classifier, SPEC, {})


@pytest.fixture
def world(tmp_path: Path) -> tuple[FilmSet, Path]:
    folder, films = tmp_path / "films", []
    with write_artifact(folder, kind="filmset") as draft:
        for i in range(40):
            label = NAMES[i % 2]
            pixels = np.random.default_rng(i).integers(90, 160, (SIDE, SIDE)).astype(np.uint8)
            edge = 60 if i % 2 == 0 else 200
            for strip in (pixels[:3], pixels[-3:], pixels[:, :3], pixels[:, -3:]):
                strip[...] = edge + i % 5
            path = draft.path / f"{i}.png"
            write_png(path, pixels)
            split = "train" if i < 16 else "test"
            who = (f"film{i:02}", path.name, f"s:p{i}", label, f"s{i % 2}", "PA", split)
            films.append(Film(*who, SIDE, SIDE, *recorded(path)))
        write_films(draft.path, films)
        draft.facts.update(name="toy", class_names=NAMES, n_ok=40, n_total=40)
    regions = tmp_path / "regions.jsonl"
    write_regions(regions, [FilmRegions(film.image_id, SIDE, SIDE, ()) for film in films])
    return load_filmset(folder), regions


@pytest.fixture(autouse=True)
def lungs(monkeypatch: pytest.MonkeyPatch) -> None:
    def find(film: np.ndarray) -> np.ndarray:
        mask = np.zeros(film.shape, bool)
        mask[14:34, 10:38] = True
        return mask

    monkeypatch.setattr(shortcuts, "find_lungs", find)


def test_the_map_of_a_border_reader_names_the_border_and_is_read_back(
    world: tuple[FilmSet, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filmset, regions = world
    slopes = {"one": 30.0, "two": 28.0}
    monkeypatch.setattr(shortcuts, "load_checkpoint", lambda place, **_: load(slopes[place.name]))
    request = ShortcutsRequest(
        (Path("one"), Path("two")), filmset.root, regions, filmset.root, ShortcutParams()
    )

    made = request.make(tmp_path / "map", Means(cache_dir=tmp_path / "views", n_workers=1))
    read = load_shortcuts(tmp_path / "map")

    assert repr(read) == repr(made)  # NaN != NaN
    first = read.attributes[0]
    assert first.name == "border"
    assert first.pull().share.value == 1.0
    assert first.utility.value == 1.0
    assert first.detectability.value > 0.8  # k-means splits one of the two kinds
    assert first.detectability_cleaned == first.detectability
    assert first.pull("COVID-19").log_odds.low > 0
    by_name = {item.name: item for item in read.attributes}
    assert by_name["lungs"].pull().log_odds.value == 0.0
    assert by_name["source"].pull() is None
    assert by_name["source"].utility.value == 1.0
    assert not by_name["text"].utility.is_defined or by_name["text"].utility.value == 0.5
    assert not by_name["outside_lungs"].is_part
    assert (read.n_models, read.n_films, read.n_total) == (2, 24, 24)
    (rate,) = read.rates
    assert (rate.question, rate.model.value, rate.source.value, rate.majority) == (
        "class",
        1.0,
        1.0,
        0.5,
    )
    table = read.describe()
    assert table[1].startswith("border and collimation  +100.0")
    assert "knows only the source on 100.0 %" in table[-1]
    assert json.loads((tmp_path / "map" / "manifest.json").read_text())["inputs"] == {
        "checkpoint/0": "one",
        "checkpoint/1": "two",
        "cleaned": filmset.root.name,
        "filmset": filmset.root.name,
        "regions": request.inputs()["regions"],
    }


def test_the_same_request_gives_the_same_bytes_however_many_workers(
    world: tuple[FilmSet, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filmset, regions = world
    monkeypatch.setattr(shortcuts, "load_checkpoint", lambda *_, **__: load())
    request = ShortcutsRequest((Path("one"),), filmset.root, regions)

    for name, n_workers in (("a", 1), ("b", 3)):
        request.make(tmp_path / name, Means(cache_dir=tmp_path / "views", n_workers=n_workers))

    files = [(tmp_path / name / SHORTCUTS_NAME).read_bytes() for name in "ab"]
    assert files[0] == files[1]


def test_a_sample_holds_the_classes_alike_and_films_without_a_scan_take_no_part(
    world: tuple[FilmSet, Path],
) -> None:
    filmset, _ = world
    regions = {f.image_id: FilmRegions(f.image_id, SIDE, SIDE, ()) for f in filmset.films}
    regions["film20"] = FilmRegions("film20", 0, 0, (), error="broken")

    chosen = choose_films(filmset, regions, 10, 0)

    assert [film.label for film in chosen].count("normal") == len(chosen) / 2 == 5
    assert chosen == choose_films(filmset, regions, 10, 0)
    assert chosen != choose_films(filmset, regions, 10, 1)
    everything = choose_films(filmset, regions, 100, 0)
    assert len(everything) == 23
    with pytest.raises(DataIntegrityError, match="no test film with a scan"):
        choose_films(filmset, {}, 10, 0)


def test_models_that_cannot_be_mapped_together_are_refused(world: tuple[FilmSet, Path]) -> None:
    filmset, _ = world
    other_view = replace(load(), view=ViewSpec(SIDE, 0.1))
    cases = {
        "no checkpoint was given": [],
        "see other views": [load(), other_view],
        "checkpoint 1 has normal, pneumonia": [load(names=("normal", "pneumonia"))],
    }
    for message, models in cases.items():
        with pytest.raises(InputContractError, match=message):
            map_shortcuts(models, filmset, {}, None, ShortcutParams(), run_seed=0, means=Means())


@pytest.mark.parametrize("name", ["max_films", "n_donors"])
def test_a_number_below_one_is_refused(name: str) -> None:
    with pytest.raises(InputContractError, match=f"{name} is 0"):
        ShortcutParams(**{name: 0})


def test_a_broken_map_is_one_line_that_names_the_file(tmp_path: Path) -> None:
    with write_artifact(tmp_path / "map", kind="shortcuts") as draft:
        (draft.path / SHORTCUTS_NAME).write_text("{}")

    with pytest.raises(ArtifactError, match=r"shortcuts\.json: is not readable .* make it again"):
        load_shortcuts(tmp_path / "map")
