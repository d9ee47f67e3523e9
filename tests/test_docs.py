"""The documentation tells the truth: its commands parse, its links lead somewhere, its lists are
complete, its examples run.
"""

from __future__ import annotations

import dataclasses
import importlib
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import get_type_hints

import numpy as np
import pytest

from pneumoseg import cli, reading
from pneumoseg.bundle import Card, CardFigure, shipped_bundles
from pneumoseg.ct.finding import VolumeFinding
from pneumoseg.ct.inference import NO_LUNG
from pneumoseg.ct.lesions import VolumeLesion
from pneumoseg.dataset.cache import CacheRow
from pneumoseg.dataset.prepare.film import SourceSettings
from pneumoseg.dataset.prepare.volumes import VolumeSourceSettings
from pneumoseg.phantom.siim_layout import TruthRow
from pneumoseg.prediction.read_ahead import UNKNOWN_PICTURE
from pneumoseg.prediction.volumes.record import volume_record
from pneumoseg.settings import PipelineConfig
from pneumoseg.simulation.journal import SimulatedRow
from pneumoseg.study import Detection, Finding, Provenance, Source
from pneumoseg.writing.tables import SPLIT_HEADER, finding_record
from pneumoseg.writing.volume_tables import VOLUMES_HEADER

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
    + list((ROOT / "docs").glob("*.md"))
)
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
REFERENCE = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
SHELL = ("bash", "sh", "console")


def shell_lines(page: Path) -> Iterator[str]:
    """Lines of the fenced shell blocks of a page."""
    language = None
    for line in page.read_text(encoding="utf-8").splitlines():
        if line.startswith("```"):
            language = line[3:].strip() if language is None else None
        elif language in SHELL:
            yield line.strip()


def commands(program: str) -> list[tuple[str, str]]:
    """(page, command line) of every documented call of a program, comments cut off."""
    found = []
    for page in PAGES:
        for line in shell_lines(page):
            words = shlex.split(line, comments=True)
            if program in words[:1] or program == "pneumoseg" and "pneumoseg.cli" in words:
                found.append((page.name, line))
    return found


@pytest.mark.parametrize(("page", "line"), commands("pneumoseg"))
def test_every_documented_command_is_understood(
    page: str, line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader would copy a line that the command line refuses."""
    monkeypatch.chdir(ROOT)
    called = []
    for command in cli.COMMANDS.values():
        module, _, function = command.run.rpartition(":")
        where = importlib.import_module(module or "pneumoseg.commands.predict")
        monkeypatch.setattr(where, function, lambda *a, **k: called.append(a) or 0)
    words = shlex.split(line, comments=True)
    start = words.index("pneumoseg.cli" if "pneumoseg.cli" in words else "pneumoseg") + 1
    try:
        code = cli.main(words[start:])
    except SystemExit as exit_:
        code = exit_.code
    assert code == 0, f"{page}: {line}"
    assert len(called) == 1


def test_every_command_is_in_the_reference() -> None:
    for name in cli.COMMANDS:
        assert f"pneumoseg {name}" in REFERENCE


def option_names(settings: type, prefix: str = "") -> Iterator[str]:
    hints = get_type_hints(settings)
    for field in dataclasses.fields(settings):
        if dataclasses.is_dataclass(hints[field.name]):
            yield from option_names(hints[field.name], f"{prefix}{field.name}.")
        else:
            yield f"{prefix}{field.name}"


@pytest.mark.parametrize("name", list(cli.COMMANDS))
def test_every_option_is_in_the_reference(name: str) -> None:
    """An option was added or renamed and the reference does not know it."""
    command = cli.COMMANDS[name]
    module, _, cls = (command.without_file or command.settings).partition(":")
    # The heading of a command names it, alone or beside another.
    heading = re.search(rf"^### .*\b{name}\b.*$", REFERENCE, re.MULTILINE)
    assert heading is not None, name
    section = re.split(r"^##", REFERENCE[heading.end() :], maxsplit=1, flags=re.MULTILINE)[0]
    for option in option_names(getattr(importlib.import_module(module), cls)):
        shown = (f"`--{option.replace('_', '-')}`", f"key `{option}`", f"`{option}` (file only)")
        assert any(text in section for text in shown), option


@pytest.mark.parametrize(
    "row",
    [Card, CardFigure, CacheRow, TruthRow, SimulatedRow, SourceSettings, VolumeSourceSettings],
    ids=lambda cls: cls.__name__,
)
def test_every_column_and_key_is_in_the_reference(row: type) -> None:
    """A file format was changed and the reference does not know it."""
    for field in dataclasses.fields(row):
        assert (
            f"`{field.name}`" in REFERENCE
            or f"`[{field.name}]`" in REFERENCE
            or (f"`[[{field.name}]]`" in REFERENCE)
        ), field.name


def test_every_field_of_a_finding_is_in_the_reference() -> None:
    record = finding_record(
        Finding(
            Source("a"), (2, 2), Detection(0, 0.5, 0.5), None, (), Provenance("", "", "", "", "")
        )
    )
    for name in (*vars(record), *SPLIT_HEADER):
        assert f"`{name}`" in REFERENCE, name


def test_every_column_and_field_of_ct_is_in_the_reference() -> None:
    finding = VolumeFinding(
        source=Source("a"),
        shape=(1, 2, 2),
        spacing_mm=(1.0, 1.0, 1.0),
        geometry=None,
        sop_instance_uids=None,
        detection=Detection(0, 0.5, 0.5),
        slice_probabilities=np.array([0.5]),
        segmented=np.array([True]),
        lesions=(
            VolumeLesion(
                (slice(0, 1), slice(0, 1), slice(0, 1)), np.ones((1, 1, 1), bool), 1.0, None, 1, 1
            ),
        ),
        hemithorax_shares={},
        provenance=Provenance("", "", "", "", ""),
        seconds=0.0,
    )
    record = volume_record(finding, PipelineConfig(), path="a")
    lesion, one = record.lesions[0], record.slices[0]
    shown = (record, lesion, lesion.slices[0], one)
    for name in (*(name for part in shown for name in vars(part)), *VOLUMES_HEADER):
        assert f"`{name}`" in REFERENCE, name


def test_codes_of_a_ct_run_are_in_the_reference() -> None:
    for code in (NO_LUNG, UNKNOWN_PICTURE.code):
        assert f"`{code}`" in REFERENCE


def test_every_reading_code_is_in_the_reference() -> None:
    codes = re.findall(r"^([a-z0-9-]+)  +\S", reading.__doc__ or "", re.MULTILINE)
    assert len(codes) > 15
    for code in codes:
        assert f"`{code}`" in REFERENCE, code


def test_architecture_names_exactly_the_rooms_there_are() -> None:
    """A room, or a module at the top, was added, renamed or removed and the map is wrong."""
    package = ROOT / "src" / "pneumoseg"
    modules = {path.name for path in package.glob("*.py")} - {"__init__.py"}
    rooms = {f"{path.parent.name}/" for path in package.glob("*/__init__.py")}
    section = ARCHITECTURE.split("## Rooms")[1].split("\n## ")[0]
    named = re.findall(r"^\| `([a-z0-9_]+(?:\.py|/))` \| \S", section, re.MULTILINE)
    assert sorted(named) == sorted(modules | rooms)


def test_every_module_that_architecture_names_is_there() -> None:
    """A module was moved and a page still sends people to its old place."""
    package = ROOT / "src" / "pneumoseg"
    there = {path.relative_to(package).as_posix() for path in package.rglob("*.py")}
    ends = {"/".join(path.split("/")[-n:]) for path in there for n in range(1, 5)}
    named = set(re.findall(r"`((?:[a-z]+/)*[a-z0-9_]+\.py)`", ARCHITECTURE))
    assert named - ends == set()


def test_the_results_page_is_that_of_its_figures() -> None:
    """docs/results.md was edited by hand, or its figures were measured again without it."""
    words = [sys.executable, str(ROOT / "docs" / "results.py"), "--check"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def test_the_tables_of_speed_are_those_of_the_benchmarks() -> None:
    """A benchmark was measured again, or a table edited by hand, and the pages were not renewed."""
    words = [sys.executable, str(ROOT / "docs" / "speed.py"), "--check"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def test_the_tables_of_the_weights_are_those_of_the_runs() -> None:
    """A run was measured again, or a table edited by hand, and the page was not renewed."""
    words = [sys.executable, str(ROOT / "docs" / "weights.py"), "--check"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def anchors(page: Path) -> set[str]:
    """Anchors that a Markdown viewer makes of a page's headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    plain = (re.sub(r"[^\w\s-]", "", heading.lower()) for heading in headings)
    return {text.strip().replace(" ", "-") for text in plain}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), f"{page.name}: {target}"
        assert linked.is_relative_to(ROOT), f"{page.name}: {target} leaves the repository"
        assert not anchor or anchor in anchors(linked), f"{page.name}: {target}"


def test_every_make_target_is_there() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    text = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    targets = set(re.findall(r"(?:^|`)make ([a-z]+)", text, re.MULTILINE))
    assert {"demo", "test"} <= targets
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_python_in_the_pages_compiles() -> None:
    for page in PAGES:
        blocks = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
        for block in blocks:
            compile(block, str(page), "exec")


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_every_example_compiles(path: Path) -> None:
    compile(path.read_text(encoding="utf-8"), str(path), "exec")


def run_example(name: str, folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / name)],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


needs_shipped_bundle = pytest.mark.skipif(
    "cxr" not in shipped_bundles(), reason="this checkout has no shipped bundle cxr"
)


@needs_shipped_bundle
def test_example_predicts_one_film(tmp_path: Path) -> None:
    assert "probability" in run_example("01_predict_one_film.py", tmp_path)
    assert (tmp_path / "outputs/examples/01/overlay.png").is_file()


def test_example_makes_film_and_ct(tmp_path: Path) -> None:
    assert "pleural air" in run_example("02_phantom_ct_and_film.py", tmp_path)
    assert (tmp_path / "outputs/examples/02/ct_and_film.png").is_file()


def test_example_writes_run_lengths(tmp_path: Path) -> None:
    printed = run_example("03_run_lengths.py", tmp_path)
    assert "small mask    5 2 4 1" in printed
    assert "False" not in printed
