"""The table of runs that MLflow's pages show ready-made.

MLflow keeps such views as tags of the experiment, in a form of its own: pages that cannot read it
ignore it.
"""

import base64
import json
import zlib
from collections.abc import Sequence

VIEW_KEY = "covid_debug_comparison"
VIEW_TAG = f"mlflow.sharedViewState.{VIEW_KEY}"


def encode_view(columns: Sequence[str], tags: Sequence[str], *, order_tag: str) -> str:
    """Write a table of runs as MLflow pages share it.

    Args:
        columns: Metrics that it shows; MLflow sorts them by name.
        tags: Tags that it shows.
        order_tag: Tag that decides the order of the rows, the largest first.

    Returns:
        The text of the experiment's tag.
    """
    state = {
        "searchFilter": "tags.train_data != ''",  # the parent of a flow has no numbers to show
        "orderByKey": f"tags.`{order_tag}`",
        "orderByAsc": False,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "datasetsFilter": [],
        "modelVersionFilter": "All Runs",
        "selectedColumns": [
            *(f"metrics.`{column}`" for column in columns),
            *(f"tags.`{tag}`" for tag in tags),
        ],
        "runsExpanded": {},
        "runsPinned": [],
        "runsHidden": [],
    }
    packed = base64.b64encode(zlib.compress(json.dumps(state).encode())).decode()
    return json.dumps(
        {
            "name": "precision and recall by training",
            "createdAt": 0,
            "updatedAt": 0,
            "state": f"deflate;{packed}",
        }
    )
