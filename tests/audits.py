"""Made-up audits, from the owner's own records."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from covid_debug.artifacts import write_artifact
from covid_debug.audit.artifact import (
    AUDIT_KIND,
    Audit,
    AuditedFilm,
    Interventions,
    NotAudited,
    SaliencyEvidence,
    write_audit,
)
from covid_debug.audit.summary import summarise_audit

EVIDENCE = SaliencyEvidence(6.2, 0.2, 0.8, 0.2, True, True, False, None, 900)
MAPS = {
    "igos_pp": EVIDENCE,
    "path_gradient": replace(EVIDENCE, enrichment=3.1, mass_in_text=0.1, n_evaluations=18),
}


def make_audited(
    image_id: str = "a",
    *,
    drop: float = 0.6,
    explained: bool = False,
    **changes: object,
) -> AuditedFilm:
    """A film with probability 0.95 that loses ``drop`` without its text."""
    film = AuditedFilm(
        image_id=image_id,
        path=f"{image_id}.png",
        label="COVID-19",
        source="cohen",
        view="PA",
        split="test",
        patient_id=f"s:{image_id}",
        predicted_class="COVID-19",
        target_class="COVID-19",
        probability=0.95,
        probabilities={"normal": 0.03, "pneumonia": 0.02, "COVID-19": 0.95},
        text_area_share=0.03,
        interventions=Interventions(0.95 - drop, 0.5, 0.1, (0.94, 0.9, 0.93)),
        cleaned_class="normal" if drop > 0.4 else "COVID-19",
        revealed_class="normal",
        null_classes=("COVID-19",) * 3,
        baseline="blur",
        n_border_matched=3,
        text_suffices=False,
        maps=MAPS if explained else {},
        explained_because="suspected" if explained else None,
        verdict="text_driven",
        direction="towards",
        p_value=0.01,
        q_value=0.03,
        reasons=("p falls by 0.60 without the text; the nulls fall by at most 0.05",),
        error=None,
    )
    return replace(film, **changes)


def make_audit(
    films: Sequence[AuditedFilm], excluded: dict[str, str] | None = None, folder: Path = Path()
) -> Audit:
    excluded = excluded or {}
    left_out = tuple(
        NotAudited(name, reason, "COVID-19", "cohen", f"s:{name}")
        for name, reason in excluded.items()
    )
    summary = summarise_audit(
        films,
        left_out,
        n_films=len(films) + len(excluded),
        target_class=None,
        target_index=None,
        strong_drop=0.5,
        seed=0,
        map_methods=tuple(MAPS),
    )
    return Audit(folder, tuple(films), summary)


def write_made_up_audit(
    folder: Path, films: Sequence[AuditedFilm], excluded: dict[str, str] | None = None
) -> Audit:
    """Write an audit artifact whose explained films have random maps of 32 x 32."""
    rng = np.random.default_rng(0)
    audit = make_audit(films, excluded, folder)
    explained = [film.image_id for film in films if film.maps]
    with (
        TemporaryDirectory() as made,
        write_artifact(folder, kind=AUDIT_KIND) as draft,
    ):
        maps = {
            method: {name: Path(made, f"{method}-{name}.npy") for name in explained}
            for method in MAPS
        }
        for file in chain.from_iterable(by_film.values() for by_film in maps.values()):
            np.save(file, rng.random((32, 32)).astype(np.float16))
        write_audit(draft.path, audit, maps)
    return audit
