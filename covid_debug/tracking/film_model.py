"""A checkpoint as an MLflow model: the bytes of a film in, the probability of every class out.

MLflow copies this file into every model and runs the copy (*models from code*: no pickle), so it
imports what must stay where it is: the reading of films, their views and checkpoints.
"""

from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE
from mlflow.pyfunc import PythonModel, PythonModelContext

from covid_debug.errors import CovidDebugError
from covid_debug.imaging.geometry import render_view
from covid_debug.imaging.reading import decode_film
from covid_debug.models.checkpoint import load_checkpoint
from covid_debug.models.inference import predict_probabilities

FILM_COLUMN = "film"
CHECKPOINT = "checkpoint"


class FilmModel(PythonModel):  # type: ignore[misc]  # MLflow's class is untyped
    """Answers films as the comparison does: same reading, same view, same network."""

    def load_context(self, context: PythonModelContext) -> None:
        """Load the checkpoint that lies beside this file."""
        self._model = load_checkpoint(Path(context.artifacts[CHECKPOINT]))

    def predict(
        self,
        context: PythonModelContext,  # noqa: ARG002  MLflow's signature
        model_input: pd.DataFrame,
    ) -> pd.DataFrame:
        """Return class probabilities.

        Args:
            context: Not used.
            model_input: A row a film; column ``film`` holds the bytes of its file: PNG, JPEG, TIFF,
                BMP, WebP or DICOM.

        Returns:
            A row a film, a column a class, float32 in [0, 1].

        Raises:
            MlflowException: If a film cannot be used.
        """
        files = list(model_input[FILM_COLUMN])
        view = self._model.view
        views = np.empty((len(files), view.image_size, view.image_size), np.uint8)
        for i, data in enumerate(files):
            try:
                film = decode_film(data, f"film {i + 1} of {len(files)}")
            except CovidDebugError as error:
                raise MlflowException(str(error), INVALID_PARAMETER_VALUE) from error
            views[i] = render_view(film.to_uint8(), view)
        classifier = self._model.classifier
        rows = predict_probabilities(classifier, views)
        return pd.DataFrame(rows, columns=list(classifier.class_names), index=model_input.index)


mlflow.models.set_model(FilmModel())
