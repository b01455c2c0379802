"""Model debugger for chest radiographs: finds, proves and repairs text-driven predictions.

The names that a user needs, importable from here::

    import covid_debug as cd

    films = cd.load_filmset("data/films")              # or cd.generate_phantom(...)
    model = cd.load_classifier("checkpoint")           # or cd.Classifier(my_network, ...)

    cd.explain(model, [cd.read_film("film.png")])      # which pixels does it use?
    regions = cd.detect_text(films)                    # where is burned-in text?
    cd.audit(model, films, regions)                    # does the text drive the predictions?
    cleaned = cd.clean(films, regions, out="cleaned")  # the same films without it
    cd.compare({"original": model}, {"original": films, "cleaned": cleaned})
    cd.results.runs("reports")                         # finished runs as tables

Each is loaded when it is first used; the import itself loads nothing.
"""

import importlib
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from covid_debug import results
    from covid_debug.data.filmset import load_filmset
    from covid_debug.data.phantom.generate import generate_phantom
    from covid_debug.imaging.reading import read_film
    from covid_debug.models.checkpoint import load_classifier
    from covid_debug.models.classifier import Classifier
    from covid_debug.notebook import audit, clean, compare, detect_text, explain

__all__ = [  # noqa: RUF022  in the order in which a user meets them
    "Classifier",
    "load_classifier",
    "load_filmset",
    "read_film",
    "generate_phantom",
    "explain",
    "detect_text",
    "audit",
    "clean",
    "compare",
    "results",
]
HOMES = {
    "Classifier": "covid_debug.models.classifier",
    "load_classifier": "covid_debug.models.checkpoint",
    "load_filmset": "covid_debug.data.filmset",
    "read_film": "covid_debug.imaging.reading",
    "generate_phantom": "covid_debug.data.phantom.generate",
    "explain": "covid_debug.notebook",
    "detect_text": "covid_debug.notebook",
    "audit": "covid_debug.notebook",
    "clean": "covid_debug.notebook",
    "compare": "covid_debug.notebook",
    "results": "covid_debug",
}
"""Where each public name is defined."""

# Threads of torch's OpenMP wait by spinning. Beside another busy process on two cores that made a
# training step 50 times slower (8.4 s against 0.16 s); with a short spin 4 times (0.67 s), and no
# slower alone. Read when torch is loaded, so it must be set before; child processes inherit it.
os.environ.setdefault("GOMP_SPINCOUNT", "3000")


def __getattr__(name: str) -> object:
    """Load a public name when it is first used, and return it."""
    if name not in HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name in {"audit", "results"}:  # a package that can be called, and a module
        return importlib.import_module(f"covid_debug.{name}")
    thing: object = getattr(importlib.import_module(HOMES[name]), name)
    globals()[name] = thing
    return thing


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
