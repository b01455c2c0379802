"""A kept copy is used again only while its model is what it was."""

import gc
import threading
import weakref
from collections.abc import Callable

import pytest
import torch
from torch import nn

from covid_debug.models.classifier import Classifier, evaluating
from covid_debug.models.copies import find_fast_copy
from covid_debug.saliency.catalog import build_explainer
from tests.toys import bright_patch_images

SIDE = 16
ONES = torch.ones(2, dtype=torch.int64)


def make_classifier(seed: int = 0) -> Classifier:
    """Return a network of torch's own modules with batch normalisation, made ready."""
    torch.manual_seed(seed)
    network = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5),
        nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(64, 2),
    )  # fmt: skip
    return Classifier(network, class_names=["a", "b"], image_size=(SIDE, SIDE)).eval()


def test_an_unchanged_model_keeps_its_copy() -> None:
    classifier = make_classifier()
    first = find_fast_copy(classifier)

    assert first is not classifier
    assert find_fast_copy(classifier) is first
    with evaluating(classifier.train()):  # flags that explainers change and put back
        assert find_fast_copy(classifier) is first
    assert find_fast_copy(make_classifier()) is not first


def step(classifier: Classifier) -> None:
    optimizer = torch.optim.SGD(classifier.parameters(), lr=0.5)
    classifier(bright_patch_images(2)).square().sum().backward()
    optimizer.step()
    optimizer.zero_grad()


def learn_statistics(classifier: Classifier) -> None:
    classifier.train()
    with torch.no_grad():
        classifier(3 * bright_patch_images(4))
    classifier.eval()


def write_by_numpy(classifier: Classifier) -> None:
    classifier.module[6].weight.detach().numpy()[0] += 1.0


def patch_forward(classifier: Classifier) -> None:
    layer = classifier.module[0]
    layer.forward = lambda images: 2 * nn.Conv2d.forward(layer, images)


def write_data(classifier: Classifier) -> None:
    classifier.module[0].weight.data.mul_(2)


def replace_data(classifier: Classifier) -> None:
    weight = classifier.module[0].weight
    weight.data = 2 * weight.data


def write_in_place(classifier: Classifier) -> None:
    with torch.no_grad():
        classifier.module[0].weight.mul_(2)


def double(classifier: Classifier) -> None:
    classifier.double()


CHANGES: list[Callable[[Classifier], object]] = [
    write_in_place,
    write_data,
    replace_data,
    write_by_numpy,
    step,
    learn_statistics,
    patch_forward,
    double,
    lambda one: one.load_state_dict(make_classifier(1).state_dict()),
    lambda one: one.module[1].running_var.add_(1),
    lambda one: one.module.__setitem__(2, nn.LeakyReLU(0.3)),
    lambda one: one.module.__setitem__(6, make_classifier(1).module[6]),
    lambda one: setattr(one.module[0], "padding_mode", "circular"),
    lambda one: setattr(one.module[1], "eps", 1.0),
    lambda one: one.module[0].register_forward_hook(lambda _m, _i, output: 2 * output),
    lambda one: one.get_buffer("_mean").add_(0.5),
    lambda one: setattr(one, "module", make_classifier(1).module),
]


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_model_gets_a_new_copy(change: Callable[[Classifier], object]) -> None:
    classifier, images = make_classifier(), bright_patch_images(2)
    before = find_fast_copy(classifier)(images)

    change(classifier)

    images = images.to(classifier.dtype)
    found = find_fast_copy(classifier)(images)
    torch.testing.assert_close(found, classifier(images), rtol=1e-4, atol=1e-5)
    assert classifier.dtype == torch.float64 or not torch.allclose(found, before, atol=1e-3)
    assert classifier.dtype == torch.float32 or found.dtype == torch.float64


def test_a_method_patched_in_its_class_gets_a_new_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    classifier, images = make_classifier(), bright_patch_images(2)
    find_fast_copy(classifier)
    monkeypatch.setattr(nn.ReLU, "forward", lambda _, planes: nn.functional.silu(planes))

    torch.testing.assert_close(find_fast_copy(classifier)(images), classifier(images))


def test_a_model_put_back_as_it_was_is_right_again() -> None:
    classifier, images = make_classifier(), bright_patch_images(2)
    state = {name: value.clone() for name, value in classifier.state_dict().items()}
    before = find_fast_copy(classifier)(images)
    write_in_place(classifier)
    find_fast_copy(classifier)

    classifier.load_state_dict(state)

    assert torch.equal(find_fast_copy(classifier)(images), before)


def test_settings_that_may_change_unseen_are_not_trusted() -> None:
    classifier = make_classifier()
    classifier.module[2].notes = torch.ones(1)

    assert find_fast_copy(classifier) is not find_fast_copy(classifier)


def test_copies_die_with_their_model() -> None:
    classifier = make_classifier()
    copy = weakref.ref(find_fast_copy(classifier))
    del classifier
    gc.collect()

    assert copy() is None


def test_two_threads_on_one_model_that_is_trained_between_calls() -> None:
    classifier, images = make_classifier(), bright_patch_images(2)
    explainer = build_explainer("igos_pp", grid_size=4, n_iterations=2)
    found: dict[int, list[torch.Tensor]] = {0: [], 1: []}

    def explain(thread: int) -> None:
        for _ in range(3):
            result = explainer.explain(classifier, images, ONES, seeds=[1, 2])
            found[thread].append(result.saliency)

    for _ in range(2):
        threads = [threading.Thread(target=explain, args=(k,)) for k in found]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        alone = explainer.explain(classifier, images, ONES, seeds=[1, 2]).saliency
        assert all(torch.equal(one, alone) for one in found[0] + found[1])
        step(classifier)
        found[0].clear()
        found[1].clear()
