"""What every task of the flows has in common: no cache of Prefect's, and when it is tried again.

The artifacts are the only truth. A stage is tried again only where waiting can help: the system
says that a drive or the network was away for a moment. What a user must mend is never tried again.
"""

import errno
from collections.abc import Callable, Iterator
from typing import Any, Final, ParamSpec, TypeVar

from prefect import Task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun

from covid_debug.terminal import RunConsole

P = ParamSpec("P")
R = TypeVar("R")

DELAYS_S: Final = (10.0, 60.0)
"""Seconds before the second and the third attempt."""
_AWAY = frozenset(
    {
        errno.EIO,  # a network drive with soft mounts; a disk that fails answers it every time
        errno.ESTALE,
        errno.ETIMEDOUT,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
        errno.ENETDOWN,
        errno.ENETRESET,
        errno.ENETUNREACH,
        errno.ENOTCONN,
        errno.ECONNABORTED,
        errno.ECONNREFUSED,
        errno.ECONNRESET,
        errno.EREMOTEIO,
    }
)


def may_pass(_task: Task[..., Any], _run: TaskRun, state: State[Any]) -> bool:
    """Tell whether a stage failed of something that may pass by itself, and say so.

    Args:
        state: Of the attempt that failed.

    Returns:
        True where a drive or the network was away, also behind an error of our own.
    """
    for link in _chain(state.data):
        if isinstance(link, OSError) and link.errno in _AWAY:
            RunConsole().warn(f"{link}: this may pass, the stage is tried again")
            return True
    return False


def _chain(error: object) -> Iterator[BaseException]:
    while isinstance(error, BaseException):
        yield error
        error = error.__cause__ or error.__context__


def stage(name: str | None = None) -> Callable[[Callable[P, R]], Task[P, R]]:
    """Return the decorator that makes a function a task.

    Args:
        name: Of its runs; may hold parameters in braces. None where the flow names each run.

    Returns:
        The decorator.
    """

    def decorate(function: Callable[P, R]) -> Task[P, R]:
        return Task(
            function,
            task_run_name=name,
            cache_policy=NO_CACHE,
            persist_result=False,
            retries=len(DELAYS_S),
            retry_delay_seconds=list(DELAYS_S),
            retry_condition_fn=may_pass,
        )

    return decorate
