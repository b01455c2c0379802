"""The table of runs that MLflow's pages show ready-made.

MLflow keeps such views as tags of the experiment, in a form of its own: pages that cannot read it
ignore it.
"""

import base64
import json
import zlib

VIEW_KEY = "covid_debug_comparison"
VIEW_TAG = f"mlflow.sharedViewState.{VIEW_KEY}"


# MLflow sorts columns by name, whatever a view says, and a small window shows three of them.
SHOWN_COLUMNS = ("prec", "prec.cleaned", "recall", "recall.cleaned")
ORDER_TAG = "newest first"


def _encode_view() -> str:
    """Write the table as MLflow pages share it: the text of the experiment's tag."""
    state = {
        "searchFilter": "tags.train_data != ''",  # the parent of a flow has no numbers to show
        "orderByKey": f"tags.`{ORDER_TAG}`",
        "orderByAsc": False,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "datasetsFilter": [],
        "modelVersionFilter": "All Runs",
        "selectedColumns": [
            *(f"metrics.`{column}`" for column in SHOWN_COLUMNS),
            "tags.`run`",
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


READY_VIEW = _encode_view()
