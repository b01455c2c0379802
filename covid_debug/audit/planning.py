"""What the audit will do, decided and priced before it starts.

Owns the parameters, the choice of films and the budget; it neither changes a pixel nor judges.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from covid_debug.audit.artifact import Chosen
from covid_debug.audit.groups import NO_TEXT, OUTSIDE
from covid_debug.audit.interventions import BASELINES, text_in_view
from covid_debug.data.filmset import FilmSet
from covid_debug.errors import InputContractError, suggest
from covid_debug.imaging.geometry import ViewSpec
from covid_debug.imaging.inpainting import FILLS
from covid_debug.models.checkpoint import LoadedModel
from covid_debug.ranges import check_range
from covid_debug.records import (
    REGION_KINDS,
    TEXT_KINDS,
    Film,
    FilmRegions,
    RegionKind,
    TextRegion,
)
from covid_debug.saliency.base import Explainer
from covid_debug.saliency.catalog import EXPLAINERS, build_explainer
from covid_debug.saliency.naming import join_titles
from covid_debug.seeding import derive_seed

Views = NDArray[np.uint8]
Detect = Callable[[Sequence[Views]], Sequence[Sequence[TextRegion]]]

MAP_METHODS = ("igos_pp", "path_gradient")
"""What explains a film unless the user says otherwise: iGOS++, and the map to show beside it.

The first one's numbers stand in ``flags.csv``, and its map lies on the film when a report opens.
"""
_TUNED = "igos_pp"  # what AuditParams.igos is for

N_SINGLE_VIEWS = 3
"""Intervened views of a film besides its nulls: text removed, text revealed, blurred."""


@dataclass(frozen=True)
class AuditParams:
    """How predictions are audited.

    Attributes:
        target_class: Class whose predictions are audited; None audits every film for the class
            that it is predicted as.
        n_nulls: Matched text-free patches a film. From ``2 / alpha`` on, a single text-driven film
            can be found among any number of films, as long as all patches fit on all of them: with
            exactly ``2 / alpha``, two that do not fit are enough to miss it; two driven films are
            found. Heavy tails of the nulls cost power, too.
        alpha: False discovery rate of the verdicts, in (0, 1).
        min_drop: Smallest relevant fall of the target probability, in [0, 1].
        strong_drop: Fall that counts as text-driven even if the class is kept, in [0, 1].
        dilation_px: Growth of text regions in film pixels, for anti-aliased edges and halos.
        method: Fill of removed pixels, see :func:`covid_debug.imaging.inpainting.inpaint`.
        radius_px: Reach of the fill in film pixels.
        max_explained: Most films that get maps.
        control_share: Share of ``max_explained`` kept for films without suspicion, drawn by seed.
        grid_size: Cells of the maps in both directions, for methods that have a grid.
        igos: Further fields of ``IGOSPPParams``, for ``igos_pp``.
        map_methods: Names in the catalogue of explainers; each makes a map of every chosen film.
        baselines: What may stand for "nothing", best first; for each class the first one is used
            that this model does not itself take for the class, see
            :func:`covid_debug.audit.baselines.choose_baselines`.
        max_batch: Most images in one model call.
        kinds: Kinds of text that are removed together; all but annotations, which are no text.
            What is of another kind stays on the film and is no place for a null.
    """

    target_class: str | None = None
    n_nulls: int = 40
    alpha: float = 0.05
    min_drop: float = 0.1
    strong_drop: float = 0.5
    dilation_px: int = 4
    method: str = "telea"
    radius_px: float = 10.0
    max_explained: int = 60
    control_share: float = 0.2
    grid_size: int = 32
    igos: Mapping[str, Any] = field(default_factory=dict)
    map_methods: tuple[str, ...] = MAP_METHODS
    baselines: tuple[str, ...] = ("blur", "black", "white")
    max_batch: int = 64
    kinds: tuple[RegionKind, ...] = TEXT_KINDS

    def __post_init__(self) -> None:
        """Check names and ranges.

        Raises:
            InputContractError: If a value is out of range.
            CatalogError: If the fill, a baseline or a method of the maps is unknown.
        """
        FILLS[self.method]
        for kind in self.baselines:
            BASELINES[kind]
        if not self.baselines:
            raise InputContractError("AuditParams: baselines is empty; expected at least 'blur'")
        if "grid_size" in self.igos:
            raise InputContractError("AuditParams: igos holds grid_size; set grid_size beside igos")
        self._check_map_methods()
        check_range(self, "[0, 1]", "alpha", "min_drop", "strong_drop", "control_share")
        check_range(self, "[4, inf)", "n_nulls")
        check_range(self, "[2, inf)", "grid_size")
        check_range(self, "[1, inf)", "max_batch")
        check_range(self, "[0, inf)", "max_explained", "dilation_px")
        if not self.kinds or not set(self.kinds) <= set(REGION_KINDS):
            raise InputContractError(
                f"AuditParams: kinds are {', '.join(self.kinds) or 'empty'}; expected some of"
                f" {', '.join(REGION_KINDS)}"
            )

    def _check_map_methods(self) -> None:
        for method in self.map_methods:
            EXPLAINERS[method]
        if not self.map_methods or len(set(self.map_methods)) < len(self.map_methods):
            raise InputContractError(
                f"AuditParams: map_methods are {', '.join(self.map_methods) or 'empty'}; expected"
                " each name once, and at least one (max_explained 0 makes no maps)"
            )
        if self.igos and _TUNED not in self.map_methods:
            raise InputContractError(
                f"AuditParams: igos is set and map_methods lacks {_TUNED}; add it or drop igos"
            )

    def without_gradient(self) -> "AuditParams":
        """Return parameters for a black box: its methods that need no gradient, else occlusion."""
        kept = tuple(
            name for name in self.map_methods if not EXPLAINERS[name].explainer.needs_gradient
        )
        return replace(self, map_methods=kept or ("occlusion",), igos={})

    def build_explainers(self) -> dict[str, Explainer[Any]]:
        """Return what makes the maps, by method.

        Raises:
            ConfigError: If ``igos`` holds what is no field of the method.
            InputContractError: If one of its values is out of range.
        """
        built = {}
        for method in self.map_methods:
            known = {item.name for item in fields(EXPLAINERS[method].params)}
            chosen = dict(self.igos) if method == _TUNED else {}
            if "grid_size" in known:
                chosen["grid_size"] = self.grid_size
            built[method] = build_explainer(method, **chosen)
        return built


@dataclass(frozen=True, slots=True)
class Selection:
    """Films predicted as an audited class, sorted by whether text can matter.

    Attributes:
        n_films: Films asked for.
        n_predicted: Films predicted as an audited class.
        candidates: Their rows that have text inside the model's view.
        excluded: ``image_id`` -> why a film predicted as an audited class is not audited.
    """

    n_films: int
    n_predicted: int
    candidates: tuple[int, ...]
    excluded: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class AuditSubject:
    """A model and the films on which it is audited.

    Attributes:
        model: Model with its view specification.
        filmset: Where the films live.
        films: Films to audit, normally the test split.
        regions: Text by ``image_id``.
        params: How to audit.
        run_seed: Every film's seed is derived from it.
        detect: The detector that found the text just now; None where the regions were given.
    """

    model: LoadedModel
    filmset: FilmSet
    films: Sequence[Film]
    regions: Mapping[str, FilmRegions]
    params: AuditParams
    run_seed: int
    detect: Detect | None = None


@dataclass(frozen=True, slots=True)
class AuditPlan:
    """What is about to be computed.

    Attributes:
        stage: ``"interventions"`` (the number of maps is an upper bound) or ``"explanations"``.
        n_films: Films asked for.
        n_predicted: Films predicted as an audited class.
        n_audited: Of them, films with text inside the model's view.
        n_explained: Films that get maps, at most.
        map_methods: What makes a map of each.
        n_evaluations: Images passed through the model in this stage and the following.
        duration_s: Estimated seconds, from a measured warm-up.
        target_class: Audited class; None for all.
    """

    stage: Literal["interventions", "explanations"]
    n_films: int
    n_predicted: int
    n_audited: int
    n_explained: int
    map_methods: tuple[str, ...]
    n_evaluations: int
    duration_s: float
    target_class: str | None

    def describe(self) -> tuple[str, ...]:
        """Return the plan in lines for the terminal."""
        price = f"{self.n_evaluations:,} model evaluations, about {self.duration_s:.0f} s"
        by = join_titles(self.map_methods)
        if self.stage == "explanations":
            return (f"maps by {by} of {self.n_explained} of {self.n_audited} films: {price}",)
        predicted = "get a prediction"
        if self.target_class is not None:
            predicted = f"are predicted {self.target_class}"
        return (
            f"{self.n_predicted} of {self.n_films} films {predicted};"
            f" {self.n_audited} of them have text inside the model's view",
            f"text interventions on {self.n_audited} films, then maps by {by} of at most"
            f" {self.n_explained}: {price}",
        )


@dataclass(frozen=True, slots=True)
class Prices:
    """Measured cost of one film.

    Attributes:
        film_s: Seconds of all interventions on one film.
        map_s: Seconds of its maps, by all methods together.
        map_evaluations: Model evaluations of its maps.
    """

    film_s: float = 0.0
    map_s: float = 0.0
    map_evaluations: int = 0


def target_index(class_names: Sequence[str], target_class: str | None) -> int:
    """Return the index of a class; None is the last one, as in training.

    Raises:
        InputContractError: If the model has no such class.
    """
    if target_class is None:
        return len(class_names) - 1
    if target_class not in class_names:
        raise InputContractError(
            f"audit: target_class {target_class!r} is not a class of the model"
            f"{suggest(target_class, class_names)} (known: {', '.join(class_names)})"
        )
    return list(class_names).index(target_class)


def audited_classes(class_names: Sequence[str], target_class: str | None) -> frozenset[int]:
    """Return the indices of the audited classes.

    Raises:
        InputContractError: If the model has no such class.
    """
    if target_class is None:
        return frozenset(range(len(class_names)))
    return frozenset({target_index(class_names, target_class)})


def exclude_film(
    film: Film, found: FilmRegions | None, spec: ViewSpec, *, dilation_px: int
) -> str | None:
    """Say why text cannot drive the prediction of a film, or why that cannot be known.

    Args:
        film: The film.
        found: Its text; None where it was not looked for.
        spec: How views are made.
        dilation_px: Growth of text regions in film pixels.

    Returns:
        The reason, or None for a film to audit.
    """
    if found is None:
        return "not scanned for text"
    if found.error is not None:
        return f"text scan failed: {found.error}"
    if not found.regions:
        return NO_TEXT
    size = (film.width, film.height)
    inside = text_in_view(found.regions, *size, spec, dilation_px=dilation_px)[1]
    return None if inside.any() else OUTSIDE


def plan_audit(
    selection: Selection, params: AuditParams, prices: Prices, *, n_to_explain: int | None = None
) -> AuditPlan:
    """Price an audit.

    Args:
        selection: Chosen films.
        params: How they are audited.
        prices: Measured cost of one film and of its maps.
        n_to_explain: Films that get maps; None before the interventions are known, which gives
            the upper bound.

    Returns:
        The plan.
    """
    n_audited = len(selection.candidates)
    n_maps = min(params.max_explained, n_audited) if n_to_explain is None else n_to_explain
    duration_s = n_maps * prices.map_s
    n_evaluations = n_maps * prices.map_evaluations
    if n_to_explain is None:
        duration_s += n_audited * prices.film_s
        n_evaluations += n_audited * (N_SINGLE_VIEWS + params.n_nulls)
    return AuditPlan(
        stage="interventions" if n_to_explain is None else "explanations",
        n_films=selection.n_films,
        n_predicted=selection.n_predicted,
        n_audited=n_audited,
        n_explained=n_maps,
        map_methods=params.map_methods,
        n_evaluations=n_evaluations,
        duration_s=duration_s,
        target_class=params.target_class,
    )


def choose_explained(
    suspicion: Mapping[str, float], unsuspected: Sequence[str], params: AuditParams, run_seed: int
) -> dict[str, Chosen]:
    """Spend the budget of explained films: suspects by strength, and a seeded control sample.

    Args:
        suspicion: ``image_id`` -> strength, for films where the interventions say that text may
            matter.
        unsuspected: The other audited films.
        params: Budget and control share.
        run_seed: Decides the control sample, film by film.

    Returns:
        ``image_id`` -> ``"suspected"`` or ``"control"``, at most ``max_explained`` of them.
    """
    budget = params.max_explained
    n_control = min(len(unsuspected), round(params.control_share * budget))
    suspects = sorted(suspicion, key=lambda name: (-suspicion[name], name))
    controls = sorted(unsuspected, key=lambda name: derive_seed(run_seed, name, "audit_control"))
    chosen: dict[str, Chosen] = dict.fromkeys(suspects[: budget - n_control], "suspected")
    chosen.update(dict.fromkeys(controls[:n_control], "control"))
    return chosen
