import pytest
import torch
from torch import nn

from covid_debug.errors import InputContractError
from covid_debug.models.classifier import Classifier
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


class MeanOfFilm(nn.Module):
    """Logits (0, mean of the normalised planes)."""

    def forward(self, planes: torch.Tensor) -> torch.Tensor:
        mean = planes.mean(dim=(1, 2, 3))
        return torch.stack([torch.zeros_like(mean), mean], dim=1)


@pytest.mark.parametrize(("params", "hidden"), [({}, 0.3), ({"fill": "black"}, 0.0)])
def test_rise_hides_as_masks_on_the_normalised_film_do(params: dict, hidden: float) -> None:
    """A convolution in front makes the method work on the fast copy, which has no mean."""
    conv = nn.Conv2d(3, 1, 1, bias=False)
    nn.init.constant_(conv.weight, 1 / 3)
    classifier = Classifier(
        nn.Sequential(conv, MeanOfFilm()),
        class_names=("a", "b"),
        image_size=(16, 16),
        mean=(0.2, 0.3, 0.4),
        std=0.1,
        channels=3,
    ).eval()
    film = torch.full((1, 1, 16, 16), 0.7)

    # A single cell: every mask keeps the whole film or hides it.
    result = build_explainer("rise", n_masks=40, mask_grid=1, **params).explain(
        classifier, film, ONES, seeds=[1], scale="logit"
    )

    seen = (0.7 - 0.3) / 0.1
    assert float(result.diagnostics["score_range"]) == pytest.approx(seen - (hidden - 0.3) / 0.1)


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
        ("rise", {"fill": "zeros"}, "fill is 'zeros'"),
        ("leg", {"grid_size": 1}, "grid_size is 1"),
        ("leg_tv", {"tolerance": 2.0}, "tolerance is 2.0"),
    ],
)
def test_bad_parameters_are_named(name: str, params: dict, message: str) -> None:
    with unchecked(), pytest.raises(InputContractError, match=message):
        build_explainer(name, **params)
