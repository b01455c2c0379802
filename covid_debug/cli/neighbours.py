"""What lies beside the package: `flows`, in a checkout `benchmarks`, the demo's configuration.

The names are common: another folder `flows` or `benchmarks` may come first on the path.
"""

from importlib.util import find_spec
from pathlib import Path
from typing import Final

from covid_debug.errors import ConfigError

_HERE = Path(__file__).resolve().parent
_ROOT = _HERE.parents[1]
IS_CHECKOUT: Final = not (_HERE / "demo.yaml").exists()  # a wheel holds that file here
DEMO_CONFIG: Final = (_ROOT / "configs" if IS_CHECKOUT else _HERE) / "demo.yaml"


def is_own(name: str) -> bool:
    """Tell whether Python would import our package of this name; nothing is imported."""
    return _find(name) == _ROOT / name


def check_own(name: str) -> None:
    """Refuse a foreign package that Python would import instead of ours.

    Args:
        name: A package beside this one, e.g. ``"flows"``.

    Raises:
        ConfigError: Naming what comes first, and what to do.
    """
    if not is_own(name):
        raise ConfigError(
            f"{name}: Python would import {_find(name) or 'nothing'}, not {_ROOT / name}; take that"
            " folder off PYTHONPATH, or start elsewhere"
        )


def _find(name: str) -> Path | None:
    spec = find_spec(name)
    if spec is None or spec.origin is None:  # a folder without __init__.py
        return None
    place = Path(spec.origin).resolve()
    return place.parent if place.name == "__init__.py" else place
