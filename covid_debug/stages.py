"""A stage of the loop: a request goes in, an artifact comes out, and is found again.

Owns finding, making and putting aside. Every request is a frozen dataclass beside its stage, in
the package that owns the idea; a command and a task of the flow only build it, call it and say the
result. An artifact is named after its stage, code version, parameters and inputs, so that a
finished stage is found again by any later run. A killed one leaves no artifact: a scan for text, a
cleaning and an audit go on from their last film, the others start over.
"""

import shutil
import uuid
from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from pathlib import Path
from typing import ClassVar

from covid_debug.artifacts import (
    MANIFEST_NAME,
    artifact_key,
    find_damage,
    hash_file,
    is_complete,
    read_manifest,
)
from covid_debug.errors import ArtifactError
from covid_debug.progress import SILENT, Listener


@dataclass(frozen=True)
class Means:
    """What carries a stage out and decides no result.

    Attributes:
        listener: Who is told how far the work is.
        cache_dir: Folder of decoded views.
        n_workers: Processes, or threads where the work is reading.
        device: Torch device, e.g. ``"cpu"`` or ``"cuda"``.
        max_failed_share: A stage stops when more than this share of its films fails.
    """

    listener: Listener = SILENT
    cache_dir: Path = Path("data", "views")
    n_workers: int = 2
    device: str = "cpu"
    max_failed_share: float = 0.05


@dataclass(frozen=True)
class Request(ABC):
    """What one stage is asked for; every field that takes part in comparison decides the result.

    Attributes:
        stage: Readable part of the artifact's name.
        makes: Kind of the artifact, as its manifest says.
        code_version: Raised when a change of code changes what the stage writes.
    """

    stage: ClassVar[str]
    makes: ClassVar[str]
    code_version: ClassVar[int]

    def parameters(self) -> object:
        """Return what else decides the content: the fields that are no paths."""
        return {
            name: value for name, value in self._decisive().items() if not isinstance(value, Path)
        }

    def inputs(self) -> dict[str, str]:
        """Return role -> name of what goes in: the fields that are paths."""
        return {
            name: name_input(value)
            for name, value in self._decisive().items()
            if isinstance(value, Path)
        }

    def _decisive(self) -> dict[str, object]:
        values = {item.name: getattr(self, item.name) for item in fields(self) if item.compare}
        return {name: value for name, value in values.items() if value is not None}

    @abstractmethod
    def make(self, out: Path, means: Means) -> object:
        """Write the artifact at ``out`` and return what is in it."""

    def check(self, out: Path, means: Means) -> None:  # noqa: B027 - most stages need none
        """Refuse a finished artifact on which no later stage should build."""

    def key(self) -> str:
        """Return the artifact's name."""
        return artifact_key(self.stage, self.code_version, self.parameters(), self.inputs())


def name_input(place: Path) -> str:
    """Name what goes into a stage: an artifact by its folder, a file by its content."""
    return hash_file(place)[:16] if place.is_file() else place.name


def find_or_make(request: Request, store: Path, means: Means) -> Path:
    """Return the artifact of a stage, making it only when no intact one stands in the store.

    Args:
        request: What is asked for.
        store: Folder of artifacts.
        means: How it is carried out.

    Returns:
        Folder of the artifact.

    Raises:
        ArtifactError: If the stage reports success without leaving an artifact.
    """
    target = store / request.key()
    if is_complete(target):
        damaged = find_damage(target, kind=request.makes)
        if damaged:
            means.listener.warn(
                f"{target}: {len(damaged)} files differ from the manifest; making again"
            )
            _discard(target, request.makes)
        else:
            means.listener.say(f"found finished: {target}")
    if not is_complete(target):
        request.make(target, means)
        if not is_complete(target):
            raise ArtifactError(f"{target}: the stage ended without its artifact")
    request.check(target, means)
    return target


def _discard(target: Path, kind: str) -> None:
    """Delete a damaged artifact, or put it aside when it holds files that no stage wrote."""
    own = {MANIFEST_NAME, *read_manifest(target, kind=kind)["files"]}
    files = (path for path in target.rglob("*") if path.is_file())
    if all(str(path.relative_to(target)) in own for path in files):
        shutil.rmtree(target)
    else:
        target.rename(target.with_name(f"{target.name}.damaged-{uuid.uuid4().hex[:8]}"))
