"""A stage of the loop: a request goes in, an artifact comes out, and is found again.

Owns finding, making and putting aside. Every request is a frozen dataclass beside its stage, in
the package that owns the idea; a command and a task of the flow only build it, call it and say the
result. An artifact is named after its stage, code version, parameters and inputs, so that a
finished stage is found again by any later run. A killed one leaves no artifact: what works film by
film goes on from its last film, the others start over.
"""

import glob
import hashlib
import shutil
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import ClassVar, Final

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
from covid_debug.shards import LOST, NAME, Record, Records, Shard, ShardFinished

FILES: Final = "files"
"""Entry of a record: name of a file beside it -> its SHA-256."""

Elsewhere = Callable[[Sequence[str], Records], Mapping[str, str]]
"""Works on films in other processes or on other machines: gets the names of all films of a stage
and the records so far, returns film -> why no worker survived it."""


@dataclass(frozen=True)
class Means:
    """What carries a stage out and decides no result.

    Attributes:
        listener: Who is told how far the work is.
        cache_dir: Folder of decoded views.
        n_workers: Processes, or threads where the work is reading.
        device: Torch device, e.g. ``"cpu"`` or ``"cuda"``.
        n_devices: Devices of that kind, or processes of the CPU, that share a training.
        max_failed_share: A stage stops when more than this share of its films fails.
        shard: Work on these films of a stage only, and stop before what needs all of them.
        more: Shards that follow, each asked for when the one before it is finished; what all films
            need is then read once for all of them.
        elsewhere: Where films are worked on; None is here.
    """

    listener: Listener = SILENT
    cache_dir: Path = Path("data", "views")
    n_workers: int = 2
    device: str = "cpu"
    n_devices: int = 1
    max_failed_share: float = 0.05
    shard: Shard | None = None
    more: Iterator[Shard] | None = None
    elsewhere: Elsewhere | None = None


@dataclass(frozen=True)
class Request(ABC):
    """What one stage is asked for; every field that takes part in comparison decides the result.

    Attributes:
        stage: Readable part of the artifact's name.
        makes: Kind of the artifact, as its manifest says.
        code_version: Raised when a change of code changes what the stage writes.
        uses_device: Whether its work on films runs on :attr:`Means.device`.
    """

    stage: ClassVar[str]
    makes: ClassVar[str]
    code_version: ClassVar[int]
    uses_device: ClassVar[bool] = False

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


Runner = Callable[[Request, Path, Means, Sequence[str], Records], Mapping[str, str]]
"""Makes shards of a request, see :data:`Elsewhere`; a shard is :func:`make_shard`."""


def find_or_make(request: Request, store: Path, means: Means, runner: Runner | None = None) -> Path:
    """Return the artifact of a stage, making it only when no intact one stands in the store.

    Args:
        request: What is asked for.
        store: Folder of artifacts.
        means: How it is carried out.
        runner: Who works on films elsewhere; None works on them here.

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
        here = means
        if runner is not None:
            here = replace(means, elsewhere=partial(runner, request, target, means))
        request.make(target, here)
        if not is_complete(target):
            raise ArtifactError(f"{target}: the stage ended without its artifact")
    request.check(target, means)
    return target


def make_shard(request: Request, target: Path, means: Means, shard: Shard) -> ShardFinished | None:
    """Do a shard's part of a stage, whoever does the others.

    Args:
        request: What is asked for.
        target: Place of the artifact, the same for every shard.
        means: How it is carried out.
        shard: Which films.

    Returns:
        What all shards have done so far; None where the artifact stands.

    Raises:
        ArtifactError: If the stage does not work film by film.
    """
    if is_complete(target):
        return None
    try:
        request.make(target, replace(means, shard=shard, elsewhere=None))
    except ShardFinished as finished:
        return finished
    raise ArtifactError(f"{request.stage}: does not work film by film; make it without shards")


def work_on_films(
    out: Path,
    key: str,
    names: Sequence[str],
    work: Callable[[Sequence[str], Path], Iterator[Record]],
    means: Means,
    *,
    title: str = "films",
    refuse: Callable[[str, str], Record] | None = None,
    is_intact: Callable[[Record, Path], bool] | None = None,
    is_last: bool = True,
) -> Records:
    """Work on the films of a stage that no start and no shard has finished, and keep each at once.

    Args:
        out: The artifact that is being made; records lie in a hidden folder beside it.
        key: Names everything that decides the records, see
            :func:`covid_debug.artifacts.artifact_key`.
        names: All films, each once.
        work: Gets names of films and the folder of the records; yields a record for each, in
            order, or :func:`lose_film` where no worker survives it. A film without a record is
            tried again by the next start.
        means: How it is carried out.
        title: What is counted.
        refuse: Makes the record of a film that no worker survives, from its name and the reason;
            such a film is said as a warning. None ends the stage there.
        is_intact: Whether what a record says of files in its folder is still so; a film of which
            it is not is worked on again. None trusts all.
        is_last: Whether no other work on films follows.

    Returns:
        The records; remove them once the artifact stands.

    Raises:
        ShardFinished: If ``means.shard`` and those that followed did their part, and others or a
            later part are to follow.
        ArtifactError: If no worker survives a film and ``refuse`` is None.
    """
    folder = out.with_name(f".{out.name}.{key}.films")
    stale = () if means.shard is not None else tuple(_find_stale(out, key))
    records = Records(folder, stale)
    if not records and stale:
        means.listener.warn(
            f"{stale[0]}: holds {title} of an earlier start with other arguments or other films;"
            " they are not used, and deleted when this is finished; if they were meant, stop here"
            " and start with those"
        )
    shard = means.shard
    if shard is None:
        _finish(names, records, work, means, title, refuse, is_intact)
        return records
    was_done = all(name in records for name in names)
    while True:
        records.refresh()
        _finish(shard.of(names), records, work, means, title, refuse, is_intact)
        records.refresh()
        n_done = sum(name in records for name in names)
        if n_done == len(names) and not is_last and (was_done or means.more is None):
            return records  # others wait for the end of a part before any begins the next
        shard = None if means.more is None else next(means.more, None)
        if shard is None:
            raise ShardFinished(n_done, len(names), title, is_last=is_last)


def _finish(
    mine: Sequence[str],
    records: Records,
    work: Callable[[Sequence[str], Path], Iterator[Record]],
    means: Means,
    title: str,
    refuse: Callable[[str, str], Record] | None,
    is_intact: Callable[[Record, Path], bool] | None,
) -> None:
    """Make the records of some films, or of all, that are not there yet."""
    if is_intact is not None:
        kept = [name for name in mine if name in records]
        for name in [each for each in kept if not is_intact(records[each], records.folder)]:
            records.forget(name)
    todo = [name for name in mine if name not in records]
    if todo and means.elsewhere is not None:
        lost = means.elsewhere(mine, records)
        records.refresh()
        for name, reason in lost.items():
            if name not in records:
                records.add(_keep(lose_film(name, reason), refuse, means.listener))
        todo = [name for name in mine if name not in records]
    if todo:
        with means.listener.progress(title) as progress:
            n_before = len(mine) - len(todo)
            for n_done, record in enumerate(work(todo, records.folder), start=n_before + 1):
                records.add(_keep(record, refuse, means.listener))
                progress(n_done, len(mine))


def lose_film(name: str, reason: str) -> Record:
    """Return what ``work`` yields for a film that no worker survives."""
    return {NAME: name, LOST: reason}


def _keep(
    record: Record, refuse: Callable[[str, str], Record] | None, listener: Listener
) -> Record:
    if LOST not in record:
        return record
    name, reason = record[NAME], record[LOST]
    if refuse is None:
        raise ArtifactError(f"{name}: {reason}; what is finished is kept; start again to go on")
    listener.warn(f"{name}: {reason}; it is recorded as unusable")
    return refuse(name, reason)


def _find_stale(out: Path, key: str) -> Iterator[Path]:
    kind = key.rpartition("-")[0]
    for folder in out.parent.glob(f".{glob.escape(out.name)}.{glob.escape(kind)}-*.films"):
        own = folder.name.removeprefix(f".{out.name}.{kind}-").removesuffix(".films")
        if "-" not in own and folder.name != f".{out.name}.{key}.films":
            yield folder


def keep_file(folder: Path, name: str, content: bytes) -> str:
    """Write a file of a record whole or not at all, whoever else writes it at the same time.

    Returns:
        Its SHA-256, for the entry :data:`FILES` of the record.

    Raises:
        ArtifactError: If it cannot be written, for example on a full disk.
    """
    path = folder / name
    partial = folder / f".{name}.{uuid.uuid4().hex[:8]}"
    try:
        partial.write_bytes(content)
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise ArtifactError(
            f"{path}: cannot be written ({error.strerror}); what is finished is kept; make room or"
            " choose a writable folder and start again to go on"
        ) from error
    return hashlib.sha256(content).hexdigest()


def has_its_files(record: Record, folder: Path) -> bool:
    """Tell whether the files of a record are those that :func:`keep_file` wrote."""
    files: Mapping[str, str] = record.get(FILES, {})
    return all(
        (folder / name).is_file() and hash_file(folder / name) == digest
        for name, digest in files.items()
    )


def _discard(target: Path, kind: str) -> None:
    """Delete a damaged artifact, or put it aside when it holds files that no stage wrote."""
    own = {MANIFEST_NAME, *read_manifest(target, kind=kind)["files"]}
    files = (path for path in target.rglob("*") if path.is_file())
    if all(str(path.relative_to(target)) in own for path in files):
        shutil.rmtree(target)
    else:
        target.rename(target.with_name(f"{target.name}.damaged-{uuid.uuid4().hex[:8]}"))
