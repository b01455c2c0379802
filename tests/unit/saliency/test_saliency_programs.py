"""Methods that read a layer refuse a program, whose layers cannot be read, in one sentence."""

import pytest
import torch

from covid_debug.errors import InputContractError
from covid_debug.models.classifier import Classifier
from covid_debug.saliency.catalog import build_explainer
from tests.toys import unchecked


@pytest.mark.filterwarnings("ignore:`torch.jit:FutureWarning")
@pytest.mark.parametrize("params", [{}, {"target_layer": "0"}])
@pytest.mark.parametrize("method", ["grad_cam", "grad_cam_pp", "score_cam"])
def test_torchscript_is_refused_with_a_remedy(method: str, params: dict[str, str]) -> None:
    network = torch.nn.Sequential(
        torch.nn.Conv2d(1, 2, 3), torch.nn.Flatten(), torch.nn.Linear(392, 2)
    ).eval()
    program = torch.jit.trace(network, torch.zeros(1, 1, 16, 16))
    classifier = Classifier(program, class_names=("a", "b"), image_size=(16, 16)).eval()
    films = torch.linspace(0, 1, 256).view(1, 1, 16, 16)

    with unchecked(), pytest.raises(InputContractError, match="use occlusion or rise"):
        build_explainer(method, **params).explain(classifier, films, torch.tensor([1]), seeds=[0])
