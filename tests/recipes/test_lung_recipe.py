"""The recipe of the lung finder: examples, and the network that NumPy evaluates."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from covid_debug.imaging import lungs as finder
from recipes.lungs.synthesis import SIDE, KnownFilm, draw_example, render_phantoms
from recipes.lungs.training import LungTrainingParams, save_lung_net, train_lung_net


@pytest.fixture(scope="module")
def phantoms() -> list[KnownFilm]:
    return render_phantoms(2, seed=3)


def test_examples_are_seeded_and_in_range(phantoms: list[KnownFilm]) -> None:
    for seed in range(12):
        seen, target = draw_example(phantoms[seed % 2], np.random.default_rng(seed))
        again, _ = draw_example(phantoms[seed % 2], np.random.default_rng(seed))
        np.testing.assert_array_equal(seen, again)
        assert seen.shape == (finder.INPUT_SIDE, finder.INPUT_SIDE)
        assert target.shape == (finder.GRID_SIDE, finder.GRID_SIDE)
        assert -1 <= seen.min() <= seen.max() <= 1
        assert 0 <= target.min() < target.max() <= 1


def test_film_without_lungs_makes_an_example() -> None:
    empty = KnownFilm(np.full((SIDE, SIDE), 90, np.uint8), np.zeros((SIDE, SIDE), np.uint8))

    for seed in range(8):
        assert draw_example(empty, np.random.default_rng(seed))[1].max() == 0


def test_numpy_evaluates_the_trained_network(phantoms: list[KnownFilm], tmp_path: Path) -> None:
    params = LungTrainingParams(n_steps=3, batch_size=2)
    net = train_lung_net(phantoms, phantoms, params)
    save_lung_net(net, phantoms, tmp_path / "weights.safetensors")
    stored = load_file(tmp_path / "weights.safetensors")
    weights = {name: value.astype(np.float32) for name, value in stored.items()}
    batch = np.stack([finder.prepare_film(film.pixels) for film in phantoms])

    ours = finder._run(weights, batch)

    with torch.no_grad():
        theirs = net(torch.from_numpy(batch)).numpy()
    np.testing.assert_allclose(ours, theirs, atol=0.02)
    assert (tmp_path / "weights.safetensors").stat().st_size < 200_000
