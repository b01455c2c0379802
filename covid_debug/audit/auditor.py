"""Everything that calls the model in an audit: films under interventions, and their maps.

Owns batching, timing and the isolation of broken films; judges nothing.
"""

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from covid_debug.audit.case import Case, Explained
from covid_debug.audit.explanations import explain_films
from covid_debug.audit.interventions import Intervened, choose_baseline, intervene
from covid_debug.audit.planning import AuditSubject, Prices
from covid_debug.audit.verdicts import Answer, Evidence, log_odds
from covid_debug.errors import DataIntegrityError, InputContractError
from covid_debug.imaging.reading import FILM_OR_MODEL_ERRORS, read_film
from covid_debug.models.inference import predict_probabilities
from covid_debug.saliency.catalog import build_explainer
from covid_debug.seeding import derive_seed

METHOD = "igos_pp"
GROUP = 8
"""Films whose intervened views are held at once, and films explained together."""

_WARM_UP_MAPS = 4

Views = NDArray[np.uint8]


class Auditor:
    """Calls the model on intervened and explained films."""

    def __init__(self, subject: AuditSubject, target: int, n_workers: int = 2) -> None:
        """Bind the model and the films.

        Args:
            subject: Model, films, their text, and how to audit.
            target: Index of the audited class.
            n_workers: Threads that read films and intervene on them.

        Raises:
            InputContractError: If the grid of the maps has more cells than the view has pixels.
        """
        params, self._classifier = subject.params, subject.model.classifier
        side = min(self._classifier.image_size)
        if params.grid_size > side:
            raise InputContractError(
                f"audit: grid_size is {params.grid_size} and the model sees {side} pixels a side;"
                f" expected at most {side}"
            )
        self._subject, self._params = subject, params
        self._target = target
        self._n_workers = n_workers
        self._explainer = build_explainer(METHOD, grid_size=params.grid_size, **params.igos)

    def choose_baseline(self, views: Views, probabilities: NDArray[np.float32]) -> str:
        """Return the first configured baseline that the model does not take for the target."""

        def predict(images: Views) -> NDArray[np.float32]:
            rows = predict_probabilities(self._classifier, images, max_batch=self._params.max_batch)
            return rows[:, self._target]

        return choose_baseline(
            predict, views, probabilities[:, self._target], self._params.baselines
        )

    def measure(self, cases: Sequence[Case]) -> Prices:
        """Do the first group of interventions and the start of a few maps, and time them.

        Args:
            cases: All films to audit; the first ones get their evidence here, for good.

        Returns:
            Cost of one film and of one map, from a group, so that batching is priced in.
        """
        group = cases[:GROUP]
        if not group:
            return Prices()
        start = time.perf_counter()
        list(self.intervene_on(group))
        prices = Prices(film_s=(time.perf_counter() - start) / len(group))
        usable = [case for case in group if case.error is None][:_WARM_UP_MAPS]
        if not usable or not self._params.max_explained:
            return prices
        n_iterations = self._explainer.params.n_iterations
        first_s, first_n = self._time_maps(usable, 1)
        if n_iterations == 1:
            return replace(prices, map_s=first_s, map_evaluations=first_n)
        n_more = min(3, n_iterations)
        more_s, more_n = self._time_maps(usable, n_more)
        factor = (n_iterations - 1) / (n_more - 1)
        return replace(
            prices,
            map_s=first_s + max(0.0, more_s - first_s) * factor,
            map_evaluations=round(first_n + max(0, more_n - first_n) * factor),
        )

    def _time_maps(self, group: Sequence[Case], n_iterations: int) -> tuple[float, int]:
        short = type(self._explainer)(replace(self._explainer.params, n_iterations=n_iterations))
        start = time.perf_counter()
        outcomes = self._explain_group(group, short).values()
        n_evaluations = [item[0].n_evaluations for item in outcomes if not isinstance(item, str)]
        duration_s = (time.perf_counter() - start) / len(group)
        return duration_s, max(n_evaluations, default=0)

    def intervene_on(self, cases: Sequence[Case]) -> Iterator[int]:
        """Fill in the predictions of the cases under every intervention.

        A film that fails gets its error, the others are unaffected.

        Args:
            cases: Films to intervene on.

        Yields:
            How many films are done.
        """
        with ThreadPoolExecutor(self._n_workers) as pool:
            for start in range(0, len(cases), GROUP):
                group = cases[start : start + GROUP]
                made = list(pool.map(self._intervene, group))
                stacks = [item.stack() for item in made if item is not None]
                if stacks:
                    rows = predict_probabilities(
                        self._classifier, np.concatenate(stacks), max_batch=self._params.max_batch
                    )
                for case, item in zip(group, made, strict=True):
                    if item is not None:
                        n_views = len(item.stack())
                        self._fill_in(case, item, rows[:n_views])
                        rows = rows[n_views:]
                yield start + len(group)

    def _intervene(self, case: Case) -> Intervened | None:
        params = self._params
        found = self._subject.regions[case.film.image_id]
        file = self._subject.filmset.file_of(case.film)
        try:
            film = read_film(file).to_uint8()
            if film.shape != (found.height, found.width):
                raise DataIntegrityError(
                    f"{file.path}: is {film.shape[1]} x {film.shape[0]} pixels, its text regions"
                    f" are for {found.width} x {found.height}; detect the text again"
                )
            return intervene(
                film,
                found.regions,
                self._subject.model.view,
                n_nulls=params.n_nulls,
                dilation_px=params.dilation_px,
                method=params.method,
                radius_px=params.radius_px,
                seed=derive_seed(case.seed, "nulls"),
                baseline=case.baseline,
            )
        except FILM_OR_MODEL_ERRORS as error:
            case.error = str(error)
            return None

    def _fill_in(self, case: Case, item: Intervened, rows: NDArray[np.float32]) -> None:
        names = self._classifier.class_names
        answers = [
            Answer(
                float(row[self._target]),
                float(log_odds(row, self._target)),
                names[int(row.argmax())],
            )
            for row in (case.probabilities, *rows)
        ]
        film, removed, revealed, baseline, *nulls = answers
        n_nulls = len(item.null_removed)
        case.text_mask = item.text_mask
        case.n_border_matched = item.n_border_matched
        case.evidence = Evidence(
            target=names[self._target],
            film=film,
            text_removed=removed,
            text_revealed=revealed,
            baseline=baseline,
            null_removed=tuple(nulls[:n_nulls]),
            null_revealed=tuple(nulls[n_nulls:]),
        )

    def explain(self, cases: Sequence[Case]) -> Iterator[dict[str, Explained]]:
        """Explain films group by group; a group that fails is tried film by film.

        Args:
            cases: Films with evidence.

        Yields:
            ``image_id`` -> evidence and map, or the error.
        """
        for start in range(0, len(cases), GROUP):
            yield self._explain_group(cases[start : start + GROUP], self._explainer)

    def _explain_group(
        self,
        group: Sequence[Case],
        explainer: Any,  # noqa: ANN401
    ) -> dict[str, Explained]:
        masks = [case.text_mask for case in group if case.text_mask is not None]
        try:
            results = explain_films(
                explainer,
                self._classifier,
                np.stack([case.view for case in group]),
                np.stack([case.baseline for case in group]),
                np.stack(masks),
                self._target,
                [derive_seed(case.seed, METHOD) for case in group],
                max_batch=self._params.max_batch,
            )
        except FILM_OR_MODEL_ERRORS as error:
            if len(group) == 1:
                return {group[0].film.image_id: str(error)}
            merged: dict[str, Explained] = {}
            for case in group:
                merged |= self._explain_group([case], explainer)
            return merged
        return {case.film.image_id: result for case, result in zip(group, results, strict=True)}
