"""Several threads get the answers of one classifier."""

import numpy as np
import torch
from torch import nn

from covid_debug.models.catalog import build_backbone
from covid_debug.models.classifier import Classifier
from covid_debug.models.inference import predict_probabilities
from covid_debug.models.parallel import ParallelPredictor, single_core_threads

VIEWS = np.random.default_rng(0).integers(0, 256, (12, 32, 32), np.uint8)


class Remembers(nn.Module):
    """A network that would mix up its callers if they came together."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.seen = images.mean(dim=(1, 2, 3))
        return torch.stack([self.seen, -self.seen], dim=1)


def test_threads_get_the_answers_of_one_call_and_torch_its_cores_back() -> None:
    known = build_backbone("resnet18_half", 2, 1)
    before = torch.get_num_threads()
    for module in (known, Remembers()):
        classifier = Classifier(module, class_names=("a", "b"), image_size=(32, 32)).eval()
        expected = predict_probabilities(classifier, VIEWS)
        predict = ParallelPredictor(classifier, 3)
        with single_core_threads(3) as pool:
            found = list(pool.map(predict, np.split(VIEWS, 6)))

        np.testing.assert_allclose(np.concatenate(found), expected, atol=1e-5)
    assert torch.get_num_threads() == before
