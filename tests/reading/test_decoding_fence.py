"""The fence: one error a user can read, no noise, and no hiding of what was not the decoder's."""

from __future__ import annotations

import logging
import threading
import warnings

import pytest

from pneumoseg.errors import InputError
from pneumoseg.reading.decoding import NOTE_CHARACTERS, collect_from, fenced, quiet

LOGGER = logging.getLogger("foreignlib.inner")


@pytest.fixture(autouse=True)
def collected() -> None:
    collect_from("foreignlib")


def test_what_a_decoder_raises_becomes_one_input_error() -> None:
    """The last line of a message says it; the rest is the library's affair."""
    with (
        pytest.raises(InputError, match=r"^the header cannot be read: bad length$") as caught,
        fenced("the header cannot be read", "truncated"),
    ):
        raise ValueError("Traceback of a plugin\nbad length\n")
    assert caught.value.code == "truncated"
    assert isinstance(caught.value.__cause__, ValueError)


def test_an_error_without_words_is_named_and_a_long_one_cut() -> None:
    with pytest.raises(InputError, match="cannot: MemoryError"), fenced("cannot"):
        raise MemoryError
    with pytest.raises(InputError) as caught, fenced("cannot"):
        raise OSError("x" * 1000)
    assert len(str(caught.value)) == len("cannot: ") + NOTE_CHARACTERS


def test_an_input_error_passes_unchanged_and_a_stop_is_no_damage() -> None:
    with pytest.raises(InputError, match="^mine$") as caught, fenced("cannot", "damaged"):
        raise InputError("mine", code="too-small")
    assert caught.value.code == "too-small"
    with pytest.raises(KeyboardInterrupt), fenced("cannot"):
        raise KeyboardInterrupt


def test_only_the_errors_that_were_named_are_taken() -> None:
    with pytest.raises(KeyError), fenced("cannot", errors=(ValueError,)):
        raise KeyError("ours")


def test_warnings_of_the_log_are_collected_for_the_thread_alone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Breaks if one film's notes end in another's, or reach the terminal."""
    other: list[str] = []

    def read() -> None:
        with quiet() as heard:
            LOGGER.warning("of the\n other film")
            other.extend(heard)

    with quiet() as notes:
        LOGGER.warning("of this film")
        LOGGER.error("raised anyway")
        thread = threading.Thread(target=read)
        thread.start()
        thread.join()
        with quiet() as inner:
            LOGGER.warning("nested")
        assert inner is notes
        LOGGER.warning("after it")
    assert notes == ["of this film", "nested", "after it"]
    assert other == ["of the other film"]
    assert caplog.messages == []
    LOGGER.warning("outside")
    assert caplog.messages == ["outside"]


def test_warnings_come_back_when_the_last_thread_has_left() -> None:
    """The first in leaves before the second: the filters are those of before, all the same."""
    before = list(warnings.filters)
    first, second = quiet(), quiet()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert list(warnings.filters) != before
    second.__exit__(None, None, None)
    assert list(warnings.filters) == before
