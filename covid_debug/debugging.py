"""One model asked about one set of films: check, text, audit, report; nothing is trained.

Joins the stages of the loop that need neither training nor cleaning, and owns what lies where in
the folder of such a question. A second start finds what is finished.
"""

import csv
import io
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from covid_debug.artifacts import MANIFEST_NAME, hash_file, read_manifest, write_text_atomic
from covid_debug.audit.artifact import load_audit
from covid_debug.audit.describing import describe_audit
from covid_debug.audit.planning import AuditParams, audited_classes
from covid_debug.audit.stage import AuditRequest
from covid_debug.checking import advise_on_classes, check_model, require_shared_classes
from covid_debug.data.filmset import load_filmset
from covid_debug.data.integrity import load_ingest_audit
from covid_debug.data.layouts.catalog import LAYOUTS
from covid_debug.data.stage import TableData
from covid_debug.data.table import StrangeLabelError
from covid_debug.errors import DataIntegrityError, InputContractError, suggest
from covid_debug.evaluation.comparison import BASE_ARM
from covid_debug.evaluation.stage import ComparisonRequest
from covid_debug.models.checkpoint import LoadedModel, load_checkpoint
from covid_debug.models.classifier import Classifier
from covid_debug.models.factories import load_factory
from covid_debug.models.foreign import find_kind
from covid_debug.models.import_stage import ModelImport
from covid_debug.places import hold_store, prepare_folders
from covid_debug.reporting.answers import write_three_answers
from covid_debug.reporting.stage import ReportRequest
from covid_debug.reporting.summary import REPORT_NAME, RunSummary, load_run_summary
from covid_debug.stages import Means, find_or_make
from covid_debug.terminal import RunConsole
from covid_debug.text.stage import RegionsRequest, describe_regions

N_MAPS = 12
FINDINGS_NAME = "findings.csv"
"""In the folder of several findings: a row each, with films, answers and where its report lies."""
_MAX_NAME = 40  # letters of a model's or data set's name in the report's folder


@dataclass(frozen=True)
class DebugQuestion:
    """What is asked.

    Attributes:
        model: The checkpoint; or what is to become one.
        films: The data set, whose test films are looked at; or what is to become one, of which
            all films are test films.
        target: Class whose predictions are audited; None audits every film for its prediction.
        n_maps: Most films that get maps, which take longest.
        run_seed: Every film's seed is derived from it.
        factory: ``"package.module:function"`` that builds the user's own network.
        command: Command line that asks again, for the report; decides no result.
    """

    model: Path | ModelImport
    films: Path | TableData
    target: str | None = None
    n_maps: int = N_MAPS
    run_seed: int = 0
    factory: str | None = None
    command: str = field(default="", compare=False)

    def count_stages(self, n_findings: int) -> int:
        """Count the numbered stages that are announced where so many findings are asked about."""
        each = 4 + (not isinstance(self.films, Path))
        return each * max(1, n_findings) + (not isinstance(self.model, Path))

    @property
    def named(self) -> str:
        """What the model is called."""
        if not isinstance(self.model, Path) and self.model.called is not None:
            return self.model.called
        given = self.model if isinstance(self.model, Path) else self.model.source
        return "function" if given is None else given.stem


@dataclass(frozen=True)
class DebugAnswer:
    """What came out: the report's page, and what its ``summary.json`` says."""

    page: Path
    summary: RunSummary

    def describe(self) -> Iterator[str]:
        """Yield the short answers, and what the page shows, a line each."""
        yield from write_three_answers(self.summary)


def debug_model(
    asked: DebugQuestion,
    out: Path,
    console: RunConsole,
    means: Means,
    findings: Sequence[str] = (),
) -> list[DebugAnswer]:
    """Check a model on films, find their text, audit it, and write the report.

    Args:
        asked: Model and films.
        out: Folder of everything that is made: ``check/``, ``text/``, ``audit/``, ``report/``.
        console: Says what is done.
        means: How it is carried out.
        findings: Labels of films that have several, each of which is asked about by itself, with
            a report of its own; text is looked for once. The p-values of a report are corrected
            within its finding, not over all of them.

    Returns:
        Where each report lies, and its answers; one where no finding is named.

    Raises:
        DataIntegrityError: If the data set has no test films, or a film cannot be used.
        InputContractError: If films and model differ in classes, or ``target`` is none of them.
        CheckpointError: If the checkpoint cannot be loaded.
        ArtifactError: If another start is at work in ``out``.
    """
    each = [asked]
    if not isinstance(asked.films, Path) and findings:
        each = [replace(asked, films=replace(asked.films, finding=one)) for one in findings]
    if isinstance(asked.model, Path):
        for one in each:
            _check(one, asked.model, means)
    else:
        if asked.model.source is not None:
            find_kind(asked.model.source)
        for one in each:
            _read_table(one.films)
    with hold_store(out):
        parts = ("model", "films", "check", "text", "audit", "report")
        stores = {part: out / part for part in parts}
        prepare_folders(*stores.values())
        if isinstance(asked.model, Path):
            checkpoint = _name_by_content(asked.model, stores["model"], "checkpoint")
        else:
            with console.stage("import the model"):
                checkpoint = find_or_make(asked.model, stores["model"], means)
            for one in each:
                _check(one, checkpoint, means)
        scans: list[Path] = []
        answers = []
        for i, one in enumerate(each):
            if len(findings) > 1:
                console.headline(f"\n{findings[i]}")
            answers.append(_answer(one, checkpoint, stores, scans, console, means))
        if len(findings) > 1:
            _write_findings(out / FINDINGS_NAME, findings, answers)
        return answers


def _answer(
    asked: DebugQuestion,
    checkpoint: Path,
    stores: Mapping[str, Path],
    scans: list[Path],
    console: RunConsole,
    means: Means,
) -> DebugAnswer:
    """Answer about one finding; ``scans`` holds the text of those before, and gets its own."""
    model = _check(asked, checkpoint, means)
    if isinstance(asked.films, Path):
        films = _name_by_content(asked.films, stores["films"], "filmset")
    else:
        with console.stage("read the films"):
            films = find_or_make(_name_classes(asked.films, model), stores["films"], means)
            _tell_films(films, console)
    name = load_filmset(films).name
    params = AuditParams(target_class=asked.target, max_explained=asked.n_maps)
    own = (BASE_ARM, 0)
    with console.stage("check the model on the films"):
        checked = check_model(model, load_filmset(films), means)
        checked.tell(console)
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
        text = RegionsRequest(films, split="test", known=tuple(scans))
        regions = find_or_make(text, stores["text"], means)
        scans.append(regions)
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
                title=f"{_plain(asked.named)}-on-{_plain(name)}",
                filmset=films,
                regions=regions,
                view=model.view,
                audit=audit,
                comparison=comparison,
                config={
                    "model": asked.named,
                    "films": name,
                    "target": asked.target,
                    "seed": asked.run_seed,
                    "audit": params,
                },
                command=asked.command,
                remarks=checked.remarks,
            ),
            stores["report"],
            replace(means, n_workers=max(2, means.n_workers)),
        )
    return DebugAnswer(report / REPORT_NAME, load_run_summary(report))


def _write_findings(path: Path, findings: Sequence[str], answers: Sequence[DebugAnswer]) -> None:
    rows = [
        {
            "finding": finding,
            **_count_finding(answer.summary),
            **{one.question: f"{one.word}. {one.line}" for one in answer.summary.short_answers},
            "report": str(answer.page.relative_to(path.parent)),
        }
        for finding, answer in zip(findings, answers, strict=True)
    ]
    text = io.StringIO()
    table = csv.DictWriter(text, list(dict.fromkeys(key for row in rows for key in row)))
    table.writeheader()
    table.writerows(rows)
    write_text_atomic(path, text.getvalue())


def _count_finding(summary: RunSummary) -> dict[str, object]:
    """Return on how many films the finding was asked about and is there, and how it is told."""
    n_films = {row.group: row.n_total for row in summary.text.by_class}
    name = summary.films.class_names[1]
    auc = summary.comparison[f"{BASE_ARM}/{BASE_ARM}"].get(f"{name}/auroc")
    is_known = auc is not None and math.isfinite(auc.value)
    return {
        "films": n_films["all"],
        "with the finding": n_films.get(name, 0),
        "AUC": f"{auc.value:.3f} ({auc.low:.3f} to {auc.high:.3f})" if auc and is_known else "",
    }


def _check(asked: DebugQuestion, checkpoint: Path, means: Means) -> LoadedModel:
    """Load the model, and refuse before long work films that say nothing about it."""
    finding = classes = None
    if isinstance(asked.films, Path):
        classes = load_filmset(asked.films).class_names
    else:
        finding = asked.films.finding
    model = load_checkpoint(
        checkpoint,
        device=means.device,
        factory=load_factory(asked.factory) if asked.factory else None,
        finding=finding or asked.target,
        classes=classes or (),
    )
    names = model.classifier.class_names
    if model.classifier.multi_label:
        known = ", ".join(names)
        raise InputContractError(
            f"{asked.named}: has no label {finding!r}{suggest(finding, names)} (known: {known})"
            if finding
            else f"{asked.named}: has labels of which a film may have several ({known}); name the"
            " one that is asked about with --finding"
        )
    audited_classes(names, asked.target)
    if isinstance(asked.films, Path):
        _check_fit(asked.films, model.classifier)
    elif asked.films.layout != "dicom":  # of an archive this would be half of the work
        try:
            _name_classes(asked.films, model).list_films()
        except StrangeLabelError as error:
            advice = advise_on_classes(model.classifier)
            raise StrangeLabelError(f"{error}{advice}") from error
    return model


def _read_table(films: Path | TableData) -> None:
    """Refuse a table with a mistake before the model is imported, which takes longer."""
    if isinstance(films, TableData) and films.layout != "dicom":
        LAYOUTS[films.layout](films.asked)


def _name_classes(films: TableData, model: LoadedModel) -> TableData:
    return replace(films, class_names=model.classifier.class_names)


def _check_fit(folder: Path, classifier: Classifier) -> None:
    filmset = load_filmset(folder)
    require_shared_classes(filmset, classifier)
    if not filmset.select("test"):
        raise DataIntegrityError(
            f"{folder}: has no test films, and films that a model was trained on say little about"
            " it; ingest films as test films"
        )


def _tell_films(folder: Path, console: RunConsole) -> None:
    found = load_ingest_audit(folder)
    console.say(f"{found.n_ok} of {found.n_total} films are usable")
    for flag in found.flags:
        console.finding(flag.severity, flag.message)


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
