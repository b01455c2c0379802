"""Name -> reader of every public source."""

from collections.abc import Callable
from pathlib import Path

from covid_debug.catalog import Catalog
from covid_debug.data.sources.actmed import read_actmed
from covid_debug.data.sources.base import SourceRecord
from covid_debug.data.sources.cohen import read_cohen
from covid_debug.data.sources.fig1 import read_fig1
from covid_debug.data.sources.nih import read_nih
from covid_debug.data.sources.rsna import read_rsna

SOURCES: Catalog[Callable[[Path], list[SourceRecord]]] = Catalog(
    "data.sources",
    {
        "cohen": read_cohen,
        "fig1": read_fig1,
        "actmed": read_actmed,
        "nih": read_nih,
        "rsna": read_rsna,
    },
)
