"""The command line: ``pneumoseg COMMAND``.

Each command is a settings dataclass (its defaults, types and help in one place) and a function in
:mod:`pneumoseg.commands`; this module only finds the command, reads its settings from a TOML file
and from flags, and turns errors into one sentence and an exit code: 0 done, 1 some inputs failed, 2
the call was wrong.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pneumoseg.errors import PneumosegError, UsageError
from pneumoseg.version import __version__

EXIT_USAGE = 2
EXIT_INTERRUPTED = 130
SETTINGS_FLAG = "--settings"


@dataclass(frozen=True)
class Command:
    """One command: where its settings are, what runs it, and its line in the help."""

    settings: str
    """``module:class`` of the settings dataclass."""
    run: str
    """``module:function``, in :mod:`pneumoseg.commands`."""
    summary: str
    """One line."""
    positional: bool = False
    """Whether required settings are given without a flag."""
    without_file: str = ""
    """``module:class`` of what is read from flags alone, where the settings are too many for it."""
    aliases: tuple[tuple[str, str], ...] = ()
    """Second names of flags, each with the first: the same word means the same in most commands."""


COMMANDS = {
    "demo": Command(
        "pneumoseg.installation.demo:DemoSettings",
        "pneumoseg.commands.installation:demo",
        "twelve phantom studies, outlined, on one page",
    ),
    "predict": Command(
        "pneumoseg.prediction.settings:PredictSettings",
        "pneumoseg.commands.predict:predict",
        "run the cascade over files and folders",
        positional=True,
    ),
    "page": Command(
        "pneumoseg.prediction.page:PageSettings",
        "pneumoseg.commands.predict:page",
        "make the HTML page of a run",
        positional=True,
    ),
    "evaluate": Command(
        "pneumoseg.evaluation.run:EvaluateSettings",
        "pneumoseg.commands.evaluation:evaluate",
        "compare a run with the true masks",
        aliases=(("--images", "--films"),),
    ),
    "certify": Command(
        "pneumoseg.operating_point.certify:CertifySettings",
        "pneumoseg.commands.evaluation:certify",
        "which threshold's recall may be claimed, by patient",
    ),
    "audit tube": Command(
        "pneumoseg.audits.tube:TubeAuditSettings",
        "pneumoseg.commands.evaluation:audit_tube",
        "does the classifier take the chest tube for the disease?",
    ),
    "audit occlusion": Command(
        "pneumoseg.audits.occlusion:OcclusionAuditSettings",
        "pneumoseg.commands.evaluation:audit_occlusion",
        "does it look at the disease, or at borders and markers?",
    ),
    "audit history": Command(
        "pneumoseg.audits.history:HistoryAuditSettings",
        "pneumoseg.commands.evaluation:audit_history",
        "does it read how often a film was compressed?",
    ),
    "audit labels": Command(
        "pneumoseg.audits.labels:LabelsAuditSettings",
        "pneumoseg.commands.evaluation:audit_labels",
        "which labels should be read again, and why",
    ),
    "recalibrate": Command(
        "pneumoseg.operating_point.recalibration:RecalibrateSettings",
        "pneumoseg.commands.evaluation:recalibrate",
        "fit threshold and probability to about fifty local films",
    ),
    "retarget": Command(
        "pneumoseg.operating_point.retarget:RetargetSettings",
        "pneumoseg.commands.evaluation:retarget",
        "PPV and NPV at another prevalence",
    ),
    "operating-point": Command(
        "pneumoseg.operating_point.joint:OperatingPointSettings",
        "pneumoseg.commands.evaluation:operating_point",
        "choose all thresholds together, for two aims",
    ),
    "ablate": Command(
        "pneumoseg.operating_point.ablation:AblateSettings",
        "pneumoseg.commands.evaluation:ablate",
        "does the cascade pay?",
    ),
    "doctor": Command(
        "pneumoseg.doctor.run:DoctorSettings",
        "pneumoseg.commands.evaluation:doctor",
        "what is wrong with a data set, before anyone trains on it",
        positional=True,
    ),
    "validate": Command(
        "pneumoseg.doctor.validate:ValidateSettings",
        "pneumoseg.commands.evaluation:validate",
        "check a CSV of predictions row by row",
        positional=True,
    ),
    "check": Command(
        "pneumoseg.installation.check:CheckSettings",
        "pneumoseg.commands.installation:check",
        "does this installation answer as recorded?",
    ),
    "bench": Command(
        "pneumoseg.installation.bench.settings:BenchSettings",
        "pneumoseg.commands.installation:bench",
        "what both stages cost here, and when the cascade pays",
        aliases=(("--count", "--films"),),
    ),
    "phantom": Command(
        "pneumoseg.phantom:PhantomSettings",
        "pneumoseg.commands.data:phantom",
        "make phantom films in the SIIM layout",
    ),
    "simulate": Command(
        "pneumoseg.simulation.run:SimulateSettings",
        "pneumoseg.commands.data:simulate",
        "collapse lungs in CT scans that have no pneumothorax",
    ),
    "prepare": Command(
        "pneumoseg.dataset.prepare.run:PrepareSettings",
        "pneumoseg.commands.data:prepare",
        "make the training cache",
        without_file="pneumoseg.dataset.prepare.run:OneSource",
    ),
    "train classifier": Command(
        "pneumoseg.training.recipes:ClassifierRecipe",
        "pneumoseg.commands.training:train_classifier",
        "train stage one",
    ),
    "train segmenter": Command(
        "pneumoseg.training.recipes:SegmenterRecipe",
        "pneumoseg.commands.training:train_segmenter",
        "train stage two",
    ),
    "calibrate": Command(
        "pneumoseg.training.calibrate:CalibrateSettings",
        "pneumoseg.commands.training:calibrate",
        "turn two trained networks into a bundle",
    ),
}
"""Every command."""

GROUPS = {
    "use": ("demo", "predict", "page"),
    "train": ("prepare", "train classifier", "train segmenter", "calibrate"),
    "measure": ("evaluate", "operating-point", "ablate", "bench"),
    "trust": (
        "certify",
        "audit tube",
        "audit occlusion",
        "audit history",
        "audit labels",
        "recalibrate",
        "retarget",
    ),
    "tools": ("doctor", "validate", "check", "phantom", "simulate"),
}
"""What the commands are for, in the order of the help."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        return _dispatch(words)
    except PneumosegError as error:
        _say(f"pneumoseg: {error}")
        return EXIT_USAGE
    except KeyboardInterrupt:
        _say("pneumoseg: interrupted; the same call goes on where it stopped")
        return EXIT_INTERRUPTED
    except BrokenPipeError:  # the reader of our output went away, as with `| head`
        sys.stderr.close()
        return 0


def _dispatch(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help"):
        sys.stdout.write(_help())
        return 0 if words else EXIT_USAGE
    if words[0] == "--version":
        sys.stdout.write(f"pneumoseg {__version__}\n")
        return 0
    for length in (2, 1):
        name = " ".join(words[:length])
        if name in COMMANDS:
            return _run(name, COMMANDS[name], words[length:])
    if words[0] == "train":
        raise UsageError("train what? pneumoseg train classifier, or pneumoseg train segmenter")
    if words[0] == "audit":
        names = ", ".join(f"pneumoseg {name}" for name in COMMANDS if name.startswith("audit "))
        raise UsageError(f"audit what? {names}")
    raise UsageError(f"there is no command {words[0]!r}; pneumoseg --help lists them")


def _run(name: str, command: Command, words: list[str]) -> int:
    import tyro

    path, words = _take_settings(words)
    words = _first_names(words, command)
    settings_class = _find((path is None and command.without_file) or command.settings)
    overwrite, words = _take_switch(words, "--overwrite", settings_class)
    default = tyro.MISSING_NONPROP
    if path is not None:
        from pneumoseg.storage.strict import load_settings

        # what is given without a flag may also be given beside a file
        left_open = tyro.MISSING if command.positional else None
        default = load_settings(settings_class, path, left_open=left_open)
    settings = tyro.cli(
        settings_class,
        args=words,
        prog=f"pneumoseg {name}",
        description=_description(name, command),
        default=default,
        config=(tyro.conf.PositionalRequiredArgs,) if command.positional else (),
    )
    run: Callable[..., int] = _find(command.run)
    return run(settings, overwrite=True) if overwrite else run(settings)


def _find(where: str) -> Any:
    """Import ``module:name``; a missing extra is a clear error, not a traceback."""
    module, _, name = where.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("pneumoseg"):
            raise
        raise UsageError(
            f"this command needs the package {error.name}, which is not installed; "
            "pip install 'pneumoseg[train]'"
        ) from error


def _take_settings(words: list[str]) -> tuple[Path | None, list[str]]:
    """Take ``--settings FILE`` (or ``--settings=FILE``) out of the words."""
    for index, word in enumerate(words):
        if word.startswith(SETTINGS_FLAG + "="):
            return Path(word.partition("=")[2]), words[:index] + words[index + 1 :]
        if word == SETTINGS_FLAG:
            if index + 1 == len(words):
                raise UsageError("--settings needs a TOML file behind it")
            return Path(words[index + 1]), words[:index] + words[index + 2 :]
    return None, words


def _first_names(words: list[str], command: Command) -> list[str]:
    """Put a flag's first name in place of its second, alone or before ``=``."""
    first = dict(command.aliases)
    parts = (word.partition("=") for word in words)
    return [first.get(flag, flag) + equals + value for flag, equals, value in parts]


def _take_switch(words: list[str], flag: str, settings_class: type) -> tuple[bool, list[str]]:
    """Take a switch out of the words where the settings do not have it as a field of their own."""
    if flag not in words or flag.strip("-") in getattr(settings_class, "__dataclass_fields__", {}):
        return False, words
    return True, [word for word in words if word != flag]


def _description(name: str, command: Command) -> str:
    aliases = "".join(f"{second} is {first}. " for second, first in command.aliases)
    return (
        f"{command.summary[0].upper()}{command.summary[1:].rstrip('?')}. {aliases}"
        f"Every option can also stand in a TOML file: pneumoseg {name} {SETTINGS_FLAG} FILE.toml"
    )


def _help() -> str:
    width = max(map(len, COMMANDS)) + 2
    lines = []
    for group, names in GROUPS.items():
        lines += ["", group]
        lines += [f"  {name:{width}}{COMMANDS[name].summary}" for name in names]
    return (
        "usage: pneumoseg COMMAND [options]      pneumoseg COMMAND --help\n\n"
        "Finds pneumothorax in chest X-rays and chest CT. Research software, "
        "not a medical device.\n" + "\n".join(lines) + "\n\n"
        "exit codes: 0 done, 1 some inputs could not be used (failures.csv), 2 the call was wrong\n"
    )


def _say(message: str) -> None:
    sys.stderr.write(message + "\n")


if __name__ == "__main__":
    sys.exit(main())
