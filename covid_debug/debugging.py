"""One model asked about one set of films: check, text, audit, report; nothing is trained.

Joins the stages of the loop that need neither training nor cleaning, and owns what lies where in
the folder of such a question. A second start finds what is finished.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from covid_debug.artifacts import MANIFEST_NAME, hash_file, read_manifest
from covid_debug.audit.artifact import load_audit
from covid_debug.audit.describing import describe_audit
from covid_debug.audit.planning import AuditParams, audited_classes
from covid_debug.audit.stage import AuditRequest
from covid_debug.data.filmset import FilmSet, load_filmset
from covid_debug.errors import DataIntegrityError, InputContractError
from covid_debug.evaluation.comparison import BASE_ARM
from covid_debug.evaluation.stage import ComparisonRequest
from covid_debug.imaging.geometry import ViewSpec
from covid_debug.models.checkpoint import LoadedModel, load_checkpoint, load_factory
from covid_debug.places import hold_store, prepare_folders
from covid_debug.reporting.answers import write_three_answers
from covid_debug.reporting.stage import ReportRequest
from covid_debug.reporting.summary import REPORT_NAME, RunSummary, load_run_summary
from covid_debug.stages import Means, find_or_make
from covid_debug.terminal import RunConsole
from covid_debug.text.stage import RegionsRequest, describe_regions

N_STAGES: Final = 4
_MAX_NAME = 40  # letters of a model's or data set's name in the report's folder


@dataclass(frozen=True)
class DebugQuestion:
    """What is asked.

    Attributes:
        model: The checkpoint.
        films: The data set; its test films are looked at.
        target: Class whose predictions are audited; None audits every film for its prediction.
        run_seed: Every film's seed is derived from it.
        factory: ``"package.module:function"`` that builds the user's own network.
        command: Command line that asks again, for the report; decides no result.
    """

    model: Path
    films: Path
    target: str | None = None
    run_seed: int = 0
    factory: str | None = None
    command: str = field(default="", compare=False)


@dataclass(frozen=True)
class DebugAnswer:
    """What came out: the report's page, and what its ``summary.json`` says."""

    page: Path
    summary: RunSummary

    def describe(self) -> Iterator[str]:
        """Yield the short answers, and what the page shows, a line each."""
        yield from write_three_answers(self.summary)


def debug_model(asked: DebugQuestion, out: Path, console: RunConsole, means: Means) -> DebugAnswer:
    """Check a model on films, find their text, audit it, and write the report.

    Args:
        asked: Model and films.
        out: Folder of everything that is made: ``check/``, ``text/``, ``audit/``, ``report/``.
        console: Says what is done.
        means: How it is carried out.

    Returns:
        Where the report lies, and its answers.

    Raises:
        DataIntegrityError: If the data set has no test films, or a film cannot be used.
        InputContractError: If films and model differ in classes, or ``target`` is none of them.
        CheckpointError: If the checkpoint cannot be loaded.
        ArtifactError: If another start is at work in ``out``.
    """
    factory = load_factory(asked.factory) if asked.factory else None
    model = load_checkpoint(asked.model, device=means.device, factory=factory)
    filmset = load_filmset(asked.films)
    _check_fit(asked, model, filmset)
    with hold_store(out):
        return _answer(asked, model.view, filmset.name, out, console, means)


def _answer(
    asked: DebugQuestion, view: ViewSpec, name: str, out: Path, console: RunConsole, means: Means
) -> DebugAnswer:
    stores = {part: out / part for part in ("model", "films", "check", "text", "audit", "report")}
    prepare_folders(*stores.values())
    checkpoint = _name_by_content(asked.model, stores["model"], "checkpoint")
    films = _name_by_content(asked.films, stores["films"], "filmset")
    params = AuditParams(target_class=asked.target)
    own = (BASE_ARM, 0)
    with console.stage("check the model on the films"):
        comparison = find_or_make(
            ComparisonRequest(
                {own: checkpoint},
                {BASE_ARM: films},
                asked.run_seed,
                questions=(),
                factory=asked.factory,
            ),
            stores["check"],
            means,
        )
    with console.stage("find text"):
        regions = find_or_make(RegionsRequest(films, split="test"), stores["text"], means)
        for line in describe_regions(regions, films):
            console.say(line)
    with console.stage("audit"):
        request = AuditRequest(checkpoint, films, regions, params, asked.run_seed, asked.factory)
        audit = find_or_make(request, stores["audit"], means)
        for line in describe_audit(load_audit(audit).summary):
            console.say(line)
    with console.stage("write the report"):
        report = find_or_make(
            ReportRequest(
                title=f"{_plain(asked.model.name)}-on-{_plain(name)}",
                filmset=films,
                regions=regions,
                view=view,
                audit=audit,
                comparison=comparison,
                config={
                    "model": asked.model.name,
                    "films": name,
                    "target": asked.target,
                    "seed": asked.run_seed,
                    "audit": params,
                },
                command=asked.command,
            ),
            stores["report"],
            replace(means, n_workers=max(2, means.n_workers)),
        )
    return DebugAnswer(report / REPORT_NAME, load_run_summary(report))


def _check_fit(asked: DebugQuestion, model: LoadedModel, filmset: FilmSet) -> None:
    """Refuse before long work what cannot be answered."""
    names = model.classifier.class_names
    audited_classes(names, asked.target)
    if not set(filmset.class_names) <= set(names):
        raise InputContractError(
            f"{asked.films}: has classes {', '.join(filmset.class_names)}, the model"
            f" {asked.model} has {', '.join(names)}; give the films the model's words for their"
            " classes, or import the model with the films' (in the order of its outputs)"
        )
    if not filmset.select("test"):
        raise DataIntegrityError(
            f"{asked.films}: has no test films, and films that a model was trained on say little"
            " about it; ingest films as test films"
        )


def _name_by_content(folder: Path, store: Path, kind: str) -> Path:
    """Return a link to an artifact, under a name that its content gives.

    Stages know what goes in by its folder's name. That of a user's folder stays when what lies in
    it is made anew, and then the audit of the old model would be found for the new one.
    """
    read_manifest(folder, kind=kind)
    link = store / f"{kind}-{hash_file(folder / MANIFEST_NAME)[:16]}"
    if link.resolve() != folder.resolve():
        link.unlink(missing_ok=True)
        link.symlink_to(folder.resolve(), target_is_directory=True)
    return link


def _plain(name: str) -> str:
    return re.sub(r"[^\w.-]+", "-", name)[:_MAX_NAME].strip("-.") or "films"
