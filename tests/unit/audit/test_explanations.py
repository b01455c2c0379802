"""What is read from a map: the top shares, text's share, and whose film it was."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from covid_debug.audit.explanations import SaliencyEvidence, explain_films
from covid_debug.saliency.base import Explanation
from tests.toys import Additive, wrap

SIDE = 10  # 100 pixels: 6 and 12 of them are the case study's shares


@dataclass
class Ready:
    """An explainer whose maps are known."""

    maps: torch.Tensor

    def explain(self, classifier, images, targets, *, seeds, baseline, max_batch) -> Explanation:
        n = len(images)
        return Explanation(
            saliency=self.maps,
            targets=targets,
            target_score=torch.ones(n),
            keep_mask=None,
            diagnostics={
                "void": torch.arange(n) == 1,
                "void_reason": (torch.arange(n) == 1).to(torch.int64),
                "score_gap": torch.zeros(n),
                "score_baseline": torch.zeros(n),
            },
            method="ready",
            params={},
            scale="probability",
            seeds=tuple(seeds),
            n_evaluations=100 * n,
        )


def read(weights: torch.Tensor, maps: torch.Tensor, target: int = 1) -> list[SaliencyEvidence]:
    """Explain white films on a black baseline; the score is the weighted share of white."""
    n = len(maps)
    white = np.full((n, SIDE, SIDE), 255, np.uint8)
    text = np.zeros((n, SIDE, SIDE), np.bool_)
    text[:, 0, :5] = True
    found = explain_films(
        Ready(maps), wrap(Additive(weights), SIDE), white, 0 * white, text, [target] * n, range(n),
        max_batch=64,
    )  # fmt: skip
    return [evidence for evidence, _ in found]


def falling() -> torch.Tensor:
    """Return a map ``(1, 1, S, S)`` that falls from pixel to pixel, 99 to 0."""
    return torch.arange(SIDE**2 - 1, -1, -1).float().view(1, 1, SIDE, SIDE)


def test_six_percent_are_revealed_and_twelve_removed() -> None:
    (evidence,) = read(torch.ones(1, 1, SIDE, SIDE), falling())

    assert evidence.insertion_top6 == pytest.approx(0.06, abs=1e-6)
    assert evidence.deletion_top12 == pytest.approx(0.88, abs=1e-6)
    assert (evidence.insertion_restores, evidence.deletion_loses) == (False, False)


def test_the_most_salient_pixels_decide_and_each_film_has_its_own() -> None:
    weights = torch.zeros(1, 1, SIDE, SIDE)
    weights[..., 0, 0] = 1.0  # the model reads the first pixel alone

    first, last = read(weights, torch.cat([falling(), falling().flip((2, 3))]))

    assert (first.insertion_restores, first.deletion_loses) == (True, True)
    assert (last.insertion_restores, last.deletion_loses) == (False, False)
    assert (first.insertion_top6, last.insertion_top6) == pytest.approx((1, 0), abs=1e-6)
    assert (first.deletion_top12, last.deletion_top12) == pytest.approx((0, 1), abs=1e-6)
    assert (first.void, last.void) == (False, True)
    assert first.void_reason is None
    assert last.void_reason is not None
    assert (first.n_evaluations, last.n_evaluations) == (100, 100)
    # 99 + 98 + 97 + 96 + 95 and 0 + 1 + 2 + 3 + 4 of 4950, on a twentieth of the film
    assert first.mass_in_text == pytest.approx(485 / 4950)
    assert last.enrichment == pytest.approx(20 * 10 / 4950)


def test_the_target_decides_whose_probability_is_read() -> None:
    (evidence,) = read(torch.ones(1, 1, SIDE, SIDE), falling(), target=0)

    assert evidence.insertion_top6 == pytest.approx(0.94, abs=1e-6)
    assert evidence.deletion_top12 == pytest.approx(0.12, abs=1e-6)
    assert (evidence.insertion_restores, evidence.deletion_loses) == (True, True)


def test_evidence_against_the_target_is_neither_counted_nor_chosen() -> None:
    weights = torch.zeros(1, 1, SIDE, SIDE)
    weights[..., -1, :] = 1.0
    signed = torch.zeros(1, 1, SIDE, SIDE)
    signed[..., -1, :], signed[..., 0, :2], signed[..., 0, 2:] = 3.0, 1.0, -9.0

    evidence, against = read(weights, torch.cat([signed, -signed.abs()]))

    assert evidence.mass_in_text == pytest.approx(2 / 32)
    assert evidence.insertion_top6 == pytest.approx(0.6, abs=1e-6)
    assert evidence.deletion_top12 == pytest.approx(0, abs=1e-6)
    assert (against.mass_in_text, against.enrichment) == (None, None)


class Masked(Ready):
    """A mask that moved three pixels of the last row, and a gradient that falls from the top."""

    def explain(self, *args, **kwargs) -> Explanation:
        keep = torch.ones(1, 1, SIDE, SIDE)
        keep[..., -1, :3] = 0.0
        found = super().explain(*args, **kwargs)
        return replace(found, saliency=1 - keep, keep_mask=keep, path_gradient=-falling())


class Ordered(Ready):
    """A mask that tells all its cells apart, and a gradient that says the opposite."""

    def explain(self, *args, **kwargs) -> Explanation:
        found = super().explain(*args, **kwargs)
        keep = 1 - found.saliency / (SIDE**2 - 1)
        return replace(found, saliency=1 - keep, keep_mask=keep, path_gradient=1e3 * keep)


def test_a_mask_without_ties_orders_its_pixels_alone(monkeypatch) -> None:
    weights = torch.zeros(1, 1, SIDE, SIDE)
    weights[..., 0, :6] = 1.0
    monkeypatch.setitem(globals(), "Ready", Ordered)

    (evidence,) = read(weights, falling())

    assert evidence.insertion_top6 == pytest.approx(1, abs=1e-6)


def test_text_is_measured_by_the_mask_and_the_region_goes_on_by_the_gradient(monkeypatch) -> None:
    weights = torch.zeros(1, 1, SIDE, SIDE)
    weights[..., -1, 3:] = 1.0  # what the mask left alone and the gradient says
    monkeypatch.setitem(globals(), "Ready", Masked)

    (evidence,) = read(weights, falling())

    # Raster order would go on in the first row, in the text, and reveal nothing.
    assert evidence.mass_in_text == 0
    assert evidence.insertion_top6 == pytest.approx(3 / 7, abs=1e-6)
    assert evidence.deletion_loses is True
