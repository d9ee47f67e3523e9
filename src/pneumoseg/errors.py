"""The errors a user can meet, one small tree.

Every error carries a stable ``code`` (written to ``failures.csv``) and one sentence that says what
came, what was expected and what to do. The command line maps ``UsageError`` to exit code 2; an
``InputError`` concerns one file and never stops a run.
"""

from __future__ import annotations


class PneumosegError(Exception):
    """Base of every error raised on purpose; ``code`` is a short, stable, kebab-case word."""

    code = "error"

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        if code is not None:
            self.code = code


class InputError(PneumosegError):
    """One input (a file, a row) cannot be used; the run records it and goes on."""

    code = "unusable-input"


class UsageError(PneumosegError):
    """The call itself is wrong: a missing path, a contradictory flag, an unknown bundle."""

    code = "usage"


class RunLengthError(InputError):
    """A run-length string is malformed or does not fit its grid."""

    code = "bad-run-length"


class BundleError(UsageError):
    """A bundle is missing, damaged, or not made for this kind of image."""

    code = "bad-bundle"


class DataError(UsageError):
    """A data set, cache or results folder is not what the command needs."""

    code = "bad-data"


class RuntimeUnavailableError(UsageError):
    """The requested runtime, device or weight source is not available here."""

    code = "unavailable"
