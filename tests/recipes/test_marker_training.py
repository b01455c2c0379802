"""The recipe runs, is seeded, and its loss knows good maps from bad ones."""

import json
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from covid_debug.errors import DataIntegrityError
from covid_debug.imaging.writing import write_png
from recipes.marker_detector.backgrounds import load_backgrounds
from recipes.marker_detector.glyphs import find_fonts
from recipes.marker_detector.network import MarkerNet
from recipes.marker_detector.training import (
    MarkerTrainingParams,
    compute_losses,
    render_batches,
    train_marker_detector,
)

QUICK = MarkerTrainingParams(n_steps=2, batch_size=1, n_phantoms=0)


@pytest.fixture
def films(tmp_path: Path) -> Path:
    write_png(tmp_path / "film.png", np.full((300, 280), 90, np.uint8))
    listing = {"film.png": {"text": [[10, 10, 40, 30, 2]], "ignore": [[100, 100, 120, 130]]}}
    (tmp_path / "listing.json").write_text(json.dumps(listing), encoding="utf-8")
    return tmp_path


def test_network_is_small_and_fully_convolutional() -> None:
    network = MarkerNet().eval()

    n_weights = sum(weights.numel() for weights in network.parameters())
    assert 300_000 < n_weights < 1_000_000
    for height, width in ((64, 96), (160, 32), (32, 32)):
        assert network(torch.zeros(1, 1, height, width)).shape == (1, 3, height // 2, width // 2)


def test_two_trainings_give_the_same_weights(films: Path) -> None:
    paths = [
        train_marker_detector(
            films, films / name, QUICK, listing=films / "listing.json", font_folders=()
        )
        for name in ("a", "b")
    ]

    first, second = (load_file(path) for path in paths)
    for name, value in first.items():
        torch.testing.assert_close(value, second[name], rtol=0, atol=0)


def test_another_process_renders_the_same_samples(films: Path) -> None:
    fonts = find_fonts([Path(matplotlib.get_data_path()) / "fonts" / "ttf"])
    backgrounds = load_backgrounds(films, films / "listing.json")

    here, elsewhere = (
        list(render_batches(backgrounds, fonts, QUICK, n_renderers)) for n_renderers in (0, 1)
    )

    assert len(here) == len(elsewhere) == QUICK.n_steps
    for (one,), (other,) in zip(here, elsewhere, strict=True):
        np.testing.assert_array_equal(one.pixels, other.pixels)
        np.testing.assert_array_equal(one.weights, other.weights)


def test_a_source_can_be_held_out(films: Path) -> None:
    assert len(load_backgrounds(films, films / "listing.json", ["other"])) == 1
    assert not load_backgrounds(films, films / "listing.json", ["film"])


def test_loss_is_zero_for_the_truth_and_large_for_its_opposite() -> None:
    targets = torch.zeros(1, 3, 8, 8)
    targets[:, :, 2:5, 2:5] = 1.0
    weights = torch.ones(1, 3, 8, 8)

    right = compute_losses((targets * 2 - 1) * 20, targets, weights)
    wrong = compute_losses((1 - targets * 2) * 20, targets, weights)

    assert max(float(loss) for loss in right) < 0.05
    assert min(float(loss) for loss in wrong) > 5


def test_ignored_pixels_do_not_count() -> None:
    targets, weights = torch.zeros(1, 3, 8, 8), torch.ones(1, 3, 8, 8)
    weights[:, :, 4:] = 0
    logits = torch.full((1, 3, 8, 8), -20.0)
    logits[:, :, 4:] = 20.0

    assert max(float(loss) for loss in compute_losses(logits, targets, weights)) < 0.1


def test_missing_film_is_named(films: Path) -> None:
    (films / "listing.json").write_text('{"absent.png": {}}', encoding="utf-8")

    with pytest.raises(DataIntegrityError, match=r"absent\.png"):
        load_backgrounds(films, films / "listing.json")
