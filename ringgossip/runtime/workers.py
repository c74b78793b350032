"""How does slow work leave trio's thread and come back without costing more than it does?

Long-lived threads take jobs from queues. Results come back through one mailbox
that wakes trio once for as many results as there are: a wake-up per chunk costs
more than hashing the chunk (targets, section 1). What comes in numbers says so,
and waits a moment for more of its kind.
"""

import queue
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, TypeVar

import trio

from ringgossip.errors import OperationFailed, PeerGone

T = TypeVar("T")
Call = Callable[[], None]

# How long what is posted for later waits at most: half of what links are given to do ahead.
PAUSE = 0.010


class Mailbox:
    """Calls that threads want made in trio's thread, in the order in which they were posted."""

    def __init__(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        self._calls: deque[Call] = deque()
        self._ringing = False
        self._patient = False  # something was posted for later, so more of it is likely
        self._pausing = False
        self._bell = trio.Event()

    def post(self, call: Call) -> None:
        """Have `call` made soon; from any thread. Dropped when trio has ended."""
        self._calls.append(call)
        if not self._ringing:
            self._wake()

    def post_later(self, call: Call) -> None:
        """Have `call` made soon, or in `PAUSE` if others of its kind were made just now; from any thread."""
        self._patient = True
        self._calls.append(call)
        if not self._ringing and not self._pausing:
            self._wake()

    def _wake(self) -> None:
        self._ringing = True
        try:
            self._token.run_sync_soon(self._ring)
        except trio.RunFinishedError:
            self._calls.clear()

    def _ring(self) -> None:
        self._bell.set()

    async def run(self, around: Callable[[Call], None]) -> None:
        """Make the calls for ever; each batch is one call of `around`, so that what follows is done once."""
        while True:
            await self._bell.wait()
            self._bell = trio.Event()
            # Before the calls are taken: whoever posts from now on rings again.
            self._pausing, self._patient = self._patient, False
            self._ringing = False
            around(self.deliver)
            if self._pausing:
                with trio.CancelScope(deadline=trio.current_time() + PAUSE):
                    await self._bell.wait()
                # In this order: who saw a pause has posted before we look.
                self._pausing = False
                if self._calls:
                    self._bell.set()

    def deliver(self) -> None:
        """Make all calls that are there now, but none that these cause to be posted."""
        for _ in range(len(self._calls)):
            self._calls.popleft()()


class Workers:
    """Threads that share one queue. Started when first needed, at most `threads`."""

    def __init__(self, name: str, threads: int, mailbox: Mailbox, *, patient: bool = False) -> None:
        """`patient`: results come in numbers, and none is waited for."""
        self._name = name
        self._most = threads
        self.mailbox = mailbox
        self._post = mailbox.post_later if patient else mailbox.post
        self._jobs: queue.SimpleQueue[Call | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._waiting = 0  # jobs that were submitted and are not done; touched in trio's thread only
        self._closed = False

    @property
    def waiting(self) -> int:
        """How many jobs are not done yet."""
        return self._waiting

    def submit(
        self, job: Callable[[], T], done: Callable[[T], None], failed: Callable[[Exception], None]
    ) -> None:
        """Run `job` in a thread, then `done(result)` or `failed(error)` in trio's thread.

        Jobs of one pool of one thread run in order.
        """
        if self._closed:
            return
        self._waiting += 1
        if self._waiting > len(self._threads) < self._most and not self._start_thread():
            refusal = OperationFailed("no thread can be started: raise the limits of processes and memory")
            self._post(lambda: self._finish(failed, refusal))
            return

        def work() -> None:
            try:
                result = job()
            except Exception as error:
                self._post(lambda error=error: self._finish(failed, error))  # type: ignore[misc]
            else:
                self._post(lambda: self._finish(done, result))

        self._jobs.put(work)

    async def call(self, job: Callable[[], T], unwanted: Callable[[T], None] | None = None) -> T:
        """Run `job` in a thread and return its result or raise its error.

        A cancelled wait does not stop the job; its result goes to `unwanted` then, in trio's thread.
        """
        answer: list[Any] = []
        ready = trio.Event()
        given_up = False

        def settle(good: bool, value: Any) -> None:
            answer[:] = [good, value]
            ready.set()
            if given_up and good and unwanted is not None:
                unwanted(value)

        if self._closed:
            raise PeerGone("this peer was closed")
        self.submit(job, lambda result: settle(True, result), lambda error: settle(False, error))
        try:
            await ready.wait()
        except trio.Cancelled:
            given_up = True
            if answer:
                settle(*answer)
            raise
        good, value = answer
        if not good:
            raise value
        result: T = value
        return result

    def _finish(self, deliver: Callable[[Any], None], value: Any) -> None:
        self._waiting -= 1
        deliver(value)

    def _start_thread(self) -> bool:
        """Start one more; False if there is none at all then. A container may allow only so many."""
        number = len(self._threads) + 1
        # Daemons: a disk that hangs must not keep a program from ending.
        thread = threading.Thread(target=self._run, name=f"ringgossip-{self._name}-{number}", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            return bool(self._threads)
        self._threads.append(thread)
        return True

    def _run(self) -> None:
        while True:
            job = self._jobs.get()
            if job is None:
                return
            job()

    def close(self) -> None:
        """Let the threads end after the jobs they have; does not wait."""
        self._closed = True
        for _ in self._threads:
            self._jobs.put(None)

    def join(self, seconds: float) -> bool:
        """Wait for the threads to end; blocks. Return whether they all did."""
        for thread in self._threads:
            thread.join(seconds)
        return not any(thread.is_alive() for thread in self._threads)
