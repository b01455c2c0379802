"""`covid-debug bench backbones`: which method is right on which network, in which precision."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.backbones.checks import CHECKS, in_double
from benchmarks.backbones.networks import NETWORKS, make_classifier, make_films
from benchmarks.tables import to_markdown, write_csv
from covid_debug.errors import CovidDebugError
from covid_debug.models.classifier import Classifier
from covid_debug.saliency.base import Explanation
from covid_debug.saliency.catalog import EXPLAINERS, build_explainer

MAX_MISS = {"float32": 0.02, "autocast": 0.1, "bfloat16": 0.1}
"""Most that a map may miss its identity by, relatively; bfloat16 has three digits."""
LEAST_CORRELATION = {"float32": 0.95, "autocast": 0.9, "bfloat16": 0.9}
"""Least correlation with the map of double precision."""
_TWIN = "the same method in double precision"
_SEARCH = {"grid_size": 8, "n_iterations": 4, "area_weight": 0.1}
# Where a second line search goes depends on rounding; one step shows whether it is right.
_PUBLISHED = {**_SEARCH, "n_iterations": 1, "n_steps": 4}
_PARAMS: Mapping[str, Mapping[str, Any]] = {
    "integrated_gradients": {"n_steps": 20},
    "extremal": {"grid_size": 8, "n_iterations": 8},
    "gradient_shap": {"n_samples": 10},
    "smooth_grad": {"n_samples": 4},
    "area_path": {"grid_size": 8},
    "rise": {"n_masks": 40},
    "leg": {"grid_size": 8, "n_samples": 40},
    "leg_tv": {"grid_size": 8, "n_samples": 40},
    "lime": {"segment_grid": 4, "n_samples": 40},
    "kernel_shap": {"segment_grid": 4, "n_samples": 40},
    "occlusion": {"window_px": 16, "stride_px": 16},
}
_PRECISIONS = ("float32", "autocast", "bfloat16")
_PLAIN = ("right", "refused")


@dataclass(frozen=True, slots=True)
class Cell:
    """One method on one network in one precision.

    Attributes:
        backbone: Name in ``NETWORKS``.
        method: Name in the catalogue of explainers.
        precision: ``float32``, ``autocast`` (to bfloat16) or ``bfloat16`` (weights).
        verdict: ``right``; ``refused``, with its sentence; ``wrong``: misses its identity in single
            precision; ``differs``: has none, and rounding to single precision takes it further away
            from double than allowed; or ``rough``: rounding to bfloat16 does.
        check: What says so.
        value: Relative miss, or correlation where the check is the map of double precision.
        void: Whether the map says of itself that it means nothing.
        sentence: Why it was refused.
        seconds: Of the map.
    """

    backbone: str
    method: str
    precision: str
    verdict: str
    check: str
    value: float
    void: bool
    sentence: str
    seconds: float


def bench_backbones(
    backbones: Sequence[str], methods: Sequence[str], out: Path, say: Callable[[str], None]
) -> str:
    """Measure the matrix and write ``backbones.csv`` and ``backbones.md``.

    Args:
        backbones: Networks; all where empty.
        methods: Methods; all where empty.
        out: Folder.
        say: Is told each network's end.

    Returns:
        The tables.
    """
    backbones, methods = list(backbones or NETWORKS), list(methods or EXPLAINERS)
    _ = [NETWORKS[name] for name in backbones], [EXPLAINERS[name] for name in methods]
    out.mkdir(parents=True, exist_ok=True)
    cells: list[Cell] = []
    for backbone in backbones:
        started = time.perf_counter()
        cells += _measure(backbone, methods)
        say(f"{backbone}: {time.perf_counter() - started:.0f} s")
    rows = [asdict(cell) | {"value": f"{cell.value:.4f}"} for cell in cells]
    rows = [row | {"seconds": f"{row['seconds']:.2f}"} for row in rows]
    write_csv(out / "backbones.csv", [field.name for field in fields(Cell)], rows)
    text = _write(cells, backbones, methods)
    (out / "backbones.md").write_text(text, encoding="utf-8")
    return text


def _measure(backbone: str, methods: Sequence[str]) -> Iterator[Cell]:
    classifier, films = make_classifier(backbone), make_films(1)
    low = make_classifier(backbone)
    low.module.to(torch.bfloat16)
    with torch.no_grad():
        targets = (classifier(films) - classifier(torch.zeros_like(films))).argmax(dim=1)
    for method in methods:
        for precision in _PRECISIONS:
            model = low if precision == "bfloat16" else classifier
            context: AbstractContextManager[object] = (
                torch.autocast("cpu", torch.bfloat16) if precision == "autocast" else nullcontext()
            )
            started = time.perf_counter()
            try:
                with context:
                    result = _explain(method, model, films, targets)
            except CovidDebugError as error:
                yield Cell(
                    backbone, method, precision, "refused", "", np.nan, False, str(error), 0.0
                )
                continue
            seconds = time.perf_counter() - started
            if method in CHECKS:
                check, measure = CHECKS[method]
                value = measure(result, model, films)
                is_right = value <= MAX_MISS[precision]
            else:
                twin = _explain(method, in_double(model), films, targets)
                check, value = _TWIN, _correlate(result, twin)
                is_right = value >= LEAST_CORRELATION[precision]
            wrong = "wrong" if method in CHECKS else "differs"
            wrong = wrong if precision == "float32" else "rough"
            void = bool(result.diagnostics["void"][0])
            yield Cell(
                backbone, method, precision, "right" if is_right else wrong, check, value, void,
                "", seconds,
            )  # fmt: skip


def _explain(method: str, model: Classifier, films: Tensor, targets: Tensor) -> Explanation:
    default = _SEARCH if hasattr(build_explainer(method).params, "n_iterations") else {}
    if method.endswith("_published"):
        default = _PUBLISHED
    params = _PARAMS.get(method, default)
    return build_explainer(method, **params).explain(
        model, films, targets, seeds=range(len(films)), baseline=torch.zeros_like(films),
        scale="logit", max_batch=16,
    )  # fmt: skip


def _correlate(first: Explanation, second: Explanation) -> float:
    """Return the correlation of two maps; 1 of two constant ones."""
    a, b = (x.saliency.double().flatten().numpy() for x in (first, second))
    if np.ptp(a) == 0 and np.ptp(b) == 0:
        return 1.0
    return 0.0 if np.ptp(a) == 0 or np.ptp(b) == 0 else float(np.corrcoef(a, b)[0, 1])


def _write(cells: Sequence[Cell], backbones: Sequence[str], methods: Sequence[str]) -> str:
    found = {(cell.method, cell.backbone, cell.precision): cell for cell in cells}

    def join(method: str, backbone: str) -> str:
        some = [found[method, backbone, precision] for precision in _PRECISIONS]
        words = [
            cell.verdict if cell.verdict in _PLAIN else f"{cell.verdict} ({cell.value:.2f})"
            for cell in some
        ]
        return words[0] if len(set(words)) == 1 else ", ".join(words)

    matrix = [
        {"method": f"`{method}`"} | {backbone: join(method, backbone) for backbone in backbones}
        for method in methods
    ]
    return (
        "One word: in single precision, under `torch.autocast` to bfloat16, and with bfloat16"
        " weights; three words: in this order.\n\n"
        f"{to_markdown(matrix)}\n"
        "What says so, over the networks that are not refused:\n\n"
        f"{to_markdown([_sum_up(method, cells) for method in methods])}\n"
        f"Refused, with these words:\n\n{_list_refusals(cells)}"
    )


def _sum_up(method: str, cells: Sequence[Cell]) -> dict[str, object]:
    some = [cell for cell in cells if cell.method == method and cell.verdict != "refused"]

    def ends(precision: str, which: Callable[[Sequence[float]], float]) -> str:
        values = [cell.value for cell in some if cell.precision == precision]
        return f"{which(values):.3g}" if values else "-"

    worst = max if method in CHECKS else min
    return {
        "method": f"`{method}`",
        "checked by": CHECKS[method][0] if method in CHECKS else _TWIN,
        "number": "largest miss" if method in CHECKS else "least correlation",
        "single precision": ends("float32", worst),
        "autocast": ends("autocast", worst),
        "bfloat16 weights": ends("bfloat16", worst),
    }


def _list_refusals(cells: Sequence[Cell]) -> str:
    said: dict[str, list[str]] = {}
    for cell in cells:
        if cell.verdict == "refused":
            said.setdefault(cell.sentence, []).append(cell.backbone)
    lines = [
        f"- {', '.join(dict.fromkeys(names))}: {sentence}\n" for sentence, names in said.items()
    ]
    return "".join(lines) or "- none\n"
