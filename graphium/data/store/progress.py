"""One progress bar for all stages of a preparation: done, rate, time left, failures."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol


class Advance(Protocol):
    """Tells the bar of what was done: rows or molecules, and rows that failed."""

    def __call__(self, rows: int, failures: int = 0) -> None: ...


class StartStage(Protocol):
    """A progress bar: calling it starts a stage of so many rows, ``say`` shows a sentence."""

    def __call__(self, stage: str, rows: int) -> Advance: ...

    def say(self, sentence: str) -> None: ...


@contextmanager
def progress_bar(
    name: str, progress: bool | StartStage, verbs: tuple[str, str] = ("preparing", "prepared")
) -> Iterator[StartStage]:
    """Yield the progress bar of a preparation, or of other work on the rows of a table, on stderr.

    Nothing is shown before the first stage starts.

    Args:
        name: What is prepared, for the bar and its sentences.
        progress: False shows nothing; an outer bar is handed on.
        verbs: What is done with it, and has been done at the end.
    """
    if not isinstance(progress, bool):
        yield progress
        return
    bar = _Bar(name, verbs[0]) if progress else _Silence()
    try:
        yield bar
        bar.end(f"{verbs[1]} {name}")
    finally:
        bar.end()


class _Silence:
    def __call__(self, stage: str, rows: int) -> Advance:
        return lambda rows, failures=0: None

    def say(self, sentence: str) -> None:
        return

    def end(self, description: str = "") -> None:
        return


class _Bar:
    def __init__(self, name: str, verb: str) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self._name = name
        self._verb = verb
        self._console = Console(stderr=True)
        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=12),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[failed]}"),
        )
        self._progress = Progress(*columns, console=self._console)
        self._task: Any = None
        self._failures = 0

    def __call__(self, stage: str, rows: int) -> Advance:
        if self._task is None:
            self._task = self._progress.add_task("", rate="", failed="")
        # A reset forgets the fields that it is not given.
        stage = f"{self._verb} {self._name}: {stage}"
        self._progress.reset(self._task, total=rows, description=stage, rate="", failed=self._failed())
        self._progress.start()
        return self._advance

    def _advance(self, rows: int, failures: int = 0) -> None:
        self._failures += failures
        self._progress.advance(self._task, rows)
        speed = self._progress.tasks[0].finished_speed or self._progress.tasks[0].speed
        self._progress.update(
            self._task,
            rate=f"{speed:,.0f}/s" if speed else "",
            failed=self._failed(),
        )

    def _failed(self) -> str:
        return f"{self._failures:,} failed" if self._failures else ""

    def say(self, sentence: str) -> None:
        self._console.print(f"{self._name}: {sentence}", highlight=False, markup=False)

    def end(self, description: str = "") -> None:
        if self._task is None:
            return
        if description:
            # The rate of the last stage is none of the whole; what was there already never advanced.
            total = self._progress.tasks[0].total
            self._progress.update(self._task, description=description, rate="", completed=total)
        else:
            self._progress.stop()
