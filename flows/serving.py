"""Offers the flows on a running Prefect server, so that its page can start them.

``python -m flows.serving CONFIG [KEY=VALUE ...]``: what the form of a new run shows at first. A run
that is going on when this process is ended becomes Cancelled; started again, it goes on from its
finished stages.
"""

import asyncio
import sys
from collections.abc import Sequence
from typing import Any

from prefect.client.orchestration import get_client
from prefect.exceptions import ObjectNotFound
from prefect.runner import Runner
from prefect.schedules import Cron, Schedule
from prefect.types.entrypoint import EntrypointType

from flows.new_films import audit_new
from flows.server import START, WATCH
from flows.starting import run_configuration

_POLL_S = 3.0
_TAGS = ["covid-debug"]
_SCHEDULE = ("cron", "interval", "rrule", "timezone")  # of a schedule that has them
_EVERY_MORNING = "0 6 * * *"


class _Runner(Runner):
    """Ends its runs, and says so on the page, before it ends itself."""

    def handle_sigterm(self, *_: object) -> None:
        # Prefect's own would wait, in a signal's handler, for the loop that it has interrupted.
        self.execute_in_background(self.astop)


async def serve_flows(config: str, overrides: Sequence[str]) -> None:
    """Wait for runs that are started on the page or by a schedule, and run one at a time.

    Args:
        config: Configuration that the form of a new run proposes.
        overrides: Overrides that it proposes.
    """
    runner = _Runner(query_seconds=_POLL_S, limit=1, pause_on_shutdown=False)
    start = await run_configuration.ato_deployment(
        START.split("/")[1],
        parameters={"config": config, "overrides": list(overrides)},
        tags=_TAGS,
        entrypoint_type=EntrypointType.MODULE_PATH,
    )
    watched, schedules = await _read_watch()
    watch = await audit_new.ato_deployment(
        WATCH.split("/")[1],
        parameters=watched,
        schedules=schedules,
        tags=_TAGS,
        entrypoint_type=EntrypointType.MODULE_PATH,
    )
    for deployment in (start, watch):
        await runner.aadd_deployment(deployment)
    await runner.start()


async def _read_watch() -> tuple[dict[str, Any], list[Schedule]]:
    """Return folder, model and schedules as the user has set them on the page."""
    async with get_client() as client:
        try:
            found = await client.read_deployment_by_name(WATCH)
        except ObjectNotFound:
            return {}, [Cron(_EVERY_MORNING, active=False)]
    schedules = []
    for one in found.schedules:
        kept: dict[str, Any] = {name: getattr(one.schedule, name, None) for name in _SCHEDULE}
        schedules.append(Schedule(**kept, active=one.active, parameters=one.parameters))
    return found.parameters, schedules


if __name__ == "__main__":
    asyncio.run(serve_flows(sys.argv[1], sys.argv[2:]))
