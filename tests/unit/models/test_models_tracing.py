"""Tracing in one thread must not be felt by the networks of another."""

import threading

import torch
from torch import nn

from covid_debug.models.tracing import trace
from tests.toys import SIDE, SmallNet, bright_patch_images


class Told(SmallNet):
    """Runs ``told`` in the middle of its forward pass."""

    told = staticmethod(lambda: None)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.told()
        return super().forward(images)


def test_a_network_runs_in_one_thread_while_another_thread_traces() -> None:
    network, other, images = Told(), SmallNet(), bright_patch_images(1)
    expected = other(images)
    answers: list[object] = []

    def run() -> None:
        try:
            answers.append(other(images))
        except NameError as error:  # torch.fx: "module is not installed as a submodule"
            answers.append(error)

    def run_beside() -> None:
        thread = threading.Thread(target=run)
        thread.start()
        thread.join()

    network.told = run_beside
    trace(network)

    torch.testing.assert_close(answers, [expected])


def test_two_traces_at_once_leave_modules_callable() -> None:
    call = nn.Module.__call__
    threads = [threading.Thread(target=trace, args=(SmallNet(),)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert nn.Module.__call__ is call
    assert SmallNet()(torch.zeros(1, 1, SIDE, SIDE)).shape == (1, 3)


def test_a_traced_network_has_the_same_outputs() -> None:
    network, images = SmallNet().eval(), bright_patch_images(2)

    torch.testing.assert_close(trace(network)(images), network(images))
