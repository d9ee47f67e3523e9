"""Makes DICOM X-rays of every transfer syntax and encoding, at test time; no binary is kept."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
from jpeg_by_hand import lossless, sequential
from numpy.typing import NDArray
from PIL import Image as Pillow
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate

ROWS, COLS = 64, 80  # unequal, so that a transposed image is found
RAMP = (np.arange(ROWS)[:, None] * 16 + np.arange(COLS)[None] * 8).astype(np.uint16)
"""0 to 1640: 12 bits."""
BLOCKS_8 = np.arange(80).reshape(8, 10) * 3 + 5
BLOCKS_12 = np.arange(80).reshape(8, 10) * 50 + 7
HTJ2K_OF_RAMP = base64.b64decode(
    "/0//UQApQAAAAABQAAAAQAAAAAAAAAAAAAAAUAAAAEAAAAAAAAAAAAABDwEB/1AACAACAAAACv9SAAwAAgABAAUEBEAB"
    "/1wAEyCIkJCQkJCQkJCQkJCQiIiI/2QAFwABT3BlbkpQSCBWZXIgMC4yNi4zLv+QAAoAAAAAASYAAf+TwAAtIP9/bfsD"
    "/nH58X3U/QEIAPm2AMAAEsAAFUARAMJ0AEgiQfIAEIB3VgDAABUwAAVwkBAI5NfhC3UAIkVERET+4AxGMYHsuADAABXQ"
    "AAWqCIIgCIIg7+p6enCCeACQEAgEAoFAIJD+hD2IQHv2IQHsvADAABa8AAF04EIIIYQQQgghhBD8f4p6enp6enpwAn0A"
    "RsMwDMMwDMMwDMMwDMMw/v96IBCB79hCB79hCB79hCB79hCB7LcBwAAuigABdoC2bdu2bdu2bdu2bdv/L/9Ap6enp6en"
    "p6enp6enp6enQnYB3t3d3d3d3d3d3d3d3d3d3d3d3d3/f/Xye/fJ798nv3ye/fJ798nv3ye/fJ798nv3yeywAv/Z"
)
"""RAMP by OpenJPH's encoder (16 bits, reversible): no encoder among the dependencies writes it."""


def blocks_to_pixels(blocks: NDArray[np.integer]) -> NDArray[np.integer]:
    """What :func:`jpeg_by_hand.sequential` must decode to."""
    return np.kron(blocks, np.ones((8, 8), dtype=blocks.dtype))


def film(pixels: NDArray[np.integer], *, bits: int | None = None, **tags: Any) -> Dataset:
    """An uncompressed CR film of the given stored values; None as a tag's value removes it."""
    stored_bits = bits or pixels.dtype.itemsize * 8
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    dataset.SOPClassUID = uid.ComputedRadiographyImageStorage
    dataset.SOPInstanceUID, dataset.StudyInstanceUID = "1.2.826.0.1.1", "1.2.826.0.1.2"
    dataset.SeriesInstanceUID, dataset.PatientID = "1.2.826.0.1.3", "P1"
    dataset.Modality, dataset.BodyPartExamined, dataset.ViewPosition = "CR", "CHEST", "PA"
    dataset.SamplesPerPixel = 1 if pixels.ndim == 2 else pixels.shape[2]
    dataset.PhotometricInterpretation = "MONOCHROME2" if pixels.ndim == 2 else "RGB"
    if pixels.ndim == 3:
        dataset.PlanarConfiguration = 0
    dataset.Rows, dataset.Columns = pixels.shape[:2]
    dataset.BitsAllocated, dataset.BitsStored = pixels.dtype.itemsize * 8, stored_bits
    dataset.HighBit = stored_bits - 1
    dataset.PixelRepresentation = int(np.issubdtype(pixels.dtype, np.signedinteger))
    dataset.PixelData = pixels.tobytes()
    dataset["PixelData"].VR = "OB" if pixels.dtype.itemsize == 1 else "OW"
    for keyword, value in tags.items():
        if value is None:
            delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, value)
    return dataset


def write(path: Path, dataset: Dataset, syntax: uid.UID = uid.ExplicitVRLittleEndian) -> Path:
    """Save as a DICOM file; for big endian the pixel words are swapped."""
    dataset.file_meta.TransferSyntaxUID = syntax
    if syntax == uid.ExplicitVRBigEndian and dataset.BitsAllocated == 16:
        dataset.PixelData = np.frombuffer(dataset.PixelData, "<u2").astype(">u2").tobytes()
        dataset["PixelData"].VR = "OW"
    dataset.save_as(path, enforce_file_format=True)
    return path


def compressed(pixels: NDArray[np.integer], bits: int, codestream: bytes) -> Dataset:
    """A film whose pixel data are one codestream."""
    dataset = film(pixels, bits=bits)
    dataset.PixelData = encapsulate([codestream])
    dataset["PixelData"].VR = "OB"
    return dataset


def write_every_syntax(folder: Path) -> dict[str, tuple[Path, NDArray[np.integer], int, int]]:
    """One file for each transfer syntax: path, true stored values, bits, allowed difference."""
    made: dict[str, tuple[Path, NDArray[np.integer], int, int]] = {}

    def add(name: str, dataset: Dataset, syntax: uid.UID, truth: Any, allowed: int = 0) -> None:
        path = write(folder / f"{name}.dcm", dataset, syntax)
        made[name] = (path, truth, dataset.BitsStored, allowed)

    for name, syntax in {
        "implicit-little": uid.ImplicitVRLittleEndian,
        "explicit-little": uid.ExplicitVRLittleEndian,
        "explicit-big": uid.ExplicitVRBigEndian,
        "deflated": uid.DeflatedExplicitVRLittleEndian,
    }.items():
        add(name, film(RAMP, bits=12), syntax, RAMP)
    for name, syntax, options, allowed in (
        ("rle", uid.RLELossless, {}, 0),
        ("jpeg-ls", uid.JPEGLSLossless, {}, 0),
        ("jpeg-ls-near", uid.JPEGLSNearLossless, {"jls_error": 2}, 2),
        ("jpeg-2000-lossless", uid.JPEG2000Lossless, {}, 0),
        ("jpeg-2000", uid.JPEG2000, {"j2k_cr": [4]}, 40),
    ):
        dataset = film(RAMP, bits=12)
        dataset.compress(syntax, generate_instance_uid=False, **options)
        add(name, dataset, syntax, RAMP, allowed)
    eight, twelve = blocks_to_pixels(BLOCKS_8), blocks_to_pixels(BLOCKS_12)
    dataset = compressed(eight.astype(np.uint8), 8, sequential(BLOCKS_8, 8))
    add("jpeg-baseline", dataset, uid.JPEGBaseline8Bit, eight)
    dataset = compressed(eight.astype(np.uint8), 8, sequential(BLOCKS_8, 8))
    add("jpeg-extended-8", dataset, uid.JPEGExtended12Bit, eight)
    dataset = compressed(twelve.astype(np.uint16), 12, sequential(BLOCKS_12, 12))
    add("jpeg-extended-12", dataset, uid.JPEGExtended12Bit, twelve)
    for predictor in (1, 4, 7):
        dataset = compressed(RAMP, 12, lossless(RAMP, 12, predictor))
        add(f"jpeg-lossless-{predictor}", dataset, uid.JPEGLossless, RAMP)
    dataset = compressed(RAMP, 12, lossless(RAMP, 12, 1))
    add("jpeg-lossless-sv1", dataset, uid.JPEGLosslessSV1, RAMP)
    for name, syntax in (("htj2k-lossless", uid.HTJ2KLossless), ("htj2k", uid.HTJ2K)):
        add(name, compressed(RAMP, 16, HTJ2K_OF_RAMP), syntax, RAMP)
    return made


def pillow_jpeg(pixels: NDArray[np.uint8], quality: int = 95) -> bytes:
    """A baseline JPEG as cameras and converters write it."""
    file = io.BytesIO()
    Pillow.fromarray(pixels).save(file, "JPEG", quality=quality)
    return file.getvalue()
