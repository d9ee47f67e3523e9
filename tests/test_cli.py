"""The command line: exit codes, settings file and flags, help, and what is not imported."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage

from pneumoseg import __version__
from pneumoseg.cli import COMMANDS, GROUPS, main
from pneumoseg.errors import UsageError
from tiny_bundle import write_tiny_bundle


def run(*words: object) -> int:
    """Exit code of a call, whether it is returned or raised by the argument parser."""
    try:
        return main([str(word) for word in words])
    except SystemExit as stopped:
        return stopped.code if isinstance(stopped.code, int) else 1


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_bundle(tmp_path_factory.mktemp("bundles") / "tiny").folder


@pytest.fixture
def films(tmp_path: Path) -> Path:
    """A black film but for one pixel (a constant film is refused), and one with a bright square:
    logits 100 * (2 * 1/4096 - 1) + 98 = -1.95 and 100 * (2 * 1/16 - 1) + 98 = 10.5.
    """
    folder = tmp_path / "films"
    folder.mkdir()
    pixels = np.zeros((64, 64), dtype=np.uint8)
    pixels[0, 0] = 255
    PillowImage.fromarray(pixels).save(folder / "black.png")
    pixels[16:32, 16:32] = 255
    PillowImage.fromarray(pixels).save(folder / "bright.png")
    return folder


def _decisions(out: Path) -> dict[str, str]:
    with (out / "predictions_aggregated.csv").open(newline="") as file:
        return {row["ImageId"]: row["EncodedPixels"] for row in csv.DictReader(file)}


def test_predict_returns_zero_when_all_films_were_read(
    films: Path, bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("predict", films, "--out", tmp_path / "out", "--bundle", bundle) == 0
    decisions = _decisions(tmp_path / "out")
    assert list(decisions) == ["black", "bright"]
    assert decisions["black"] == "-1" and decisions["bright"] != "-1"
    assert "2 read, 0 failed, 1 suspected, 1 with a lesion" in capsys.readouterr().out


def test_predict_takes_the_engine_that_is_asked_for(
    films: Path, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Breaks if the option is ignored, and one machine does what many were to do."""

    def many_workers(settings: object, **_: object) -> None:
        raise UsageError("many workers")

    monkeypatch.setattr("pneumoseg.prediction.ray.run_archive", many_workers)
    words = ("predict", films, "--out", tmp_path / "out", "--bundle", bundle)
    assert run(*words, "--engine", "ray") == 2
    assert run(*words) == 0


def test_predict_returns_one_when_some_films_failed(
    films: Path, bundle: Path, tmp_path: Path
) -> None:
    (films / "empty.dcm").write_bytes(b"")
    assert run("predict", films, "--out", tmp_path / "out", "--bundle", bundle) == 1
    with (tmp_path / "out" / "failures.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 1


def test_a_wrong_call_returns_two_with_one_sentence(
    films: Path, bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    for words, expected in (
        (("predict", tmp_path / "none", "--out", out, "--bundle", bundle), "none"),
        (("predict", films, "--out", out, "--bundle", "huge"), "'huge' is neither a shipped"),
        (("predict", films, "--out", out, "--batch-size", 0), "batch_size must be 1 or more"),
        (("evaluate", "--predictions", tmp_path, "--masks", tmp_path / "no.csv"), "pneumoseg: "),
        (("page", tmp_path), "give a folder that pneumoseg predict wrote"),
    ):
        assert run(*words) == 2, words
        message = capsys.readouterr().err
        assert expected in message and "Traceback" not in message
    assert not out.exists()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("predikt",), "there is no command 'predikt'; pneumoseg --help lists them"),
        (("train",), "pneumoseg train classifier, or pneumoseg train segmenter"),
        (("train", "both"), "train what?"),
        (("predict", "x", "--settings"), "--settings needs a TOML file"),
        (("predict", "x", "--settings", "none.toml"), "cannot read the settings file none.toml"),
        (("predict", "x", "--no-such-flag", "1"), "no-such-flag"),
        (("evaluate",), "predictions"),
    ],
)
def test_a_call_that_cannot_be_understood_returns_two(
    words: tuple[str, ...], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*words) == 2
    caught = capsys.readouterr()
    assert expected in caught.err + caught.out


def test_no_command_shows_the_help_and_is_a_wrong_call(capsys: pytest.CaptureFixture[str]) -> None:
    assert run() == 2
    assert "usage: pneumoseg COMMAND" in capsys.readouterr().out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--version") == 0
    assert capsys.readouterr().out == f"pneumoseg {__version__}\n"


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--help") == 0
    text = capsys.readouterr().out
    for name, command in COMMANDS.items():
        assert f"  {name} " in text and command.summary in text
    assert "0 done, 1 some inputs" in text and "not a medical device" in text


def test_each_command_is_in_one_group_of_the_help() -> None:
    """A command was added and the help does not show it."""
    grouped = [name for names in GROUPS.values() for name in names]
    assert sorted(grouped) == sorted(COMMANDS)


@pytest.mark.parametrize(
    ("words", "field", "value"),
    [
        (("evaluate", "--predictions", "p", "--masks", "m", "--report"), "--films", "f"),
        (("evaluate", "--predictions", "p", "--masks", "m", "--report"), "--images", "f"),
        (("bench",), "--films", "3"),
        (("bench",), "--count", "3"),
    ],
)
def test_a_flag_and_its_second_name_are_one(
    words: tuple[str, ...], field: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``--images`` is a folder and ``--count`` a number everywhere; the old names stay."""
    taken: list[str] = []
    for where in ("evaluation.evaluate", "installation.bench"):
        run_it = lambda settings: taken.append(str(settings.films)) or 0  # noqa: E731
        monkeypatch.setattr(f"pneumoseg.commands.{where}", run_it)
    assert run(*words, field, value) == run(*words, f"{field}={value}") == 0
    assert taken == [value, value]


def test_a_second_name_is_of_its_command_alone(tmp_path: Path) -> None:
    """``bench --images`` is a folder to measure on, not the number of films."""
    assert run("bench", "--images", tmp_path / "none", "--out", tmp_path / "out") == 2


@pytest.mark.parametrize("name", COMMANDS)
def test_each_commands_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*name.split(), "--help") == 0
    text = capsys.readouterr().out
    assert f"pneumoseg {name}" in text
    assert "--settings" in text


def test_a_settings_file_and_a_flag_over_it(films: Path, bundle: Path, tmp_path: Path) -> None:
    """The file sets, the flag wins; what neither names keeps the default."""
    file = tmp_path / "predict.toml"
    out, other = tmp_path / "out", tmp_path / "other"
    file.write_text(
        f'paths = ["{films}"]\nout = "{out}"\nbundle = "{bundle}"\nmin_pixels = 200000\n'
        "masks = true\n"
    )
    assert run("predict", "--settings", file) == 0
    assert _decisions(out)["bright"] == "-1"  # 200,000 pixels: more than the square has
    assert (out / "masks").is_dir()
    assert run("predict", f"--settings={file}", "--min-pixels", 200, "--out", other) == 0
    assert _decisions(other)["bright"] != "-1"
    assert (other / "masks").is_dir()


def test_paths_may_stand_beside_a_settings_file(
    films: Path, bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file of one's usual settings serves every folder; without any path the call is wrong."""
    file = tmp_path / "predict.toml"
    file.write_text(f'bundle = "{bundle}"\nmasks = true\n')
    out = tmp_path / "out"
    assert run("predict", films, "--settings", file, "--out", out) == 0
    assert (out / "masks").is_dir()
    assert run("predict", "--settings", file, "--out", tmp_path / "none") == 2


def test_a_settings_file_with_an_unknown_key_is_a_wrong_call(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "predict.toml"
    file.write_text('paths = ["x"]\nmin_pixel = 3\n')
    assert run("predict", "--settings", file) == 2
    assert "unknown key 'min_pixel'" in capsys.readouterr().err


def test_ctrl_c_is_not_a_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(settings: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("pneumoseg.commands.predict.page", interrupt)
    assert run("page", tmp_path) == 130
    assert "the same call goes on where it stopped" in capsys.readouterr().err


def test_a_missing_package_is_named_with_the_extra() -> None:
    """An installation for inference has no torch: training says what to install."""
    script = (
        "import sys\nsys.modules['torch'] = None\nfrom pneumoseg.cli import main\n"
        "sys.exit(main(['calibrate', '--help']))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 2
    assert "needs the package torch" in done.stderr
    assert "pip install 'pneumoseg[train]'" in done.stderr


def _modules_after(code: str) -> set[str]:
    """Top-level modules that are loaded in a fresh interpreter after some code."""
    script = f"{code}\nimport sys\nsys.stderr.write(' '.join(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=True
    )
    return {name.partition(".")[0] for name in done.stderr.split()}


def test_help_comes_at_once() -> None:
    """``pneumoseg --help`` loads no numerical library and no argument parser."""
    loaded = _modules_after("from pneumoseg.cli import main\nmain(['--help'])")
    assert not loaded & {"numpy", "scipy", "cv2", "tyro", "torch", "openvino", "pydicom"}


def test_inference_loads_no_torch_and_no_matplotlib() -> None:
    """The inference package is installed without torch: one stray import would break it."""
    loaded = _modules_after(
        "import pneumoseg.cli, pneumoseg.prediction.local, pneumoseg.installation.demo\n"
        "from pneumoseg.commands import data, evaluation, installation, predict, training\n"
        "import pneumoseg.pipeline_inference, pneumoseg.prediction.page, pneumoseg.evaluation.run\n"
        "import pneumoseg.installation.check, pneumoseg.reading, pneumoseg.phantom\n"
        "import pneumoseg.runtime\n"
        "from pneumoseg import Cascade, read"
    )
    assert "numpy" in loaded
    assert not loaded & {"torch", "timm", "torchvision", "accelerate", "matplotlib", "onnx"}
