"""Procedural chest radiographs with known text and known causal effect, the embedded data set."""

from covid_debug.data.phantom.generate import (
    TEXT_FREE,
    TEXT_SWAPPED,
    TRUTH_NAME,
    TRUTH_REGIONS_NAME,
    PhantomFilm,
    PhantomTruth,
    generate_phantom,
    render_lungs,
    render_phantom,
    render_truth,
)
from covid_debug.data.phantom.plan import FilmPlan, plan_pool

__all__ = [
    "TEXT_FREE",
    "TEXT_SWAPPED",
    "TRUTH_NAME",
    "TRUTH_REGIONS_NAME",
    "FilmPlan",
    "PhantomFilm",
    "PhantomTruth",
    "generate_phantom",
    "plan_pool",
    "render_lungs",
    "render_phantom",
    "render_truth",
]
