"""Networks that come as a program: TorchScript, ``torch.export``, ONNX, a Python function.

Owns how each kind of file is told, opened and called (TorchScript and ONNX run no Python);
what its outputs mean is the business of :mod:`.heads`.
"""

import hashlib
import inspect
import io
import re
import sys
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor, nn

from covid_debug.artifacts import hash_file
from covid_debug.errors import CheckpointError
from covid_debug.models.trust import check_trusted
from covid_debug.models.weights import State, one_line

Kind = Literal["weights", "torchscript", "exported", "onnx", "function"]
KINDS: tuple[Kind, ...] = get_args(Kind)
Call = Callable[[Tensor], Tensor]

_FORMATS = (
    (b"\x89HDF", "an HDF5 file, as Keras writes them"),
    (b"GGUF", "a GGUF file"),
    (b"\x93NUMPY", "a NumPy array"),
)
_TAKEN = {"checkpoint.json", "manifest.json", "model.onnx", "model.safetensors"}
_UNTRACED = (
    "take its weights alone by naming what builds it, --arch or --factory; or export it to ONNX"
)
_REMEDY = "export it to ONNX, or save the weights alone (state_dict, safetensors)"


@dataclass(frozen=True)
class Program:
    """A network as a program, and what its file says of the images.

    Attributes:
        network: Calls it.
        channels: Planes that it takes; None where the file does not say.
        image_size: ``(H, W)`` that it takes; None where it takes any, or does not say.
        beside: Further files of the model, see :func:`find_beside`.
    """

    network: "ForeignNetwork"
    channels: int | None = None
    image_size: tuple[int, int] | None = None
    beside: tuple[Path, ...] = ()


class ForeignNetwork(nn.Module):
    """Call a program as a network, in evaluation mode for good.

    Attributes:
        kind: What the program is.
        batch: Images that it takes in one call, where it takes no other number.
    """

    def __init__(self, call: Call, kind: Kind, identity: str, *, batch: int | None = None) -> None:
        """Wrap a program.

        Args:
            call: Planes to outputs; a module's weights become those of this one.
            kind: What it is.
            identity: Hash of the program, 64 hex digits; part of what identifies the model.
            batch: See above.
        """
        super().__init__()
        self.call, self.kind, self.batch = call, kind, batch
        digest = torch.tensor(list(bytes.fromhex(identity)), dtype=torch.uint8)
        self.register_buffer("identity", digest)
        for module in self.modules():
            module.training = False

    def train(self, mode: bool = True) -> "ForeignNetwork":  # noqa: ARG002
        """Stay in evaluation mode: an exported program has no other."""
        return self

    def forward(self, planes: Tensor) -> Tensor:
        """Return the program's outputs."""
        if self.batch is None:
            return self.call(planes)
        n = len(planes)
        missing = -n % self.batch
        filled = torch.cat([planes, planes[-1:].expand(missing, -1, -1, -1)])
        return torch.cat([self.call(part) for part in torch.split(filled, self.batch)])[:n]


def find_kind(path: Path) -> Kind:
    """Tell what a model file is by its content.

    Args:
        path: A file.

    Returns:
        Its kind; pickles count as ``"weights"``, whose reader refuses code.

    Raises:
        CheckpointError: If it is missing, or of a kind that is not read; the message names what
            it looks like.
    """
    if path.is_dir():
        what = "a TensorFlow SavedModel" if (path / "saved_model.pb").is_file() else "a folder"
        raise CheckpointError(f"{path}: is {what}; expected a model file; {_REMEDY}")
    if not path.is_file():
        raise CheckpointError(
            f"{path}: no such model file; give a local file, models are never downloaded"
        )
    if path.suffix == ".safetensors":
        return "weights"
    if path.suffix == ".onnx":
        return "onnx"
    with path.open("rb") as stream:
        head = stream.read(8)
    looks: str | None = next((text for magic, text in _FORMATS if head.startswith(magic)), None)
    if looks is None and head.startswith(b"PK"):
        kind, looks = _look_into_zip(path)
        if kind is not None:
            return kind
    if looks is not None:
        raise CheckpointError(f"{path}: looks like {looks}, which is not read; {_REMEDY}")
    if head[:1] == b"\x08" and b"\x12" in head:  # ir_version, then producer_name or graph
        return "onnx"
    return "weights"


def _look_into_zip(path: Path) -> tuple[Kind | None, str | None]:
    try:
        with zipfile.ZipFile(path) as archive:
            names = {name.partition("/")[2] or name for name in archive.namelist()}
    except (zipfile.BadZipFile, OSError):
        return None, "a damaged zip archive"
    if any(name.startswith("code/") for name in names) and "data.pkl" in names:
        return "torchscript", None
    if any(name.startswith("models/") and name.endswith(".json") for name in names):
        return "exported", None
    if "data.pkl" in names:
        return "weights", None
    if "model.weights.h5" in names:
        return None, "a Keras archive"
    return None, "a zip archive without a model that is known"


def open_program(path: Path, kind: Kind) -> Program:
    """Open a program; see :func:`find_kind`.

    Args:
        path: The file.
        kind: TorchScript, exported or ONNX.

    Returns:
        The network on the CPU, and what its file says.

    Raises:
        CheckpointError: If the file is damaged, or could run code and is not trusted.
    """
    content = path.read_bytes()
    identity = hashlib.sha256(content).hexdigest()
    if kind == "onnx":
        return _open_onnx(path, identity, _read_beside(path, content))
    if kind == "exported":
        check_trusted(path, identity)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch announces that TorchScript is old
            if kind == "exported":
                return _open_exported(content, identity)
            script = torch.jit.load(str(path), map_location="cpu").eval()  # type: ignore[no-untyped-call]
    except Exception as error:  # torch's readers raise anything
        raise CheckpointError(
            f"{path}: is a damaged {kind} file, or of another version of torch ({one_line(error)})"
        ) from error
    network = ForeignNetwork(script, "torchscript", identity)
    return Program(network, read_planes(script.state_dict()))


def read_planes(state: State) -> int | None:
    """Return the planes that the first convolution among some weights takes.

    Args:
        state: Name -> tensor; in the order of the network or, as in safetensors, of the names,
            where a depthwise convolution of one plane a group may come first.

    Returns:
        1 or 3; None where no weight says so.
    """
    planes = [int(value.shape[1]) for value in state.values() if value.ndim == 4]
    numbers = [name for name, value in state.items() if value.is_floating_point()]
    if planes[:1] == [1] and 3 in planes and numbers == sorted(numbers):
        return 3
    return planes[0] if planes and planes[0] in {1, 3} else None


def trace_network(network: nn.Module, planes: Tensor) -> bytes:
    """Make a TorchScript file of a network that is there as an object only.

    Args:
        network: In evaluation mode.
        planes: Images that it takes, ``(N, channels, H, W)``.

    Returns:
        Content of the file. It gives the network's own outputs on other images and numbers of them.

    Raises:
        CheckpointError: If the network cannot be traced, or the file gives other outputs.
    """
    others = torch.cat([planes.flip(0), -planes, torch.zeros_like(planes[:1])])
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            stream = io.BytesIO()
            torch.jit.save(torch.jit.trace(network, planes), stream)  # type: ignore[no-untyped-call]
            stream.seek(0)
            found = torch.jit.load(stream)(others)  # type: ignore[no-untyped-call]
            expected = network(others)
    except Exception as error:  # the network's own code runs
        raise CheckpointError(f"cannot be traced ({one_line(error)}); {_UNTRACED}") from error
    if not float((found - expected).abs().max()) <= 1e-4 * float(expected.abs().max()):
        raise CheckpointError(f"gives other outputs when it is traced; {_UNTRACED}")
    return stream.getvalue()


def find_beside(path: Path) -> tuple[Path, ...]:
    """Find the files that hold the weights of an ONNX file.

    Args:
        path: A model file; other kinds have none.

    Returns:
        Files in its folder, each once.

    Raises:
        CheckpointError: If one lies elsewhere, is missing, or has a name that a checkpoint needs.
    """
    if not path.is_file() or find_kind(path) != "onnx":
        return ()
    return _read_beside(path, path.read_bytes())


def _read_beside(path: Path, content: bytes) -> tuple[Path, ...]:
    # StringStringEntryProto of TensorProto.external_data: key "location", then its value.
    entries = re.finditer(rb"\n\x08location\x12([\x80-\xff]?[\x00-\x7f])", content)
    found = {}
    for entry in entries:
        low, *high = entry[1]
        length = (low & 0x7F) + (high[0] << 7 if high else 0)
        name = content[entry.end() : entry.end() + length].decode("utf-8", "replace")
        if Path(name).name != name or name in {"", ".."} or name in _TAKEN:
            raise CheckpointError(
                f"{path}: has its weights in {name!r}; expected a file of another name in its own"
                " folder; save it again with onnx.save(..., save_as_external_data=True)"
            )
        found[name] = path.with_name(name)
        if not found[name].is_file():
            raise CheckpointError(f"{path}: has its weights in {name}; put that file beside it")
    return tuple(found.values())


def _open_exported(content: bytes, identity: str) -> Program:
    exported = torch.export.load(io.BytesIO(content))
    inputs = set(exported.graph_signature.user_inputs)
    shapes = [
        tuple(node.meta["val"].shape)
        for node in exported.graph.nodes
        if node.op == "placeholder" and node.name in inputs
    ]
    batch, channels, size = _read_shape(shapes[0] if shapes else ())
    network = ForeignNetwork(exported.module(), "exported", identity, batch=batch)
    return Program(network, channels, size)


def _open_onnx(path: Path, identity: str, beside: tuple[Path, ...]) -> Program:
    import onnxruntime  # noqa: PLC0415  a second to import, for files of one kind

    if beside:
        hashes = "".join([identity, *map(hash_file, beside)])
        identity = hashlib.sha256(hashes.encode()).hexdigest()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # its errors are of its own, many classes
        raise CheckpointError(f"{path}: is not a usable ONNX file ({one_line(error)})") from error
    images = session.get_inputs()[0]
    if len(session.get_inputs()) != 1 or images.type not in {"tensor(float)", "tensor(float16)"}:
        found = ", ".join(f"{one.name} {one.type}" for one in session.get_inputs())
        raise CheckpointError(
            f"{path}: takes {found}; expected one tensor(float) of images (N, channels, H, W)"
        )
    outputs = [one.name for one in session.get_outputs()]
    if len(outputs) != 1:
        raise CheckpointError(
            f"{path}: returns {len(outputs)} tensors ({', '.join(outputs[:5])}); expected one"
            " (N, K); export that alone"
        )
    shape = list(images.shape)
    is_last = len(shape) == 4 and shape[3] in {1, 3} and shape[1] not in {1, 3}
    if is_last:  # as networks of TensorFlow take them
        shape = [shape[0], shape[3], *shape[1:3]]
    batch, channels, size = _read_shape(shape)
    dtype = np.float16 if "16" in images.type else np.float32
    run = _RunONNX(session, images.name, dtype, is_last)
    return Program(ForeignNetwork(run, "onnx", identity, batch=batch), channels, size, beside)


@dataclass(frozen=True, eq=False)
class _RunONNX:
    """Run an ONNX session; plain, so that the classifier can be compared and kept."""

    session: Any
    name: str
    dtype: Any
    has_channels_last: bool

    def __call__(self, planes: Tensor) -> Tensor:
        if self.has_channels_last:
            planes = planes.permute(0, 2, 3, 1)
        images = planes.detach().cpu().numpy().astype(self.dtype)
        outputs = self.session.run(None, {self.name: images})[0]
        return _to_tensor(outputs, planes)


@dataclass(frozen=True, eq=False)
class _CallFunction:
    """Call a function of NumPy images."""

    function: Callable[[Any], Any]
    name: str

    def __call__(self, planes: Tensor) -> Tensor:
        images = planes.detach().cpu().to(torch.float32).numpy()
        try:
            outputs = np.asarray(self.function(images))
        except Exception as error:  # a user's function may raise anything
            raise CheckpointError(
                f"function {self.name}: raised {one_line(error)} on images {images.shape};"
                " call it by itself to see where"
            ) from error
        try:
            return _to_tensor(outputs, planes)
        except (TypeError, ValueError) as error:
            raise CheckpointError(
                f"function {self.name}: returned something else than numbers"
                f" ({one_line(error)}); expected an array (N, K)"
            ) from error


def _to_tensor(outputs: Any, planes: Tensor) -> Tensor:  # noqa: ANN401
    return torch.from_numpy(np.array(outputs, dtype=np.float32)).to(planes.device)


def wrap_function(function: Callable[[Any], Any]) -> Program:
    """Make a network of a function from images to numbers.

    Args:
        function: Takes float32 NumPy images ``(N, channels, H, W)``, returns ``(N, K)``.

    Returns:
        The network, a black box. What identifies it is the function's name and its module's file;
        an object that is called is itself alone, as nobody knows what it holds.
    """
    own = inspect.unwrap(function)  # else a decorator's file
    name = f"{own.__module__}:{getattr(own, '__qualname__', own)}"
    place = getattr(sys.modules.get(own.__module__), "__file__", None) or ""
    source = Path(place).read_bytes() if place and Path(place).is_file() else b""
    identity = hashlib.sha256(name.encode() + source).hexdigest()
    return Program(ForeignNetwork(_CallFunction(function, name), "function", identity))


def _read_shape(shape: Any) -> tuple[int | None, int | None, tuple[int, int] | None]:  # noqa: ANN401
    """Return batch, channels and size of an input as far as they are fixed numbers."""
    fixed = [n if type(n) is int and n > 0 else None for n in shape]
    if len(fixed) != 4:
        return None, None, None
    batch, channels, height, width = fixed
    size = None if height is None or width is None else (height, width)
    return batch, channels, size
