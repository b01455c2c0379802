"""`covid-debug bench transfer`: does a marker transfer find nothing where there is nothing?

Random ResNet18 networks cannot read and know no source. Their markers' effects are real (any
network answers to strokes) but have no common sign, so that an interval over the seeds must cover
0. Intervals of one network alone need not.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.blind import draw_network
from benchmarks.tables import to_markdown
from covid_debug.artifacts import write_text_atomic
from covid_debug.audit.transfer import TransferParams, TransferSubject, lay_markers
from covid_debug.audit.transfer_effects import MIN_PATIENTS, compute_effects
from covid_debug.audit.transfer_record import OTHER, Layings, TransferEffect
from covid_debug.data.filmset import load_filmset
from covid_debug.errors import InputContractError
from covid_debug.imaging.geometry import ViewSpec
from covid_debug.imaging.regions import read_regions
from covid_debug.models.checkpoint import LoadedModel
from covid_debug.stages import Means
from covid_debug.terminal import RunConsole

_EFFECTS = (0.0, 0.1, 0.2, 0.5, 1.0)
"""Added to the log-odds under every intact marker, in standard deviations over the layings."""


def bench_transfer(
    data: Path,
    regions: Path,
    out: Path,
    *,
    n_networks: int,
    n_seeds: int,
    image_size: int,
    n_films: int,
    seed: int,
    console: RunConsole,
) -> None:
    """Lay the markers of real films for random networks; write ``size.json`` and ``size.md``.

    Args:
        data: Film set.
        regions: Its text.
        out: Folder of the results.
        n_networks: Random ResNet18 networks.
        n_seeds: Networks that are pooled as the seeds of one training.
        image_size: Side of the views in pixels.
        n_films: Test films, evenly spaced, at most.
        seed: Of networks, donors and bootstrap.
        console: Terminal.
    """
    filmset = load_filmset(data)
    spec = ViewSpec(image_size=image_size)
    models = {
        f"random-{i}": LoadedModel(
            draw_network(filmset.class_names, spec.image_size, seed + i), spec, {}
        )
        for i in range(n_networks)
    }
    films = filmset.select("test")
    films = films[:: math.ceil(len(films) / n_films)]
    subject = TransferSubject(
        models, filmset, films, read_regions(regions), TransferParams(n_draws=2), seed
    )
    layings, _ = lay_markers(subject, Means(console))
    rows = [
        _measure(layings, filmset.class_names, pooled, effect, seed)
        for pooled, effects in ((n_seeds, _EFFECTS), (1, (0.0,)))
        for effect in effects
    ]
    out.mkdir(parents=True, exist_ok=True)
    write_text_atomic(out / "size.json", json.dumps(rows, indent=1) + "\n")
    write_text_atomic(out / "size.md", to_markdown(rows))
    console.say(to_markdown(rows))


def _measure(
    layings: Layings, class_names: Sequence[str], n_seeds: int, effect: float, seed: int
) -> dict[str, object]:
    """Return how many intervals of pooled networks exclude 0, with an effect added."""
    far: list[TransferEffect] = []
    for start in range(0, layings.marker.shape[1] - n_seeds + 1, n_seeds):
        part = _shift(_choose(layings, slice(start, start + n_seeds)), effect)
        found = compute_effects(part, class_names, seed=seed, n_resamples=200)
        far += [
            e
            for e in found
            if e.recipient_source == OTHER and e.measure == "reading" and not math.isnan(e.low)
        ]
    if not far:
        raise InputContractError(
            f"bench transfer: {len(layings.films)} films with text are too few for an interval;"
            f" expected {MIN_PATIENTS} patients of a source and as many of the others"
        )
    excluding = sum(e.low > 0 or e.high < 0 for e in far)
    return {
        "networks in an interval": n_seeds,
        "effect added (sd of a laying)": effect,
        "intervals": len(far),
        "exclude 0": f"{excluding / len(far):.1%}",
        "above 0": f"{sum(e.low > 0 for e in far) / len(far):.1%}",
    }


def _choose(layings: Layings, networks: slice) -> Layings:
    return replace(
        layings,
        as_is=layings.as_is[:, networks],
        text_free=layings.text_free[:, networks],
        marker=layings.marker[:, networks],
        shuffled=layings.shuffled[:, networks],
    )


def _shift(layings: Layings, effect: float) -> Layings:
    spread = (layings.marker - layings.shuffled).std(axis=0)
    return replace(layings, marker=layings.marker + effect * np.asarray(spread))
