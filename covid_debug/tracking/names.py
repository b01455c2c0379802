"""Names of metrics and parameters in a tracking store."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

# MLflow cuts a column's heading after some twelve letters and shows every digit that it was given.
SHORT_METRICS = {"f1": "f1", "precision": "prec", "recall": "recall"}
_NOT_ALLOWED = re.compile(r"[^\w\-. :/]")


def metric_name(*parts: str) -> str:
    """Return the parts joined to a metric name, e.g. ``"test_cleaned/COVID-19/recall"``.

    Characters outside letters, digits and ``-_. :/`` become ``_``.
    """
    return _NOT_ALLOWED.sub("_", "/".join(part.replace("/", "_") for part in parts))


def flatten_params(params: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield nested parameters as ``("training.batch_size", "64")``.

    Args:
        params: Parameters; mappings inside become dotted names.
        prefix: Put before every name.

    Yields:
        Name and text, in the order given.
    """
    for name, value in params.items():
        if isinstance(value, Mapping) and value:
            yield from flatten_params(value, f"{prefix}{name}.")
        else:
            yield metric_name(f"{prefix}{name}"), str(value)
