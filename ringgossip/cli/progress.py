"""How is long work shown? A bar when a person looks at it, else nothing but its end."""

import sys
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

_WORDS = {"snapshot": "copying the live database", "hash": "reading", "copies": "copies"}


class Bar:
    """Shows (phase, done, total) on standard error; a context manager, and callable from one thread."""

    def __init__(self, shown: bool | None = None) -> None:
        self._shown = sys.stderr.isatty() if shown is None else shown
        self._progress: Progress | None = None
        self._tasks: dict[str, TaskID] = {}

    def __call__(self, phase: str, done: int, total: int) -> None:
        if self._progress is None:
            return
        if phase not in self._tasks:
            self._tasks[phase] = self._progress.add_task(_WORDS.get(phase, phase), total=total, amount="")
        amount = f"{done} of {total}" if phase == "copies" else f"{done / 1e6:.0f} of {total / 1e6:.0f} MB"
        self._progress.update(self._tasks[phase], completed=done, total=total, amount=amount)

    def __enter__(self) -> "Bar":
        if self._shown:
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

            self._progress = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.fields[amount]}"),
                TimeElapsedColumn(),
                console=Console(stderr=True),
                transient=True,
            )
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._progress is not None:
            self._progress.stop()
