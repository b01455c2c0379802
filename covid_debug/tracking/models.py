"""Checkpoints as MLflow models: saved, logged once a training, registered under the run's name.

Owns what a model's folder holds and its place in the registry; what it answers is decided in
:mod:`covid_debug.tracking.film_model`, which MLflow copies and runs.
"""

import importlib.metadata
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import cv2

from covid_debug.artifacts import describe_code
from covid_debug.data.phantom import plan_pool, render_phantom

if TYPE_CHECKING:
    import pandas as pd
    from mlflow import MlflowClient
    from mlflow.models import Model, ModelSignature

CHECKPOINT_TAG = "covid_debug.checkpoint"
_CODE = Path(__file__).with_name("film_model.py")
_EXAMPLE_PX = 256  # longest side of the phantom that stands for a film
# Their versions decide an answer. covid_debug itself is not listed: it is on no package index.
_PINNED = (
    *("mlflow", "torch", "torchvision", "safetensors", "numpy", "pandas"),
    *("opencv-python", "pillow", "pydicom", "jaxtyping"),
)


def make_example() -> "pd.DataFrame":
    """Return a valid input of every model: a small phantom film, nobody's chest."""
    import pandas as pd  # noqa: PLC0415

    (plan,) = plan_pool("test", 1, seed=0, text_correlation=0.9, val_share=0.0)
    film = render_phantom(0, plan).marked
    scale = _EXAMPLE_PX / max(film.shape)
    size = (round(film.shape[1] * scale), round(film.shape[0] * scale))
    small = cv2.resize(film, size, interpolation=cv2.INTER_AREA)
    return pd.DataFrame({"film": [cv2.imencode(".png", small)[1].tobytes()]})


def save_film_model(checkpoint: Path, out: Path, description: "Model | None" = None) -> None:
    """Write a checkpoint as an MLflow model.

    Args:
        checkpoint: Artifact of kind ``"checkpoint"``, copied into the model.
        out: Folder to make.
        description: MLflow's entry of the model, where it has one.
    """
    from mlflow import pyfunc  # noqa: PLC0415  a second of import, only when used

    from covid_debug.models.checkpoint import read_class_names  # noqa: PLC0415  torch, too

    pyfunc.save_model(
        out,
        python_model=str(_CODE),
        artifacts={"checkpoint": str(checkpoint)},
        signature=_make_signature(read_class_names(checkpoint)),
        input_example=make_example(),
        pip_requirements=_pin_requirements(),
        metadata={"covid_debug": describe_code(), CHECKPOINT_TAG: checkpoint.name},
        mlflow_model=description,
    )


def find_or_log_model(
    client: "MlflowClient", run_id: str, checkpoint: Path, name: str, tags: Mapping[str, str]
) -> str:
    """Log a checkpoint as the model of a run, unless that was done.

    Args:
        client: The store.
        run_id: Run of the training.
        checkpoint: Its artifact.
        name: Name of the model.
        tags: Tags of the model.

    Returns:
        Id of the logged model. One that a killed run left half-written is deleted.
    """
    from mlflow.entities import LoggedModelOutput, LoggedModelStatus  # noqa: PLC0415
    from mlflow.models import Model  # noqa: PLC0415

    experiment_id = client.get_run(run_id).info.experiment_id
    known = client.search_logged_models([experiment_id], f"source_run_id = '{run_id}'")
    for model in known:
        if model.tags.get(CHECKPOINT_TAG) != checkpoint.name:
            continue
        if model.status == LoggedModelStatus.READY:
            return str(model.model_id)
        client.delete_logged_model(model.model_id)
    made = client.create_logged_model(
        experiment_id,
        name,
        run_id,
        tags={**tags, CHECKPOINT_TAG: checkpoint.name},
        model_type="classifier",
    )
    description = Model(
        artifact_path=made.artifact_location,
        run_id=run_id,
        model_uuid=made.model_id,
        model_id=made.model_id,
    )
    with tempfile.TemporaryDirectory() as folder:
        save_film_model(checkpoint, Path(folder) / "model", description)
        client.log_model_artifacts(made.model_id, str(Path(folder) / "model"))
    client.finalize_logged_model(made.model_id, LoggedModelStatus.READY)
    client.log_outputs(run_id, [LoggedModelOutput(made.model_id, step=0)])
    return str(made.model_id)


def register_model(
    client: "MlflowClient",
    name: str,
    model_id: str,
    run_id: str,
    alias: str,
    tags: Mapping[str, str],
) -> None:
    """Make a logged model a version of a registered one, unless it is one.

    Args:
        client: The store.
        name: Name in the registry; made the first time.
        model_id: The logged model.
        run_id: Run of its training.
        alias: What a new version is called from now on; empty for nothing. A known version gets it
            only where it names none yet, so that a resumed run takes it from no later one.
        tags: Tags of the version.
    """
    from mlflow.exceptions import MlflowException  # noqa: PLC0415

    try:
        aliases = client.get_registered_model(name).aliases
    except MlflowException:
        aliases = client.create_registered_model(name).aliases
    # Its place: an address models:/ID would be looked up in MLflow's global store, not in this one.
    source = client.get_logged_model(model_id).artifact_location
    known = client.search_model_versions(f"name = '{name}' and run_id = '{run_id}'")
    version = next((one.version for one in known if one.source == source), None)
    is_new = version is None
    if version is None:
        version = client.create_model_version(
            name, source, run_id, tags=dict(tags), await_creation_for=0, model_id=model_id
        ).version
        listed = json.dumps([{"name": name, "version": int(version)}])
        client.set_logged_model_tags(model_id, {"mlflow.modelVersions": listed})
    if alias and (is_new or alias not in aliases):
        client.set_registered_model_alias(name, alias, version)


def registered_name(run_name: str) -> str:
    """Return a run's name as MLflow's registry allows it: without ``/`` and ``:``."""
    return "".join("_" if letter in "/:'" else letter for letter in run_name)


def _make_signature(class_names: tuple[str, ...]) -> "ModelSignature":
    from mlflow.models import ModelSignature  # noqa: PLC0415
    from mlflow.types import ColSpec, Schema  # noqa: PLC0415

    return ModelSignature(
        inputs=Schema([ColSpec("binary", "film")]),
        outputs=Schema([ColSpec("float", name) for name in class_names]),
    )


def _pin_requirements() -> list[str]:
    """Return the installed versions; asking MLflow to find them out costs seconds a model."""
    return [f"{name}=={importlib.metadata.version(name)}" for name in _PINNED]
