"""Who trains which step when several workers train at once: each step once, and no gradient older than allowed.

A step is taken (its images are read), started (its gradient is being computed) and pushed (parameter servers have applied it). The
steps of a worker that dies are dealt again.
"""

import asyncio
import heapq
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any


@dataclass
class _Flight:
    """Steps that a worker has started and not pushed."""

    base: int
    """Starts that had ended when it fetched the parameters of the first."""
    steps: list[int] = field(default_factory=list)


class Dealer:
    """Deals steps `first` to `num_steps`, and before them those left open.

    The staleness of a gradient is the number of steps applied to the parameters between the fetch it was computed from and its own
    application. It is at most the starts that had not ended at the fetch, those of its own push left out; a start is put off while it
    could bring any unpushed gradient above `max_staleness`. None is no bound.

    Args:
        num_steps: step to end before.
        max_staleness: the bound, in steps.
        first: the first step never dealt before.
        left: steps below it that are not done.
    """

    def __init__(self, num_steps: int, max_staleness: int | None, *, first: int = 0, left: Iterable[int] = ()) -> None:
        self._num_steps, self._max = num_steps, max_staleness
        self._next, self._again = first, sorted(left)
        self._taken: dict[int, list[int]] = {}
        self._flights: dict[int, _Flight] = {}
        self._gone: set[int] = set()
        self._starts, self._ended = 0, 0
        self._holding = False
        self._reports: list[Any] = []
        self._changed = asyncio.Condition()

    def take(self, worker: int) -> tuple[int, bool] | None:
        """A step to read the images of, and whether it was dealt before; None when all are dealt."""
        if worker in self._gone or not (self._again or self._next < self._num_steps):
            return None
        again = bool(self._again)
        if again:
            step = heapq.heappop(self._again)
        else:
            step, self._next = self._next, self._next + 1
        self._taken.setdefault(worker, []).append(step)
        return step, again

    def now(self) -> tuple[int, int]:
        """Starts that have ended, to be asked for before a fetch, and the first step that is not done."""
        return self._ended, min([*self.left(), self._next])

    def left(self) -> list[int]:
        """Steps that were dealt and are not done, ascending."""
        flying = (flight.steps for flight in self._flights.values())
        return sorted([*self._again, *(step for steps in (*self._taken.values(), *flying) for step in steps)])

    async def start(self, worker: int, step: int, base: int) -> bool:
        """Wait until a taken step may be started; False if the worker has to push what it has, and fetch, and ask again.

        Args:
            worker: who asks.
            step: one that it took.
            base: what `now` said before its last fetch.
        """
        async with self._changed:
            while (answer := self._may_start(worker, base)) is None:
                await self._changed.wait()
            if answer:
                self._taken[worker].remove(step)
                self._flights.setdefault(worker, _Flight(base)).steps.append(step)
                self._starts += 1
            return answer

    def _may_start(self, worker: int, base: int) -> bool | None:
        """None: not yet. A worker with unpushed steps is never told to wait, so that those who wait for them go on."""
        if worker in self._gone:
            return False
        own = self._flights.get(worker)
        not_yet = None if own is None else False
        if self._holding:
            return not_yet
        if self._max is None:
            return True
        starts, most = self._starts + 1, self._max
        others = (flight for name, flight in self._flights.items() if name != worker)
        if any(starts - flight.base - len(flight.steps) > most for flight in others):
            return not_yet
        if own is not None:  # its starts before and this one are no staleness of its own push
            return True
        if self._starts - self._ended > most:  # a fetch would not help
            return None
        return starts - base - 1 <= most

    async def pushed(self, worker: int, report: Any) -> None:
        """All servers have applied what the worker started."""
        if worker in self._gone:
            return
        async with self._changed:
            self._ended += len(self._flights.pop(worker).steps)
            self._reports.append(report)
            self._changed.notify_all()

    async def lost(self, worker: int) -> None:
        """A worker has died, and no server takes its gradients any more: its steps are dealt again."""
        async with self._changed:
            self._gone.add(worker)
            flight = self._flights.pop(worker, _Flight(0))
            self._ended += len(flight.steps)
            for step in (*self._taken.pop(worker, ()), *flight.steps):
                heapq.heappush(self._again, step)
            self._changed.notify_all()

    async def hold(self) -> tuple[int, list[int]]:
        """Let no step start, and wait until none is unpushed.

        Returns:
            The first step never dealt, and those dealt and not done.
        """
        async with self._changed:
            self._holding = True
            self._changed.notify_all()
            await self._changed.wait_for(lambda: not self._flights)
            return self._next, self.left()

    async def release(self) -> None:
        """Go on after a hold."""
        async with self._changed:
            self._holding = False
            self._changed.notify_all()

    def reports(self) -> list[Any]:
        """What was reported since the last call."""
        reports, self._reports = self._reports, []
        return reports
