"""A folder of finished films that survives a kill, so that a second start goes on from there.

Owns the journal and its trust in files on disk; it does not know how a film is cleaned.
"""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from covid_debug.artifacts import hash_file
from covid_debug.errors import ArtifactError

Record = dict[str, Any]

_KEY_NAME = "key.txt"
_JOURNAL_NAME = "journal.jsonl"


class Staging:
    """Finished films of one build beside its final place.

    A record is written to the journal after the film's file is in place; a torn last line or a
    file that does not have the journalled hash is simply made again.

    Attributes:
        path: The folder; removed by :meth:`remove` after the artifact is published.
    """

    def __init__(self, target: Path, key: str) -> None:
        """Open the staging folder of a target, emptying it when it belongs to another build.

        Args:
            target: Final place of the artifact.
            key: Names everything that decides the content of the films.

        Raises:
            ArtifactError: If the place cannot be written.
        """
        self.path = target.with_name(f".{target.name}.staging")
        self._journal = self.path / _JOURNAL_NAME
        key_file = self.path / _KEY_NAME
        try:
            if self.path.exists() and (not key_file.exists() or key_file.read_text() != key):
                shutil.rmtree(self.path)
            for folder in ("train", "test"):
                (self.path / folder).mkdir(parents=True, exist_ok=True)
            key_file.write_text(key)
        except OSError as error:
            raise ArtifactError(
                f"{target}: cannot be written ({error.strerror}); choose a writable folder"
            ) from error

    def read_finished(self) -> dict[str, Record]:
        """Return the journalled records by ``image_id`` whose files are intact.

        Torn lines and damaged files are dropped from the journal.

        Raises:
            ArtifactError: If the journal cannot be rewritten.
        """
        finished = {
            str(record["image_id"]): record
            for record in self._iter_lines()
            if _is_intact(self.path / record["path"], record["output_sha256"])
        }
        try:
            with self._journal.open("w", encoding="utf-8") as stream:
                stream.writelines(_to_line(record) for record in finished.values())
        except OSError as error:
            raise ArtifactError(_word_unwritable(self.path, error)) from error
        return finished

    def add(self, record: Record) -> None:
        """Journal one finished film.

        Raises:
            ArtifactError: If the disk is full or the journal cannot be written.
        """
        try:
            with self._journal.open("a", encoding="utf-8") as stream:
                stream.write(_to_line(record))
        except OSError as error:
            raise ArtifactError(_word_unwritable(self.path, error)) from error

    def publish(self, folder: Path) -> None:
        """Bring the films into a draft; hard links, so that a kill here loses nothing.

        Raises:
            OSError: If the draft cannot be written; :func:`write_artifact` words it.
        """
        for name in ("train", "test"):
            (folder / name).mkdir()
            for file in sorted((self.path / name).glob("*.png")):
                try:
                    os.link(file, folder / name / file.name)
                except OSError:  # a file system without links
                    shutil.copy2(file, folder / name / file.name)

    def remove(self) -> None:
        """Delete the staging folder."""
        shutil.rmtree(self.path, ignore_errors=True)

    def _iter_lines(self) -> Iterator[Record]:
        if not self._journal.is_file():
            return
        with self._journal.open(encoding="utf-8", errors="replace") as stream:
            for line in stream:
                try:
                    record = json.loads(line)
                except ValueError:
                    continue
                if isinstance(record, dict) and {"image_id", "path", "output_sha256"} <= set(
                    record
                ):
                    yield record


def _is_intact(path: Path, digest: str) -> bool:
    return path.is_file() and hash_file(path) == digest


def _to_line(record: Record) -> str:
    return json.dumps(record, allow_nan=False) + "\n"


def _word_unwritable(path: Path, error: OSError) -> str:
    return (
        f"{path}: cannot be written ({error.strerror}); finished films are kept there; "
        "make room or choose a writable folder and start again to go on"
    )
