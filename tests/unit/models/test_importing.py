"""Networks from elsewhere: every kind of file gives what its maker's program gives."""

import json
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from safetensors.torch import save_file
from torch import nn

from covid_debug.errors import CheckpointError, CovidDebugError, InputContractError
from covid_debug.models import trust
from covid_debug.models.checkpoint import load_checkpoint
from covid_debug.models.copies import find_fast_copy
from covid_debug.models.foreign import find_kind
from covid_debug.models.importing import ModelFacts, import_model
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


def write_onnx(path: Path, weight: np.ndarray, *, ending: str | None = None, batch="n") -> Path:
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
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 1, SIDE, SIDE])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, weight.shape[1]])],
        [numpy_helper.from_array(weight.astype(np.float32), "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    onnx.save(model, path)
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
