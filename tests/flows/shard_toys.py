"""Stages that kill their workers; workers of a cluster import them from here."""

import hashlib
import json
import os
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from covid_debug import stages
from covid_debug.artifacts import write_artifact
from covid_debug.shards import Record
from covid_debug.stages import Means, Request, work_on_films


@dataclass(frozen=True)
class Toy(Request):
    """Write the number of every film; note in a log who worked on which."""

    log: Path = field(compare=False)
    n_films: int = 24
    deadly: tuple[str, ...] = field(default=(), compare=False)
    failing: str = field(default="", compare=False)
    film_s: float = field(default=0.0, compare=False)
    can_refuse: bool = field(default=True, compare=False)

    stage: ClassVar[str] = "toy"
    makes: ClassVar[str] = "toy"
    code_version: ClassVar[int] = 1

    @property
    def names(self) -> list[str]:
        return [f"film{i:04d}" for i in range(self.n_films)]

    @property
    def begun(self) -> Path:
        """A line for each time that the stage was begun."""
        return self.log.with_name(f"{self.log.name}.begun")

    def make(self, out: Path, means: Means) -> None:
        with self.begun.open("a") as stream:
            stream.write(f"{os.getpid()}\n")
        records = work_on_films(
            out,
            "part-0",
            self.names,
            self._work,
            means,
            refuse=_refuse if self.can_refuse else None,
        )
        with write_artifact(out, kind=self.makes) as draft:
            lines = [f"{name} {records[name]['value']}" for name in self.names]
            (draft.path / "films.txt").write_text("\n".join(lines))
        records.remove()

    def _work(self, names: Sequence[str], _: Path) -> Iterator[Record]:
        for name in names:
            with self.log.open("a") as stream:
                stream.write(f"{name} {os.getpid()}\n")
            if name in self.deadly:
                os.kill(os.getpid(), signal.SIGKILL)
            if name == self.failing:
                raise ValueError(f"{name} cannot be")
            time.sleep(self.film_s)
            yield {"name": name, "value": int(name[4:])}


@dataclass(frozen=True)
class OnDevice(Toy):
    """The same, on the device."""

    uses_device: ClassVar[bool] = True


def _refuse(name: str, reason: str) -> Record:
    return {"name": name, "value": reason}


@dataclass(frozen=True)
class Deadly:
    """A stage in whose shards films kill their workers, before anything is kept of them.

    Attributes:
        real: The stage.
        deadly: Name of the film that always does.
        once: Name of the film that does it once in each part of the stage.
        seen: Folder that remembers it.
    """

    real: Request
    deadly: str
    once: str
    seen: Path

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # asked before there is a stage
            raise AttributeError(name)
        return getattr(self.real, name)

    def make(self, out: Path, means: Means) -> object:
        if means.shard is not None:  # at a worker, where the stage before may end after this began
            stages._keep = self._keep
        return self.real.make(out, means)

    def _keep(self, record: Record, *_: object) -> Record:
        mark = self.seen / hashlib.sha256(json.dumps(record).encode()).hexdigest()
        is_first = record["name"] == self.once and not mark.exists()
        if is_first or record["name"] == self.deadly:
            mark.open("a").write("died\n")
            os.kill(os.getpid(), signal.SIGKILL)
        return record
