"""Times the work of a run that is about all films at once, on made numbers of the right size."""

import os
import resource
from collections.abc import Sequence

import numpy as np

from covid_debug.audit.utility import measure_auc
from covid_debug.cleaning.scar import ProbeParams, estimate_auc
from covid_debug.clock import Cost, now
from covid_debug.evaluation.metrics import compute_scores
from covid_debug.pool import run_in_order

_N_GEOMETRY = 19  # numbers that describe the fills of a film
_N_FEATURES = 220  # numbers that describe a view
_TIMED_TREES = 10


def time_forest(n_films: int) -> Cost:
    """Return the cost of one question of the proof, about all its films."""
    rows = np.random.default_rng(0).random((n_films, _N_GEOMETRY))
    params = ProbeParams(n_trees=_TIMED_TREES)
    names = list(map(str, range(n_films)))
    start = now()
    estimate_auc(list(rows), [bool(i % 2) for i in range(n_films)], names, params)
    return (now() - start) * (ProbeParams().n_trees / _TIMED_TREES)


def time_score(n_test: int, class_names: Sequence[str]) -> Cost:
    """Return the cost of the bootstrap of one model's answers on one version of the test films."""
    generator = np.random.default_rng(0)
    answers = generator.dirichlet(np.ones(len(class_names)), n_test)
    labels = np.arange(n_test) % len(class_names)
    patients = list(map(str, range(n_test)))
    start = now()
    compute_scores(labels, answers, class_names, patients, ["a"] * n_test, seed=0)
    return now() - start


def time_auc(n_films: int) -> Cost:
    """Return the cost of telling three kinds of films apart by their views, held out by patient."""
    rows = np.random.default_rng(0).random((n_films, _N_FEATURES))
    labels = np.arange(n_films) % 3
    names = list(map(str, range(n_films)))
    measure_auc(rows[:30], labels[:30], names[:30], seed=0)  # imports
    start = now()
    measure_auc(rows, labels, names, seed=0)
    return now() - start


def peak_gb(who: int = resource.RUSAGE_SELF) -> float:
    """Return the most memory that this process, or a finished child, held so far, in GB."""
    return resource.getrusage(who).ru_maxrss * 1024 / 1e9


def time_pool(n_workers: int) -> Cost:
    """Return the cost of starting workers and ending them."""
    start = now()
    list(run_in_order(os.path.basename, ["a"] * n_workers, n_workers, where="plan"))
    return now() - start
