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


def encode_view(columns: Sequence[str]) -> str:
    """Return a table of runs as MLflow pages share it; pages that cannot read it ignore it."""
    names = [f"metrics.`{column}`" for column in columns]
    state = {
        "searchFilter": "tags.train_data != ''",  # the parent of a flow has no numbers to show
        "orderByKey": names[0],
        "orderByAsc": False,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "datasetsFilter": [],
        "modelVersionFilter": "All Runs",
        "selectedColumns": [
            *names,
            "tags.`train_data`",
            "tags.`seed`",
        ],
        "runsExpanded": {},
        "runsPinned": [],
        "runsHidden": [],
    }
    packed = base64.b64encode(zlib.compress(json.dumps(state).encode())).decode()
    return json.dumps(
        {
            "name": "covid_debug comparison",
            "createdAt": 0,
            "updatedAt": 0,
            "state": f"deflate;{packed}",
        }
    )
