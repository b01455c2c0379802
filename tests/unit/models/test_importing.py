"""Networks from elsewhere: every kind of file gives what its maker's program gives."""

import importlib
import json
import shutil
import sys
import zipfile
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
import torchvision
from onnx import TensorProto, helper, numpy_helper
from safetensors.torch import save_file
from torch import nn

from covid_debug.audit.stage import AuditRequest
from covid_debug.errors import CheckpointError, CovidDebugError, InputContractError
from covid_debug.models import trust
from covid_debug.models import weights as weights_room
from covid_debug.models.checkpoint import hash_weights, load_checkpoint
from covid_debug.models.copies import find_fast_copy
from covid_debug.models.foreign import (
    find_beside,
    find_kind,
    open_program,
    read_planes,
    wrap_function,
)
from covid_debug.models.import_stage import ModelImport
from covid_debug.models.importing import ModelFacts, import_model
from covid_debug.models.weights import read_state
from covid_debug.saliency.catalog import build_explainer

SIDE = 16
NAMES = ("clear", "ill")
LABELS = ("Edema", "Mass", "Pneumonia")

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


def build(n_outputs: int = 2, channels: int = 1, last: nn.Module | None = None) -> nn.Module:
    torch.manual_seed(1)
    steps = [nn.Conv2d(channels, 4, 3, stride=2), nn.BatchNorm2d(4), nn.ReLU()]
    head = [nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, n_outputs)]
    return nn.Sequential(*steps, *head, *([] if last is None else [last])).eval()


def images(n: int = 3) -> torch.Tensor:
    return torch.rand(n, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(0))


def facts(names: tuple[str, ...] = NAMES, **more: object) -> ModelFacts:
    given = {"image_size": SIDE, "channels": 1, "mean": (0.5,), "std": (0.25,)}
    return ModelFacts(names, **{**given, **more})  # type: ignore[arg-type]


def bring(source: Path | None, out: Path, said: ModelFacts | None = None, **more: object):
    lines: list[str] = []
    import_model(source, out, said or facts(), say=lines.append, **more)  # type: ignore[arg-type]
    factory = more.get("factory") or more.get("function")
    return load_checkpoint(out, factory=factory).classifier, lines  # type: ignore[arg-type]


def write_script(network: nn.Module, path: Path) -> Path:
    torch.jit.trace(network, images()).save(str(path))
    return path


def write_exported(network: nn.Module, path: Path, *, fixed: int = 0) -> Path:
    shapes = None if fixed else ({0: torch.export.Dim("n")},)
    given = images(fixed or 2)
    torch.export.save(torch.export.export(network, (given,), dynamic_shapes=shapes), path)
    return path


@pytest.fixture
def trusting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trust every exported file."""
    monkeypatch.setattr(trust, "is_trusted", lambda _digest: True)


def write_onnx(
    path: Path,
    weight: np.ndarray,
    *,
    ending: str | None = None,
    batch="n",
    shape=(1, SIDE, SIDE),
    more_outputs=(),
    beside: str | None = None,
) -> Path:
    """A linear network of the pixels: Flatten, Gemm, and perhaps Softmax or Sigmoid."""
    last = "y" if ending is None else "z"
    nodes = [
        helper.make_node("Flatten", ["x"], ["flat"]),
        helper.make_node("MatMul", ["flat", "w"], [last]),
    ]
    if ending is not None:
        nodes.append(helper.make_node(ending, ["z"], ["y"]))
    graph = helper.make_graph(
        nodes,
        "linear",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, *shape])],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch, size])
            for name, size in (
                ("y", weight.shape[1]),
                *((name, weight.shape[0]) for name in more_outputs),
            )
        ],
        [numpy_helper.from_array(weight.astype(np.float32), "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    apart = {"save_as_external_data": True, "location": beside, "size_threshold": 0}
    onnx.save(model, path, **(apart if beside else {}))
    return path


def weights(n_outputs: int = 2) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(SIDE * SIDE, n_outputs)) / SIDE


def mean_is_ill(planes: np.ndarray) -> np.ndarray:
    """A black box: gray values of a film to probabilities."""
    share = 1 / (1 + np.exp(-planes.mean(axis=(1, 2, 3))))
    return np.stack([1 - share, share], axis=1)


@pytest.mark.parametrize("kind", ["torchscript", "exported", "exported for one image"])
@pytest.mark.usefixtures("trusting")
def test_program_of_torch_gives_the_eager_outputs_and_gradients(tmp_path, kind):
    network = build()
    path = tmp_path / "model"
    if kind == "torchscript":
        write_script(network, path)
    else:
        write_exported(network, path, fixed=int(kind.endswith("image")))

    classifier, _ = bring(path, tmp_path / "out")

    seen = images().requires_grad_()
    expected = network((seen - 0.5) / 0.25)
    torch.testing.assert_close(classifier(seen), expected, atol=1e-6, rtol=1e-6)
    assert classifier.has_gradient
    (found,) = torch.autograd.grad(classifier(seen)[:, 1].sum(), seen)
    (eager,) = torch.autograd.grad(expected[:, 1].sum(), seen)
    torch.testing.assert_close(found, eager, atol=1e-6, rtol=1e-5)
    assert find_fast_copy(classifier) is classifier


@pytest.mark.parametrize("batch", ["n", 1, 2])
def test_onnx_gives_what_numpy_gives_and_is_a_black_box(tmp_path, batch):
    path = write_onnx(tmp_path / "model.onnx", weights(), batch=batch)

    classifier, lines = bring(path, tmp_path / "out", ModelFacts(NAMES))

    seen = images()
    expected = seen.numpy().reshape(3, -1) @ weights()
    np.testing.assert_allclose(classifier(seen).numpy(), expected, atol=1e-5)
    assert not classifier.has_gradient
    assert any("gradient: none; use occlusion" in line for line in lines)


def test_function_is_a_black_box_of_its_probabilities(tmp_path):
    classifier, _ = bring(
        None, tmp_path / "out", facts(output="probabilities", mean=(0.0,), std=(1.0,)),
        function=mean_is_ill,
    )  # fmt: skip

    seen = images()
    shares = classifier.to_probabilities(classifier(seen)).numpy()
    np.testing.assert_allclose(shares, mean_is_ill(seen.numpy()), atol=1e-6)
    assert not classifier.has_gradient
    with pytest.raises(CheckpointError, match=r"a function of your own; name it, e.g. --factory"):
        load_checkpoint(tmp_path / "out")


@pytest.mark.parametrize("wrapper", [None, "state_dict", "model_state_dict", "model", "net"])
@pytest.mark.parametrize("prefix", ["", "module.", "model."])
def test_weights_are_found_in_wrappers_and_behind_prefixes(tmp_path, wrapper, prefix):
    network = build()
    state = {f"{prefix}{name}": value for name, value in network.state_dict().items()}
    torch.save(state if wrapper is None else {wrapper: state, "epoch": 3}, tmp_path / "a.ckpt")

    classifier, lines = bring(tmp_path / "a.ckpt", tmp_path / "out", factory=build)

    seen = images()
    torch.testing.assert_close(classifier(seen), network((seen - 0.5) / 0.25))
    assert any("'model.' dropped" in line for line in lines) == (prefix == "model.")


def test_thresholds_that_scale_labels_afterwards_are_left_out_and_said(tmp_path):
    state = build().state_dict()
    torch.save(state | {"op_threshs": torch.rand(2)}, tmp_path / "a.pt")

    _, lines = bring(tmp_path / "a.pt", tmp_path / "out", factory=build)

    assert any(line.startswith("op_threshs left out") for line in lines)


@pytest.mark.parametrize("ending", [None, nn.Sigmoid()])
def test_finding_of_many_labels_is_its_sigmoid(tmp_path, ending):
    network = build(3, last=ending)
    save_file(network.state_dict(), tmp_path / "a.safetensors")
    output = "logits" if ending is None else "probabilities"

    def factory() -> nn.Module:
        return build(3, last=ending)

    said = facts(LABELS, multi_label=True, output=output)
    import_model(tmp_path / "a.safetensors", tmp_path / "out", said, factory=factory, say=print)
    model = load_checkpoint(tmp_path / "out", factory=factory, finding="Mass").classifier
    by_films = load_checkpoint(
        tmp_path / "out", factory=factory, classes=("no Mass", "Mass")
    ).classifier

    seen = images()
    outputs = network((seen - 0.5) / 0.25)[:, 1]
    expected = outputs if ending is not None else outputs.sigmoid()
    assert model.class_names == by_films.class_names == ("no Mass", "Mass")
    shares = model.to_probabilities(model(seen))
    torch.testing.assert_close(shares[:, 1], expected, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(by_films(seen), model(seen))
    assert load_checkpoint(tmp_path / "out", factory=factory).classifier.class_names == LABELS


@pytest.mark.parametrize("last", [nn.Dropout(0.5), nn.BatchNorm1d(2)])
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_program_saved_in_training_mode_is_refused(tmp_path, last):
    torch.manual_seed(0)
    network = nn.Sequential(build(), last).train()
    torch.jit.trace(network, images(), check_trace=False).save(tmp_path / "m.pt")

    with pytest.raises(CheckpointError, match=r"saved in training mode.*Call .eval\(\)"):
        bring(tmp_path / "m.pt", tmp_path / "model")


def test_percentages_are_told_to_be_divided(tmp_path):
    def percent(planes):
        return 100 * mean_is_ill(planes)

    with pytest.raises(InputContractError, match="divide percentages by 100, or use --output logi"):
        bring(None, tmp_path / "model", facts(output="probabilities"), function=percent)


def test_decorated_function_is_known_by_its_own_file(tmp_path, monkeypatch):
    place = tmp_path / "mine_decorated.py"
    source = "import torch\n@torch.no_grad()\ndef predict(x):\n    return {}\n"
    monkeypatch.syspath_prepend(str(tmp_path))
    known = []
    for answer in ("x", "1 - x"):
        place.write_text(source.format(answer))
        monkeypatch.delitem(sys.modules, "mine_decorated", raising=False)
        importlib.invalidate_caches()
        shutil.rmtree(tmp_path / "__pycache__", ignore_errors=True)
        function = importlib.import_module("mine_decorated").predict
        known.append(wrap_function(function).network.identity.tolist())

    assert known[0] != known[1]


def test_objects_that_are_called_are_not_taken_for_each_other():
    one, other = (partial(mean_is_ill, scale) for scale in (1, 2))

    identities = [wrap_function(each).network.identity.tolist() for each in (one, other)]

    assert identities[0] != identities[1]


def test_function_that_returns_no_numbers_is_refused_by_what_it_returns():
    network = wrap_function(lambda images: {"ill": len(images)}).network

    with pytest.raises(CheckpointError, match=r"returned something else than numbers .* \(N, K\)"):
        network(images())


def test_sigmoid_outputs_without_a_word_are_refused(tmp_path):
    path = write_onnx(tmp_path / "model.onnx", weights(3), ending="Sigmoid")

    with pytest.raises(InputContractError, match=r"probabilities.*expected logits"):
        bring(path, tmp_path / "out", ModelFacts(LABELS, multi_label=True))


def test_one_column_is_absence_and_presence(tmp_path):
    path = write_onnx(tmp_path / "model.onnx", weights(1))

    classifier, _ = bring(path, tmp_path / "out", ModelFacts(NAMES))

    seen = images()
    logit = torch.from_numpy(seen.numpy().reshape(3, -1) @ weights(1)[:, 0]).float()
    shares = classifier.to_probabilities(classifier(seen))
    torch.testing.assert_close(shares[:, 1], logit.sigmoid(), atol=1e-6, rtol=1e-5)
    assert classifier.class_names == NAMES


@pytest.mark.parametrize("method", ["gradient", "igos_pp", "guided_backprop", "grad_cam"])
def test_gradient_methods_refuse_a_black_box_and_name_others(tmp_path, method):
    path = write_onnx(tmp_path / "model.onnx", weights())
    classifier, _ = bring(path, tmp_path / "out", ModelFacts(NAMES))

    with pytest.raises(InputContractError, match=r"black box without; use occlusion, rise"):
        build_explainer(method).explain(classifier, images(1), torch.tensor([1]), seeds=[0])


def test_occlusion_explains_a_black_box(tmp_path):
    path = write_onnx(tmp_path / "model.onnx", weights())
    classifier, _ = bring(path, tmp_path / "out", ModelFacts(NAMES))

    explanation = build_explainer("occlusion", window_px=4, stride_px=4).explain(
        classifier, images(1), torch.tensor([1]), seeds=[0]
    )

    assert explanation.saliency.abs().max() > 0


def test_torchvision_network_is_built_by_name_for_its_classes(tmp_path):
    import torchvision

    network = torchvision.models.mobilenet_v2(num_classes=3).eval()
    save_file(network.state_dict(), tmp_path / "a.safetensors")
    said = ModelFacts(LABELS, image_size=32)

    classifier, lines = bring(
        tmp_path / "a.safetensors", tmp_path / "out", said, arch="torchvision:mobilenet_v2"
    )

    seen = torch.rand(1, 1, 32, 32)
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    planes = (seen - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    torch.testing.assert_close(classifier(seen), network(planes), atol=1e-4, rtol=1e-4)
    assert "assumed: --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225" in lines


def test_wrong_class_count_names_both_numbers(tmp_path):
    for path, more in (
        (write_onnx(tmp_path / "model.onnx", weights(3)), {}),
        (write_state(tmp_path / "a.pt"), {"arch": "resnet18_half"}),
    ):
        with pytest.raises(CheckpointError, match=r"has 3 outputs.*--classes names 2; name one"):
            bring(path, tmp_path / "out", **more)


def write_state(path: Path) -> Path:
    from covid_debug.models.catalog import build_backbone

    torch.save(build_backbone("resnet18_half", 3, 1).state_dict(), path)
    return path


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x89HDF\r\n\x1a\n", "looks like an HDF5 file, as Keras writes them"),
        (b"PK\x03\x04 torn", "looks like a damaged zip archive"),
        (b"words", "is not a readable weights file"),
    ],
)
def test_unknown_file_says_what_it_looks_like(tmp_path, content, message):
    (tmp_path / "model.bin").write_bytes(content)

    with pytest.raises(CheckpointError, match=message):
        bring(tmp_path / "model.bin", tmp_path / "out", arch="resnet18")


def test_kind_is_told_by_content_not_by_name(tmp_path):
    write_onnx(tmp_path / "model.bin.onnx", weights())
    (tmp_path / "model.bin.onnx").rename(tmp_path / "a.dat")

    kinds = [
        find_kind(tmp_path / "a.dat"),
        find_kind(write_exported(build(), tmp_path / "b.dat")),
        find_kind(write_script(build(), tmp_path / "c.dat")),
        find_kind(write_state(tmp_path / "d.dat")),
    ]

    assert kinds == ["onnx", "exported", "torchscript", "weights"]


class RunsCode:
    def __reduce__(self):
        return Path.touch, (Path("executed"),)


@pytest.mark.parametrize("place", ["data/sample_inputs/model.pt", "data/constants/opaque_obj_0"])
def test_exported_program_is_read_only_where_it_is_trusted(tmp_path, monkeypatch, place):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    write_exported(build(), tmp_path / "good.pt2")
    torch.save({"a": RunsCode()}, tmp_path / "evil")
    with zipfile.ZipFile("good.pt2") as good, zipfile.ZipFile("bad.pt2", "w") as bad:
        root = good.namelist()[0].partition("/")[0]
        for name in good.namelist():
            if not name.endswith(place):
                bad.writestr(name, good.read(name))
        bad.writestr(f"{root}/{place}", (tmp_path / "evil").read_bytes())
    trust.trust_file(Path("good.pt2"))

    with pytest.raises(CheckpointError, match=r"bad\.pt2: reading .* refused; .* --trust"):
        bring(tmp_path / "bad.pt2", tmp_path / "out")

    assert not (tmp_path / "executed").exists()
    bring(tmp_path / "good.pt2", tmp_path / "out")
    monkeypatch.setenv("HOME", str(tmp_path / "other"))
    with pytest.raises(CheckpointError, match=r"model\.pt2: reading .* refused"):
        load_checkpoint(tmp_path / "out")


def test_what_contradicts_the_file_or_lacks_is_one_line(tmp_path):
    path = write_onnx(tmp_path / "model.onnx", weights())
    state = write_state(tmp_path / "a.pt")
    cases = (
        (path, ModelFacts(NAMES, image_size=32), {}, "--image-size 32: .* takes 16"),
        (path, ModelFacts(NAMES), {"arch": "resnet18"}, "is a whole network"),
        (path, ModelFacts(NAMES, output="probabilities"), {}, "use --output logits"),
        (state, ModelFacts(LABELS), {}, "holds weights alone; say of what network"),
        (state, ModelFacts(LABELS), {"arch": "torchvision:resnet19"}, "did you mean 'resnet1"),
    )
    for source, said, more, message in cases:
        with pytest.raises(CovidDebugError, match=message):
            bring(source, tmp_path / "out", said, **more)
    assert not (tmp_path / "out").exists()


def test_timm_network_is_built_by_name(tmp_path):
    timm = pytest.importorskip("timm", reason="timm is not installed")
    network = timm.create_model("vit_tiny_patch16_224", num_classes=2, img_size=32).eval()
    save_file(network.state_dict(), tmp_path / "a.safetensors")

    classifier, _ = bring(
        tmp_path / "a.safetensors",
        tmp_path / "out",
        ModelFacts(NAMES, image_size=32),
        arch="timm:vit_tiny_patch16_224",
    )

    seen = torch.rand(1, 1, 32, 32)
    torch.testing.assert_close(
        classifier(seen), network(((seen - 0.5) / 0.5).expand(1, 3, 32, 32)), atol=1e-4, rtol=1e-4
    )


def test_spec_says_kind_and_labels(tmp_path):
    bring(write_onnx(tmp_path / "model.onnx", weights()), tmp_path / "out", ModelFacts(NAMES))

    spec = json.loads((tmp_path / "out" / "checkpoint.json").read_text())

    assert (spec["kind"], spec["file"], spec["multi_label"]) == ("onnx", "model.onnx", False)


def save_network(network: nn.Module, path: Path) -> Path:
    """A pickle of a whole network."""
    torch.save(network, path)
    return path


def test_trusted_pickle_of_a_network_gives_its_outputs_and_needs_no_trust_later(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(weights_room, "is_trusted", lambda _digest: True)
    network = build()

    found, lines = bring(save_network(network, tmp_path / "whole.pt"), tmp_path / "out")
    monkeypatch.setattr(weights_room, "is_trusted", lambda _digest: False)
    again = load_checkpoint(tmp_path / "out").classifier

    expected = network((images() - 0.5) / 0.25)
    for classifier in (found, again):
        torch.testing.assert_close(classifier(images()), expected)
    assert found.has_gradient
    assert any("--arch or --factory" in line for line in lines)


def test_trusted_pickle_with_a_factory_keeps_its_layers(tmp_path, monkeypatch):
    monkeypatch.setattr(weights_room, "is_trusted", lambda _digest: True)
    torch.save({"model": build(), "epoch": 3}, tmp_path / "whole.pt")

    found, _ = bring(tmp_path / "whole.pt", tmp_path / "out", factory=build)

    torch.testing.assert_close(found(images()), build()((images() - 0.5) / 0.25))
    assert isinstance(found.module[0], nn.Conv2d)


def test_pickle_of_a_network_is_refused_and_says_trust(tmp_path):
    with pytest.raises(CheckpointError, match=r"could run any code.*model import --trust"):
        bring(save_network(build(), tmp_path / "whole.pt"), tmp_path / "out")


class Branching(nn.Module):
    """A network whose steps depend on numbers: no trace of it is right."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = build()

    def forward(self, planes):
        outputs = self.inner(planes)
        return outputs if float(planes.mean()) > 0 else -outputs


def test_network_that_no_trace_stands_for_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(weights_room, "is_trusted", lambda _digest: True)

    with pytest.raises(CheckpointError, match=r"other outputs when it is traced.*--factory"):
        bring(save_network(Branching(), tmp_path / "whole.pt"), tmp_path / "out")


def test_tensors_beside_a_network_are_left_out_and_said(tmp_path):
    state = {f"model.{name}": value for name, value in build().state_dict().items()}
    torch.save(
        {"weights": {**state, "loss.weight": torch.ones(2)}, "epoch": 3}, tmp_path / "a.ckpt"
    )

    found, lines = bring(tmp_path / "a.ckpt", tmp_path / "out", factory=build)

    torch.testing.assert_close(found(images()), build()((images() - 0.5) / 0.25))
    assert "left out: 1 tensors beside the network (e.g. loss.weight)" in lines


@pytest.mark.parametrize(
    ("name", "arch", "mean", "std"),
    [
        ("resnet18", "resnet18", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ("resnet18", "torchvision:resnet18", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ("googlenet", "torchvision:googlenet", (0.5,) * 3, (0.5,) * 3),
    ],
)
def test_normalisation_is_that_of_the_published_weights(tmp_path, name, arch, mean, std):
    # With its published weights torchvision's GoogLeNet turns (x - mean) / std into (x - .5) / .5.
    more = {"init_weights": False, "aux_logits": False} if name == "googlenet" else {}
    made = torchvision.models.get_model(name, weights=None, num_classes=2, **more)
    torch.save(made.state_dict(), tmp_path / "a.pt")

    said = facts(image_size=64, channels=None, mean=None, std=None)
    found, _ = bring(tmp_path / "a.pt", tmp_path / "out", said, arch=arch)

    assert (found.mean, found.std) == (mean, std)
    film = torch.rand(1, 1, 64, 64)
    numbers = [torch.tensor(numbers).view(1, 3, 1, 1) for numbers in (mean, std)]
    torch.testing.assert_close(found(film), made.eval()((film - numbers[0]) / numbers[1]))


def test_size_of_a_vision_transformer_is_read_of_its_file(tmp_path):
    made = torchvision.models.vit_b_16(num_classes=2, image_size=32)
    torch.save(made.state_dict(), tmp_path / "a.pt")
    said = facts(image_size=None, channels=None, mean=None, std=None)

    found, _ = bring(tmp_path / "a.pt", tmp_path / "out", said, arch="torchvision:vit_b_16")

    assert found.image_size == (32, 32)


def test_script_says_its_planes_by_its_first_weights(tmp_path):
    path = write_script(build(channels=1), tmp_path / "a.ts")

    found, lines = bring(path, tmp_path / "out", facts(channels=None))

    assert found.channels == 1
    assert not any("--channels" in line for line in lines)


def test_first_weights_say_the_planes_also_where_names_are_sorted(tmp_path):
    deep = nn.Sequential(nn.Conv2d(8, 8, 3, groups=8), nn.BatchNorm2d(8))
    network = nn.ModuleDict({"stem": nn.Conv2d(3, 8, 3), "blocks": deep})
    gray = nn.Sequential(nn.Conv2d(1, 3, 1), nn.BatchNorm2d(3), nn.Conv2d(3, 8, 3))
    save_file(network.state_dict(), tmp_path / "a.safetensors")

    assert read_planes(network.state_dict()) == 3
    assert read_planes(read_state(tmp_path / "a.safetensors")) == 3
    assert read_planes(gray.state_dict()) == 1


def test_program_that_takes_one_image_a_call_gets_one(tmp_path):
    class Flat(nn.Module):
        def __init__(self):
            super().__init__()
            self.last = nn.Linear(SIDE * SIDE, 2)

        def forward(self, planes):
            return self.last(planes.reshape(1, -1))

    network = Flat().eval()
    torch.jit.trace(network, images(1)).save(str(tmp_path / "a.ts"))

    found, lines = bring(tmp_path / "a.ts", tmp_path / "out")

    expected = [network((image[None] - 0.5) / 0.25) for image in images()]
    torch.testing.assert_close(found(images()), torch.cat(expected))
    assert any("one image each" in line for line in lines)


def test_onnx_with_channels_last_gets_them_last(tmp_path):
    weight = np.random.default_rng(0).normal(size=(SIDE * SIDE * 3, 2)).astype(np.float32)
    path = write_onnx(tmp_path / "a.onnx", weight, shape=(SIDE, SIDE, 3))

    found, _ = bring(path, tmp_path / "out", facts(channels=None))

    assert (found.channels, found.image_size) == (3, (SIDE, SIDE))
    planes = ((images() - 0.5) / 0.25).expand(-1, 3, -1, -1).permute(0, 2, 3, 1)
    expected = planes.reshape(3, -1).numpy() @ weight
    np.testing.assert_allclose(found(images()).numpy(), expected, rtol=1e-4, atol=1e-4)


def test_onnx_keeps_the_weights_that_lie_beside_it(tmp_path):
    (tmp_path / "from").mkdir()
    path = write_onnx(tmp_path / "from" / "a.onnx", weights(2), beside="a.onnx.data")

    before, _ = bring(path, tmp_path / "out")
    said = before(images())
    shutil.rmtree(tmp_path / "from")

    assert (tmp_path / "out" / "a.onnx.data").is_file()
    torch.testing.assert_close(load_checkpoint(tmp_path / "out").classifier(images()), said)


def test_onnx_with_other_weights_beside_it_is_another_model(tmp_path):
    asked = []
    for k in (1, 2):
        (tmp_path / str(k)).mkdir()
        path = write_onnx(tmp_path / str(k) / "a.onnx", k * weights(2), beside="a.data")
        asked.append(ModelImport(path, facts()).key())
        bring(path, tmp_path / f"out {k}")
    found = [load_checkpoint(tmp_path / f"out {k}").classifier for k in (1, 2)]

    assert (tmp_path / "1/a.onnx").read_bytes() == (tmp_path / "2/a.onnx").read_bytes()
    assert asked[0] != asked[1]
    assert hash_weights(found[0]) != hash_weights(found[1])


@pytest.mark.parametrize("name", ["../a.data", "model.onnx", "missing"])
def test_onnx_weights_elsewhere_or_nowhere_are_one_line(tmp_path, name):
    (tmp_path / "sub").mkdir()
    path = write_onnx(tmp_path / "sub" / "a.onnx", weights(2), beside="name.data")
    fake = name.ljust(len("name.data"), "_") if name == "missing" else name
    content = path.read_bytes().replace(
        b"\x12\x09name.data", b"\x12" + bytes([len(fake)]) + fake.encode()
    )
    path.write_bytes(content)

    with pytest.raises(CheckpointError, match="has its weights in"):
        find_beside(path)


def test_onnx_is_read_once_to_be_opened(tmp_path, monkeypatch):
    path = write_onnx(tmp_path / "a.onnx", weights(2), beside="a.data")
    read, read_bytes = [], Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda one: read.append(one) or read_bytes(one))

    program = open_program(path, "onnx")

    assert read == [path]
    assert program.beside == (tmp_path / "a.data",)


def test_onnx_of_two_outputs_is_one_line(tmp_path):
    path = write_onnx(tmp_path / "a.onnx", weights(2), more_outputs=("flat",))

    with pytest.raises(CheckpointError, match=r"returns 2 tensors \(y, flat\)"):
        bring(path, tmp_path / "out")


def test_edited_function_is_another_model(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    module = tmp_path / "edited_function.py"
    keys = []
    for answer in (0.2, 0.3):
        module.write_text(f"def predict(images): return [[{answer}, 1 - {answer}]] * len(images)")
        asked = ModelImport(None, facts(), function="edited_function:predict")
        audit = AuditRequest(tmp_path, tmp_path, None, factory="edited_function:predict")
        keys.append((asked.key(), audit.key()))

    assert len({key[0] for key in keys}) == 2
    assert len({key[1] for key in keys}) == 2


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (None, r"has 0 outputs \(shape \(\) for two images\)"),
        ([[float("nan"), 1.0]] * 2, "not finite"),
    ],
)
def test_function_without_numbers_is_one_line(tmp_path, answer, message):
    with pytest.raises(CheckpointError, match=message):
        bring(None, tmp_path / "out", function=lambda _images: answer)


def test_lazy_layers_are_one_line(tmp_path):
    write_state(tmp_path / "a.pt")

    with pytest.raises(CheckpointError, match="lazy layers without a size"):
        bring(tmp_path / "a.pt", tmp_path / "out", factory=lambda: nn.LazyLinear(2))


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"channels": 0}, "--channels 0: expected 1 or 3"),
        ({"std": (0.0,)}, "--std 0: expected"),
        ({"mean": (float("nan"),)}, "--mean nan: expected"),
    ],
)
def test_numbers_out_of_range_are_named(said, message):
    with pytest.raises(InputContractError, match=message):
        facts(**said)


def test_two_numbers_for_three_channels_are_named(tmp_path):
    write_state(tmp_path / "a.pt")
    said = facts(mean=(0.1, 0.2), std=(1.0, 1.0))

    with pytest.raises(InputContractError, match="--mean: has 2 numbers for 1 channels"):
        bring(tmp_path / "a.pt", tmp_path / "out", said, factory=build)
