"""Models by MLflow's names: where the files of `models:/...`, `runs:/...` or a folder lie.

Finds a checkpoint of this project, or the file of a network that `model import` reads (flavours
pytorch and onnx); reads neither.
"""

import hashlib
import os
import tempfile
from pathlib import Path

from covid_debug.artifacts import canonical_json, hash_tree
from covid_debug.errors import ArtifactError, CheckpointError
from covid_debug.optional import require
from covid_debug.places import prepare_folders

_PREFIXES = ("models:/", "runs:/")


def is_mlflow_model(source: str) -> bool:
    """Say whether this is an MLflow URI, or a folder with an ``MLmodel`` file."""
    return source.startswith(_PREFIXES) or (Path(source) / "MLmodel").is_file()


def fetch_model(source: str, store: Path) -> Path:
    """Find the checkpoint folder or the model file of an MLflow model.

    Args:
        source: ``models:/name/version``, ``runs:/id/name`` or a folder; stores are those of
            ``MLFLOW_TRACKING_URI`` and ``MLFLOW_REGISTRY_URI``.
        store: Folder for what has to be fetched; a model lies in it under a name that its content
            gives, so that another version is another file.

    Returns:
        A checkpoint folder that this project logged; or a pickle, ``torch.export`` or ONNX file.

    Raises:
        CheckpointError: If there is no such model, or none of these in it.
        ArtifactError: If ``store`` cannot be a folder.
    """
    if Path(source).is_dir():
        return _find_main(Path(source), source)
    require("mlflow", purpose=source)
    import mlflow  # noqa: PLC0415  seconds to import

    try:
        prepare_folders(store)
    except OSError as error:
        raise ArtifactError(
            f"{store}: cannot be a folder of results ({error.strerror}); name another"
        ) from error
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    with tempfile.TemporaryDirectory(dir=store) as place:
        (Path(place) / "model").mkdir()
        try:
            address = os.environ.get("MLFLOW_TRACKING_URI")
            fetch = mlflow.artifacts.download_artifacts
            fetched = Path(fetch(source, dst_path=f"{place}/model", tracking_uri=address))
        except Exception as error:  # a store may raise anything
            line = str(error).strip().split("\n")[0]
            raise CheckpointError(
                f"{source}: cannot be fetched ({line}); set MLFLOW_TRACKING_URI to its store"
            ) from error
        main = _find_main(fetched, source)
        files = hash_tree(main if main.is_dir() else main.parent)  # weights may lie beside a graph
        name = hashlib.sha256(canonical_json(files).encode()).hexdigest()[:16]
        if not (store / name).exists():
            fetched.rename(store / name)
        return store / name / main.relative_to(fetched)


def _find_main(folder: Path, source: str) -> Path:
    own = [found.parent for found in folder.glob("artifacts/*/checkpoint.json")]
    files = [*folder.glob("data/model.pt*"), *folder.glob("*.onnx")]
    if len(own or files) == 1:
        return (own or files)[0]
    raise CheckpointError(
        f"{source}: is an MLflow model of neither the pytorch nor the onnx flavour, nor"
        " covid_debug's; its own code answers in its own environment: write a module with MODEL ="
        f" mlflow.pyfunc.load_model({source!r}) and def predict(images): return"
        " MODEL.predict(images), and give --function MODULE:predict"
    )
