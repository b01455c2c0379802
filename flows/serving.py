"""Offers the flows on a running Prefect server, so that its page can start them.

``python -m flows.serving CONFIG [KEY=VALUE ...]``: what the form of a new run shows at first. A run
that is going on when this process is ended becomes Cancelled; started again, it goes on from its
finished stages.
"""

import asyncio
import sys
from collections.abc import Sequence

from prefect.runner import Runner
from prefect.types.entrypoint import EntrypointType

from flows.server import START
from flows.starting import run_configuration

_POLL_S = 3.0


class _Runner(Runner):
    """Ends its runs, and says so on the page, before it ends itself."""

    def handle_sigterm(self, *_: object) -> None:
        # Prefect's own would wait, in a signal's handler, for the loop that it has interrupted.
        self.execute_in_background(self.astop)


async def serve_flows(config: str, overrides: Sequence[str]) -> None:
    """Wait for runs that are started on the page, and run one at a time.

    Args:
        config: Configuration that the form proposes.
        overrides: Overrides that it proposes.
    """
    runner = _Runner(query_seconds=_POLL_S, limit=1, pause_on_shutdown=False)
    start = await run_configuration.ato_deployment(
        START.split("/")[1],
        parameters={"config": config, "overrides": list(overrides)},
        tags=["covid-debug"],
        entrypoint_type=EntrypointType.MODULE_PATH,
    )
    await runner.aadd_deployment(start)
    await runner.start()


if __name__ == "__main__":
    asyncio.run(serve_flows(sys.argv[1], sys.argv[2:]))
