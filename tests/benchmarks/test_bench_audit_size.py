"""Models that cannot read are rarely flagged; one that reads is found."""

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from torch import nn
from typer.testing import CliRunner

from benchmarks.audit_rates import add_effect, judge_films, measure_power, measure_rates
from benchmarks.audit_size import SizeBench, ask_model, bench_audit_size, prepare_films
from benchmarks.blind import draw_thumbnail
from benchmarks.cli import bench_app
from covid_debug.audit.planning import AuditParams
from covid_debug.audit.verdicts import MARGIN
from covid_debug.data.filmset import load_filmset
from covid_debug.imaging.geometry import ViewSpec
from covid_debug.imaging.regions import read_regions, write_regions
from covid_debug.imaging.writing import write_png
from covid_debug.models.parallel import ParallelPredictor
from covid_debug.records import FilmRegions, TextRegion
from covid_debug.terminal import RunConsole
from tests import films as made
from tests.toys import wrap

VIEW = ViewSpec(image_size=64)
WIDTH, HEIGHT = 160, 176
N_FILMS = 40


def draw_film_with_text(path, seed):
    """A smooth film; every second one carries a bright word, the others a faint one."""
    generator = np.random.default_rng(seed)
    coarse = generator.normal(110, 30, (9, 8)).astype(np.float32)
    pixels = cv2.resize(coarse, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    pixels += generator.normal(0, 4, pixels.shape)
    x, y = box_of(seed)
    word = np.zeros((HEIGHT, WIDTH), np.uint8)
    cv2.putText(word, "AP", (x + 2, y + 14), cv2.FONT_HERSHEY_SIMPLEX, 0.5, 255, 2)
    pixels[word > 0] += 90 if seed % 2 else 25
    path.parent.mkdir(parents=True, exist_ok=True)
    write_png(path, np.clip(pixels, 0, 255).astype(np.uint8))
    return path


def box_of(seed):
    generator = np.random.default_rng(1000 + seed)
    return int(generator.integers(5, 120)), int(generator.integers(30, 150))


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    """Films with a word each, half test and half val; two films a patient."""
    root = tmp_path_factory.mktemp("size")
    films = [
        made.make_film(
            i,
            split=("test", "val")[i % 4 < 2],
            patient_id=f"{i // 2}",
            width=WIDTH,
            height=HEIGHT,
        )
        for i in range(N_FILMS)
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(made, "draw_film", draw_film_with_text)
        filmset = made.build_filmset(root / "films", films)
    found = []
    for i, film in enumerate(filmset.films):
        x, y = box_of(i)
        box = ((x, y), (x + 26.0, y), (x + 26.0, y + 18.0), (x, y + 18.0))
        found.append(FilmRegions(film.image_id, WIDTH, HEIGHT, (TextRegion(box, 0.9, None, "m"),)))
    write_regions(root / "regions.jsonl", found)
    return SizeBench(
        filmset.root,
        root / "regions.jsonl",
        n_films=N_FILMS,
        n_networks=0,
        n_thumbnails=3,
        view=VIEW,
        n_workers=1,
    )


@pytest.fixture(scope="module")
def seen(bench):
    return prepare_films(
        bench, load_filmset(bench.data), read_regions(bench.regions), VIEW, RunConsole()
    )


class _Reader(nn.Module):
    """Answers to thin bright strokes, wherever they are: a crude reader."""

    def forward(self, images):
        smooth = nn.functional.avg_pool2d(images, 5, 1, 2)
        strokes = (images - smooth - 0.1).relu().sum(dim=(1, 2, 3))
        score = 2 * strokes + 3 * (images.mean(dim=(1, 2, 3)) - 0.43)
        return score[:, None] * images.new_tensor([0.0, 0.0, 1.0])


def draw_small_network(seed):
    """Two random convolutions; stands for the ResNet18, which takes minutes."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = nn.Sequential(
            nn.Conv2d(1, 8, 5, stride=2),
            nn.ReLU(),
            nn.Conv2d(8, 16, 3, stride=2),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(4),
            nn.Flatten(),
            nn.Linear(256, 3),
        )
    return wrap(network, 64, 3)


@pytest.mark.parametrize("kind", ["thumbnails", "networks"])
def test_models_that_cannot_read_are_rarely_flagged(seen, bench, kind):
    if kind == "thumbnails":
        models = [draw_thumbnail(3, seed) for seed in range(20)]
    else:
        models = [ParallelPredictor(draw_small_network(seed), 1) for seed in range(6)]
    evidence = [ask_model(model, seen, made.CLASS_NAMES) for model in models]
    patients = [film.patient_id for film in seen.films]

    rates = measure_rates(evidence, patients, bench.params, seed=0)

    assert rates.n_films == N_FILMS
    assert rates.n_patients == N_FILMS // 2
    assert rates.small_p.value <= 0.06
    assert max(estimate.value for estimate in rates.small_p_by_spread) <= 0.08
    assert rates.small_q.value <= 0.01
    assert rates.small_p.value <= rates.small_p_without_margin.value
    assert rates.small_p.low <= rates.small_p.value <= rates.small_p.high


def test_a_model_that_reads_is_found(seen):
    evidence = ask_model(ParallelPredictor(wrap(_Reader(), 64, 3), 1), seen, made.CLASS_NAMES)

    q = judge_films(evidence, AuditParams()).q

    bright = np.array([int(film.image_id, 16) % 2 == 1 for film in seen.films])
    assert np.mean(q[bright] <= 0.05) >= 0.9


def test_an_added_effect_moves_the_fall_alone_and_is_found(seen):
    evidence = ask_model(draw_thumbnail(3, 0), seen, made.CLASS_NAMES)

    changed = add_effect(evidence[0], 2.0)
    power = measure_power([evidence], AuditParams(), seed=0)

    assert changed.effect == pytest.approx(evidence[0].effect + 2 * evidence[0].margin / MARGIN)
    assert changed.null_effects == evidence[0].null_effects
    assert power[0].found <= 0.05
    assert power[-1].found >= 0.9
    assert [item.effect for item in power] == sorted(item.effect for item in power)


def test_tables_and_log_odds_are_written(bench, tmp_path):
    few = replace(bench, n_films=8, n_thumbnails=2, n_skipped=3)

    bench_audit_size(few, tmp_path / "out", RunConsole())

    record = json.loads((tmp_path / "out" / "size.json").read_text())
    assert record["rates"]["random linear, 8 x 8"]["n_models"] == 2
    assert "random linear, 8 x 8" in (tmp_path / "out" / "size.md").read_text()
    with np.load(tmp_path / "out" / "thumbnail-100.npz") as stored:
        assert stored["null_removed"].shape == (8, 40)


def test_real_films_are_wanted_for_the_size_only(tmp_path):
    outcome = CliRunner().invoke(bench_app, ["audit", "--size", "--out", str(tmp_path / "out")])

    assert outcome.exit_code != 0
    assert "--data and --regions" in str(outcome.exception)
