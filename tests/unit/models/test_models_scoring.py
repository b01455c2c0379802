"""TargetScore: scales, chunking and chunked gradients."""

import math

import pytest
import torch
from jaxtyping import TypeCheckError
from torch import nn

from covid_debug.errors import InputContractError
from covid_debug.models.classifier import Classifier
from covid_debug.models.scoring import TargetScore

SIZE = (3, 3)


def build_classifier(dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    linear = nn.Linear(9, 3, dtype=dtype)
    with torch.no_grad():
        linear.weight.copy_(torch.randn(3, 9, generator=generator))
        linear.bias.zero_()
    module = nn.Sequential(nn.Flatten(), linear, nn.Tanh())
    return Classifier(module, class_names=("a", "b", "c"), image_size=SIZE).eval()


def draw(*shape, seed=1):
    return torch.rand(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


TARGETS = torch.tensor([2, 0])
INDEX = torch.tensor([0, 1, 1, 0, 1])


def test_scales_read_the_targets_logit_probability_and_its_logarithm():
    classifier = build_classifier()
    images = draw(5, 1, *SIZE)
    classes = [2, 0, 0, 2, 0]
    logits = classifier(images)

    values = {
        scale: TargetScore(classifier, TARGETS, scale=scale)(images, INDEX)
        for scale in ("logit", "probability", "log_probability")
    }

    expected = logits[range(5), classes]
    torch.testing.assert_close(values["logit"], expected)
    torch.testing.assert_close(values["probability"], expected.exp() / logits.exp().sum(dim=1))
    torch.testing.assert_close(values["log_probability"], values["probability"].log())


def test_two_class_probability_is_the_logistic_function():
    class Difference(nn.Module):
        def forward(self, planes):
            total = planes.sum(dim=(1, 2, 3))
            return torch.stack([torch.zeros_like(total), total], dim=1)

    classifier = Classifier(Difference(), class_names=("a", "b"), image_size=(1, 1)).eval()

    score = TargetScore(classifier, torch.tensor([1]))(
        torch.full((1, 1, 1, 1), 0.5), torch.tensor([0])
    )

    torch.testing.assert_close(score, torch.tensor([1 / (1 + math.exp(-0.5))]))


@pytest.mark.parametrize("max_batch", [1, 2, 5, 64])
def test_scores_and_gradient_do_not_depend_on_max_batch(max_batch):
    images = draw(2, 1, *SIZE)
    keep = draw(5, 1, *SIZE, seed=2).requires_grad_()
    weights = torch.tensor([1.0, -1.0, 0.5, 2.0, 0.0], dtype=torch.float64)
    score = TargetScore(build_classifier(), TARGETS, max_batch=max_batch)
    sizes = []

    def make_chunk(items):
        sizes.append(items.stop - items.start)
        return images[INDEX[items]] * keep[items], INDEX[items]

    scores, gradient = score.accumulate_gradient(make_chunk, 5, keep, weights=weights)

    direct = TargetScore(build_classifier(), TARGETS)(images[INDEX] * keep, INDEX)
    (expected,) = torch.autograd.grad((direct * weights).sum(), keep)
    torch.testing.assert_close(scores, direct.detach())
    torch.testing.assert_close(gradient, expected)
    torch.testing.assert_close(score(images[INDEX] * keep, INDEX), direct)
    assert max(sizes) <= max_batch
    assert score.n_evaluations == 10


def test_gradient_of_an_image_does_not_see_other_images():
    images = draw(2, 1, *SIZE).requires_grad_()
    score = TargetScore(build_classifier(), TARGETS)

    _, together = score.accumulate_gradient(
        lambda items: (images[items], torch.arange(2)[items]), 2, images
    )
    alone = images[1:].detach().requires_grad_()
    _, single = TargetScore(build_classifier(), TARGETS[1:]).accumulate_gradient(
        lambda _: (alone * 1, torch.tensor([0])), 1, alone
    )

    torch.testing.assert_close(together[1:], single)


def test_gradient_is_available_under_no_grad_and_leaves_grad_fields_alone():
    classifier = build_classifier()
    images = draw(2, 1, *SIZE).requires_grad_()

    with torch.no_grad():
        scores, gradient = TargetScore(classifier, TARGETS).accumulate_gradient(
            lambda items: (images[items] * 1, torch.arange(2)[items]), 2, images
        )

    assert not scores.requires_grad
    assert gradient.abs().sum() > 0
    assert images.grad is None
    assert all(parameter.grad is None for parameter in classifier.parameters())


def test_no_items_give_empty_results():
    wrt = draw(2, 1, *SIZE).requires_grad_()
    score = TargetScore(build_classifier(), TARGETS)

    scores, gradient = score.accumulate_gradient(lambda _: (wrt, INDEX), 0, wrt)

    assert scores.shape == (0,)
    assert gradient.abs().sum() == 0
    assert score(wrt[:0], INDEX[:0]).shape == (0,)


def test_training_mode_is_refused():
    with pytest.raises(InputContractError, match=r"call classifier.eval\(\) first"):
        TargetScore(build_classifier().train(), TARGETS)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"targets": torch.tensor([0, 3])}, "target of image 1 is 3; expected an index in"),
        ({"targets": torch.tensor([-1])}, "target of image 0 is -1"),
        ({"max_batch": 0}, "max_batch is 0"),
    ],
)
def test_bad_argument_is_named(kwargs, message):
    arguments = {"targets": TARGETS} | kwargs

    with pytest.raises(InputContractError, match=message):
        TargetScore(build_classifier(), **arguments)


def test_unknown_scale_is_refused():
    # The run-time checker of the tests may see the closed list before our own check does.
    with pytest.raises((InputContractError, TypeCheckError), match="'odds'"):
        TargetScore(build_classifier(), TARGETS, scale="odds")


def test_wrong_lengths_are_refused():
    score = TargetScore(build_classifier(), TARGETS)
    wrt = draw(2, 1, *SIZE).requires_grad_()

    with pytest.raises(InputContractError, match="1 perturbed images and image_index"):
        score.accumulate_gradient(lambda _: (wrt[:1], INDEX[:1]), 2, wrt)


def test_gradient_needs_a_graph():
    score = TargetScore(build_classifier(), TARGETS)
    wrt = draw(2, 1, *SIZE)

    with pytest.raises(InputContractError, match="wrt does not require a gradient"):
        score.accumulate_gradient(lambda _: (wrt, torch.arange(2)), 2, wrt)
    with pytest.raises(InputContractError, match="do not depend on wrt"):
        score.accumulate_gradient(
            lambda _: (wrt.detach(), torch.arange(2)), 2, wrt.clone().requires_grad_()
        )
