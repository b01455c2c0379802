"""``python -m benchmarks.kinds --out FOLDER``: which command and method takes which kind of model.

Networks have random weights: a cell says whether something runs to its end with a map or an
answer, not whether the map is right, which ``bench backbones`` checks.
"""

import argparse
import warnings
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
import torchvision
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from benchmarks.backbones.command import _PARAMS, _SEARCH
from benchmarks.tables import to_markdown
from covid_debug.audit.planning import AuditParams
from covid_debug.audit.stage import AuditRequest
from covid_debug.checking import check_model
from covid_debug.data.filmset import load_filmset
from covid_debug.data.layouts.base import Asked
from covid_debug.data.phantom import generate_phantom
from covid_debug.data.table import ingest_table
from covid_debug.errors import CovidDebugError
from covid_debug.evaluation.stage import ComparisonRequest
from covid_debug.imaging.regions import write_regions
from covid_debug.models.catalog import build_backbone
from covid_debug.models.checkpoint import load_checkpoint
from covid_debug.models.factories import load_factory
from covid_debug.models.importing import ModelFacts, import_model
from covid_debug.models.trust import trust_file
from covid_debug.records import FilmRegions, TextRegion
from covid_debug.saliency.catalog import EXPLAINERS, build_explainer
from covid_debug.stages import Means

SIDE = 64
CLASSES = ("no sign", "sign")
LABELS = (*(f"label {k}" for k in range(17)), "sign")
FUNCTION = "benchmarks.kinds:answer"
_TORCHVISION = ("resnet18", "densenet121", "convnext_tiny", "vit_b_16", "swin_t")
_TIMM = ("vit_tiny_patch16_224", "convnext_atto")
_METHODS = [name for name in EXPLAINERS if not name.endswith("_published")]


def _make_network() -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 8, 3, 2), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, 2), nn.ReLU()]
    head = nn.Linear(8, 2)
    nn.init.normal_(head.weight, std=3)
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), head).eval()


def _draw_head(network: nn.Module) -> nn.Module:
    """Draw the last layer anew: torchvision's vision transformers begin with zeros there."""
    head = [module for module in network.modules() if isinstance(module, nn.Linear)][-1]
    nn.init.normal_(head.weight, std=0.1)
    return network


def answer(planes: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return probabilities ``(N, 2)`` of float32 planes ``(N, 3, H, W)``: a black box."""
    with torch.no_grad():
        logits: Tensor = _make_network()(torch.from_numpy(planes))
    return logits.softmax(dim=1).numpy()


def _import_all(folder: Path) -> Iterator[tuple[str, Path]]:
    """Yield kind and checkpoint."""
    folder.mkdir(parents=True)
    two, net, images = (
        ModelFacts(CLASSES, SIDE, channels=3),
        _make_network(),
        torch.rand(2, 3, SIDE, SIDE),
    )

    def bring(kind: str, source: Path | None, facts: ModelFacts, **more: Any) -> tuple[str, Path]:  # noqa: ANN401
        place = folder / kind.replace(" ", "-")
        return kind, import_model(source, place, facts, say=lambda _: None, **more)

    for name in _TORCHVISION:
        torch.manual_seed(0)
        size = {"image_size": SIDE} if name == "vit_b_16" else {}
        made = _draw_head(torchvision.models.get_model(name, weights=None, num_classes=2, **size))
        torch.save(made.state_dict(), folder / f"{name}.pt")
        yield bring(name, folder / f"{name}.pt", two, arch=f"torchvision:{name}")
    for name in _TIMM if find_spec("timm") else ():
        torch.manual_seed(0)
        more: dict[str, Any] = {"img_size": SIDE} if "vit" in name else {}
        made = _draw_head(build_backbone(f"timm:{name}", 2, 3, **more))
        torch.save(made.state_dict(), folder / f"{name}.pt")
        yield bring(name, folder / f"{name}.pt", two, arch=f"timm:{name}")
    many = torchvision.models.densenet121(weights=None, num_classes=len(LABELS))
    torch.save(many.state_dict(), folder / "labels.pt")
    facts = ModelFacts(LABELS, SIDE, channels=3, multi_label=True)
    yield bring("18 labels", folder / "labels.pt", facts, arch="torchvision:densenet121")
    torch.save(net, folder / "whole.pt")
    trust_file(folder / "whole.pt")
    yield bring("pickle", folder / "whole.pt", two)
    torch.jit.trace(net, images).save(str(folder / "net.ts"))  # type: ignore[no-untyped-call]
    yield bring("TorchScript", folder / "net.ts", two)
    batch = ({0: torch.export.Dim("batch", min=1, max=512)},)
    torch.export.save(torch.export.export(net, (images,), dynamic_shapes=batch), folder / "net.pt2")
    trust_file(folder / "net.pt2")
    yield bring("torch.export", folder / "net.pt2", two)
    yield bring("ONNX", _write_onnx(folder / "net.onnx"), two)
    said = ModelFacts(CLASSES, SIDE, channels=3, output="probabilities")
    yield bring("function", None, said, function=answer)


def _write_onnx(path: Path) -> Path:
    weight = np.random.default_rng(0).normal(size=(3 * SIDE * SIDE, 2)).astype(np.float32) / SIDE
    shape: list[str | int | None] = ["n", 3, SIDE, SIDE]
    graph = helper.make_graph(
        [
            helper.make_node("Flatten", ["x"], ["flat"]),
            helper.make_node("MatMul", ["flat", "w"], ["y"]),
        ],
        "linear",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 2])],
        [numpy_helper.from_array(weight, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    onnx.save(model, path)
    return path


def _make_films(folder: Path) -> tuple[Path, Path]:
    """Return a data set of eight test films of two classes, and their text."""
    generate_phantom(folder / "phantoms", n_train=3, n_test=8, seed=0)
    phantoms = load_filmset(folder / "phantoms")
    rows = ["path,sign"]
    for k, film in enumerate(phantoms.select("test")):
        rows.append(f"{phantoms.path_of(film).absolute()},{k % 2}")
    (folder / "films.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    table = Asked((folder / "films.csv").absolute(), finding="sign")
    films = ingest_table(table, folder / "films", split="test")
    text = []
    for film in films.films:
        side = min(film.width, film.height)
        low, high = side * 0.2, side * 0.35
        box = ((low, low), (high, low), (high, high), (low, high))
        region = TextRegion(box, 0.9, "R", "given")
        text.append(FilmRegions(film.image_id, film.width, film.height, (region,)))
    write_regions(folder / "regions.jsonl", text)
    return folder / "films", folder / "regions.jsonl"


def _try(run: Callable[[], bool]) -> str:
    """Return ``works``, the sentence of a refusal, or what broke."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return "works" if run() else "BROKEN: no usable result"
    except CovidDebugError as error:
        return str(error) if "\n" not in str(error) else f"BROKEN: several lines: {error!r}"
    except Exception as error:  # noqa: BLE001 - the table shows it
        return f"BROKEN: {type(error).__name__}: {error}".splitlines()[0][:200]


def _measure(checkpoint: Path, films: Path, text: Path, out: Path) -> Iterator[tuple[str, str]]:
    """Yield what is tried of a model, and what became of it."""
    filmset, means = load_filmset(films), Means(cache_dir=out / "views", n_workers=1)
    is_function = checkpoint.name == "function"
    factory = FUNCTION if is_function else None
    build = load_factory(FUNCTION) if is_function else None
    model = load_checkpoint(checkpoint, classes=filmset.class_names, factory=build)
    few = AuditParams(n_nulls=4, max_explained=2, grid_size=8)
    audit = AuditRequest(checkpoint, films, text, few, factory=factory)
    arms = {("original", 0): checkpoint}
    yield "`model check`", _try(lambda: bool(list(check_model(model, filmset, means).describe())))
    yield "`audit`", _try(lambda: len(audit.make(out / "audit", means).films) > 0)
    compare = ComparisonRequest(arms, {"films": films}, factory=factory)
    yield "`compare`", _try(lambda: bool(compare.make(out / "comparison", means).rows))
    ramp = torch.linspace(0, 1, SIDE)
    film = (0.5 * ramp[:, None] * ramp)[None, None]
    film[..., 12:28, 12:36] += 0.4

    def explain(method: str) -> bool:
        default = _SEARCH if hasattr(build_explainer(method).params, "n_iterations") else {}
        explainer = build_explainer(method, **_PARAMS.get(method, default))
        with torch.no_grad():
            target: Tensor = model.classifier(film).argmax(dim=1)
        found = explainer.explain(model.classifier, film, target, seeds=[0]).saliency
        return found.shape == film.shape and bool(found.isfinite().all())

    for method in _METHODS:
        yield f"`{method}`", _try(lambda method=method: explain(method))  # type: ignore[misc]


def tabulate(found: dict[str, dict[str, str]]) -> str:
    """Return the matrix, and below it each refusal in its words."""
    words: dict[str, int] = {}

    def shorten(sentence: str) -> str:
        if sentence == "works":
            return sentence
        name, _, reason = sentence.partition(": ")
        told = reason if name in EXPLAINERS else sentence
        return f"no ({words.setdefault(told, len(words) + 1)})"

    tried = next(iter(found.values()))
    rows = [
        {"": what} | {kind: shorten(cells[what]) for kind, cells in found.items()} for what in tried
    ]
    notes = "".join(f"{number}. {sentence}\n" for sentence, number in words.items())
    return f"{to_markdown(rows)}\nRefused, with these words:\n\n{notes}"


def main() -> None:
    """Print the matrix and write it to ``kinds.md``."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kinds")
    parser.add_argument("--out", type=Path, required=True, help="new folder")
    out = parser.parse_args().out
    torch.set_num_threads(1)
    models = list(_import_all(out / "models"))
    films, text = _make_films(out)
    found: dict[str, dict[str, str]] = {}
    for kind, checkpoint in models:
        found[kind] = dict(_measure(checkpoint, films, text, out / "made" / checkpoint.name))
        print(f"{kind}: done", flush=True)
    matrix = tabulate(found)
    (out / "kinds.md").write_text(matrix, encoding="utf-8")
    print(matrix)


if __name__ == "__main__":
    main()
