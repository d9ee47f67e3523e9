"""What one call does once: inputs listed, runtime chosen, networks hashed; and how far it walks."""

from __future__ import annotations

import sys
import threading
from collections import Counter
from pathlib import Path
from types import CodeType, FrameType

import numpy as np
import pytest
from hand_volumes import SPACING_MM, axial, hand_hu

import pneumoseg
import pneumoseg.runtime as choice
from pneumoseg import bundle as bundles
from pneumoseg.cli import main
from pneumoseg.phantom import PhantomSettings, run_phantom
from pneumoseg.prediction import local
from pneumoseg.reading import walk as walking
from pneumoseg.writing.nifti_bytes import nifti_bytes
from tiny_bundle import write_tiny_bundle, write_tiny_ct_bundle

ROOT = Path(pneumoseg.__file__).parent
MOST_FILES = 30
"""Files of ours that one film goes through, from the command line to the CSVs."""


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("scans")
    films = run_phantom(PhantomSettings(folder / "films", count=3, size=128, workers=1))
    hu = hand_hu(lesions=[np.s_[3:7, 50:70, 80:100]]).astype(np.int16)
    (folder / "ct").mkdir()
    (folder / "ct" / "chest.nii.gz").write_bytes(nifti_bytes(hu, axial(SPACING_MM).affine))
    return {
        "xray": films.out / "dicom",
        "ct": folder / "ct",
        "xray bundle": write_tiny_bundle(folder / "tiny").folder,
        "ct bundle": write_tiny_ct_bundle(folder / "tiny_ct").folder,
    }


class Calls:
    """Counts the calls of some functions while it is entered, whoever makes them."""

    def __init__(self, *functions: CodeType) -> None:
        self.functions = functions
        self.counts: Counter[str] = Counter()
        self.files: set[str] = set()

    def __enter__(self) -> Calls:
        threading.setprofile(self._note)
        sys.setprofile(self._note)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)
        threading.setprofile(None)

    def _note(self, frame: FrameType, event: str, _: object) -> None:
        code = frame.f_code
        if event != "call":
            return
        if code.co_filename.startswith(str(ROOT)) and code.co_name != "<module>":
            self.files.add(str(Path(code.co_filename).relative_to(ROOT)))
        if code in self.functions:
            name = code.co_name
            if name == "_sha256_of":
                name += f" {Path(str(frame.f_locals['path'])).name}"
            elif name == "choose_runtime" and choice.AUTO not in (
                frame.f_locals["runtime"],
                frame.f_locals["device"],
            ):
                return  # a network is loaded into what was chosen
            self.counts[name] += 1


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("modality", ["xray", "ct"])
def test_inputs_runtime_and_bundle_are_looked_at_once(
    modality: str, named: bool, scans: dict[str, Path], tmp_path: Path, monkeypatch
) -> None:
    """Breaks if a long listing, the search for GPUs or 90 MB of weights is paid for twice."""
    for each in ("xray", "ct"):
        monkeypatch.setitem(
            local.DEFAULT_BUNDLES,
            pneumoseg.study.Modality(each),
            str(scans[f"{each} bundle"]),
        )
    words = ["predict", str(scans[modality]), "--out", str(tmp_path / "out")]
    if named:
        words += ["--bundle", str(scans[f"{modality} bundle"])]
    functions = (walking.__code__, choice.choose_runtime.__code__, bundles._sha256_of.__code__)
    with Calls(*functions) as calls:
        assert main(words) == 0
    assert calls.counts == {
        "walk": 1,
        "choose_runtime": 1,
        "_sha256_of classifier.onnx": 1,
        "_sha256_of segmenter.onnx": 1,
    }


def test_one_film_goes_through_few_files(scans: dict[str, Path], tmp_path: Path) -> None:
    """Breaks if who follows one film through the code has to open more and more files.

    Counted are modules of which a function runs, in a process that has them imported. The film is
    suspected and outlined.
    """
    film, *_ = sorted(scans["xray"].iterdir())
    words = ["predict", "--bundle", str(scans["xray bundle"]), "--classifier-threshold", "0"]
    assert main([*words, str(film), "--out", str(tmp_path / "first")]) == 0
    with Calls() as calls:
        assert main([*words, str(film), "--out", str(tmp_path / "second")]) == 0
    assert "reading/ct/header.py" not in calls.files
    assert not [name for name in calls.files if name.startswith(("ct/", "prediction/volumes/"))]
    assert len(calls.files) <= MOST_FILES, "\n".join(sorted(calls.files))
