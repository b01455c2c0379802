"""Models by MLflow's names: where the files of `models:/...`, `runs:/...` or a folder lie.

Only checkpoints of this project are taken out; a model of another flavour is a pickle or code.
"""

import os
import shutil
from pathlib import Path

from covid_debug.artifacts import check_absent
from covid_debug.errors import CheckpointError
from covid_debug.optional import require

_PREFIXES = ("models:/", "runs:/")


def is_mlflow_model(source: str) -> bool:
    """Say whether this is an MLflow URI, or a folder with an ``MLmodel`` file."""
    return source.startswith(_PREFIXES) or (Path(source) / "MLmodel").is_file()


def copy_checkpoint(source: str, folder: Path, out: Path) -> None:
    """Take the checkpoint folder out of an MLflow model.

    Args:
        source: ``models:/name/version``, ``runs:/id/name`` or a folder; stores are those of
            ``MLFLOW_TRACKING_URI`` and ``MLFLOW_REGISTRY_URI``.
        folder: For what has to be fetched from a store.
        out: The checkpoint folder to make.

    Raises:
        CheckpointError: If there is no such model, or it is not one that this project logged.
    """
    check_absent(out)
    require("mlflow", purpose=source)
    import mlflow  # noqa: PLC0415  seconds to import

    path = Path(source)
    if not path.is_dir():
        try:
            store = os.environ.get("MLFLOW_TRACKING_URI")
            fetch = mlflow.artifacts.download_artifacts
            path = Path(fetch(source, dst_path=str(folder), tracking_uri=store))
        except Exception as error:  # a store may raise anything
            line = str(error).strip().split("\n")[0]
            raise CheckpointError(
                f"{source}: cannot be fetched ({line}); set MLFLOW_TRACKING_URI to its store"
            ) from error
    found = sorted(path.glob("artifacts/*/checkpoint.json"))
    if len(found) != 1:
        raise CheckpointError(
            f"{source}: is an MLflow model that covid_debug did not log, whose reading runs code;"
            " save its weights (state_dict, safetensors) or export it to ONNX, and import that"
        )
    shutil.copytree(found[0].parent, out)
