"""Name -> reader of every layout of films."""

from collections.abc import Callable

from covid_debug.catalog import Catalog
from covid_debug.data.layouts.base import Asked, Listing
from covid_debug.data.layouts.chexpert import list_chexpert
from covid_debug.data.layouts.covidx import list_covidx
from covid_debug.data.layouts.dicom import list_dicom
from covid_debug.data.layouts.folders import list_folders
from covid_debug.data.layouts.mimic import list_mimic
from covid_debug.data.layouts.nih import list_nih
from covid_debug.data.layouts.padchest import list_padchest
from covid_debug.data.layouts.rsna import list_rsna
from covid_debug.data.layouts.table import list_own_films

LAYOUTS: Catalog[Callable[[Asked], Listing]] = Catalog(
    "data.layouts",
    {
        "table": list_own_films,
        "folders": list_folders,
        "dicom": list_dicom,
        "covidx": list_covidx,
        "chexpert": list_chexpert,
        "mimic": list_mimic,
        "nih": list_nih,
        "padchest": list_padchest,
        "rsna": list_rsna,
    },
)
