"""Fast copies that are kept from one call to the next, while their model stays as it was.

Owns when a copy may be used again: only where every weight and buffer has the same values, and
every module the same class, methods and settings. Values are compared, not counted:
``tensor.data`` and views of other libraries change weights without telling torch's own counter.
"""

import threading
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from functools import partial
from itertools import chain
from types import BuiltinFunctionType, FunctionType
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from covid_debug.models.classifier import Classifier
from covid_debug.models.fast_copy import HOOK_TABLES, is_known, make_fast_copy

_PLAIN = (
    bool, int, float, complex, str, bytes, torch.dtype, torch.device, torch.Size, FunctionType,
    BuiltinFunctionType, type(None),
)  # fmt: skip
"""What cannot change in itself, so that the same object means the same setting."""
_NO_SETTINGS = frozenset({"_parameters", "_buffers", "_modules", "training", *HOOK_TABLES})

Settings = tuple[object, ...]


@dataclass(frozen=True)
class _Kept:
    """A copy, and what its model was when it was made.

    Attributes:
        settings: Of :func:`_read_settings`.
        values: Weights and buffers by name, copied.
        copy: The fast copy; None where the model itself is used.
    """

    settings: Settings
    values: Mapping[str, Tensor]
    copy: Classifier | None


_KEPT: WeakKeyDictionary[Classifier, _Kept] = WeakKeyDictionary()
_GUARD = threading.Lock()


def find_fast_copy(classifier: Classifier) -> Classifier:
    """Return what :func:`make_fast_copy` returns, the copy of the last call where it still holds.

    One copy a classifier is kept, as long as the classifier lives; with it a second copy of the
    weights, for the comparison.

    Args:
        classifier: In evaluation mode; left as it is.

    Returns:
        A classifier for inference and gradients of images. Callers must leave it as it is, and
        threads must take turns.
    """
    settings = _read_settings(classifier)
    if settings is None:
        return make_fast_copy(classifier)
    with _GUARD:
        kept = _KEPT.get(classifier)
    if kept is None or kept.settings != settings or not _has_values(classifier, kept.values):
        with torch.no_grad():
            values = {name: tensor.detach().clone() for name, tensor in _tensors(classifier)}
        made = make_fast_copy(classifier)
        kept = _Kept(settings, values, None if made is classifier else made)
        with _GUARD:
            _KEPT[classifier] = kept
    return classifier if kept.copy is None else kept.copy


def _tensors(classifier: Classifier) -> chain[tuple[str, Tensor]]:
    return chain(classifier.named_parameters(), classifier.named_buffers())


def _has_values(classifier: Classifier, values: Mapping[str, Tensor]) -> bool:
    """Tell whether all weights and buffers have these values; NaN equals nothing."""
    tensors = dict(_tensors(classifier))
    return tensors.keys() == values.keys() and all(
        tensor.dtype == values[name].dtype
        and tensor.device == values[name].device
        and torch.equal(tensor, values[name])
        for name, tensor in tensors.items()
    )


def _read_settings(classifier: Classifier) -> Settings | None:
    """Return all that decides outputs beside the weights, or None where it cannot be told.

    None is also returned for networks that have no fast copy: hooks, patched methods, modules of
    somebody else's.
    """
    found: list[object] = []
    methods: dict[type[nn.Module], Settings] = {}
    if any(tensor.is_inference() for _, tensor in _tensors(classifier)):
        return None
    try:
        for name, module in classifier.named_modules(remove_duplicate=False):
            if not is_known(module):
                return None
            own = {key: value for key, value in vars(module).items() if key not in _NO_SETTINGS}
            found += [name, type(module), _freeze(own)]
            methods[type(module)] = _read_methods(type(module))
    except _NotPlainError:
        return None
    return (*found, methods)


def _read_methods(kind: type[nn.Module]) -> Settings:
    """Return the functions of a class, in which a method may be patched for all its modules."""
    bases = [base for base in kind.__mro__ if base not in {nn.Module, object}]
    return tuple(one for base in bases for one in vars(base).values() if callable(one))


class _NotPlainError(Exception):
    """A setting is an object that may change without being seen."""


def _freeze(value: Any) -> object:  # noqa: ANN401
    """Return a setting as something that equals another only where both mean the same.

    Raises:
        _NotPlainError: If it cannot be told.
    """
    if type(value) in _PLAIN or isinstance(value, type):
        return (type(value), value)
    if isinstance(value, dict):
        return (type(value), tuple((_freeze(key), _freeze(one)) for key, one in value.items()))
    if isinstance(value, list | tuple):
        return (type(value), tuple(_freeze(one) for one in value))
    if isinstance(value, set | frozenset):
        return (type(value), frozenset(_freeze(one) for one in value))
    if is_dataclass(value):
        return (type(value), tuple(_freeze(getattr(value, one.name)) for one in fields(value)))
    if isinstance(value, partial):
        return (partial, value.func, _freeze(value.args), _freeze(value.keywords))
    raise _NotPlainError
