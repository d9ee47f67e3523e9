"""What the commands that make data do at the terminal: phantoms, simulated CT, the cache."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pneumoseg.commands.terminal import EXIT_OK, EXIT_SOME_FAILED, console, progress_bar, text_table

if TYPE_CHECKING:  # a command imports what it runs, and only when it runs
    from pneumoseg.dataset.prepare.run import OneSource, PrepareSettings
    from pneumoseg.phantom import PhantomSettings
    from pneumoseg.simulation.run import SimulateSettings


def phantom(settings: PhantomSettings) -> int:
    """Make phantom films in the SIIM layout."""
    from pneumoseg.phantom import run_phantom

    with progress_bar("making phantom films") as bar:
        done = run_phantom(settings, on_progress=bar)
    console.print(f"{settings.count} films in {done.out}", soft_wrap=True, highlight=False)
    return EXIT_OK


def prepare(settings: PrepareSettings | OneSource, *, overwrite: bool = False) -> int:
    """Make the training cache."""
    from pneumoseg.dataset.cache import FAILURES_FILE
    from pneumoseg.dataset.prepare.run import OneSource
    from pneumoseg.dataset.prepare.run import prepare as make_cache

    if isinstance(settings, OneSource):
        settings = settings.settings()
    with progress_bar("preparing films") as bar:
        cache = make_cache(settings, overwrite=overwrite, on_progress=bar)
    header = ("part", "films", "positive", "patients")
    cells = []
    for part in sorted({row.part for row in cache.rows}):
        rows = cache.part(part)
        patients = len(set(cache.patients[rows].tolist()))
        cells.append((part, str(len(rows)), str(int(cache.labels[rows].sum())), str(patients)))
    console.print(text_table(header, cells))
    failures = cache.folder / FAILURES_FILE
    failed = failures.read_text(encoding="utf-8").count("\n") - 1 if failures.is_file() else 0
    if failed > 0:
        console.print(f"{failed} files could not be used: see {failures}", soft_wrap=True)
    return EXIT_SOME_FAILED if failed > 0 else EXIT_OK


def simulate(settings: SimulateSettings, *, overwrite: bool = False) -> int:
    """Make CT volumes with simulated pneumothorax and without."""
    from pneumoseg.simulation.run import run_simulation

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
