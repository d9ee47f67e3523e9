"""What every command speaks with: tables on standard output, progress beside them."""

from __future__ import annotations

import pytest
from rich.console import Console

from pneumoseg.commands import terminal
from pneumoseg.commands.terminal import progress_bar, text_table


def test_a_table_s_words_stand_left_and_its_numbers_right() -> None:
    console = Console(width=40)
    with console.capture() as shown:
        console.print(text_table(("figure", "value"), [("AUROC", "0.9"), ("recall", "0.95")]))
    assert [line.rstrip() for line in shown.get().splitlines()] == [
        "figure  value",
        "AUROC     0.9",
        "recall   0.95",
    ]


def test_a_bar_writes_nothing_to_standard_output(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Breaks if a table that is piped into a file begins with a progress bar."""
    monkeypatch.setattr(terminal, "errors", Console(stderr=True, force_terminal=True, width=80))
    with progress_bar("reading") as reported:
        reported(1, 4)
        reported(4, 4)
    written = capsys.readouterr()
    assert written.out == ""
    assert "reading" in written.err and "4/4" in written.err
