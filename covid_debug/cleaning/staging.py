"""A folder of finished films that survives a kill, so that a second start goes on from there.

Owns the trust in files on disk; it does not know how a film is cleaned.
"""

import os
import shutil
from pathlib import Path

from covid_debug.artifacts import hash_file
from covid_debug.errors import ArtifactError
from covid_debug.journal import Journal, Record

_KEY_NAME = "key.txt"
_JOURNAL_NAME = "journal.jsonl"


class Staging:
    """Finished films of one build beside its final place.

    A record is written to the journal after the film's file is in place; a film whose file does
    not have the journalled hash is simply made again.

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
        key_file = self.path / _KEY_NAME
        try:
            if self.path.exists() and (not key_file.exists() or key_file.read_text() != key):
                shutil.rmtree(self.path)
            for folder in ("train", "test"):
                (self.path / folder).mkdir(parents=True, exist_ok=True)
            if not key_file.exists():
                key_file.write_text(key)
        except OSError as error:
            raise ArtifactError(
                f"{target}: cannot be written ({error.strerror}); choose a writable folder"
            ) from error

    def open_records(self) -> Journal:
        """Return the records by ``image_id`` of the films whose files are intact.

        Raises:
            ArtifactError: If the journal cannot be read or written.
        """
        records = Journal(self.path / _JOURNAL_NAME, "image_id")
        for name in list(records):
            if not self._is_intact(records[name]):
                records.forget(name)
        return records

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

    def _is_intact(self, record: Record) -> bool:
        path = self.path / str(record.get("path"))
        return path.is_file() and hash_file(path) == record.get("output_sha256")
