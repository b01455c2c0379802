"""Prefect's side of a growing folder: the audit of what is new in it, on a schedule.

Heavy modules are imported inside, as in :mod:`flows.starting`.
"""

# ruff: noqa: PLC0415

from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect import flow
from prefect.artifacts import create_table_artifact
from prefect.client.schemas.objects import State
from prefect.states import Completed

from covid_debug.errors import CovidDebugError
from flows.stage import stage
from flows.starting import name_start, refuse

if TYPE_CHECKING:
    from covid_debug.audit.growing import Batch, GrowingAudit
    from covid_debug.stages import Means


def _name_run() -> str:
    from prefect.runtime import flow_run

    return name_start(f"new films in {Path(flow_run.parameters['folder']).name}")


@flow(
    name="audit-new-films",
    flow_run_name=_name_run,
    description="Audits the films of a folder that no earlier audit of the checkpoint covered."
    " Press *Edit* and give folder and checkpoint, then switch the schedule on.",
)
def audit_new(
    folder: str,
    checkpoint: str,
    data_dir: str = "data",
    table: str = "reports/new-flags.csv",
    detector: str = "default",
    target: str = "",
    at_least: int = 30,
    device: str = "cpu",
) -> State[Any]:
    """Audit the films of a folder that no earlier audit of the checkpoint covered.

    Args:
        folder: Folder of images that grows; sub-folders count.
        checkpoint: Folder of the model, e.g. data/checkpoint-0123456789abcdef.
        data_dir: Folder of artifacts, in which earlier audits are looked for.
        table: CSV file of all flags so far.
        detector: What looks for text.
        target: Class whose predictions are audited; empty audits every film for its own.
        at_least: New films wait until there are so many; fewer make no good null.
        device: Torch device, e.g. cpu or cuda.

    Returns:
        Completed, with the number of flags; or Failed with the line that says what to mend.
    """
    from covid_debug.audit.growing import GrowingAudit, describe_flags, write_flags
    from covid_debug.models.devices import find_device
    from covid_debug.places import hold_store, prepare_folders
    from covid_debug.stages import Means
    from covid_debug.terminal import RunConsole
    from covid_debug.text.stage import TextParams

    console, store = RunConsole(), Path(data_dir)
    try:
        find_device(device)
        asked = GrowingAudit(
            Path(folder), Path(checkpoint), TextParams(detector), target or None, at_least
        )
        with hold_store(store):
            prepare_folders(store)
            batch = _audit_batch(asked, store, Means(console, store / "views", device=device))
            write_flags(Path(table), store)
    except CovidDebugError as error:
        return refuse(error, console)
    for line in describe_flags(batch, Path(table)):
        console.say(line)
    if batch.audit is None:
        return Completed(message=f"{batch.n_new} new films, fewer than {at_least}: they wait")
    create_table_artifact(
        key="new-flags",
        table=[
            {
                "film": flag.path,
                "predicted": flag.predicted_class,
                "probability": f"{flag.probability:.2f}",
                "without the text": f"{flag.without_text:.2f}",
                "verdict": flag.verdict.replace("_", " "),
                "q": f"{flag.q_value:.3f}",
            }
            for flag in batch.flags
        ],
        description=f"{len(batch.flags)} of {batch.n_new} new films whose prediction moves with"
        " their text; q within this batch",
    )
    return Completed(message=f"{len(batch.flags)} of {batch.n_new} new films flagged")


@stage("audit what is new")
def _audit_batch(asked: "GrowingAudit", store: Path, means: "Means") -> "Batch":
    from covid_debug.audit.growing import audit_new_films

    return audit_new_films(asked, store, means)
