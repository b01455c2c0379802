"""Runs one training in several processes of this machine, one a device.

Owns the life of the processes. They are started from here, not by Fabric's launcher, which starts
the command line again that is running: inside a flow, the flow. They find each other and talk on
127.0.0.1 alone, on ports that the system chooses.
"""

import multiprocessing
import os
import signal
import socket
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import connection, process, resource_tracker
from typing import TypeAlias

import torch
from torch import distributed

from covid_debug.errors import CovidDebugError, TrainingError
from covid_debug.pool import end_with_parent
from covid_debug.training.loop import TrainingResult
from covid_debug.training.params import EpochMetrics

HOST = "127.0.0.1"
_GRACE_S = 5.0
_MENDABLE = (CovidDebugError, OSError, MemoryError, torch.OutOfMemoryError)

Tell: TypeAlias = Callable[[EpochMetrics], None]
Work: TypeAlias = Callable[[Tell | None], TrainingResult]


@dataclass(frozen=True)
class _Failure:
    """What ended a process.

    Attributes:
        error: Raised there.
        cause: Behind it, which no pickle carries.
        is_own: Whether it says itself what is wrong; otherwise another process may have died.
    """

    error: BaseException
    cause: BaseException | None
    is_own: bool


def run_ranks(work: Work, n_ranks: int, device: str, tell: Tell) -> TrainingResult:
    """Run a training in several processes, all of which end with this call.

    Args:
        work: Picklable; each process calls it, with a callback for the epochs in the first one.
        n_ranks: Number of processes, at least 2.
        device: ``"cpu"`` or ``"cuda"``.
        tell: Receives the metrics of every epoch.

    Returns:
        What the first process returned.

    Raises:
        TrainingError: If a process dies without an error of its own.
    """
    context = multiprocessing.get_context("spawn")
    # On a CPU the processes share the threads that one would have.
    n_threads = max(1, torch.get_num_threads() // (n_ranks if device == "cpu" else 1))
    ranks: dict[connection.Connection, process.BaseProcess] = {}
    with socket.create_server((HOST, 0)) as meeting:
        try:
            for rank in range(n_ranks):
                here, there = context.Pipe(duplex=False)
                started = context.Process(
                    target=_run_rank,
                    args=(os.getpid(), rank, n_ranks, device, n_threads, meeting, there, work),
                    name=f"training {rank + 1} of {n_ranks}",
                    daemon=True,
                )
                _start_deaf(started)
                there.close()  # so that the pipe ends when the process does
                ranks[here] = started
            return _follow(ranks, tell)
        finally:
            for each in ranks.values():
                each.kill()
            for pipe, each in ranks.items():
                each.join()
                pipe.close()


def _start_deaf(rank: process.BaseProcess) -> None:
    """Start a process that never hears Ctrl-C, which is the parent's to answer."""
    resource_tracker.ensure_running()  # starting it would unblock the signal
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        rank.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _follow(ranks: dict[connection.Connection, process.BaseProcess], tell: Tell) -> TrainingResult:
    """Pass on what the processes say until the first returns or one fails.

    A process that lost another fails too, and may say so first: then the others have a moment.

    Returns:
        What the first process returned.

    Raises:
        TrainingError: If a process dies without an error of its own.
    """
    talking, failure, deadline = list(ranks), None, float("inf")
    while talking and time.monotonic() < deadline:
        wait_s = None if failure is None else max(deadline - time.monotonic(), 0)
        ready = connection.wait(talking, wait_s)
        for pipe in [each for each in talking if each in ready]:
            message = _receive(pipe, ranks[pipe])
            match message:
                case EpochMetrics():
                    tell(message)
                case TrainingResult():
                    for each in ranks.values():
                        each.join(_GRACE_S)
                    return message
                case _Failure():
                    talking.remove(pipe)
                    if failure is None or message.is_own:
                        failure = message
                        deadline = time.monotonic() + (0 if message.is_own else _GRACE_S)
                case None:
                    talking.remove(pipe)
    if failure is None:
        raise TrainingError("training: its processes ended without a result; start again")
    raise failure.error from failure.cause


def _receive(pipe: connection.Connection, rank: process.BaseProcess) -> object:
    """Return what a process says; None if it ended well without a word."""
    try:
        return pipe.recv()
    except EOFError:
        rank.join()
    if not rank.exitcode:
        return None
    ending = f"with code {rank.exitcode}"
    if rank.exitcode < 0:
        ending = f"by {signal.Signals(-rank.exitcode).name}"
    error = TrainingError(
        f"{rank.name}: the process was ended {ending}, probably for lack of memory; nothing of this"
        " training is kept; free memory, or use fewer devices, and start again"
    )
    return _Failure(error, None, is_own=True)


# --------------------------------------------------------------------------- in each process


def _run_rank(
    parent: int,
    rank: int,
    n_ranks: int,
    device: str,
    n_threads: int,
    meeting: socket.socket,
    pipe: connection.Connection,
    work: Work,
) -> None:
    end_with_parent(parent)
    try:
        torch.set_num_threads(n_threads)
        # DDP's advice about one layer's strides costs a copy of nine numbers a channel.
        warnings.filterwarnings("ignore", "Grad strides do not match")
        _connect(rank, n_ranks, device, meeting)
        result = work(pipe.send if rank == 0 else None)
        if rank == 0:
            pipe.send(result)
        distributed.destroy_process_group()
    except Exception as error:  # noqa: BLE001 - the parent raises it
        is_own = isinstance(error, _MENDABLE)
        told = error if is_own else RuntimeError(traceback.format_exc())
        pipe.send(_Failure(told, error.__cause__ if is_own else None, is_own))
        sys.exit(1)


def _connect(rank: int, n_ranks: int, device: str, meeting: socket.socket) -> None:
    """Join the other processes; Fabric finds what it would find under torchrun."""
    loopback = next(name for _, name in socket.if_nameindex() if name.startswith("lo"))
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(n_ranks),
        "LOCAL_WORLD_SIZE": str(n_ranks),
        "GLOO_SOCKET_IFNAME": loopback,
        "NCCL_SOCKET_IFNAME": loopback,
    }
    # torch's own server would listen on every address of the machine.
    port = meeting.getsockname()[1]
    descriptor = meeting.detach()
    if rank > 0:
        os.close(descriptor)
    store = distributed.TCPStore(  # type: ignore[attr-defined]
        HOST, port, n_ranks, is_master=rank == 0, master_listen_fd=descriptor if rank == 0 else None
    )
    if device == "cuda":
        torch.cuda.set_device(rank)
    distributed.init_process_group(
        "nccl" if device == "cuda" else "gloo", store=store, rank=rank, world_size=n_ranks
    )
