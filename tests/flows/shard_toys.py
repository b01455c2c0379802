"""A stage of toy films; workers of a cluster import it from here."""

import os
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

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

    def make(self, out: Path, means: Means) -> None:
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
