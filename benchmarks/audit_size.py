"""`covid-debug bench audit --size`: how often does the audit call text on models that cannot read?

Owns films, models and tables. The films are real and bear text; the views are made once a film, and
every model answers to the same ones.
"""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from benchmarks.audit_rates import Power, Rates, measure_power, measure_rates
from benchmarks.blind import Predict, Views, draw_network, draw_thumbnail
from benchmarks.tables import to_markdown
from covid_debug.artifacts import write_text_atomic
from covid_debug.audit.auditor import gather_evidence
from covid_debug.audit.interventions import intervene, make_baseline_views, text_in_view
from covid_debug.audit.planning import AuditParams
from covid_debug.audit.verdicts import Evidence, compute_margins, log_odds
from covid_debug.data.filmset import FilmSet, load_filmset
from covid_debug.data.views import load_views
from covid_debug.errors import InputContractError
from covid_debug.evaluation.statistics import Estimate
from covid_debug.imaging.geometry import ViewSpec
from covid_debug.imaging.reading import read_film
from covid_debug.imaging.regions import read_regions
from covid_debug.models.checkpoint import load_checkpoint
from covid_debug.models.parallel import ParallelPredictor, single_core_threads
from covid_debug.records import Film, FilmRegions
from covid_debug.records_json import to_plain
from covid_debug.seeding import derive_seed
from covid_debug.terminal import RunConsole

# Networks 0 to 2 and thumbnails 0 to 19 were looked at when the margin was chosen.
_FIRST_NETWORK = 10
_FIRST_THUMBNAIL = 100


@dataclass(frozen=True)
class SizeBench:
    """Which films and models.

    Attributes:
        data: Film set.
        regions: Its text.
        checkpoints: Networks trained on films without text, all with the same views.
        n_films: Films with text in the view, of val and test, drawn by seed; at most so many.
        n_skipped: Test films with text in the view, first in the list, that take no part because
            they were looked at when the test was designed.
        n_networks: Random ResNet18 networks.
        n_thumbnails: Random linear models.
        view: How views are made where there is no checkpoint.
        params: How the audit is done.
        seed: Of the films and of everything drawn on them.
        n_workers: Threads.
    """

    data: Path
    regions: Path
    checkpoints: tuple[Path, ...] = ()
    n_films: int = 80
    n_skipped: int = 0
    n_networks: int = 2
    n_thumbnails: int = 20
    view: ViewSpec = field(default_factory=ViewSpec)
    params: AuditParams = field(default_factory=AuditParams)
    seed: int = 0
    n_workers: int = 2


@dataclass(frozen=True, slots=True)
class SizeFilms:
    """Films with text, and what the models see of them.

    Attributes:
        films: ``N`` films with text in the view.
        rows: ``(N,)`` their rows in ``views``.
        views: ``(M, S, S)`` views of all films of val and test, over which log-odds spread.
        intervened: For each film its views under the interventions, see ``Intervened.stack``.
    """

    films: Sequence[Film]
    rows: Sequence[int]
    views: Views
    intervened: Sequence[Views]


def bench_audit_size(request: SizeBench, out: Path, console: RunConsole) -> None:
    """Audit models that cannot read; write ``size.json``, ``size.md`` and one file a model.

    Args:
        request: Films and models.
        out: Folder of the results.
        console: Terminal.

    Raises:
        InputContractError: If no film is left or the checkpoints see different views.
    """
    filmset = load_filmset(request.data)
    loaded = [load_checkpoint(folder) for folder in request.checkpoints]
    specs = {model.view for model in loaded} or {request.view}
    if len(specs) > 1:
        raise InputContractError(
            f"--checkpoint: views differ ({', '.join(map(str, specs))}); expected the same of all"
        )
    spec, names = specs.pop(), filmset.class_names
    start = time.perf_counter()
    seen = prepare_films(request, filmset, read_regions(request.regions), spec, console)
    console.say(f"{len(seen.films)} films: {time.perf_counter() - start:.0f} s")
    members: dict[str, list[tuple[str, Predict]]] = {
        "trained on text-free films": [
            (folder.name, ParallelPredictor(model.classifier, request.n_workers))
            for folder, model in zip(request.checkpoints, loaded, strict=True)
        ],
        "random ResNet18": [
            (
                f"resnet18-{k}",
                ParallelPredictor(
                    draw_network(names, spec.image_size, k, halve=True), request.n_workers
                ),
            )
            for k in range(_FIRST_NETWORK, _FIRST_NETWORK + request.n_networks)
        ],
        "random linear, 8 x 8": [
            (f"thumbnail-{k}", draw_thumbnail(len(names), k))
            for k in range(_FIRST_THUMBNAIL, _FIRST_THUMBNAIL + request.n_thumbnails)
        ],
    }
    out.mkdir(parents=True, exist_ok=True)
    patients = [film.patient_id for film in seen.films]
    rates, power = {}, {}
    for kind, models in members.items():
        answered = {}
        for name, predict in models:
            start = time.perf_counter()
            answered[name] = ask_model(predict, seen, names, request.n_workers)
            console.say(f"{kind}, {name}: {time.perf_counter() - start:.0f} s")
            _write_log_odds(out / f"{name}.npz", seen.films, answered[name])
        if not answered:
            continue
        everyone = list(answered.values())
        rates[kind] = measure_rates(everyone, patients, request.params, seed=request.seed)
        if len(models) <= 5:  # single thumbnails are too many for a table
            for name, evidence in answered.items():
                rates[name] = measure_rates([evidence], patients, request.params, seed=request.seed)
        power[kind] = measure_power(everyone, request.params, seed=request.seed)
        tables = f"{tabulate_rates(rates)}\n{tabulate_power(power)}"
        record = {"films": [film.image_id for film in seen.films], "rates": rates, "power": power}
        write_text_atomic(out / "size.json", json.dumps(to_plain(record), indent=1) + "\n")
        write_text_atomic(out / "size.md", tables)
    console.say(tables)
    console.say(f"tables: {out}")


def prepare_films(
    request: SizeBench,
    filmset: FilmSet,
    regions: Mapping[str, FilmRegions],
    spec: ViewSpec,
    console: RunConsole,
) -> SizeFilms:
    """Choose films with text in the view and intervene on them.

    Args:
        request: Which films, and how the audit is done.
        filmset: Where they live.
        regions: Their text.
        spec: How views are made.
        console: Terminal, for the progress.

    Returns:
        Films and views.

    Raises:
        InputContractError: If no film with text in the view is left.
    """
    params = request.params

    def has_text(film: Film) -> bool:
        found = regions[film.image_id]
        if found.error is not None or not found.regions:
            return False
        inside = text_in_view(
            found.regions, found.width, found.height, spec, dilation_px=params.dilation_px
        )[1]
        return bool(inside.any())

    tested, validated = filmset.select("test"), filmset.select("val")
    everything = [*tested, *validated]
    left = [film for film in tested if has_text(film)][request.n_skipped :]
    left += [film for film in validated if has_text(film)]
    if not left:
        raise InputContractError("bench audit: no film with text in the view is left")
    n = min(request.n_films, len(left))
    drawn = np.random.default_rng(derive_seed(request.seed, "size")).permutation(len(left))[:n]
    films = [left[i] for i in sorted(drawn)]
    cache = request.data.parent / "views"
    views = [
        load_views(filmset, part, spec, cache, n_workers=request.n_workers)
        for part in (tested, validated)
        if part
    ]

    def change(film: Film) -> Views:
        pixels = read_film(filmset.file_of(film)).to_uint8()
        view = np.asarray(views_of[film.image_id])
        return intervene(
            pixels,
            regions[film.image_id].regions,
            spec,
            n_nulls=params.n_nulls,
            dilation_px=params.dilation_px,
            method=params.method,
            radius_px=params.radius_px,
            seed=derive_seed(request.seed, film.image_id, "nulls"),
            baseline=make_baseline_views(view[None], params.baselines[0])[0],
        ).stack()

    stacked = np.concatenate(views)
    row_of = {film.image_id: row for row, film in enumerate(everything)}
    views_of = {film.image_id: stacked[row_of[film.image_id]] for film in films}
    changed = []
    with console.progress("films") as report, single_core_threads(request.n_workers) as pool:
        for item in pool.map(change, films):
            changed.append(item)
            report(len(changed), len(films))
            if len(changed) % 20 == 0:
                console.say(f"{len(changed)} of {len(films)} films intervened on")
    return SizeFilms(films, [row_of[film.image_id] for film in films], stacked, changed)


def ask_model(
    predict: Predict, seen: SizeFilms, class_names: Sequence[str], n_workers: int = 1
) -> list[Evidence]:
    """Ask one model about all views.

    Args:
        predict: The model.
        seen: Films and views.
        class_names: Classes in index order.
        n_workers: Threads that ask.

    Returns:
        Evidence of each film for the class that it is predicted as, with the audit's margin.
    """
    with single_core_threads(n_workers) as pool:
        parts = pool.map(predict, np.array_split(seen.views, max(1, len(seen.views) // 32)))
        probabilities = np.concatenate(list(parts))
        answers = list(pool.map(predict, seen.intervened))
    columns = [log_odds(probabilities, k) for k in range(len(class_names))]
    margins = compute_margins(np.stack(columns, axis=1))
    evidence = []
    for row, rows in zip(seen.rows, answers, strict=True):
        target = int(probabilities[row].argmax())
        evidence.append(
            gather_evidence(probabilities[row], rows, target, class_names, float(margins[target]))
        )
    return evidence


def _write_log_odds(path: Path, films: Sequence[Film], evidence: Sequence[Evidence]) -> None:
    n_nulls = max(len(item.null_removed) for item in evidence)
    nulls = np.full((len(evidence), n_nulls), np.nan)
    for row, item in zip(nulls, evidence, strict=True):
        row[: len(item.null_removed)] = [answer.log_odds for answer in item.null_removed]
    np.savez(
        path,
        image_id=np.array([film.image_id for film in films]),
        patient_id=np.array([film.patient_id for film in films]),
        target=np.array([item.target for item in evidence]),
        film=np.array([item.film.log_odds for item in evidence]),
        text_removed=np.array([item.text_removed.log_odds for item in evidence]),
        null_removed=nulls,
        margin=np.array([item.margin for item in evidence]),
    )


def tabulate_rates(rates: Mapping[str, Rates]) -> str:
    """Return the rates of each kind of model and of single models as a Markdown table."""
    return to_markdown(
        [
            {
                "models": name,
                "number": item.n_models,
                "films (patients)": f"{item.n_films} ({item.n_patients})",
                "p <= .05, %": _show(item.small_p),
                "by spread of the nulls, %": ", ".join(
                    f"{100 * estimate.value:.1f}" for estimate in item.small_p_by_spread
                ),
                "q <= .05, %": _show(item.small_q),
                "driven by text, %": _show(item.driven),
                "margin 0: p <= .05, %": _show(item.small_p_without_margin),
                "margin 0: q <= .05, %": _show(item.small_q_without_margin),
            }
            for name, item in rates.items()
        ]
    )


def tabulate_power(power: Mapping[str, Sequence[Power]]) -> str:
    """Return the share of films found, by size of the effect, as a Markdown table."""
    return to_markdown(
        [
            {
                "effect, SD of log-odds": f"{entries[0].effect:g}",
                **{
                    f"{name}: found, %": f"{100 * entry.found:.1f}"
                    for name, entry in zip(power, entries, strict=True)
                },
            }
            for entries in zip(*power.values(), strict=True)
        ]
    )


def _show(estimate: Estimate) -> str:
    low, high = 100 * estimate.low, 100 * estimate.high
    return f"{100 * estimate.value:.1f} [{low:.1f}, {high:.1f}]"
