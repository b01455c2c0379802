"""Work on films in pieces, by any number of processes that share a folder and nothing else.

Owns which films a shard holds, the records of finished films, and that they are the same whoever
wrote them: each writer appends to a file of its own, a record is one line, and what is read is the
union. No lock is needed, and a killed writer loses the film that it was at.
"""

import json
import re
import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from covid_debug.errors import ArtifactError, InputContractError

Record = dict[str, Any]
NAME: Final = "name"
"""Entry of a record that names its film."""
LOST: Final = "lost"
"""Entry of a record that says why no worker survived its film."""

ItemT = TypeVar("ItemT")


@dataclass(frozen=True, slots=True)
class Shard:
    """One of ``n`` pieces of equal size, neighbours kept together.

    Attributes:
        index: From 1 to ``n``.
        n: How many there are.
    """

    index: int
    n: int

    def __post_init__(self) -> None:
        """Refuse a piece that does not exist.

        Raises:
            InputContractError: If ``index`` is not one of 1 to ``n``.
        """
        if not 1 <= self.index <= self.n:
            raise InputContractError(f"shard {self} does not exist; expected 1/N to N/N")

    def __str__(self) -> str:
        """Return it as the command line takes it."""
        return f"{self.index}/{self.n}"

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """Read ``"3/40"``.

        Returns:
            The shard.

        Raises:
            InputContractError: If it is nothing of that kind.
        """
        found = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", text)
        if found is None:
            raise InputContractError(f"shard {text!r} is not of the form i/N, as in 3/40")
        return cls(int(found[1]), int(found[2]))

    def of(self, items: Sequence[ItemT]) -> Sequence[ItemT]:
        """Return the items of this piece."""
        start, stop = ((self.index - 1 + at) * len(items) // self.n for at in (0, 1))
        return items[start:stop]

    def halves(self) -> tuple["Shard", "Shard"]:
        """Return two pieces that hold the items of this one."""
        return Shard(2 * self.index - 1, 2 * self.n), Shard(2 * self.index, 2 * self.n)


class ShardFinished(Exception):  # noqa: N818 - no error: what a shard does ends here
    """A shard did its part; what remains needs all of them.

    Attributes:
        n_done: Films of all shards that are finished.
        n_total: Films of all shards.
        is_last: Whether no other work in shards follows.
    """

    def __init__(
        self, n_done: int, n_total: int, title: str = "films", *, is_last: bool = True
    ) -> None:
        """Take what all shards have done, and what is counted."""
        super().__init__(f"{n_done} of {n_total} {title} of all shards are finished")
        self.n_done = n_done
        self.n_total = n_total
        self.is_last = is_last


class Records(Mapping[str, Record]):
    """Records of finished films by name; memory holds their places in the files only.

    Lines without an end are another writer's, or were torn by a kill; lines that are no records
    are passed over. Of two records of a film either is right, as both writers did the same.

    Attributes:
        folder: Where they lie; the writers may keep files of their films there, too.
    """

    def __init__(self, folder: Path, stale: Sequence[Path] = ()) -> None:
        """Open the folder, or create it.

        Args:
            folder: Where they lie.
            stale: Folders of records that nobody needs once these are done with.

        Raises:
            ArtifactError: If it cannot be read or written.
        """
        self.folder = folder
        self._stale = tuple(stale)
        self._own = folder / f"{uuid.uuid4().hex[:12]}.jsonl"
        self._places: dict[str, tuple[Path, int]] = {}
        self._read_to: dict[Path, int] = {}
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._unwritable(error) from error
        self.refresh()

    def refresh(self) -> None:
        """Take in what other writers have added.

        Raises:
            ArtifactError: If the files cannot be read.
        """
        try:
            for path in sorted(self.folder.glob("*.jsonl")):
                self._read(path)
        except OSError as error:
            raise self._unwritable(error) from error

    def add(self, record: Record) -> None:
        """Append a record.

        Raises:
            ArtifactError: If the disk is full or the file cannot be written.
        """
        line = (json.dumps(record, allow_nan=False) + "\n").encode()  # a path may be no UTF-8
        try:
            with self._own.open("ab") as stream:
                place = stream.tell()
                stream.write(line)
        except OSError as error:
            raise self._unwritable(error) from error
        self._places[str(record[NAME])] = (self._own, place)
        self._read_to[self._own] = place + len(line)

    def forget(self, name: str) -> None:
        """Act as if a record were not there, for as long as this object lives."""
        del self._places[name]

    def remove(self) -> None:
        """Delete the folder, once the artifact stands."""
        for folder in (self.folder, *self._stale):
            shutil.rmtree(folder, ignore_errors=True)

    def __getitem__(self, name: str) -> Record:
        """Read a record from disk.

        Returns:
            The record.

        Raises:
            ArtifactError: If another process has deleted them.
        """
        path, place = self._places[name]
        try:
            with path.open("rb") as stream:
                stream.seek(place)
                record: Record = json.loads(stream.readline())
        except OSError as error:
            raise ArtifactError(
                f"{path}: cannot be read ({error.strerror}); another process may have finished this"
                " and deleted it; look for the result, or start again"
            ) from error
        return record

    def __contains__(self, name: object) -> bool:
        """Tell whether a film is finished, reading nothing."""
        return name in self._places

    def __iter__(self) -> Iterator[str]:
        """Return the names, in no order that means anything."""
        return iter(self._places)

    def __len__(self) -> int:
        """Return the number of names."""
        return len(self._places)

    def _read(self, path: Path) -> None:
        place = self._read_to.get(path, 0)
        with path.open("rb") as stream:
            stream.seek(place)
            for line in stream:
                if not line.endswith(b"\n"):
                    break
                name = _read_name(line)
                if name is not None:
                    self._places.setdefault(name, (path, place))
                place += len(line)
        self._read_to[path] = place

    def _unwritable(self, error: OSError) -> ArtifactError:
        return ArtifactError(
            f"{self.folder}: cannot be written ({error.strerror}); what is finished is kept there; "
            "make room or choose a writable folder and start again to go on"
        )


def _read_name(line: bytes) -> str | None:
    try:
        return str(json.loads(line)[NAME])
    except (ValueError, KeyError, TypeError, IndexError):
        return None
