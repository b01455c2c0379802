"""A stage is tried again where waiting can help, and only there."""

import errno
from collections.abc import Callable
from typing import Any

import pytest
from prefect import flow

from covid_debug.errors import ArtifactError, DataIntegrityError
from flows import tasks
from flows.stage import DELAYS_S, stage

pytestmark = [
    pytest.mark.filterwarnings("default"),  # other packages' deprecations
]


def hiccup(number: int) -> Callable[[], None]:
    def fail() -> None:
        raise OSError(number, "the drive is away", "/mnt/films")

    return fail


def behind_our_own(number: int) -> Callable[[], None]:
    def fail() -> None:
        try:
            hiccup(number)()
        except OSError as error:
            raise ArtifactError("/mnt/films: cannot be read") from error

    return fail


def mistake() -> None:
    raise DataIntegrityError("films.csv: lists no film")


def fault() -> None:
    raise KeyError("a fault of this program")


@pytest.mark.parametrize(
    ("fail", "n_attempts"),
    [
        (hiccup(errno.ESTALE), 2),
        (hiccup(errno.ECONNRESET), 2),
        (behind_our_own(errno.EIO), 2),
        (hiccup(errno.ENOSPC), 1),
        (hiccup(errno.EACCES), 1),
        (mistake, 1),
        (fault, 1),
    ],
)
def test_stage_is_tried_again_only_where_the_error_may_pass(
    prefect_server: None,
    capsys: pytest.CaptureFixture[str],
    fail: Callable[[], None],
    n_attempts: int,
) -> None:
    attempts: list[int] = []

    def work() -> int:
        attempts.append(1)
        if len(attempts) == 1:
            fail()
        return 5

    @flow
    def run() -> Any:
        return stage("work")(work).with_options(retry_delay_seconds=0)(return_state=True)

    state = run(return_state=True)

    assert len(attempts) == n_attempts
    assert state.is_completed() is (n_attempts == 2)
    assert ("tried again" in capsys.readouterr().out) is (n_attempts == 2)


def test_every_stage_of_the_run_is_made_so() -> None:
    assert tasks.ingest.retries == len(DELAYS_S)
    assert tasks.train.retries == len(DELAYS_S)
    assert tasks.train.cache_policy is tasks.report.cache_policy
