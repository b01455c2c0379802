"""How many share the work of a run, as far as that can be known before it starts."""

from collections.abc import Iterator
from dataclasses import replace

from covid_debug.config.schema import RunConfig
from covid_debug.errors import ArtifactError


def count_workers(config: RunConfig) -> RunConfig:
    """Return a run that is planned for the workers which it would find now.

    Args:
        config: The run.

    Returns:
        The same with ``compute.n_workers`` of the Dask cluster at ``compute.address``; unchanged
        where there is no address, or no worker yet.

    Raises:
        ArtifactError: If Dask's scheduler does not answer.
    """
    compute = config.compute
    if compute.address is None:
        return config
    from distributed import Client  # noqa: PLC0415 - brought by an extra

    try:
        with Client(compute.address, set_as_default=False) as client:
            n_found = len(client.scheduler_info(n_workers=-1)["workers"])
    except OSError as error:
        raise ArtifactError(
            f"compute.address {compute.address}: Dask's scheduler does not answer ({error}); start"
            " it, or correct the address"
        ) from error
    return replace(config, compute=replace(compute, n_workers=n_found or compute.n_workers))


def count_devices(config: RunConfig) -> int:
    """Return how many times faster a training's steps are taken to be than on one device.

    Processes of the CPU share the cores that one of them would use alone.
    """
    return config.compute.devices if config.compute.device.startswith("cuda") else 1


def describe_sharing(config: RunConfig) -> Iterator[str]:
    """Say what the plan takes for granted about workers and devices.

    Args:
        config: What :func:`count_workers` returned.

    Yields:
        Lines for the terminal.
    """
    compute = config.compute
    if compute.runner == "dask":
        yield (
            f"Dask: planned for {compute.n_workers} workers, each as fast as this machine; what"
            " starting them takes is not counted"
        )
    if compute.devices > 1 and count_devices(config) > 1:
        yield (
            f"training: {compute.devices} devices are taken to share its steps evenly; what they"
            " tell one another is not measured"
        )
    elif compute.devices > 1:
        yield (
            f"training: {compute.devices} processes share the cores of this machine; planned as one"
        )
