"""Worker processes: one that crashes, hangs or is killed costs the item that it was working on, and no other."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import connection
from typing import Any, Generic, TypeVar

from ..errors import ProtogenError

T = TypeVar("T")
R = TypeVar("R")

_READY = "ready"  # the first message of a worker
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@dataclass(frozen=True)
class Lost:
    """What became of an item whose process did not live to finish it.

    Attributes:
        reason: why, in words.
        seconds: how long it was worked on.
    """

    reason: str
    seconds: float


def each(
    function: Callable[[T], R],
    items: Sequence[T],
    jobs: int,
    timeout: float | None = None,
    on_loss: Callable[[T, int], None] | None = None,
) -> Generator[tuple[int, R | Lost]]:
    """Apply a function to each item in worker processes; yield (index, result) in the order in which they finish.

    Closing the iterator, or an exception such as KeyboardInterrupt in it, ends all workers at once.

    Args:
        function: what to do; it, the items and the results must be picklable. Each worker has a copy of its own.
        items: the items.
        jobs: the number of processes.
        timeout: seconds for each item; a worker that takes longer is killed.
        on_loss: called with the item and the number of a process that was killed or died, for cleaning up.

    Raises:
        ProtogenError: worker processes do not start.
    """
    # Started afresh rather than forked: a fork copies locks that other threads hold (the progress bar has one, as has NumPy).
    context = multiprocessing.get_context("spawn")
    queue = deque(enumerate(items))
    crew: list[_Worker[T, R]] = []
    try:
        crew += [_Worker(context, function, on_loss) for _ in range(min(jobs, len(items)))]
        while crew:
            for worker in _due(crew, timeout):
                number, result = worker.number, worker.result(timeout)
                if worker.ended:
                    crew.remove(worker)
                    if queue:
                        crew.append(_Worker(context, function, on_loss))
                elif queue:
                    worker.begin(*queue.popleft())
                else:
                    worker.kill()  # it has nothing to lose
                    crew.remove(worker)
                if number is not None and result is not None:
                    yield number, result
    finally:
        for worker in crew:
            worker.kill()


class _Worker(Generic[T, R]):
    """One process, seen from the parent.

    Attributes:
        number: index of the item that it works on, None if it has none.
        ended: whether the process has died or been killed.
    """

    def __init__(self, context: Any, function: Callable[[T], R], on_loss: Callable[[T, int], None] | None) -> None:
        self.pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, function), daemon=True)
        with _interrupts_blocked():
            self._process.start()
        theirs.close()
        self.number: int | None = None
        self.ended = False
        self._item: T | None = None
        self._begun = time.monotonic()
        self._on_loss = on_loss

    def begin(self, number: int, item: T) -> None:
        """Give the worker an item."""
        self.number, self._item, self._begun = number, item, time.monotonic()
        with suppress(OSError):  # it has died; reading from it will tell
            self.pipe.send(item)

    def seconds_left(self, timeout: float | None) -> float | None:
        """Return how long the worker may still work on its item, None for any time."""
        if timeout is None or self.number is None:
            return None
        return max(0.0, self._begun + timeout - time.monotonic())

    def result(self, timeout: float | None) -> R | Lost | None:
        """Return the result of its item, or None if it has only started. The worker is free or `ended` afterwards.

        Raises:
            ProtogenError: it died before it was ready.
        """
        try:
            if not self.pipe.poll():
                self.kill()
                return self._lost(f"not done within {timeout:g} seconds (--timeout); its process was stopped")
            message = self.pipe.recv()
        except (EOFError, OSError):
            self.kill()
            how = _ending(self._process.exitcode)
            if self.number is None:
                raise ProtogenError(
                    f"worker processes do not start: the first {how}; a script that converts folders must do so under "
                    'if __name__ == "__main__":, because each worker imports it'
                ) from None
            return self._lost(f"its process {how}")
        self.number = self._item = None
        return None if message == _READY else message

    def _lost(self, reason: str) -> Lost:
        return Lost(reason, time.monotonic() - self._begun)

    def kill(self) -> None:
        """End the process, if it has not ended, and clean up after an item that it has not finished."""
        self.ended = True
        self._process.kill()
        self._process.join()
        self.pipe.close()
        if self._on_loss is not None and self._item is not None:
            self._on_loss(self._item, self._process.pid)


def _due(crew: Sequence[_Worker[T, R]], timeout: float | None) -> list[_Worker[T, R]]:
    """Wait until a worker has something to say, has died, or has used up its time; return all that are so far."""
    limits = [left for worker in crew if (left := worker.seconds_left(timeout)) is not None]
    ready = connection.wait([worker.pipe for worker in crew], min(limits, default=None))
    return [worker for worker in crew if worker.pipe in ready or worker.seconds_left(timeout) == 0.0]


def _ending(code: int | None) -> str:
    """Say how a process ended, from its exit code as multiprocessing has it."""
    if code is None or code >= 0:
        return f"ended by itself (exit status {code})"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    if name == "SIGKILL":
        return "was killed (SIGKILL), as systems do when memory runs out"
    return f"crashed ({name})"


# ---- in the worker


def _serve(pipe: connection.Connection, function: Callable[[Any], Any]) -> None:
    """Answer each item from the parent with its result until the parent closes the pipe or dies."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides what it means
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    for name in _THREADS:  # one process per core, so one thread per process
        os.environ.setdefault(name, "1")
    _silence()
    pipe.send(_READY)
    with suppress(EOFError, OSError):
        while True:
            pipe.send(function(pipe.recv()))


def _silence() -> None:
    """Send what libraries print past Python's streams to nowhere: the parent has the terminal, with a progress bar."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(nowhere, stream)
    os.close(nowhere)


@contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """Hold Ctrl-C back while a process starts, which inherits this and so is not interrupted before it is ready."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    from multiprocessing import resource_tracker

    resource_tracker.ensure_running()  # started with the first process otherwise, which would end the blocking
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
