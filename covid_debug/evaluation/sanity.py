"""Sanity checks of saliency methods: do maps depend on the model, the labels and the seed?

Owns the perturbations of models, labels and films and the comparison of maps. How a map is made
comes in as a callable, so that any method can be checked.
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from covid_debug.errors import InputContractError
from covid_debug.evaluation.deletion_insertion import average_ranks
from covid_debug.models.classifier import Classifier
from covid_debug.models.scoring import TargetScore
from covid_debug.shapes import Images, Saliency


@dataclass(frozen=True, slots=True)
class MapSample:
    """Maps of a batch and which of them mean something.

    Attributes:
        saliency: Larger = more evidence.
        void: True where the explanation is void.
    """

    saliency: Float[Tensor, "N 1 H W"]
    void: Bool[Tensor, " N"]


Explain = Callable[[Classifier], MapSample]


@dataclass(frozen=True, slots=True)
class RandomisationStep:
    """Maps after one more layer lost its training.

    Attributes:
        layer: Name of the layer that was drawn anew; those above it already were.
        similarity: Rank correlation with the trained model's map, in [-1, 1]; NaN where either
            map is constant.
        void: True where the new explanation is void, which is the right answer.
    """

    layer: str
    similarity: Float[Tensor, " N"]
    void: Bool[Tensor, " N"]


def rank_correlation(first: Saliency, second: Saliency) -> Float[Tensor, " N"]:
    """Return Spearman's correlation of two maps over pixels, NaN where one is constant.

    Tied pixels share their mean rank.
    """
    a, b = average_ranks(first.flatten(1)), average_ranks(second.flatten(1))
    a, b = a - a.mean(dim=1, keepdim=True), b - b.mean(dim=1, keepdim=True)
    correlation = (a * b).sum(dim=1) / (a.square().sum(dim=1) * b.square().sum(dim=1)).sqrt()
    for maps in (first.flatten(1), second.flatten(1)):
        correlation[maps.amax(dim=1) == maps.amin(dim=1)] = torch.nan
    return correlation.to(first.dtype)


def randomise_cascading(
    classifier: Classifier, explain: Explain, *, seed: int, n_steps: int | None = None
) -> list[RandomisationStep]:
    """Draw the layers anew one after another, from the output to the input.

    Implements the cascading parameter randomisation of [adebayo2018sanity]: each layer with
    parameters gets normal weights of its own standard deviation, or, where its weights are all
    alike (a single one, ConvNeXt's layer scale), of their size with a random sign; biases, scales
    and statistics of normalisation become those of an untrained layer. The caller's classifier is
    not touched.

    Args:
        classifier: The trained model.
        explain: Explains the same films with the same seeds by any classifier.
        seed: Decides all draws.
        n_steps: Layers to draw, spread evenly over the depth; all where None. Layers in between
            are drawn, too.

    Returns:
        One step per reported layer, from the top.

    Raises:
        InputContractError: If the classifier has no parameters.
    """
    randomised = copy.deepcopy(classifier)
    layers = [
        (name, module)
        for name, module in randomised.module.named_modules()
        if any(True for _ in module.parameters(recurse=False))
    ]
    if not layers:
        raise InputContractError("evaluation.sanity: the classifier has no parameters to draw")
    layers.reverse()
    n_reported = len(layers) if n_steps is None else max(1, min(n_steps, len(layers)))
    reported = {round((i + 1) * len(layers) / n_reported) - 1 for i in range(n_reported)}
    expected = explain(classifier)
    generator = torch.Generator(classifier.device).manual_seed(seed)
    steps = []
    for i, (name, module) in enumerate(layers):
        _draw_anew(module, generator)
        if i in reported:
            found = explain(randomised)
            similarity = rank_correlation(expected.saliency, found.saliency)
            steps.append(RandomisationStep(name, similarity, found.void))
    return steps


def _draw_anew(module: torch.nn.Module, generator: torch.Generator) -> None:
    with torch.no_grad():
        for name, parameter in module.named_parameters(recurse=False):
            if name.endswith("bias") or (parameter.ndim < 2 and name == "weight"):
                parameter.fill_(0.0 if name.endswith("bias") else 1.0)
                continue
            noise = torch.randn(
                parameter.shape, generator=generator, device=parameter.device, dtype=torch.float32
            )
            spread = parameter.float().std(correction=0)
            size = parameter.float().square().mean().sqrt()
            drawn = noise * spread if spread > 1e-3 * size else noise.sign() * size
            parameter.copy_(drawn)
        for name, statistic in module.named_buffers(recurse=False):
            if name == "running_mean":
                statistic.zero_()
            elif name == "running_var":
                statistic.fill_(1.0)


def compare_label_randomisation(
    classifier: Classifier, control: Classifier, explain: Explain
) -> RandomisationStep:
    """Compare maps with those of a classifier that was trained on shuffled labels.

    Args:
        classifier: Trained on the true labels.
        control: The same network trained on the same films with shuffled labels
            (``TrainingParams.shuffle_labels``).
        explain: Explains fixed films by any classifier.

    Returns:
        Similarity of the two models' maps; a method that explains the model gives low values.
    """
    expected, found = explain(classifier), explain(control)
    similarity = rank_correlation(expected.saliency, found.saliency)
    return RandomisationStep("labels", similarity, found.void)


def measure_repeatability(
    explain: Callable[[int], MapSample], run_seeds: Sequence[int]
) -> Float[Tensor, " N"]:
    """Return the mean rank correlation between maps of different run seeds.

    Args:
        explain: Explains the same films with the seeds derived from one run seed.
        run_seeds: At least two.

    Returns:
        One value per film; 1 for a deterministic method, NaN where a map is constant.

    Raises:
        InputContractError: If fewer than two seeds are given.
    """
    if len(run_seeds) < 2:
        raise InputContractError(
            f"evaluation.sanity: {len(run_seeds)} run seeds; expected at least 2 to compare"
        )
    maps = [explain(seed).saliency for seed in run_seeds]
    pairs = [rank_correlation(maps[i], maps[j]) for j in range(len(maps)) for i in range(j)]
    return torch.stack(pairs).mean(dim=0)


def attack_mi_fgsm(
    score: TargetScore,
    images: Images,
    *,
    epsilon: float = 8 / 255,
    n_iterations: int = 10,
) -> Float[Tensor, "N 1 H W"]:
    """Raise the target score by an invisible change: momentum iterative FGSM.

    Implements [dong2018mifgsm], targeted: ``g <- g + grad / |grad|_1``,
    ``x <- clip(x + (epsilon / n_iterations) * sign(g))`` within ``epsilon`` of the film.

    Args:
        score: Reads the class that the attack wants.
        images: Canonical films.
        epsilon: Largest change of a pixel, in [0, 1] intensities.
        n_iterations: Steps.

    Returns:
        Adversarial films in [0, 1].
    """
    adversarial, momentum = images.clone(), torch.zeros_like(images)
    index = torch.arange(len(images), device=images.device)
    for _ in range(n_iterations):
        leaf = adversarial.detach().requires_grad_()

        def chunk(items: slice, leaf: Tensor = leaf) -> tuple[Tensor, Tensor]:
            return leaf[items], index[items]

        _, gradient = score.accumulate_gradient(chunk, len(images), leaf)
        size = gradient.abs().sum(dim=(1, 2, 3), keepdim=True).clamp(min=1e-12)
        momentum = momentum + gradient / size
        moved = adversarial + (epsilon / n_iterations) * momentum.sign()
        adversarial = torch.clamp(moved, images - epsilon, images + epsilon).clamp(0, 1)
    return adversarial.detach()


def separation(natural: Float[Tensor, " N"], adversarial: Float[Tensor, " A"]) -> float:
    """Return how well a score tells natural from adversarial films.

    The probability that a natural film scores higher than an adversarial one (area under the ROC
    curve; ties count half). The insertion score is the published warning sign: near 1, a low
    insertion score warns of an adversarial film; 0.5 is no warning.

    Raises:
        InputContractError: If either side is empty.
    """
    if natural.numel() == 0 or adversarial.numel() == 0:
        raise InputContractError("evaluation.sanity: separation needs films on both sides")
    difference = natural[:, None] - adversarial[None, :]
    wins = (difference > 0).double() + 0.5 * (difference == 0).double()
    return float(wins.mean())


def settle_iteration(loss: Float[Tensor, "N T"], *, share: float = 0.95) -> Int64[Tensor, " N"]:
    """Return the first iteration at which a trace has made most of its way.

    Args:
        loss: Objective before each step.
        share: Part of the way from the first value to the lowest.

    Returns:
        Index in [0, T); 0 for a trace that never falls.
    """
    lowest = loss.amin(dim=1, keepdim=True)
    threshold = loss[:, :1] - share * (loss[:, :1] - lowest)
    return (loss <= threshold).to(torch.int64).argmax(dim=1)
