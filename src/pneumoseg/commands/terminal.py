"""What every command uses to speak: two consoles, a table, a progress bar, the exit codes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

EXIT_OK, EXIT_SOME_FAILED = 0, 1
DISCLAIMER = "Research software, not a medical device."

console = Console()
errors = Console(stderr=True)


def text_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """A table without lines, the first column to the left, the others to the right."""
    table = Table(box=None, pad_edge=False)
    for index, name in enumerate(header):
        table.add_column(name, justify="left" if index == 0 else "right")
    for row in rows:
        table.add_row(*row)
    return table


@contextmanager
def progress_bar(description: str) -> Iterator[Callable[[float, int], None]]:
    """A progress bar on standard error; the value is called with done and total."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=errors, transient=True) as progress:
        task = progress.add_task(description, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
