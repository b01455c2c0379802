"""The explainer contract, for every entry of the catalogue."""

import importlib
import pickle
import pkgutil
import random
import threading
from contextlib import suppress
from typing import get_type_hints

import numpy as np
import pytest
import torch
from cases import CASES
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from covid_debug import saliency
from covid_debug.errors import ConfigError, ExplanationError, InputContractError
from covid_debug.models.classifier import Classifier
from covid_debug.saliency.base import Explainer, Explanation, explain_void_reason
from covid_debug.saliency.catalog import EXPLAINERS, build_explainer
from tests.toys import SIDE, SmallNet, bright_patch_images, formula, unchecked, wrap

N = 3
SEEDS = [5, 6, 7]
every_method = pytest.mark.parametrize("name", sorted(CASES))


@pytest.fixture
def classifier() -> Classifier:
    return wrap(SmallNet(3), SIDE, 3)


@pytest.fixture
def images() -> torch.Tensor:
    images = bright_patch_images(N)
    images[1] = images[1].flip(-1)
    images[2] = images[2].flip(-2)
    return images


@pytest.fixture
def targets(classifier: Classifier, images: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return classifier(images).argmax(dim=1)


def explain(
    name, classifier, images, targets, *, seeds=None, params=None, **options
) -> Explanation:
    seeds = SEEDS[: len(images)] if seeds is None else seeds
    return build_explainer(name, **{**CASES[name], **(params or {})}).explain(
        classifier, images, targets, seeds=seeds, **{"scale": "logit", **options}
    )


def test_every_catalogue_entry_has_a_case() -> None:
    assert set(CASES) == set(EXPLAINERS)


def test_every_explainer_class_is_in_the_catalogue() -> None:
    for module in pkgutil.iter_modules(saliency.__path__, f"{saliency.__name__}."):
        importlib.import_module(module.name)  # also one that nothing imports

    def leaves(cls: type) -> set[type]:
        children = {leaf for child in cls.__subclasses__() for leaf in leaves(child)}
        return children | ({cls} if "name" in vars(cls) else set())

    listed = {entry.explainer for entry in EXPLAINERS.values()}

    ours = {c for c in leaves(Explainer) if c.__module__.startswith("covid_debug.")}
    assert ours == listed


@every_method
def test_entry_goes_by_the_name_of_its_class(name) -> None:
    assert build_explainer(name).name == name.removesuffix("_published")


@every_method
def test_map_has_the_promised_shape_type_and_diagnostics(name, classifier, images, targets) -> None:
    result = explain(name, classifier, images, targets)

    assert result.saliency.shape == images.shape
    assert result.saliency.dtype == torch.float32
    assert bool(result.saliency.isfinite().all())
    assert not result.saliency.requires_grad
    assert {"void", "void_reason", "score_baseline", "score_gap"} <= set(result.diagnostics)
    assert all(len(value) == N for value in result.diagnostics.values())
    assert result.n_evaluations > 0
    assert result.seeds == tuple(SEEDS)
    torch.testing.assert_close(
        result.target_score, classifier(images).detach().gather(1, targets[:, None])[:, 0]
    )
    if result.keep_mask is not None:
        assert float(result.keep_mask.min()) >= 0
        assert float(result.keep_mask.max()) <= 1


@every_method
def test_repeating_gives_the_same_map(name, classifier, images, targets) -> None:
    first = explain(name, classifier, images, targets)
    torch.manual_seed(99)
    second = explain(name, classifier, images, targets)

    assert torch.equal(first.saliency, second.saliency)


@every_method
def test_alone_in_a_batch_and_in_another_order_the_map_is_the_same(
    name, classifier, images, targets
) -> None:
    together = explain(name, classifier, images, targets).saliency
    order = torch.tensor([2, 0, 1])
    permuted = explain(
        name, classifier, images[order], targets[order], seeds=[SEEDS[i] for i in order]
    ).saliency
    alone = torch.cat(
        [
            explain(
                name, classifier, images[i : i + 1], targets[i : i + 1], seeds=[SEEDS[i]]
            ).saliency
            for i in range(N)
        ]
    )

    scale = float(together.abs().max())
    torch.testing.assert_close(permuted, together[order], rtol=1e-4, atol=1e-4 * scale)
    torch.testing.assert_close(alone, together, rtol=1e-4, atol=1e-4 * scale)


@every_method
def test_max_batch_does_not_change_the_map(name, classifier, images, targets) -> None:
    expected = explain(name, classifier, images, targets, max_batch=64).saliency
    found = explain(name, classifier, images, targets, max_batch=2).saliency

    scale = float(expected.abs().max())
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4 * scale)


class Largest(TorchDispatchMode):
    """Remembers the largest tensor that was made."""

    n_numbers = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None) -> object:
        made = func(*args, **(kwargs or {}))
        for part in made if isinstance(made, tuple | list) else [made]:
            if isinstance(part, torch.Tensor) and part.dtype == torch.float32:
                self.n_numbers = max(self.n_numbers, part.untyped_storage().nbytes() // 4)
        return made


MANY = {
    "igos_pp_published": {"n_steps": 30},
    "igos_published": {"n_steps": 30},
    "integrated_gradients": {"n_steps": 50},
    "gradient_shap": {"n_samples": 50},
    "smooth_grad": {"n_samples": 50},
    "rise": {"n_masks": 60},
    "leg": {"n_samples": 60},
    "lime": {"n_samples": 60},
    "kernel_shap": {"n_samples": 60},
    "occlusion": {"window_px": 4, "stride_px": 1},
}


@every_method
def test_max_batch_bounds_every_tensor(name, classifier, images, targets) -> None:
    """However many samples or path points: nothing is as large as three model calls' images."""
    with unchecked(), Largest() as largest:
        explain(name, classifier, images, targets, max_batch=4, params=MANY.get(name))

    activations = 6 * (SIDE // 2) ** 2  # of the first convolution, more than an image has
    assert largest.n_numbers <= 3 * 4 * activations


@every_method
def test_inputs_and_global_random_states_are_untouched(name, classifier, images, targets) -> None:
    kept_images, kept_targets = images.clone(), targets.clone()
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    python_state = random.getstate()

    with unchecked():  # the type checker itself draws from `random`
        explain(name, classifier, images, targets, baseline=torch.zeros_like(images))

    assert torch.equal(images, kept_images)
    assert torch.equal(targets, kept_targets)
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert (np.random.get_state()[1] == numpy_state).all()  # noqa: NPY002
    assert random.getstate() == python_state


class Failing(nn.Module):
    """Passes through to a network and raises at one call."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        self.fail_at = 10**9
        self.n_calls = 0

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.n_calls += 1
        if self.n_calls == self.fail_at:
            raise RuntimeError("injected")
        return self.module(images)


def model_state(classifier: Classifier) -> list[object]:
    hooks = ["_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks"]
    return [
        [(m.training, *(len(getattr(m, h)) for h in hooks)) for m in classifier.modules()],
        [(p.requires_grad, p.grad is None) for p in classifier.parameters()],
        [b.clone().tolist() for b in classifier.buffers()],
        [p.detach().clone().tolist() for p in classifier.parameters()],
    ]


@every_method
@pytest.mark.parametrize("fail_at", [1, 3, 10**9])
def test_model_comes_back_as_it_was_also_after_a_failure(name, fail_at, images, targets) -> None:
    network = Failing(SmallNet(3))
    classifier = wrap(network, SIDE, 3).train()
    network.module.norm.eval()
    next(classifier.parameters()).requires_grad_(False)
    before = model_state(classifier)
    network.n_calls, network.fail_at = 0, fail_at
    params = {"target_layer": "module.conv2"} if "target_layer" in CASES[name] else None

    if fail_at == 10**9:
        explain(name, classifier, images, targets, max_batch=2, params=params)
    else:
        # A method that works on a traced copy meets the failure while tracing.
        with pytest.raises((RuntimeError, InputContractError), match="injected"):
            explain(name, classifier, images, targets, max_batch=2, params=params)

    assert model_state(classifier) == before


class Meeting(nn.Module):
    """Passes through to a network; its first two callers wait for each other, at most a while."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        self.barrier: threading.Barrier | None = None

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        if self.barrier is not None:
            with suppress(threading.BrokenBarrierError):
                self.barrier.wait(timeout=0.5)
        return self.module(images)


def test_two_threads_on_one_network_leave_it_as_it_was(images, targets) -> None:
    network = Meeting(SmallNet(3))
    first, second = wrap(network, SIDE, 3).train(), wrap(network, SIDE, 3).train()
    before = model_state(first)
    network.barrier = threading.Barrier(2)
    maps: dict[int, torch.Tensor] = {}

    def work(i: int, classifier: Classifier) -> None:
        maps[i] = explain("gradient", classifier, images, targets).saliency

    threads = [
        threading.Thread(target=work, args=(i, c)) for i, c in enumerate((first, first, second))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    network.barrier = None
    assert model_state(first) == before
    expected = explain("gradient", first, images, targets).saliency
    assert all(torch.equal(maps[i], expected) for i in range(3))


@every_method
def test_constant_model_gives_a_finite_void_map(name, images) -> None:
    network = SmallNet(3)
    torch.nn.init.zeros_(network.head.weight)

    result = explain(name, wrap(network, SIDE, 3), images, torch.ones(N, dtype=torch.int64))

    assert bool(result.saliency.isfinite().all())
    assert bool(result.diagnostics["void"].all())
    assert explain_void_reason(result, 0)


@every_method
def test_gradient_methods_refuse_inference_mode(name, classifier, images, targets) -> None:
    if not EXPLAINERS[name].explainer.needs_gradient:
        with torch.inference_mode():
            explain(name, classifier, images, targets)
        return
    with (
        torch.inference_mode(),
        pytest.raises(InputContractError, match=r"cannot run under torch\.inference_mode"),
    ):
        explain(name, classifier, images, targets)


@every_method
def test_nan_from_the_model_is_an_error_that_names_the_image(name, images) -> None:
    class Broken(SmallNet):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            logits = super().forward(images)
            poison = torch.where(images[:, 0, 0, 0] > 0.5, torch.nan, 0.0)
            return logits + poison[:, None]

    images[1, 0, :3, :3] = 0.9
    with pytest.raises(ExplanationError, match="image 1"):
        explain(name, wrap(Broken(3), SIDE, 3), images, torch.zeros(N, dtype=torch.int64))


@every_method
def test_explainers_are_picklable_and_hashable_by_parameters(name) -> None:
    explainer = build_explainer(name, **CASES[name])

    assert pickle.loads(pickle.dumps(explainer)) == explainer  # noqa: S301
    assert hash(explainer) == hash(build_explainer(name, **CASES[name]))
    assert explainer != object()
    assert type(explainer).__name__ in repr(explainer)


# Captum builds its path points and samples on the default device and then moves them.
MAKES_DEFAULT_TENSORS = {"integrated_gradients", "lime", "kernel_shap"}


@pytest.mark.parametrize("name", sorted(set(CASES) - MAKES_DEFAULT_TENSORS))
def test_no_tensor_is_made_on_the_default_device(name, classifier, images, targets) -> None:
    expected = explain(name, classifier, images, targets).saliency
    torch.set_default_device("meta")
    try:
        found = explain(name, classifier, images, targets).saliency
    finally:
        torch.set_default_device(None)

    assert torch.equal(found, expected)


def test_out_of_range_images_are_refused_with_the_span(classifier, images, targets) -> None:
    images[2] = 4 * images[2] - 1

    with pytest.raises(InputContractError, match=r"must be in \[0, 1\], image 2 spans \[-0"):
        explain("igos_pp", classifier, images, targets)


@pytest.mark.parametrize("value", [-0.01, 1.01])
def test_one_pixel_out_of_range_on_either_side_is_refused(
    classifier, images, targets, value
) -> None:
    images[1, 0, 3, 3] = value

    with pytest.raises(InputContractError, match=r"must be in \[0, 1\], image 1 spans"):
        explain("igos_pp", classifier, images, targets)


def test_nan_images_are_refused(classifier, images, targets) -> None:
    images[1, 0, 3, 3] = torch.nan

    with pytest.raises(InputContractError, match="images must be finite, image 1 holds NaN"):
        explain("igos_pp", classifier, images, targets)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x, t: ((255 * x).byte(), t), "images are torch.uint8; expected a float32"),
        (lambda x, t: (x.double(), t), "images are torch.float64; expected torch.float32"),
        (lambda x, t: (x[:, :, :8], t), r"images have shape \(3, 1, 8, 16\)"),
        (lambda x, t: (x, t + 3), r"target of image 0 is \d; expected an index in \[0, 3\)"),
        (lambda x, t: (x, t.int()), "targets are torch.int32; expected an int64"),
        (lambda x, t: (x, t[:2]), r"targets have shape \(2,\)"),
    ],
)
def test_bad_inputs_get_their_one_clear_error(classifier, images, targets, change, message) -> None:
    images, targets = change(images, targets)

    with unchecked(), pytest.raises(InputContractError, match=message):
        explain("igos_pp", classifier, images, targets)


def test_wrong_number_of_seeds_bad_baseline_and_bad_batch_are_refused(
    classifier, images, targets
) -> None:
    with pytest.raises(InputContractError, match="2 seeds for 3 images"):
        explain("igos_pp", classifier, images, targets, seeds=[1, 2])
    with pytest.raises(InputContractError, match="baseline must be in"):
        explain("igos_pp", classifier, images, targets, baseline=images + 1)
    with unchecked(), pytest.raises(InputContractError, match="baseline has shape"):
        explain("igos_pp", classifier, images, targets, baseline=images[:1])
    with pytest.raises(InputContractError, match="max_batch is 0"):
        explain("igos_pp", classifier, images, targets, max_batch=0)


def test_a_bare_network_is_refused_with_the_remedy(images, targets) -> None:
    with unchecked(), pytest.raises(TypeError, match="wrap your network in"):
        explain("igos_pp", SmallNet(3), images, targets)


@every_method
@pytest.mark.parametrize("n_labels", [1, 3])
def test_a_label_is_explained_by_its_own_logit_alone(name, n_labels, images) -> None:
    """As two classes whose softmax is its sigmoid; the labels beside it change nothing.

    In double precision: a line search takes another step where a score differs in its last digit.
    """
    names = tuple(f"label{i}" for i in range(n_labels))
    network = SmallNet(n_labels)
    labels = Classifier(
        network, class_names=names, image_size=(SIDE, SIDE), multi_label=True
    ).eval()
    labels.double()
    two = SmallNet(2)
    two.load_state_dict(network.state_dict() | {
        f"head.{key}": torch.stack([torch.zeros_like(value[-1]), value[-1]])
        for key, value in (("weight", network.head.weight), ("bias", network.head.bias))
    })  # fmt: skip
    last = torch.full((N,), n_labels - 1)

    for scale in ("probability", "log_probability"):
        found = explain(name, labels, images, last, scale=scale)
        twin = wrap(two, SIDE).double()
        expected = explain(name, twin, images, torch.ones_like(last), scale=scale)

        largest = float(expected.saliency.abs().max())
        torch.testing.assert_close(found.target_score, expected.target_score)
        torch.testing.assert_close(
            found.saliency, expected.saliency, rtol=1e-3, atol=1e-3 * largest
        )


class Turned(nn.Module):
    """A convolutional network that sees the film on its side."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, planes: torch.Tensor) -> torch.Tensor:
        return self.module(planes.mT)


def wide_network() -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d((2, 4))]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(32, 3))


@every_method
def test_films_and_grids_that_are_not_square_are_explained(name) -> None:
    """A method without draws gives the film on its side the map on its side."""
    params: dict = {**CASES[name]}
    for key in ("grid_size", "mask_grid", "segment_grid"):
        if key in params:
            params[key] = (4, 6)
    has_layer = "target_layer" in params
    if has_layer:
        params["target_layer"] = "1"
    film = 0.2 + 0.6 * formula((1, 1, 12, 20), seed=5).float()
    names = ("a", "b", "c")
    target = torch.tensor([2])

    wide = Classifier(wide_network(), class_names=names, image_size=(12, 20)).eval()
    found = build_explainer(name, **params).explain(wide, film, target, seeds=[1], scale="logit")

    assert found.saliency.shape == film.shape
    if found.keep_mask is not None:
        assert found.keep_mask.shape == (1, 1, 4, 6)
    if build_explainer(name).stochastic or has_layer:
        return  # the layer lies the other way in both
    tall = Classifier(Turned(wide_network()), class_names=names, image_size=(20, 12)).eval()
    on_side = {k: v[::-1] if isinstance(v, tuple) else v for k, v in params.items()}
    turned = build_explainer(name, **on_side).explain(
        tall, film.mT.contiguous(), target, seeds=[1], scale="logit"
    )
    largest = float(found.saliency.abs().max())
    torch.testing.assert_close(turned.saliency.mT, found.saliency, rtol=1e-3, atol=1e-4 * largest)


@pytest.mark.parametrize(
    ("name", "key"), [("igos_pp", "grid_size"), ("rise", "mask_grid"), ("lime", "segment_grid")]
)
def test_a_grid_of_three_sides_or_of_none_is_refused(name, key) -> None:
    for wrong in ((3, 4, 5), 7.5, "28"):
        with unchecked(), pytest.raises(InputContractError, match="expected one whole number, or"):
            build_explainer(name, **{key: wrong})
    with pytest.raises(InputContractError, match=rf"{key} is \(0, 4\)"):
        build_explainer(name, **{key: (0, 4)})


@pytest.mark.parametrize("name", sorted(EXPLAINERS))
def test_a_number_of_another_kind_is_one_line_with_its_name(name) -> None:
    entry = EXPLAINERS[name]
    hints = get_type_hints(entry.params)
    counts = [key for key, hint in hints.items() if hint is int]
    for key in counts:
        for wrong in (2.5, "2", None, True):
            with (
                unchecked(),
                pytest.raises(
                    InputContractError, match=f"{key} is {wrong!r}; expected a whole number"
                ),
            ):
                build_explainer(name, **{key: wrong})
    for key in (key for key, hint in hints.items() if hint is float):
        with (
            unchecked(),
            pytest.raises(InputContractError, match=f"{key} is 'x'; expected a number"),
        ):
            build_explainer(name, **{key: "x"})


class Louder(nn.Module):
    """A network whose logits are a multiple of another's."""

    def __init__(self, module: nn.Module, factor: float) -> None:
        super().__init__()
        self.module, self.factor = module, factor

    def forward(self, planes: torch.Tensor) -> torch.Tensor:
        return self.factor * self.module(planes)


@pytest.mark.parametrize("factor", [1 / 64, 64.0])
@pytest.mark.parametrize("name", ["igos_pp", "igos_plus", "igos", "mask", "rise", "gradient"])
def test_maps_of_logits_do_not_depend_on_their_unit(name, factor, images, targets) -> None:
    expected = explain(name, wrap(SmallNet(3), SIDE, 3), images, targets)
    found = explain(name, wrap(Louder(SmallNet(3), factor), SIDE, 3), images, targets)

    is_mask = found.keep_mask is not None
    scaled = found.saliency / (1 if is_mask else factor)
    largest = float(expected.saliency.abs().max())
    torch.testing.assert_close(scaled, expected.saliency, rtol=1e-3, atol=0.01 * largest)
    for key in ("void", "void_reason"):
        assert torch.equal(found.diagnostics[key], expected.diagnostics[key])


def is_near(found: Explanation, expected: Explanation, least_correlation: float) -> bool:
    if expected.params.get("optimizer") == "line_search":
        return True  # where a line search from 1000 stops is decided by rounding
    maps = torch.stack([found.saliency.flatten(), expected.saliency.flatten()])
    return float(torch.corrcoef(maps)[0, 1]) > least_correlation


@every_method
@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_weights_of_another_precision_give_the_same_map_up_to_their_rounding(
    name, images, targets, dtype
) -> None:
    expected = explain(name, wrap(SmallNet(3), SIDE, 3), images, targets)
    for classifier in (
        wrap(SmallNet(3).to(dtype), SIDE, 3),
        wrap(SmallNet(3), SIDE, 3).to(dtype),
    ):
        found = explain(name, classifier, images, targets)

        assert found.saliency.dtype == torch.float32
        assert found.target_score.dtype == torch.float32
        assert is_near(found, expected, 0.9 if dtype == torch.bfloat16 else 0.99)


@every_method
def test_autocast_gives_the_same_map_up_to_its_rounding(name, classifier, images, targets) -> None:
    expected = explain(name, classifier, images, targets)
    with torch.autocast("cpu", torch.bfloat16):
        found = explain(name, classifier, images, targets)
        assert torch.is_autocast_enabled("cpu")

        # The model itself runs as its owner runs it.
        rounded = classifier(images).detach().gather(1, targets[:, None])[:, 0]
    assert torch.equal(found.target_score, rounded)
    assert not torch.equal(found.target_score, expected.target_score)
    assert found.saliency.dtype == torch.float32
    assert is_near(found, expected, 0.9)


def test_misspelt_parameter_is_suggested() -> None:
    with pytest.raises(ConfigError, match="did you mean 'n_iterations'"):
        build_explainer("igos_pp", n_iteratons=3)
