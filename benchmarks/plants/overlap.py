"""Overlap of a map with detected text, for every prediction and saliency method.

Owns the maps and their overlap; which overlap counts as a flag is decided in
:mod:`benchmarks.plants.scores`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch

from covid_debug.artifacts import write_artifact
from covid_debug.audit.explanations import measure_enrichment
from covid_debug.audit.interventions import text_in_view
from covid_debug.audit.planning import AuditParams
from covid_debug.data.filmset import load_filmset
from covid_debug.data.views import load_views
from covid_debug.imaging.geometry import render_view_mask
from covid_debug.imaging.regions import read_regions
from covid_debug.models.checkpoint import load_checkpoint
from covid_debug.models.inference import predict_probabilities, to_canonical
from covid_debug.records import SPLITS, Film
from covid_debug.records_json import read_lines, write_lines
from covid_debug.saliency.catalog import build_explainer
from covid_debug.saliency.feature_maps import find_target_layer
from covid_debug.seeding import derive_seed
from covid_debug.stages import Means, Request

OVERLAPS_NAME = "overlaps.jsonl"
_GROUP = 8
_FINEST_GRID = 28  # the cells of a linear program or of a mask search


@dataclass(frozen=True, slots=True)
class Overlap:
    """Where the map of one prediction lies.

    Attributes:
        image_id: The film.
        mass: Share of the positive saliency in detected text, in [0, 1]; 0 without text.
        enrichment: That share over the text's share of the view; 0 without text.
        void: Whether the method itself calls the map void.
    """

    image_id: str
    mass: float
    enrichment: float
    void: bool


@dataclass(frozen=True)
class OverlapRequest(Request):
    """Explain predictions of one model by one method and measure the overlap with text.

    Attributes:
        checkpoint: The model.
        filmset: The planted films to probe with.
        regions: Text that was detected on them.
        method: Catalogue name.
        n_films: Most films a split, drawn by the seed; each is explained for its predicted class.
        seed: Of the draw and of the maps.
    """

    checkpoint: Path
    filmset: Path
    regions: Path
    method: str
    n_films: int
    seed: int = 0
    dilation_px: int = field(default=AuditParams().dilation_px)

    stage: ClassVar[str] = "plant-overlap"
    makes: ClassVar[str] = "plant_overlap"
    code_version: ClassVar[int] = 2

    def make(self, out: Path, means: Means) -> None:
        """Write one line a film; films without text in the view need no map."""
        model = load_checkpoint(self.checkpoint, device=means.device)
        classifier, spec = model.classifier, model.view
        filmset, regions = load_filmset(self.filmset), read_regions(self.regions)
        kept: list[Film] = []
        views, masks, targets = [], [], []
        for split in SPLITS:
            films = filmset.select(split)
            if not films:
                continue
            seen = load_views(filmset, films, spec, means.cache_dir, n_workers=means.n_workers)
            predicted = predict_probabilities(classifier, seen).argmax(axis=1)
            for row in draw_rows(films, self.n_films, self.seed):
                film = films[row]
                found = regions[film.image_id].regions
                inside = text_in_view(
                    found, film.width, film.height, spec, dilation_px=self.dilation_px
                )[1]
                kept.append(film)
                views.append(np.array(seen[row]))
                targets.append(int(predicted[row]))
                masks.append(render_view_mask(inside, spec))
        explainer_params = _choose_params(self.method, spec.image_size)
        if "target_layer" in explainer_params:
            explainer_params["target_layer"] = find_target_layer(classifier)
        explainer = build_explainer(self.method, **explainer_params)
        lines = {film.image_id: Overlap(film.image_id, 0.0, 0.0, void=False) for film in kept}
        rows = [row for row, mask in enumerate(masks) if mask.any()]
        with means.listener.progress(f"maps by {self.method}") as progress:
            for start in range(0, len(rows), _GROUP):
                group = rows[start : start + _GROUP]
                images = to_canonical(np.stack([views[row] for row in group]), classifier.device)
                result = explainer.explain(
                    classifier,
                    images,
                    torch.tensor([targets[row] for row in group], device=images.device),
                    seeds=[
                        derive_seed(self.seed, kept[row].image_id, self.method) for row in group
                    ],
                )
                maps = result.saliency[:, 0].cpu().numpy()
                for row, saliency, void in zip(
                    group, maps, result.diagnostics["void"].tolist(), strict=True
                ):
                    name = kept[row].image_id
                    mass, enrichment = measure_enrichment(saliency, masks[row])
                    lines[name] = replace(
                        lines[name], mass=mass or 0.0, enrichment=enrichment or 0.0, void=void
                    )
                progress(min(start + _GROUP, len(rows)), len(rows))
        with write_artifact(
            out, kind=self.makes, parameters=self.parameters(), inputs=self.inputs()
        ) as draft:
            write_lines(draft.path / OVERLAPS_NAME, list(lines.values()))
            draft.facts["params"] = explainer_params


def draw_rows(films: Sequence[Film], n_films: int, seed: int) -> list[int]:
    """Draw films by the seed, the same ones for every model and method.

    Args:
        films: Films of one split.
        n_films: Most films.
        seed: Decides the draw; a film's place in it depends on no other film.

    Returns:
        Their rows, in the order of ``films``.
    """
    rows = list(range(len(films)))
    rows.sort(key=lambda row: derive_seed(seed, films[row].image_id, "overlap"))
    return sorted(rows[:n_films])


def load_overlaps(folder: Path) -> dict[str, Overlap]:
    """Return ``image_id`` -> overlap of a finished :class:`OverlapRequest`."""
    lines = read_lines(
        folder / OVERLAPS_NAME, Overlap, broken="has a bad line", remedy="measure again"
    )
    return {line.image_id: line for line in lines}


def _choose_params(method: str, image_size: int) -> dict[str, int | str]:
    has = build_explainer(method).params
    if hasattr(has, "target_layer"):
        return {"target_layer": ""}
    return {"grid_size": min(_FINEST_GRID, image_size)} if hasattr(has, "grid_size") else {}
