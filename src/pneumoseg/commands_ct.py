"""What the CT commands do at the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pneumoseg.terminal import EXIT_OK, console, progress_bar, text_table

if TYPE_CHECKING:  # a command imports what it runs, and only when it runs
    from pneumoseg.ct.simulate import SimulateSettings


def simulate(settings: SimulateSettings, *, overwrite: bool = False) -> int:
    """Make CT volumes with simulated pneumothorax and without."""
    from pneumoseg.ct.simulate import run_simulation

    with progress_bar("making volumes") as bar:
        done = run_simulation(settings, bar, overwrite=overwrite)
    cells = []
    for source in sorted({row.source for row in done.rows}):
        rows = [row for row in done.rows if row.source == source]
        positives = sum(row.pneumothorax for row in rows)
        anatomies = len({row.anatomy for row in rows})
        cells.append((source, *map(str, (anatomies, len(rows), positives))))
    console.print(text_table(("source", "anatomies", "volumes", "with pneumothorax"), cells))
    if not done.made:
        console.print("all of them were there already; nothing was made again")
    console.print(f"truth: {done.truth}", soft_wrap=True, highlight=False)
    return EXIT_OK
