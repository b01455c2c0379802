"""Decisions from an export of another tool: which tool it is of, and what it says."""

from pathlib import Path

from covid_debug.errors import DataIntegrityError
from covid_debug.records_json import parse_json
from covid_debug.reporting.elsewhere import Returned
from covid_debug.reporting.fiftyone import read_fiftyone
from covid_debug.reporting.label_studio import read_label_studio


def read_export(path: Path, reviewer: str | None = None) -> Returned:
    """Read an export of Label Studio or FiftyOne.

    Args:
        path: A JSON export of Label Studio (a list), or FiftyOne's ``samples.json`` (an object).
        reviewer: Who tagged in FiftyOne; in Label Studio whose answers, or the name of the only
            person who annotated.

    Returns:
        The decisions.

    Raises:
        DataIntegrityError: If the file cannot be read, is no such export or contradicts itself.
        InputContractError: If it is not clear whose decisions these are.
    """
    try:
        content = parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataIntegrityError(
            f"{path}: cannot be read as JSON ({error}); expected a JSON export of Label Studio or"
            " the samples.json of FiftyOne"
        ) from error
    if isinstance(content, list):
        return read_label_studio(content, str(path), reviewer)
    return read_fiftyone(content, str(path), reviewer)
