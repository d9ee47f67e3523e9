"""Make ``before_rooms``: what version 0.1.0 wrote before its modules moved into rooms.

Run with the code of commit 0f1460e and that commit's tests on the path, from this repository:

    git worktree add ../old 0f1460e
    OLD=../old/tests
    PYTHONPATH=../old/src:$OLD:$OLD/golden:$OLD/training python tests/golden/make_before_rooms.py

It imports modules that are no longer there, so it does not run on the present code: what it made is
committed and stays as it is. Paths in the files are replaced by ``@HERE@``.
"""

from __future__ import annotations

import gzip
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from hand_volumes import SPACING_MM, axial, hand_hu
from pneumoseg.evaluate import EvaluateSettings, run_evaluate
from pneumoseg.prediction_run import run_predict
from pneumoseg.prediction_settings import PredictSettings
from pneumoseg.training.prepare import PrepareSettings, SourceSettings, prepare
from pneumoseg.training.prepare_volumes import VolumeSourceSettings

from pneumoseg.phantom import PhantomSettings, run_phantom
from pneumoseg.pipeline_inference import Cascade
from pneumoseg.reading import read
from pneumoseg.training import initialise, recipes, run_folder
from pneumoseg.writing.nifti_bytes import nifti_bytes
from tiny_bundle import write_tiny_bundle, write_tiny_ct_bundle
from volume_pairs import write_pair

GOLDEN = Path(__file__).parent / "before_rooms"
HERE = "@HERE@"
MODIFIED_NS = 1_700_000_000 * 10**9
"""Time of change of every input: a run refuses to go on where a finished input has changed."""
PHANTOM_SEED = 7204


class Killed(Exception):
    """Stands for the kill."""


def films(folder: Path) -> None:
    """Three films by hand, one almost black, one that is none, and a phantom."""
    folder.mkdir()
    for number, bright in enumerate((250, 250, 30)):
        pixels = np.full((64, 80), 20, dtype=np.uint8)
        pixels[10 : 20 + 4 * number, 5:15] = bright
        pixels[40:60, 50 : 60 + 3 * number] = bright
        cv2.imwrite(str(folder / f"film{number}.png"), pixels)
    dark = np.zeros((64, 80), dtype=np.uint8)
    dark[:2, :2] = 60
    cv2.imwrite(str(folder / "film3.png"), dark)
    (folder / "film4.png").write_bytes(b"not an image")
    made = folder.parent / "phantom"
    run_phantom(PhantomSettings(made, count=1, seed=PHANTOM_SEED, size=128, workers=1))
    for path in (made / "dicom").iterdir():
        shutil.copy(path, folder / "phantom.dcm")


def volumes(folder: Path) -> None:
    """One chest with a box of air in each lung, by hand."""
    folder.mkdir()
    hu = hand_hu(lesions=[np.s_[3:7, 50:70, 80:100], np.s_[8:11, 55:75, 25:45]])
    path = folder / "chest.nii.gz"
    path.write_bytes(nifti_bytes(hu.astype(np.int16), axial(SPACING_MM).affine))


def kill_after(count: int) -> Callable[[object], None]:
    """Raise when so many inputs are done."""

    def heard(progress: object) -> None:
        if progress.done >= count:  # type: ignore[attr-defined]
            raise Killed

    return heard


def runs(work: Path) -> None:
    """A finished run of films, one that was killed, and a finished run of a volume."""
    whole = PredictSettings(
        (work / "films",), work / "run", str(work / "bundle"),
        modality="xray", batch_size=2, runtime="openvino", device="cpu", masks=True,
    )  # fmt: skip
    run_predict(whole)
    cut = PredictSettings(**{**vars(whole), "out": work / "run_cut"})
    try:
        run_predict(cut, on_progress=kill_after(3))
    except Killed:
        with (cut.out / "predictions.jsonl").open("a") as journal:
            journal.write('{"image_id": "film')  # a kill may tear a line
    run_predict(
        PredictSettings(
            (work / "volumes",), work / "run_ct", str(work / "bundle_ct"),
            runtime="openvino", device="cpu",
        )
    )  # fmt: skip
    (work / "masks.csv").write_text(
        "ImageId,EncodedPixels\nfilm0,330 10 54 10\nfilm1,-1\nfilm2,-1\nfilm3,-1\n"
    )
    run_evaluate(
        EvaluateSettings(
            work / "run", work / "masks.csv", out=work / "evaluation", allow_missing=True,
            seed=3, repeats=200,
        )
    )  # fmt: skip
    kept = work / "evaluation" / "evaluation.json"
    shutil.copy(kept, work / "evaluation.json")


def caches(work: Path) -> None:
    """One of films (format 1), one of slices (format 2)."""
    (work / "masks_cache.csv").write_text("ImageId,EncodedPixels\nfilm0,330 10\nfilm3,-1\n")
    source = SourceSettings("hand", work / "films", work / "masks_cache.csv")
    prepare(PrepareSettings(work / "cache", (source,), 1))
    hu = np.full((3, 64, 64), -850, dtype=np.int16)
    hu[:, :8] = 40
    mask = np.zeros(hu.shape, dtype=np.bool_)
    mask[1, 20:30, 20:40] = True
    write_pair(work / "pairs", "a", hu, mask)
    pairs = VolumeSourceSettings("made", work / "pairs" / "volumes", work / "pairs" / "masks")
    prepare(PrepareSettings(work / "cache_ct", volumes=(pairs,), workers=1))


def predictions(work: Path) -> None:
    """What the bundle says of each film."""
    cascade = Cascade.load(str(work / "bundle"), runtime="openvino")
    said = {}
    for name in ("film0", "film1", "film2", "film3"):
        finding = cascade.predict(read(work / "films" / f"{name}.png"))
        said[name] = {
            "logit": finding.detection.logit,
            "probability": finding.detection.probability,
            "area_px": None if finding.mask is None else finding.mask.area_px,
            "scores": [lesion.score for lesion in finding.lesions],
        }
    (work / "said.json").write_text(json.dumps(said, indent=1) + "\n")


def weights(work: Path) -> None:
    """Names, shapes and types of both networks' ``best.pt``, whose tensors are too large to keep.

    A value in a test is made from the place of its tensor in the list.
    """
    recipe = recipes.ClassifierRecipe(Path("cache/cxr"), Path("runs/classifier"), "scratch")
    other = recipes.SegmenterRecipe(Path("cache/cxr"), Path("runs/segmenter"), "scratch")
    made = (
        ("classifier", recipe, initialise.build_classifier("scratch")),
        ("segmenter", other, initialise.build_segmenter("scratch")),
    )
    for name, used, network in made:
        path = work / f"{name}.pt"
        run_folder.save_weights(path, network, used, {"epoch": 1.0, "score": 0.5})
        held = initialise.torch.load(path, weights_only=True)
        tensors = held.pop("model").items()
        held["model"] = {key: [list(t.shape), str(t.dtype)[6:]] for key, t in tensors}
        packed = gzip.compress(json.dumps(held).encode(), mtime=0)
        (work / f"best_{name}.json.gz").write_bytes(packed)


KEPT = (
    "films", "volumes", "run", "run_cut", "run_ct", "bundle", "bundle_ct", "cache", "cache_ct",
    "masks.csv", "evaluation.json", "said.json",
    "best_classifier.json.gz", "best_segmenter.json.gz",
)  # fmt: skip


def keep(work: Path) -> None:
    """Copy what is kept, arrays packed, paths replaced."""
    for name in KEPT:
        path = work / name
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_dir() or file.suffix == ".lock" or file.name.startswith("."):
                continue
            target = GOLDEN / file.relative_to(work)
            target.parent.mkdir(parents=True, exist_ok=True)
            content = file.read_bytes().replace(str(work).encode(), HERE.encode())
            if file.suffix == ".u8":
                packed = gzip.compress(content, mtime=0)
                target.with_name(f"{file.name}.gz").write_bytes(packed)
            else:
                target.write_bytes(content)


def main() -> None:
    """Make everything in a folder that is thrown away."""
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder).resolve()
        films(work / "films")
        volumes(work / "volumes")
        for path in (*(work / "films").iterdir(), *(work / "volumes").iterdir()):
            os.utime(path, ns=(MODIFIED_NS, MODIFIED_NS))
        write_tiny_bundle(work / "bundle")
        write_tiny_ct_bundle(work / "bundle_ct")
        runs(work)
        caches(work)
        predictions(work)
        weights(work)
        keep(work)


if __name__ == "__main__":
    sys.exit(main())
