"""What lies behind a network's last layer: one finding of many labels, and probabilities.

Turns outputs into logits of classes that exclude each other; knows nothing of files.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from covid_debug.errors import CheckpointError, InputContractError
from covid_debug.imaging.geometry import ViewSpec
from covid_debug.models.classifier import Classifier
from covid_debug.models.foreign import ForeignNetwork
from covid_debug.models.probing import make_probes
from covid_debug.models.weights import one_line
from covid_debug.records import name_absence

Output = Literal["logits", "probabilities"]
OUTPUTS: tuple[Output, ...] = get_args(Output)
_LEAST = 1e-7
"""Probabilities are kept this far from 0 and 1: beyond, single precision has no logits."""
_SLACK = 1e-3
_STEADY = 1e-3


class FromProbabilities(nn.Module):
    """Logits of a network that returns probabilities.

    ``log p`` of classes, ``log p - log(1 - p)`` of labels; their softmax and sigmoid give the
    probabilities back. Those within 1e-7 of 0 (and, of labels, of 1) are moved there, so that
    every logit is finite; no other number changes.
    """

    def __init__(self, network: nn.Module, *, multi_label: bool) -> None:
        """Wrap a network.

        Args:
            network: Returns ``(N, K)`` in [0, 1].
            multi_label: Whether each number is of a label of its own; else rows sum to 1.
        """
        super().__init__()
        self.network, self.multi_label = network, multi_label

    def forward(self, planes: Tensor) -> Tensor:
        """Return logits ``(N, K)``."""
        shares = self.network(planes)
        if self.multi_label:
            return torch.logit(shares, eps=_LEAST)
        logarithms: Tensor = shares.clamp(min=_LEAST).log()
        return logarithms


class OneColumn(nn.Module):
    """A network whose single number a film came without an axis: ``(N,)`` becomes ``(N, 1)``."""

    def __init__(self, network: nn.Module) -> None:
        """Wrap a network."""
        super().__init__()
        self.network = network

    def forward(self, planes: Tensor) -> Tensor:
        """Return ``(N, 1)``."""
        outputs: Tensor = self.network(planes)
        return outputs.reshape(-1, 1)


def check_probabilities(outputs: Tensor, where: str, *, multi_label: bool) -> None:
    """Refuse outputs that were said to be probabilities and are none.

    Args:
        outputs: ``(N, K)``, what the network itself returns.
        where: The model, for the message.
        multi_label: Whether rows need not sum to 1.

    Raises:
        InputContractError: If they leave [0, 1], or rows of classes do not sum to 1.
    """
    low, high = float(outputs.min()), float(outputs.max())
    if not (low >= -_SLACK and high <= 1 + _SLACK):
        percent = "" if low < 0 or high > 100 + _SLACK else "divide percentages by 100, or "
        raise InputContractError(
            f"{where}: returns numbers from {low:.3g} to {high:.3g}; probabilities lie in [0, 1];"
            f" {percent}use --output logits"
        )
    total = float(outputs[0].sum())
    if not multi_label and abs(total - 1) > 0.01:
        raise InputContractError(
            f"{where}: its probabilities sum to {total:.3g}; those of classes sum to 1; use"
            " --multi-label for findings of which a film has any number"
        )


def find_outputs(network: nn.Module, spec: dict[str, Any], where: str) -> Tensor:
    """Run two images and compare the outputs with the names; note what calls and columns it takes.

    Args:
        network: What was read of a file, or a function.
        spec: Content of ``checkpoint.json``; gets ``n_outputs`` of a single column for two classes,
            and ``batch`` of a program that takes one image a call.
        where: The model, for messages.

    Returns:
        The images as the network saw them.

    Raises:
        CheckpointError: If the network fails, or has another number of outputs.
        InputContractError: If probabilities were promised and there are none.
    """
    side, planes = spec["image_size"][0], spec["channels"]
    images = make_probes(side, side, dtype=torch.float32, device=torch.device("cpu"))
    mean, std = (torch.tensor(spec[key]).view(1, -1, 1, 1) for key in ("mean", "std"))
    seen = ((images.expand(-1, planes, -1, -1)) - mean) / std
    network.eval()
    try:
        outputs, again = _run(network, seen, spec), _run(network, seen, spec)
        alone = _run(network, seen[:1], spec)
    except CheckpointError:
        raise
    except Exception as error:  # a stranger's network may raise anything
        raise CheckpointError(
            f"{where}: fails on images {tuple(seen.shape)} ({one_line(error)}); check --image-size"
            " and --channels"
        ) from error
    if not isinstance(outputs, torch.Tensor):
        raise CheckpointError(
            f"{where}: returns a {type(outputs).__name__}; expected one tensor (N, K)"
        )
    n_names, shape = len(spec["class_names"]), tuple(outputs.shape)
    is_column = shape in {(2,), (2, 1)}
    if is_column and n_names == 2 and not spec["multi_label"]:
        spec["n_outputs"] = 1
    elif shape != (2, n_names):
        n_outputs = 1 if is_column else shape[-1] if shape else 0
        raise CheckpointError(
            f"{where}: has {n_outputs} outputs (shape {shape} for two images), --classes names"
            f" {n_names}; name one class an output, in the order of training"
        )
    if not bool(outputs.isfinite().all()):
        raise CheckpointError(
            f"{where}: returns numbers that are not finite for two images in [0, 1]; look at its"
            " weights, --mean and --std"
        )
    if spec["output"] == "probabilities":
        is_labels = spec["multi_label"] or "n_outputs" in spec
        check_probabilities(outputs.reshape(2, -1), where, multi_label=is_labels)
    found = torch.cat([again.reshape(2, -1), alone.reshape(1, -1)])
    expected = outputs.reshape(2, -1)[[0, 1, 0]]
    if not torch.allclose(found, expected, rtol=_STEADY, atol=_STEADY):
        raise CheckpointError(
            f"{where}: answers otherwise when the same images are asked again, or one of them"
            " alone; was it saved in training mode, or does it draw at random? Call .eval() on the"
            " network and export it again"
        )
    return seen


def _run(network: nn.Module, seen: Tensor, spec: dict[str, Any]) -> Any:  # noqa: ANN401
    """Run a network; one image a call where a program takes no two, which is noted."""
    with torch.no_grad():
        try:
            return network(seen)
        except Exception:
            if not isinstance(network, ForeignNetwork) or network.batch is not None:
                raise
            network.batch = 1
            try:
                outputs = network(seen)
            except Exception:  # noqa: BLE001 - the first error is the one to tell
                outputs = None
            if outputs is None:
                network.batch = None
                raise
            spec["batch"] = 1
            return outputs


def ask_finding(
    labels: Classifier, finding: str, names: tuple[str, str] | None = None
) -> Classifier:
    """Return the classifier of one label: is it there or not?

    Its two logits are ``(-z/2, z/2)`` for the label's logit z, whose softmax is ``(1 - sigmoid(z),
    sigmoid(z))``. They are one more linear layer, which every method of explanation knows; with
    ``(0, z)`` nothing could be said of absence by methods that start from a logit.

    Args:
        labels: Of a network with several labels, or one.
        finding: Which.
        names: Of the two classes; ``("no X", "X")`` where absent.

    Returns:
        On the same device; it shares the network.
    """
    weight = torch.zeros(2, labels.n_classes, device=labels.device, dtype=labels.dtype)
    weight[:, labels.class_names.index(finding)] = torch.tensor([-0.5, 0.5])
    last = nn.Linear(labels.n_classes, 2, bias=False, device=labels.device, dtype=labels.dtype)
    last.weight = nn.Parameter(weight, requires_grad=False)
    return Classifier(
        nn.Sequential(labels.module, last),
        class_names=names or (name_absence(finding), finding),
        image_size=labels.image_size,
        mean=labels.mean,
        std=labels.std,
        channels=labels.channels,
        view=labels.view,
    )


def suspect_labels(classifier: Classifier) -> str:
    """Return the end of a message about classes that films and model do not share.

    Several outputs that films know nothing of are often findings that were taken for classes.
    """
    if classifier.multi_label or classifier.n_classes < 3:
        return ""
    return (
        f"; or, if a film may have several of the {classifier.n_classes}, import the model again"
        " with --multi-label and name the films' --finding"
    )


def wrap_network(
    network: nn.Module,
    spec: Mapping[str, Any],
    view: ViewSpec,
    device: str | torch.device = "cpu",
) -> Classifier:
    """Make the classifier of a network: its labels, or its classes.

    Args:
        network: Maps planes to outputs.
        spec: Content of ``checkpoint.json``.
        view: How its views are made.
        device: Where a network that is a program is put before it is tried.

    Returns:
        The classifier; a network of one column for two classes has become one of two.

    Raises:
        InputContractError: If the network does not do what the specification says.
    """
    names, multi_label = tuple(spec["class_names"]), bool(spec.get("multi_label", False))
    is_binary = spec.get("n_outputs") == 1 and len(names) == 2 and not multi_label
    if is_binary:
        network = OneColumn(network)
    if spec.get("output") == "probabilities":
        network = FromProbabilities(network, multi_label=multi_label or is_binary)
    classifier = Classifier(
        network.to(device),
        class_names=names[1:] if is_binary else names,
        image_size=tuple(spec["image_size"]),
        mean=spec["mean"],
        std=spec["std"],
        channels=spec["channels"],
        view=view,
        multi_label=multi_label or is_binary,
    )
    return ask_finding(classifier, names[1], (names[0], names[1])) if is_binary else classifier


def find_asked(
    labels: Sequence[str], finding: str | None, classes: Sequence[str]
) -> tuple[str, str] | None:
    """Return the two classes that a model of labels is asked about.

    Args:
        labels: Of the model.
        finding: One of them, or its absence.
        classes: Of the films; ``("no X", "X")`` choose X where no finding is named.

    Returns:
        ``("no X", "X")``; None where nothing is asked.
    """
    pairs = [(name_absence(label), label) for label in labels]
    return next(
        (p for p in pairs if finding in p or (finding is None and tuple(classes) == p)), None
    )


def ask_films_finding(
    classifier: Classifier, finding: str | None, classes: Sequence[str]
) -> Classifier:
    """Return the classifier of what a model of labels is asked about.

    Args:
        classifier: Of labels or classes.
        finding: See :func:`find_asked`.
        classes: Likewise.

    Returns:
        The classifier of two classes; the model itself where it has classes, or nothing is asked.
    """
    names = find_asked(classifier.class_names, finding, classes)
    if names is None or not classifier.multi_label:
        return classifier
    return ask_finding(classifier, names[1], names)
