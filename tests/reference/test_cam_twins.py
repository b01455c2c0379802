"""Grad-CAM++ and Score-CAM against loops from their papers, and by hand."""

import cam_twin
import pytest
import torch
from torch import nn

from covid_debug.models.classifier import Classifier
from covid_debug.models.scoring import TargetScore
from covid_debug.saliency.base import ImageGroup
from covid_debug.saliency.catalog import build_explainer
from tests.toys import SmallNet, bright_patch_images, wrap

SIDE = 8


@pytest.fixture
def problem():
    network = SmallNet(3, SIDE)
    images = bright_patch_images(2, SIDE, 2, 2, 3)
    images[1] = images[1].flip(-1)
    return network, wrap(network, SIDE, 3), images


def test_grad_cam_pp_equals_its_slow_twin(problem) -> None:
    """The twin takes real second and third derivatives of the exponential score."""
    network, classifier, images = problem
    explainer = build_explainer("grad_cam_pp", target_layer="relu2", sign="signed")
    found = explainer.explain(classifier, images, torch.tensor([0, 2]), seeds=[0, 0])

    assert found.n_evaluations == 2 * 3
    network = network.double()
    with torch.no_grad():
        hidden = network.relu1(network.norm(network.conv1(images.double())))
        features = network.relu2(network.conv2(hidden))
    for i, target in enumerate((0, 2)):

        def score(cells, target=target):
            return network.head(network.flatten(network.pool(cells[None])))[0, target]

        expected = cam_twin.grad_cam_pp(score, features[i], SIDE, SIDE)
        assert float(expected.std()) > 0.01
        torch.testing.assert_close(found.saliency[i, 0].double(), expected, rtol=1e-4, atol=1e-5)


def test_score_cam_equals_its_slow_twin(problem) -> None:
    network, classifier, images = problem
    classifier, images = classifier.double(), images.double()
    baseline = 0.5 * images.flip(-2)
    score = TargetScore(classifier, torch.tensor([0, 2]), scale="log_probability", max_batch=3)
    explainer = build_explainer("score_cam", target_layer="relu2", sign="signed")

    raw = explainer._explain(ImageGroup(score, images, baseline, []))

    assert score.n_evaluations == 2 * (1 + 8 + 1)
    with torch.no_grad():
        features = network.relu2(network.conv2(network.relu1(network.norm(network.conv1(images)))))
    for i, target in enumerate((0, 2)):

        def f(image, target=target):
            with torch.no_grad():
                return classifier(image[None, None]).log_softmax(1)[0, target]

        expected = cam_twin.score_cam(f, images[i, 0], baseline[i, 0], features[i])
        assert float(expected.std()) > 0.01
        # The layer is read in single precision.
        torch.testing.assert_close(raw.saliency[i, 0], expected, rtol=1e-4, atol=1e-5)


class Quarters(nn.Module):
    """Two maps of 2 x 2 cells: the film's means, and a constant; the score is the first's sum."""

    def __init__(self) -> None:
        super().__init__()
        self.cells = nn.Conv2d(1, 2, 4, stride=4)
        with torch.no_grad():
            self.cells.weight[0].fill_(1 / 16)
            self.cells.weight[1].zero_()
            self.cells.bias.copy_(torch.tensor([0.0, 5.0]))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        total = self.cells(images).sum(dim=(2, 3)) @ torch.tensor([1.0, 0.25])
        return torch.stack([-total, total], dim=1)


@pytest.fixture
def quarter() -> torch.Tensor:
    film = torch.zeros(1, 1, 8, 8)
    film[..., :4, 4:] = 0.8
    return film


def test_grad_cam_pp_by_hand(quarter) -> None:
    """All four places of a channel have the slope s: its weight is 4 * s / (2 + sum * s)."""
    found = build_explainer("grad_cam_pp", target_layer="cells").explain(
        wrap(Quarters(), 8), quarter, torch.ones(1, dtype=torch.int64), seeds=[0]
    )

    constant = 4 * 0.25 / (2 + 20 * 0.25) * 5
    assert float(found.saliency[0, 0, 0, 7]) == pytest.approx(4 / (2 + 0.8) * 0.8 + constant)
    assert float(found.saliency[0, 0, 7, 0]) == pytest.approx(constant)


def test_score_cam_by_hand(quarter) -> None:
    """A constant map weighs nothing; the other's mask is 1, 3/4, 1/4 or 0 in either direction."""
    found = build_explainer("score_cam", target_layer="cells").explain(
        wrap(Quarters(), 8), quarter, torch.ones(1, dtype=torch.int64), seeds=[0], scale="logit",
        baseline=torch.zeros_like(quarter),
    )  # fmt: skip

    # Rows 0 to 3 lie at 0, 0, 1/8, 3/8 of the way to the cell below: mean 7/8 in each direction.
    let_through = 0.8 * (7 / 8) ** 2
    assert float(found.saliency[0, 0, 0, 7]) == pytest.approx(let_through * 0.8)
    assert float(found.saliency[0, 0, 7, 0]) == pytest.approx(0.0, abs=1e-6)
    assert found.n_evaluations == 2 + 1 + 2


def test_negative_activations_leave_the_weights_finite_and_bounded(quarter) -> None:
    """sum(A) * g = -2 is a pole of the published alphas; here alpha is 1 / 2."""
    network = Quarters()
    with torch.no_grad():
        network.cells.bias[0] = -0.7  # four times, plus .8: -2
    found = build_explainer("grad_cam_pp", target_layer="cells", sign="signed").explain(
        wrap(network, 8), quarter, torch.ones(1, dtype=torch.int64), seeds=[0]
    )

    constant = 4 * 0.25 / (2 + 20 * 0.25) * 5
    weight = 4 / (2 + 0.1)  # of the positive activations: one of .1
    assert float(found.saliency[0, 0, 7, 0]) == pytest.approx(-0.7 * weight + constant, rel=1e-5)


class Tokens(nn.Module):
    """Patches as tokens, behind ``n_extra`` others; the score is the sum of the patches."""

    def __init__(self, n_extra: int) -> None:
        super().__init__()
        self.n_extra = n_extra
        self.embed = nn.Conv2d(1, 6, 4, stride=4, bias=False)
        self.norm = nn.LayerNorm(6, elementwise_affine=False, eps=1e6)
        with torch.no_grad():
            self.embed.weight.copy_((torch.arange(6.0) - 2).view(6, 1, 1, 1).expand(6, 1, 4, 4))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        tokens = self.embed(images).flatten(2).mT
        tokens = nn.functional.pad(tokens, (0, 0, self.n_extra, 0), value=9.0)
        total = 1e3 * self.norm(tokens)[:, self.n_extra :, 5].sum(dim=1)
        return torch.stack([-total, total], dim=1)


def classify(network: nn.Module, size: tuple[int, int]) -> Classifier:
    return Classifier(network, class_names=("a", "b"), image_size=size).eval()


@pytest.mark.parametrize("n_extra", [0, 1])
@pytest.mark.parametrize("method", ["grad_cam", "grad_cam_pp", "score_cam"])
def test_tokens_are_laid_out_on_their_grid(method, n_extra) -> None:
    """Three rows of five patches: the bright one is in the second row and the fourth column."""
    film = torch.full((1, 1, 12, 20), 0.02)
    film[..., 4:8, 12:16] = 0.9
    result = build_explainer(method).explain(
        classify(Tokens(n_extra), (12, 20)), film, torch.ones(1, dtype=torch.int64), seeds=[0],
        scale="logit", baseline=torch.zeros_like(film),
    )  # fmt: skip

    saliency = result.saliency[0, 0]
    assert result.params["target_layer"] == "norm"
    assert float(saliency[5:7, 13:15].min()) == float(saliency.max())
    assert float(saliency[5:7, 13:15].min()) > 1.5 * float(saliency[:4].max())
