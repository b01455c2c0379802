"""What a worker of a cluster does: it proves that it is fit for a run, and makes shards.

Imports no Prefect: a worker needs neither it nor its server, only the folder that it shares.
"""

import functools
import hashlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Final

import covid_debug
from covid_debug.artifacts import package_versions
from covid_debug.errors import CovidDebugError
from covid_debug.places import find_obstacle
from covid_debug.progress import Progress, Silent
from covid_debug.shards import Shard
from covid_debug.stages import Means, Request, make_shard
from covid_debug.text.scan import limit_threads

SEEN_WITHIN_S: Final = 60.0
"""How long a network drive may take to show a file that another machine has written."""
_makings: dict[Path, "Making"] = {}  # by the token of the run for which this process is fit
_PERIOD_S: Final = 5.0


class WorkerRefusedError(CovidDebugError):
    """A worker cannot work for a run; the arguments are its address and why."""

    def __str__(self) -> str:
        """Return the one line."""
        address, breach = self.args
        return f"worker {address}: {breach}"


class RunEndedError(CovidDebugError):
    """The run that a shard belongs to has ended; its finished films are kept."""


class Halting(Silent):
    """Tells nobody how far work on films is, and ends it after a film when the run has ended."""

    def __init__(self, goes_on: Callable[[], bool]) -> None:
        """Take what tells whether the run goes on; it is asked after each film."""
        self._goes_on = goes_on

    @contextmanager
    def progress(self, title: str) -> Iterator[Progress]:
        """Yield a callback that raises :class:`RunEndedError` when the run has ended."""

        def ask(n_done: int, n_total: int) -> None:
            if not self._goes_on():
                raise RunEndedError(f"the run has ended after {n_done} of {n_total} {title}")

        yield ask


@dataclass(frozen=True)
class Terms:
    """What a worker must share with the run.

    Attributes:
        token: File in the folder of artifacts; the run goes on for as long as it is there.
        folder: Working directory of the run, from which its relative paths start.
        places: Files and folders that the work reads.
        code: Of covid_debug, see :func:`digest_code`.
        packages: Versions of what decides pixels.
    """

    token: Path
    folder: Path
    places: tuple[Path, ...]
    code: str
    packages: dict[str, str]

    @classmethod
    def of_this_process(cls, token: Path, places: tuple[Path, ...]) -> "Terms":
        """Return the terms of a run that goes on in this process."""
        return cls(token, Path.cwd(), places, digest_code(), package_versions())

    def find_breach(self) -> str | None:
        """Make this process fit for the run; say why it cannot be, or None.

        It goes to the working directory of the run, and works on one thread from now on.

        Returns:
            What is wrong, and the remedy.
        """
        if self.code != digest_code():
            return (
                f"has another covid_debug (code {digest_code()}, the run's is {self.code});"
                " install the same version there"
            )
        for name, version in package_versions().items():
            if version != self.packages.get(name):
                return f"has {name} {version}, the run has {self.packages.get(name)}; install that"
        if not self.folder.is_dir():
            return self._unseen(self.folder)
        os.chdir(self.folder)
        limit_threads()
        unseen = [place for place in (*self.places, self.token) if not _is_seen(place)]
        if unseen:
            return self._unseen(unseen[0])
        obstacle = find_obstacle(self.token.parent)
        if obstacle is not None:
            return f"cannot write {self.token.parent.absolute()} ({obstacle}); let it write there"
        return None

    def _unseen(self, place: Path) -> str:
        shown = place.parent if place == self.token else place
        return (
            f"does not see {self.folder / shown} as the run does; give it that folder under the"
            " same path"
        )


def _is_seen(place: Path) -> bool:
    deadline = time.monotonic() + SEEN_WITHIN_S / 6
    while not place.exists():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.2)
    return True


@functools.cache
def digest_code() -> str:
    """Fingerprint the package's files that can decide a result: all but the command line's.

    Returns:
        12 hex digits.
    """
    root, digest = Path(covid_debug.__file__).parent, hashlib.sha256()
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root)
        if path.is_file() and "__pycache__" not in name.parts and name.parts[0] != "cli":
            digest.update(f"{name.as_posix()}\0".encode())
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:12]


class Making:
    """Makes shards of a stage as they come, in a thread; what all films need is read only once.

    Attributes:
        is_over: Whether the run or an error has ended it.
    """

    def __init__(
        self, request: Request, target: Path, means: Means, goes_on: Callable[[], bool]
    ) -> None:
        """Begin.

        Args:
            request: What is asked for.
            target: Place of the artifact.
            means: How it is carried out.
            goes_on: Whether the run goes on; it is asked after each film, and while none is asked
                for.
        """
        self.is_over = False
        self._goes_on = goes_on
        self._shards = self._take()
        halting = replace(means, listener=Halting(goes_on), more=self._shards)
        self._make = partial(make_shard, request, target, halting)
        self._asked: SimpleQueue[Shard] = SimpleQueue()
        self._answers: SimpleQueue[BaseException | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def make(self, shard: Shard) -> None:
        """Wait until a shard is made.

        Raises:
            RunEndedError: If the run ended meanwhile.
            Exception: What stopped the work; another shard wants another object.
        """
        self._asked.put(shard)
        is_alive = True
        while True:
            try:
                error = self._answers.get(timeout=_PERIOD_S if is_alive else 0)
            except Empty:
                if not is_alive:
                    raise RunEndedError(f"the run has ended before shard {shard}") from None
                is_alive = self._thread.is_alive()
            else:
                break
        if error is not None:
            raise error

    def _take(self) -> Iterator[Shard]:
        while self._goes_on():
            with suppress(Empty):
                yield self._asked.get(timeout=_PERIOD_S)
                self._answers.put(None)

    def _run(self) -> None:
        try:
            for shard in self._shards:
                self._make(shard)
            self.is_over = True
        except BaseException as error:  # noqa: BLE001 - raised in the thread that waits
            self.is_over = True
            self._answers.put(error)


def make_part(terms: Terms, request: Request, target: Path, means: Means, shard: Shard) -> None:
    """Make a shard of a stage, see :func:`covid_debug.stages.make_shard`.

    Raises:
        WorkerRefusedError: If this worker is not fit for the run.
        RunEndedError: If the run ended meanwhile.
    """
    making = _makings.get(terms.token)
    if making is None:
        from distributed import get_worker  # noqa: PLC0415 - brought by an extra

        breach = terms.find_breach()
        if breach is not None:
            raise WorkerRefusedError(get_worker().address, breach)
    if making is None or making.is_over:
        making = Making(request, target, means, terms.token.exists)
        _makings.clear()
        _makings[terms.token] = making
    making.make(shard)
