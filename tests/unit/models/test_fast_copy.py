"""The fast copy gives the same logits and gradients, and steps back where it must not rewrite."""

import pytest
import torch
import torchvision
from torch import fx, nn

from covid_debug.models.classifier import Classifier
from covid_debug.models.fast_copy import make_fast_copy


def wrap(network: nn.Module, channels: int, size: int = 64) -> Classifier:
    """Return a classifier in double precision whose batch norms have seen data."""
    torch.manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
            nn.init.normal_(module.weight, 1, 0.1)
    return Classifier(
        network.double().eval(),
        class_names=["a", "b", "c"],
        image_size=(size, size),
        mean=[0.4, 0.5, 0.6][:channels],
        std=[0.2, 0.25, 0.3][:channels],
        channels=channels,
    ).double()


def logits_and_gradient(classifier: Classifier, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Return logits and the gradient of a weighted sum of them."""
    leaf = images.clone().requires_grad_()
    logits = classifier(leaf)
    (gradient,) = torch.autograd.grad((logits * torch.tensor([1.0, -2.0, 0.5])).sum(), leaf)
    return logits.detach(), gradient


NETWORKS = {
    # The suite checks the types of this package's own modules, which keeps them from being traced.
    "batch_norm": lambda: nn.Sequential(
        nn.Conv2d(1, 8, 7, 2, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(8, 8, 3, groups=8), nn.BatchNorm2d(8), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3),
    ),
    "even_kernel": lambda: nn.Sequential(
        nn.Conv2d(1, 4, (4, 3), stride=(3, 2), padding=(1, 2)), nn.ReLU(),
        nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 3),
    ),
}  # fmt: skip
RGB_NETWORKS = {
    "resnet18": lambda: torchvision.models.resnet18(num_classes=3),
    "densenet121": lambda: torchvision.models.densenet121(num_classes=3),
    "mobilenet_v3_small": lambda: torchvision.models.mobilenet_v3_small(num_classes=3),
}


@pytest.mark.parametrize("name", [*NETWORKS, *RGB_NETWORKS])
def test_same_logits_and_gradients(name: str) -> None:
    channels = 1 if name in NETWORKS else 3
    classifier = wrap({**NETWORKS, **RGB_NETWORKS}[name](), channels)
    before = {key: value.clone() for key, value in classifier.state_dict().items()}
    fast = make_fast_copy(classifier)
    assert fast is not classifier
    assert not any(isinstance(module, nn.BatchNorm2d) for module in fast.modules()) or channels == 3
    images = torch.rand(3, 1, 64, 64, dtype=torch.float64)
    logits, gradient = logits_and_gradient(classifier, images)
    fast_logits, fast_gradient = logits_and_gradient(fast, images)
    torch.testing.assert_close(fast_logits, logits, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(fast_gradient, gradient, rtol=1e-8, atol=1e-9)
    for key, value in classifier.state_dict().items():
        assert torch.equal(value, before[key])
    assert all(p.requires_grad for p in classifier.parameters())


class Counting(nn.Module):
    """A user's own module, which may count, log or fail."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(64 * 64, 3)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.linear(images.flatten(1))


def test_leaves_other_peoples_modules_alone() -> None:
    classifier = wrap(Counting(), 1)
    assert make_fast_copy(classifier) is classifier


def test_leaves_hooked_networks_alone() -> None:
    classifier = wrap(NETWORKS["batch_norm"](), 1)
    classifier.module[0].register_forward_hook(lambda *_: None)
    assert make_fast_copy(classifier) is classifier


def test_a_stem_that_is_used_twice_is_kept() -> None:
    shared = nn.Conv2d(1, 1, 3, padding=1)
    classifier = wrap(nn.Sequential(shared, shared, nn.Flatten(), nn.Linear(64 * 64, 3)), 1)
    images = torch.rand(2, 1, 64, 64, dtype=torch.float64)
    torch.testing.assert_close(make_fast_copy(classifier)(images), classifier(images))


def test_the_copy_does_not_follow_the_original() -> None:
    classifier = wrap(NETWORKS["batch_norm"](), 1)
    images = torch.rand(1, 1, 64, 64, dtype=torch.float64)
    fast, before = make_fast_copy(classifier), classifier(images)
    nn.init.zeros_(classifier.module[-1].weight)
    torch.testing.assert_close(fast(images), before)


def negate(network: nn.Module) -> None:
    plain = network.forward
    network.forward = lambda images: -plain(images)  # type: ignore[method-assign]


def test_inference_mode_gets_the_same_copy() -> None:
    classifier = wrap(NETWORKS["batch_norm"](), 1)
    images = torch.rand(2, 1, 64, 64, dtype=torch.float64)
    with torch.inference_mode():
        fast = make_fast_copy(classifier)
        assert fast is not classifier
        torch.testing.assert_close(fast(images), classifier(images))


def test_a_patched_forward_is_not_copied() -> None:
    classifier = wrap(NETWORKS["batch_norm"](), 1)
    negate(classifier.module)
    images = torch.rand(2, 1, 64, 64, dtype=torch.float64)
    torch.testing.assert_close(make_fast_copy(classifier)(images), classifier(images))


def test_a_patched_method_that_the_probes_do_not_reach_is_kept() -> None:
    network = NETWORKS["batch_norm"]()
    stem = network[0]
    convolve = stem._conv_forward
    # Bright films alone are answered otherwise; the probes are noise.
    stem._conv_forward = lambda planes, *rest: convolve(planes, *rest) * (1 + (planes.mean() > 2))
    classifier = wrap(network, 1)
    film = torch.ones(1, 1, 64, 64, dtype=torch.float64)

    torch.testing.assert_close(make_fast_copy(classifier)(film), classifier(film))


@pytest.mark.parametrize("part", ["logits", "gradients"])
def test_a_copy_that_differs_is_dropped_with_one_warning(
    part: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    classifier = wrap(NETWORKS["batch_norm"](), 1)

    class Wrong(nn.Module):
        """Differs in its logits, or in its gradients alone."""

        def __init__(self, network: nn.Module) -> None:
            super().__init__()
            self.network = network

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            logits = self.network(images)
            return -logits if part == "logits" else 2 * logits - logits.detach()

    monkeypatch.setattr(
        "covid_debug.models.fast_copy.fuse", lambda traced, **_: fx.symbolic_trace(Wrong(traced))
    )

    assert make_fast_copy(classifier) is classifier
    assert make_fast_copy(classifier) is classifier
    assert [part in record.getMessage() for record in caplog.records] == [True]


@pytest.mark.filterwarnings("ignore:Using a non-full backward hook")
def test_a_hook_or_control_by_value_keeps_the_network_itself() -> None:
    class Turned(nn.Sequential):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return super().forward(images if images.mean() > 0 else -images)

    Turned.__module__ = "torchvision.made_up"
    classifier = wrap(Turned(nn.Flatten(), nn.Linear(64 * 64, 3)), 1)
    assert make_fast_copy(classifier) is classifier
    hooked = wrap(NETWORKS["batch_norm"](), 1)
    hooked.module[0].register_full_backward_hook(lambda *_: None)
    assert make_fast_copy(hooked) is hooked


def test_a_network_that_cannot_be_traced_is_used_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    classifier = wrap(NETWORKS["batch_norm"](), 1)

    def fail(*_: object, **__: object) -> None:
        raise AssertionError("not traceable")

    monkeypatch.setattr("covid_debug.models.fast_copy.fuse", fail)

    assert make_fast_copy(classifier) is classifier
