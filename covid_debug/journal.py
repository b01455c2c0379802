"""Records of finished work, on disk as they come, so that a kill loses none.

Owns a file of JSON lines that only grows. What a record means is its writer's business.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from covid_debug.errors import ArtifactError

Record = dict[str, Any]


class Journal(Mapping[str, Record]):
    """Records by name; memory holds their places in the file only.

    Opening an existing file goes on with it: a torn last line is cut off, lines that are no
    records are passed over, and of two records of one name the later counts.
    """

    def __init__(self, path: Path, name_key: str) -> None:
        """Open the file, or create it.

        Args:
            path: The file.
            name_key: Entry of a record that names it.

        Raises:
            ArtifactError: If the file cannot be read or written.
        """
        self.path = path
        self._name_key = name_key
        self._places: dict[str, int] = {}
        try:
            with path.open("a+b") as stream:
                stream.seek(0)
                place = 0
                for line in stream:
                    name = self._read_name(line)
                    if name is not None:
                        self._places[name] = place
                    if not line.endswith(b"\n"):
                        stream.truncate(place)
                    place += len(line)
        except OSError as error:
            raise self._unwritable(error) from error

    def add(self, record: Record) -> None:
        """Append a record.

        Raises:
            ArtifactError: If the disk is full or the file cannot be written.
        """
        line = json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n"
        try:
            with self.path.open("ab") as stream:
                place = stream.tell()
                stream.write(line.encode())
        except OSError as error:
            raise self._unwritable(error) from error
        self._places[str(record[self._name_key])] = place

    def forget(self, name: str) -> None:
        """Act as if a record were not there, for as long as this object lives."""
        del self._places[name]

    def publish(self, target: Path) -> None:
        """Move the file to its final place, where it is no journal any more.

        Raises:
            ArtifactError: If the place cannot be written.
        """
        try:
            self.path.replace(target)
        except OSError as error:
            raise self._unwritable(error) from error

    def __getitem__(self, name: str) -> Record:
        """Read a record from disk."""
        with self.path.open("rb") as stream:
            stream.seek(self._places[name])
            record: Record = json.loads(stream.readline())
        return record

    def __iter__(self) -> Iterator[str]:
        """Return the names, in the order in which they were first added."""
        return iter(self._places)

    def __len__(self) -> int:
        """Return the number of names."""
        return len(self._places)

    def _read_name(self, line: bytes) -> str | None:
        try:
            return str(json.loads(line)[self._name_key]) if line.endswith(b"\n") else None
        except (ValueError, KeyError, TypeError, IndexError, RecursionError):
            return None

    def _unwritable(self, error: OSError) -> ArtifactError:
        return ArtifactError(
            f"{self.path}: cannot be written ({error.strerror}); what is finished is kept there; "
            "make room or choose a writable folder and start again to go on"
        )
