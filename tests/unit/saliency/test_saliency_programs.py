"""Methods on layers, asked about a network that shows none."""

import pytest
import torch
from torch import fx, nn

from covid_debug.errors import InputContractError
from covid_debug.models.classifier import Classifier
from covid_debug.models.foreign import ForeignNetwork
from covid_debug.saliency.catalog import build_explainer

SIDE = 16
METHODS = ("guided_backprop", "deconvolution", "deep_lift", "lrp", "excitation_backprop")

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


def build() -> nn.Module:
    torch.manual_seed(0)
    head = [nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 2)]
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), *head).eval()


def as_script() -> nn.Module:
    return torch.jit.trace(build(), torch.rand(2, 1, SIDE, SIDE))


def as_exported() -> nn.Module:
    shapes = ({0: torch.export.Dim("n", min=1, max=64)},)
    made = torch.export.export(build(), (torch.rand(2, 1, SIDE, SIDE),), dynamic_shapes=shapes)
    return ForeignNetwork(made.module(), "exported", "00" * 32)


def explain(network: nn.Module, method: str) -> torch.Tensor:
    classifier = Classifier(network, class_names=("a", "b"), image_size=(SIDE, SIDE))
    image, target = torch.rand(1, 1, SIDE, SIDE), torch.tensor([1])
    return build_explainer(method).explain(classifier, image, target, seeds=[0]).saliency


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("make", [as_script, as_exported])
def test_program_is_refused_by_methods_on_layers_in_one_plain_sentence(make, method):
    with pytest.raises(InputContractError) as caught:
        explain(make(), method)

    assert str(caught.value) == (
        f"{method}: works on the layers of a torch network, and a TorchScript or torch.export"
        " program shows none; import its weights with --arch or --factory, or use"
        " integrated_gradients, input_x_gradient, occlusion or igos_pp"
    )


def test_network_that_torch_fx_traced_keeps_its_layers():
    torch.manual_seed(1)
    traced = explain(fx.symbolic_trace(build()), "lrp")
    torch.manual_seed(1)

    torch.testing.assert_close(traced, explain(build(), "lrp"))
