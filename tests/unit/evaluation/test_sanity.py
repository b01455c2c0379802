import pytest
import torch
from torch import nn

from covid_debug.errors import InputContractError
from covid_debug.evaluation.sanity import (
    MapSample,
    attack_mi_fgsm,
    compare_label_randomisation,
    measure_repeatability,
    randomise_cascading,
    rank_correlation,
    separation,
    settle_iteration,
)
from covid_debug.models.scoring import TargetScore
from tests.toys import SIDE, Patch, SmallNet, bright_patch_images, formula, wrap


def sample(saliency: torch.Tensor) -> MapSample:
    return MapSample(saliency, torch.zeros(len(saliency), dtype=torch.bool))


def test_rank_correlation_of_a_map_with_itself_its_reverse_and_a_constant() -> None:
    maps = formula((3, 1, 6, 6))
    other = maps.clone()
    other[1] = -maps[1]
    other[2] = 0.5

    found = rank_correlation(maps, other)

    torch.testing.assert_close(found[:2], torch.tensor([1.0, -1.0]).double())
    assert bool(found[2].isnan())


def test_rank_correlation_ignores_monotone_changes() -> None:
    maps = formula((2, 1, 6, 6))

    torch.testing.assert_close(
        rank_correlation(maps, maps.exp()), torch.ones(2, dtype=torch.float64)
    )


def test_cascading_randomisation_goes_from_the_head_to_the_first_layer() -> None:
    classifier = wrap(SmallNet(3), SIDE, 3)
    before = [p.detach().clone() for p in classifier.parameters()]
    images = bright_patch_images(2)

    def explain(model) -> MapSample:
        leaf = images.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(model(leaf)[:, 0].sum(), leaf)
        return sample(gradient)

    steps = randomise_cascading(classifier, explain, seed=1)

    assert [step.layer for step in steps] == ["head", "conv2", "norm", "conv1"]
    assert float(steps[-1].similarity.abs().max()) < 0.5
    for parameter, old in zip(classifier.parameters(), before, strict=True):
        assert torch.equal(parameter, old)


def test_cascading_randomisation_reports_the_asked_number_of_steps() -> None:
    images = bright_patch_images(1)

    steps = randomise_cascading(
        wrap(SmallNet(3), SIDE, 3), lambda _: sample(images), seed=1, n_steps=2
    )

    assert [step.layer for step in steps] == ["conv2", "conv1"]
    torch.testing.assert_close(steps[0].similarity, torch.ones(1))


def test_cascading_randomisation_is_decided_by_its_seed() -> None:
    def explain(model) -> MapSample:
        return sample(model.module.conv1.weight.detach().clone())

    def run(seed: int) -> torch.Tensor:
        classifier = wrap(SmallNet(3), SIDE, 3)
        return randomise_cascading(classifier, explain, seed=seed)[-1].similarity

    assert torch.equal(run(3), run(3))
    assert not torch.equal(run(3), run(4))


class Scaled(nn.Module):
    """A kernel of one element, a layer scale in ConvNeXt's shape, a table of biases."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 1, 1, bias=False)
        self.layer_scale = nn.Parameter(torch.full((1, 1, 1), 1e-6))
        self.gamma = nn.Parameter(torch.full((1,), -0.5))
        self.bias_table = nn.Parameter(formula((9, 2)).float())

    def forward(self, planes: torch.Tensor) -> torch.Tensor:
        mean = (self.gamma + self.layer_scale * self.conv(planes)).mean(dim=(1, 2, 3))
        return torch.stack([mean, self.bias_table.sum() - mean], dim=1)


def test_what_has_no_spread_is_drawn_with_its_own_size() -> None:
    classifier = wrap(Scaled())
    kernel = float(classifier.module.conv.weight.detach())
    drawn = []

    def explain(model) -> MapSample:
        drawn.append({k: p.detach().clone() for k, p in model.module.named_parameters()})
        return sample(formula((1, 1, 6, 6)))

    randomise_cascading(classifier, explain, seed=2)

    last = drawn[-1]
    assert all(bool(p.isfinite().all()) for p in last.values())
    assert float(last["conv.weight"].abs()) == pytest.approx(abs(kernel))
    assert float(last["layer_scale"].abs()) == pytest.approx(1e-6)
    assert float(last["gamma"].abs()) == pytest.approx(0.5)
    assert float(last["bias_table"].std()) > 0.1


def test_label_randomisation_compares_the_maps_of_the_two_models() -> None:
    trained, control = wrap(Patch(0, 0, 2), 6), wrap(Patch(4, 4, 2), 6)
    maps = {trained: formula((1, 1, 6, 6)), control: -formula((1, 1, 6, 6))}

    step = compare_label_randomisation(trained, control, lambda model: sample(maps[model]))
    same = compare_label_randomisation(trained, trained, lambda model: sample(maps[model]))

    torch.testing.assert_close(step.similarity, -torch.ones(1).double())
    torch.testing.assert_close(same.similarity, torch.ones(1).double())


def test_repeatability_is_one_for_a_deterministic_method() -> None:
    maps = formula((2, 1, 5, 5))

    found = measure_repeatability(lambda _: sample(maps), [1, 2, 3])

    torch.testing.assert_close(found, torch.ones(2, dtype=torch.float64))


def test_repeatability_needs_two_seeds() -> None:
    with pytest.raises(InputContractError, match="1 run seeds"):
        measure_repeatability(lambda _: sample(formula((1, 1, 3, 3))), [1])


def test_attack_raises_the_score_within_its_bound() -> None:
    images = 0.3 + 0.2 * formula((2, 1, SIDE, SIDE)).float()
    score = TargetScore(wrap(Patch(4, 4, 6)), torch.ones(2, dtype=torch.int64), max_batch=1)
    index = torch.arange(2)

    adversarial = attack_mi_fgsm(score, images, epsilon=0.05, n_iterations=5)

    assert float((adversarial - images).abs().max()) <= 0.05 + 1e-6
    assert bool((score(adversarial, index) > score(images, index)).all())
    inside = adversarial[..., 4:10, 4:10] - images[..., 4:10, 4:10]
    torch.testing.assert_close(inside, torch.full_like(inside, 0.05))
    outside = (adversarial - images).clone()
    outside[..., 4:10, 4:10] = 0
    assert float(outside.abs().max()) == 0.0


def test_attack_stays_within_the_intensities() -> None:
    images = torch.full((1, 1, SIDE, SIDE), 0.98)
    score = TargetScore(wrap(Patch(4, 4, 6)), torch.ones(1, dtype=torch.int64))

    adversarial = attack_mi_fgsm(score, images, epsilon=0.05, n_iterations=5)

    torch.testing.assert_close(adversarial[..., 4:10, 4:10], torch.ones(1, 1, 6, 6))


def test_separation_is_the_share_of_won_pairs() -> None:
    natural, adversarial = torch.tensor([0.9, 0.5]), torch.tensor([0.5, 0.1])

    assert separation(natural, adversarial) == pytest.approx(3.5 / 4)
    with pytest.raises(InputContractError, match="both sides"):
        separation(natural, adversarial[:0])


def test_settle_iteration_finds_the_first_value_near_the_lowest() -> None:
    loss = torch.tensor([[1.0, 0.5, 0.04, 0.0], [1.0, 1.0, 1.0, 1.0]])

    assert settle_iteration(loss).tolist() == [2, 0]
    assert settle_iteration(loss, share=0.5).tolist() == [1, 0]  # exactly half of the way
