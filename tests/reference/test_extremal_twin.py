"""Extremal perturbations against their slow twin, and where the answer is known."""

import extremal_twin
import pytest
import torch
from igos_pp_twin import upsample
from papers_twin import blur

from covid_debug.errors import InputContractError
from covid_debug.models.scoring import TargetScore
from covid_debug.saliency.base import ImageGroup
from covid_debug.saliency.catalog import build_explainer
from tests.toys import Patch, SmallNet, bright_patch_images, unchecked, wrap

SIDE = 8
PARAMS = {"n_iterations": 5, "step_size": 0.1, "sigma": 0.2, "area_weight": 4.0}


def test_extremal_equals_its_slow_twin() -> None:
    classifier = wrap(SmallNet(3, SIDE), SIDE, 3).double()
    images = bright_patch_images(2, SIDE, 2, 2, 3).double()
    images[1] = images[1].flip(-1)
    baseline = blur(images)
    with torch.no_grad():
        targets = (classifier(images) - classifier(baseline)).argmax(dim=1)
    score = TargetScore(classifier, targets, scale="logit", max_batch=3)

    raw = build_explainer("extremal", grid_size=4, areas=(0.1, 0.3), **PARAMS)._explain(
        ImageGroup(score, images, baseline, [])
    )

    assert score.n_evaluations == 2 * (2 + 2 * (5 + 1))
    assert raw.keep_mask is None
    for i in range(2):

        def f(image, target=int(targets[i])):
            return classifier(image[None, None])[0, target]

        with torch.no_grad():
            unit = abs(float(f(images[i, 0]) - f(baseline[i, 0])))
        masks = [
            extremal_twin.search(
                f, images[i, 0], baseline[i, 0], area=area, grid=4, unit=unit, **PARAMS
            )
            for area in (0.1, 0.3)
        ]
        expected = upsample((masks[0] + masks[1]) / 2, SIDE, SIDE)
        assert float(expected.std()) > 0.02
        torch.testing.assert_close(raw.saliency[i, 0], expected, rtol=1e-9, atol=1e-12)


def test_the_one_square_that_is_read_is_kept() -> None:
    """A twelfth of the film decides: an area of that size keeps it, one of half of it loses."""
    images = bright_patch_images(1, 32, 8, 8, 10)
    explainer = build_explainer("extremal", grid_size=16, areas=(0.1,))
    target = torch.ones(1, dtype=torch.int64)

    result = explainer.explain(wrap(Patch(8, 8, 10), 32), images, target, seeds=[0])

    assert result.keep_mask is not None
    assert float(result.keep_mask[..., 5:8, 5:8].mean()) > 0.5
    assert float(result.keep_mask[..., 11:, :].mean()) < 0.1
    assert float(result.diagnostics["area_kept"]) == pytest.approx(0.1, abs=0.04)
    assert float(result.diagnostics["area_score"]) > 0.6 * float(result.target_score)
    assert not bool(result.diagnostics["void"])


def test_larger_areas_keep_more_of_the_score() -> None:
    images = bright_patch_images(1, 32, 8, 8, 10)
    target = torch.ones(1, dtype=torch.int64)

    result = build_explainer("extremal", grid_size=16).explain(
        wrap(Patch(8, 8, 10), 32), images, target, seeds=[0]
    )

    scores = result.diagnostics["area_score"][0]
    assert bool((scores.diff() > 0).all())
    assert result.keep_mask is None


@pytest.mark.parametrize("areas", [(0.0, 0.1), (0.1, 1.0)])
def test_an_area_of_nothing_or_of_all_is_refused(areas) -> None:
    with unchecked(), pytest.raises(InputContractError, match=r"areas is .* expected in \(0, 1\)"):
        build_explainer("extremal", areas=areas)


@pytest.mark.parametrize("areas", [(), 0.1, (0.1, 1.0)])
def test_areas_that_are_none_are_refused(areas) -> None:
    with unchecked(), pytest.raises(InputContractError, match="areas is"):
        build_explainer("extremal", areas=areas)
