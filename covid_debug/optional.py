"""The packages that an extra brings, and what to say where one is missing.

The library, and every command of a single stage, work without them. Whoever is about to import one
of them calls :func:`require` first.
"""

from importlib.util import find_spec
from typing import Final

from covid_debug.errors import MissingPackageError

CRAFT_COMMAND: Final = "pip install --no-deps craft-text-detector==0.4.3"
_EXTRAS: Final = {
    "prefect": "flow",
    "mlflow": "mlflow",
    "distributed": "dask",
    "timm": "timm",
    "gdown": "craft",
    "pyarrow": "parquet",
    "s3fs": "objects",
    "craft_text_detector": "craft",
}
_ALSO: Final = {"craft_text_detector": f" && {CRAFT_COMMAND}"}  # no extra can hold it


def require(*packages: str, purpose: str) -> None:
    """Refuse to go on without packages of the extras; nothing is imported.

    Args:
        packages: Top-level names, e.g. ``"prefect"``.
        purpose: What needs them, for the message.

    Raises:
        MissingPackageError: Naming what is missing and the command that installs it.
    """
    missing = [name for name in packages if find_spec(name) is None]
    if missing:
        extras = ",".join(dict.fromkeys(_EXTRAS[name] for name in missing))
        also = "".join(_ALSO.get(name, "") for name in missing)
        raise MissingPackageError(
            f"{purpose}: needs {' and '.join(missing)}, which this installation lacks;"
            f" pip install 'covid_debug[{extras}]'{also}"
        )
