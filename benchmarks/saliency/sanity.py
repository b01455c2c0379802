"""Sanity checks of iGOS++, and of several methods, on the benchmark's classifier and films.

Joins the checks of ``covid_debug.evaluation.sanity`` with the explainer; computes nothing itself.
"""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.saliency.runs import BenchFilms
from benchmarks.tables import to_markdown, write_csv
from covid_debug.errors import CovidDebugError
from covid_debug.evaluation import sanity
from covid_debug.evaluation.deletion_insertion import (
    PerturbationProtocol,
    compute_deletion_insertion,
)
from covid_debug.models.classifier import Classifier, evaluating
from covid_debug.models.scoring import TargetScore
from covid_debug.perturbation.baselines import blur_baseline
from covid_debug.saliency.base import Explainer
from covid_debug.saliency.catalog import build_explainer
from covid_debug.seeding import derive_seed

Say = Callable[[str], None]
N_FILMS = 8
_DEPTHS = ("a quarter", "half", "three quarters", "all layers")
RANDOMISED = (
    "guided_backprop", "excitation_backprop", "gradient", "path_gradient", "grad_cam",
    "integrated_gradients", "lrp", "area_path", "igos_pp",
)  # fmt: skip
"""Methods whose maps are compared with those of randomised models."""


def check_igos_pp(
    classifier: Classifier,
    films: BenchFilms,
    out: Path,
    *,
    control: Classifier | None,
    seed: int,
    say: Say,
) -> str:
    """Run the sanity checks of iGOS++ and write ``sanity.csv``.

    Args:
        classifier: The model.
        films: The first eight are used.
        out: Folder.
        control: The same network trained on shuffled labels; None leaves that check out.
        seed: Run seed.
        say: Receives progress lines.

    Returns:
        A Markdown section.
    """
    images, targets = films.images[:N_FILMS], films.targets[:N_FILMS]
    names = films.names[:N_FILMS]
    explainer = build_explainer("igos_pp")

    def explain(model: Classifier, run_seed: int = seed) -> sanity.MapSample:
        seeds = [derive_seed(run_seed, name, "sanity") for name in names]
        result = explainer.explain(model, images, targets, seeds=seeds)
        return sanity.MapSample(result.saliency, result.diagnostics["void"])

    def explain_own(model: Classifier) -> sanity.MapSample:
        """Explain the class whose logit falls most; a random model has no gap for another's."""
        seeds = [derive_seed(seed, name, "sanity") for name in names]
        own = find_own_classes(model, images)
        result = explainer.explain(model, images, own, seeds=seeds, scale="logit")
        return sanity.MapSample(result.saliency, result.diagnostics["void"])

    lines = [
        _randomisation_line(f"randomising down to {step.layer}", step)
        for step in sanity.randomise_cascading(classifier, explain, seed=seed, n_steps=4)
    ]
    say("sanity: parameters randomised")
    lines += [
        _randomisation_line(f"the same to {step.layer}, own class, logits", step)
        for step in sanity.randomise_cascading(classifier, explain_own, seed=seed, n_steps=4)
    ]
    say("sanity: parameters randomised, each model's own class")
    if control is not None:
        step = sanity.compare_label_randomisation(classifier, control, explain)
        lines.append(_randomisation_line("training on shuffled labels", step))
    repeat = sanity.measure_repeatability(lambda s: explain(classifier, s), [seed, seed + 1])
    lines.append(
        ["rank correlation between two seeds", f"{float(repeat.nanmean()):.3f}", "noise on"]
    )
    lines += _adversarial_lines(classifier, images, targets, names, seed)
    say("sanity: adversarial films")
    seeds = [derive_seed(seed, name, "trace") for name in names]
    trace = explainer.explain(classifier, images, targets, seeds=seeds)
    settled = sanity.settle_iteration(trace.diagnostics["loss"])
    lines.append(
        [
            "iteration with 95 % of the decrease (median)",
            str(int(settled.median())),
            f"of {trace.diagnostics['loss'].shape[1]}",
        ]
    )
    columns = ("check", "value", "detail")
    rows = [dict(zip(columns, line, strict=True)) for line in lines]
    write_csv(out / "sanity.csv", columns, rows)
    return f"### Sanity checks of igos_pp\n\n{to_markdown(rows)}"


def check_randomisation(
    classifier: Classifier, films: BenchFilms, out: Path, *, seed: int, say: Say
) -> str:
    """Compare maps of several methods with those of randomised models; ``sanity_methods.csv``.

    A randomised model hardly answers the trained one's class: a map of that class may be void or
    noise for this reason alone. So each method explains the trained model's class, and once more
    the class whose logit falls most from film to blur in the randomised model itself.

    Args:
        classifier: The model.
        films: The first eight are used.
        out: Folder.
        seed: Run seed.
        say: Receives progress lines.

    Returns:
        A Markdown section.
    """
    images, targets = films.images[:N_FILMS], films.targets[:N_FILMS]
    names = films.names[:N_FILMS]
    rows: list[dict[str, str]] = []
    for method in RANDOMISED:
        explainer = build_explainer(method)
        seeds = [derive_seed(seed, name, method) for name in names]
        for what, choose in {
            "the trained model's": lambda _: targets,
            "each model's own": lambda model: find_own_classes(model, images),
        }.items():
            explain = partial(_sample, explainer, images, choose, seeds)
            cells = _cascade(classifier, explain, seed)
            rows.append({"method": method, "class": what, **cells})
            say(f"sanity: {method}, {what} class")
    write_csv(out / "sanity_methods.csv", list(rows[0]), rows)
    return (
        "### Maps of randomised models\n\nRank correlation with the trained model's map, logits;"
        f" void maps left out and counted.\n\n{to_markdown(rows)}"
    )


def _sample(
    explainer: Explainer[Any],
    images: Tensor,
    choose: Callable[[Classifier], Tensor],
    seeds: Sequence[int],
    model: Classifier,
) -> sanity.MapSample:
    result = explainer.explain(model, images, choose(model), seeds=seeds, scale="logit")
    return sanity.MapSample(result.saliency, result.diagnostics["void"])


def _cascade(classifier: Classifier, explain: sanity.Explain, seed: int) -> dict[str, str]:
    try:
        steps = sanity.randomise_cascading(classifier, explain, seed=seed, n_steps=len(_DEPTHS))
    except CovidDebugError as error:
        return dict.fromkeys(_DEPTHS, "refused") | {"down to": str(error)}
    cells = {}
    for depth, step in zip(_DEPTHS, steps, strict=True):
        _, value, _ = _randomisation_line("", step)
        n_void = int(step.void.sum())
        cells[depth] = f"{value} ({n_void} void)" if n_void else value
    return cells | {"down to": ", ".join(step.layer for step in steps)}


def find_own_classes(model: Classifier, images: Tensor) -> Tensor:
    """Return the class of each film whose logit falls most when the film is blurred."""
    with evaluating(model), torch.no_grad():
        falls: Tensor = model(images) - model(blur_baseline(images))
        return falls.argmax(dim=1)


def _randomisation_line(what: str, step: sanity.RandomisationStep) -> list[str]:
    similarity = step.similarity[~step.void & ~step.similarity.isnan()]
    shown = f"{float(similarity.mean()):.3f}" if len(similarity) else "all void"
    return [
        f"rank correlation after {what}",
        shown,
        f"{int(step.void.sum())} of {len(step.void)} void",
    ]


def _adversarial_lines(
    classifier: Classifier, images: Tensor, targets: Tensor, names: Sequence[str], seed: int
) -> list[list[str]]:
    """Return lines that compare natural films with films attacked towards another class."""
    wanted = (targets + 1) % classifier.n_classes
    explainer = build_explainer("igos_pp")
    seeds = [derive_seed(seed, name, "adversarial") for name in names]
    attack_score = TargetScore(classifier.eval(), wanted)
    with torch.no_grad():
        adversarial = sanity.attack_mi_fgsm(attack_score, images)
        reached = attack_score(adversarial, torch.arange(len(images), device=images.device))
    insertion = []
    for pictures, classes in ((images, targets), (adversarial, wanted)):
        maps = explainer.explain(classifier, pictures, classes, seeds=seeds)
        scores = compute_deletion_insertion(
            TargetScore(classifier, classes), pictures, maps.saliency, PerturbationProtocol()
        )
        insertion.append(scores.insertion_score)
    auc = sanity.separation(insertion[0], insertion[1])
    return [
        ["probability of the attacked class after MI-FGSM", f"{float(reached.mean()):.3f}", ""],
        [
            "insertion score, natural and adversarial",
            f"{float(insertion[0].mean()):.3f} / {float(insertion[1].mean()):.3f}",
            f"area under the ROC curve of the warning {auc:.2f}",
        ],
    ]
