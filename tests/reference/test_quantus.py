"""Our measures of maps against Quantus, where it is installed; it is no dependency."""

import numpy as np
import pytest
import torch

from covid_debug.evaluation.fidelity import measure_completeness
from covid_debug.evaluation.localisation import measure_localisation, measure_sparseness
from covid_debug.evaluation.road import impute_linear

quantus = pytest.importorskip("quantus")
pytestmark = pytest.mark.filterwarnings("ignore")

N, SIDE = 4, 16
PLAIN = {"abs": False, "normalise": False, "disable_warnings": True, "display_progressbar": False}


class Linear(torch.nn.Module):
    """Two logits that add up pixels."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.weights = torch.nn.Parameter(torch.randn(SIDE * SIDE, 2, generator=generator))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.flatten(1) @ self.weights


@pytest.fixture(scope="module")
def batch() -> dict[str, object]:
    generator = np.random.default_rng(0)
    maps = generator.normal(size=(N, 1, SIDE, SIDE)).astype(np.float32)
    truth = np.zeros((N, 1, SIDE, SIDE), bool)
    for i in range(N):
        truth[i, 0, 2 : 6 + i, 3:9] = True
        maps[i, 0, 3, 4] += 3.0 * (i % 2)  # some maxima inside, some not
    films = generator.random((N, 1, SIDE, SIDE)).astype(np.float32)
    return {"films": films, "maps": maps, "truth": truth}


def ask(metric: object, batch: dict[str, object], maps: np.ndarray) -> list[float]:
    found = metric(
        model=Linear().eval(),
        x_batch=batch["films"],
        y_batch=np.ones(N, int),
        a_batch=maps,
        s_batch=batch["truth"].astype(int),
        device="cpu",
    )
    return [float(value) for value in found]


def test_localisation(batch: dict[str, object]) -> None:
    positive = batch["maps"].clip(min=0)  # Quantus counts negative values, we count them as 0
    ours = measure_localisation(
        torch.from_numpy(batch["maps"]), torch.from_numpy(batch["truth"]), top_share=20 / SIDE**2
    )
    for name, metric in {
        "mass": quantus.RelevanceMassAccuracy(**PLAIN),
        "rank_accuracy": quantus.RelevanceRankAccuracy(**PLAIN),
        "pointing": quantus.PointingGame(**PLAIN),
        "top_share": quantus.TopKIntersection(k=20, **PLAIN),
    }.items():
        np.testing.assert_allclose(
            getattr(ours, name).numpy(), ask(metric, batch, positive), rtol=1e-5, err_msg=name
        )


def test_sparseness(batch: dict[str, object]) -> None:
    theirs = ask(quantus.Sparseness(**PLAIN | {"abs": True}), batch, batch["maps"])
    ours = measure_sparseness(torch.from_numpy(batch["maps"]))
    np.testing.assert_allclose(ours.numpy(), theirs, rtol=1e-5)


def test_completeness(batch: dict[str, object]) -> None:
    model, films = Linear().eval(), torch.from_numpy(batch["films"])
    weights = model.weights.detach()[:, 1].view(1, 1, SIDE, SIDE)
    metric = quantus.Completeness(perturb_baseline="black", **PLAIN)
    complete = (films * weights).numpy()  # a sum is exact to rounding only: ask with a tolerance
    with torch.no_grad():
        ends = model(films)[:, 1], model(torch.zeros_like(films))[:, 1]
    ours = measure_completeness(torch.from_numpy(complete), *ends)
    assert ours.abs().max() < 1e-4
    wrong = measure_completeness(torch.from_numpy(2 * complete), *ends)
    torch.testing.assert_close(wrong.abs(), torch.ones(N), atol=1e-4, rtol=0)
    assert not any(ask(metric, batch, 2 * complete))


def test_imputation(batch: dict[str, object]) -> None:
    from quantus.functions.perturb_func import noisy_linear_imputation

    film = batch["films"][0]
    generator = np.random.default_rng(1)
    missing = generator.random((SIDE, SIDE)) < 0.4
    missing[:, [0, -1]] = missing[[0, -1], :] = False  # at borders the two differ: weights sum to 1
    theirs = noisy_linear_imputation(
        arr=film.copy(), indices=np.flatnonzero(missing), indexed_axes=[0, 1, 2], noise=0.0
    )
    ours = impute_linear(film[0].astype(np.float64), missing)
    np.testing.assert_allclose(ours.ravel(), np.asarray(theirs).ravel(), atol=1e-5)
