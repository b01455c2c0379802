"""Probabilities of uint8 views."""

import threading

import numpy as np
import pytest
import torch
from torch import nn

from covid_debug.errors import InputContractError
from covid_debug.models.classifier import Classifier
from covid_debug.models.inference import predict_probabilities, to_canonical


class MeanAgainstZero(nn.Module):
    """Logits (0, mean intensity)."""

    def __init__(self, factor=1.0):
        super().__init__()
        self.factor = factor

    def forward(self, planes):
        mean = planes.mean(dim=(1, 2, 3)) * self.factor
        return torch.stack([torch.zeros_like(mean), mean], dim=1)


def build(factor=1.0):
    return Classifier(MeanAgainstZero(factor), class_names=("a", "b"), image_size=(2, 2))


def test_probabilities_follow_the_logistic_function_in_order():
    views = np.stack([np.full((2, 2), value, dtype=np.uint8) for value in (0, 51, 255)])

    probabilities = predict_probabilities(build(), views, max_batch=2)

    expected = 1 / (1 + np.exp(-np.array([0.0, 0.2, 1.0])))
    np.testing.assert_allclose(probabilities[:, 1], expected, rtol=1e-6)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-6)
    assert probabilities.dtype == np.float32


def test_no_views_give_no_rows():
    assert predict_probabilities(build(), np.empty((0, 2, 2), np.uint8)).shape == (0, 2)


def test_training_mode_is_restored():
    classifier = build().train()

    predict_probabilities(classifier, np.zeros((1, 2, 2), np.uint8))

    assert classifier.training


def test_read_only_views_are_accepted():
    views = np.zeros((1, 2, 2), np.uint8)
    views.flags.writeable = False

    assert to_canonical(views).shape == (1, 1, 2, 2)


def test_wrong_type_is_refused():
    with pytest.raises(InputContractError, match=r"views are uint8 \(2, 2\)"):
        to_canonical(np.zeros((2, 2), np.uint8))


def test_wrong_batch_is_refused():
    with pytest.raises(InputContractError, match="max_batch is 0"):
        predict_probabilities(build(), np.zeros((1, 2, 2), np.uint8), max_batch=0)


def test_non_finite_output_is_refused():
    views = np.full((2, 2, 2), 255, np.uint8)

    with pytest.raises(InputContractError, match="2 of 2 views are not finite, first is view 0"):
        predict_probabilities(build(float("inf")), views)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_weights_of_another_precision_give_the_same_probabilities(dtype):
    network = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    classifier = Classifier(network, class_names=("a", "b"), image_size=(2, 2))
    views = np.arange(12, dtype=np.uint8).reshape(3, 2, 2) * 20
    expected = predict_probabilities(classifier, views)

    found = predict_probabilities(classifier.to(dtype), views)

    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=0.01)
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-6)


def test_two_threads_leave_the_training_flags_as_they_were():
    second_is_in, first_is_out = threading.Event(), threading.Event()

    class Meeting(MeanAgainstZero):
        """The first caller waits for the second, which waits until the first is out."""

        n_calls = -1

        def forward(self, planes):
            self.n_calls += 1
            if self.n_calls == 1:
                second_is_in.wait(timeout=0.5)
            if self.n_calls == 2:
                second_is_in.set()
                first_is_out.wait(timeout=0.5)
                self.mode = self.training
            return super().forward(planes)

    network = Meeting()
    classifier = Classifier(network, class_names=("a", "b"), image_size=(2, 2)).train()
    network.n_calls = 0
    views = np.zeros((1, 2, 2), np.uint8)

    def first():
        predict_probabilities(classifier, views)
        first_is_out.set()

    threads = [
        threading.Thread(target=first),
        threading.Thread(target=predict_probabilities, args=(classifier, views)),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert not network.mode
    assert classifier.training
    assert network.training
