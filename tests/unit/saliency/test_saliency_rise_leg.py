import pytest
import torch

from covid_debug.errors import InputContractError
from covid_debug.saliency.base import VOID_INSENSITIVE
from covid_debug.saliency.catalog import build_explainer
from tests.toys import Constant, Patch, bright_patch_images, unchecked, wrap

ONES = torch.ones(1, dtype=torch.int64)


def test_rise_with_all_cells_kept_is_the_score() -> None:
    images = bright_patch_images(1)
    explainer = build_explainer("rise", n_masks=3, mask_grid=1, p_keep=1.0)

    result = explainer.explain(wrap(Patch(4, 4, 6)), images, ONES, seeds=[1])

    expected = result.target_score.view(1, 1, 1, 1).expand_as(images)
    torch.testing.assert_close(result.saliency, expected.contiguous())


def test_rise_of_a_constant_score_is_void_for_that_reason() -> None:
    result = build_explainer("rise", n_masks=10, fill="baseline").explain(
        wrap(Constant(0.5)), bright_patch_images(1), ONES, seeds=[1]
    )

    assert int(result.diagnostics["void_reason"][0]) == VOID_INSENSITIVE


def test_rise_marks_the_patch() -> None:
    result = build_explainer("rise", n_masks=400, mask_grid=4).explain(
        wrap(Patch(4, 4, 6)), bright_patch_images(1), ONES, seeds=[1]
    )

    assert float(result.saliency[..., 4:10, 4:10].mean()) > float(result.saliency.mean())


@pytest.mark.parametrize("name", ["leg", "leg_tv"])
def test_leg_marks_the_patch(name: str) -> None:
    images = 0.5 * torch.ones(1, 1, 16, 16)

    result = build_explainer(name, grid_size=6, n_samples=400).explain(
        wrap(Patch(4, 4, 6)), images, ONES, seeds=[1]
    )

    assert float(result.saliency[..., 4:10, 4:10].mean()) > 2 * float(result.saliency.mean())


@pytest.mark.parametrize(
    ("name", "params", "message"),
    [
        ("rise", {"n_masks": 0}, "n_masks is 0"),
        ("rise", {"p_keep": 0.0}, "p_keep is 0.0"),
        ("rise", {"fill": "white"}, "fill is 'white'"),
        ("leg", {"grid_size": 1}, "grid_size is 1"),
        ("leg_tv", {"tolerance": 2.0}, "tolerance is 2.0"),
    ],
)
def test_bad_parameters_are_named(name: str, params: dict, message: str) -> None:
    with unchecked(), pytest.raises(InputContractError, match=message):
        build_explainer(name, **params)
