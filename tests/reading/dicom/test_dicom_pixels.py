"""Every transfer syntax gives the same film; a failure names the syntax that is read wrongly."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from dicom_files import RAMP, compressed, film, pillow_jpeg, write, write_every_syntax
from jpeg_by_hand import lossless
from pydicom import uid
from pydicom.encaps import encapsulate

from pneumoseg.errors import InputError
from pneumoseg.reading import read

NAMES = re.findall(
    r"\S+",
    "implicit-little explicit-little explicit-big deflated rle jpeg-ls jpeg-ls-near "
    "jpeg-2000-lossless jpeg-2000 jpeg-baseline jpeg-extended-8 jpeg-extended-12 jpeg-lossless-1 "
    "jpeg-lossless-4 jpeg-lossless-7 jpeg-lossless-sv1 htj2k-lossless htj2k",
)


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    return write_every_syntax(tmp_path_factory.mktemp("syntaxes"))


@pytest.mark.parametrize("name", NAMES)
def test_syntax_is_decoded_to_its_stored_values(films, name):
    path, truth, bits, allowed = films[name]
    truth = truth.astype(np.float64)
    low, span = (0, 255) if bits == 8 else (truth.min(), np.ptp(truth))
    expected = (truth - low) / span
    image = read(path)
    assert image.pixels.shape == truth.shape
    # A lossy film is stretched by its own extremes, off by up to `allowed` as well.
    assert np.abs(image.pixels - expected).max() <= 2.5 * allowed / span + 1e-6
    assert image.source.notes == ()


def test_all_syntaxes_are_covered(films):
    assert set(films) == set(NAMES)


@pytest.mark.parametrize("name", [n for n in NAMES if n != "deflated"])
@pytest.mark.parametrize("kept", [0.5, 0.9])
def test_truncated_file_is_refused_not_filled_with_grey(films, tmp_path, name, kept):
    content = films[name][0].read_bytes()
    path = tmp_path / "cut.dcm"
    path.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(InputError) as caught:
        read(path)
    assert caught.value.code in ("truncated", "damaged")


@pytest.mark.parametrize("name", [n for n in NAMES if n.startswith(("jpeg", "htj2k", "rle"))])
def test_truncated_codestream_in_a_whole_file_is_refused(films, tmp_path, name):
    import pydicom
    from pydicom.encaps import get_frame

    dataset = pydicom.dcmread(films[name][0])
    codestream = get_frame(dataset.PixelData, 0, number_of_frames=1)
    dataset.PixelData = encapsulate([codestream[: len(codestream) // 2]])
    path = tmp_path / "cut.dcm"
    dataset.save_as(path)
    with pytest.raises(InputError) as caught:
        read(path)
    assert caught.value.code in ("truncated", "damaged")


def test_eight_bit_jpeg_in_a_sixteen_bit_header(tmp_path):
    """Seen in converted films: BitsAllocated 16, a baseline JPEG of 8 bits."""
    pixels = np.tile(np.arange(64, dtype=np.uint8), (64, 1))
    dataset = compressed(pixels.astype(np.uint16), 16, pillow_jpeg(pixels, 100))
    image = read(write(tmp_path / "x.dcm", dataset, uid.JPEGBaseline8Bit))
    assert np.abs(image.pixels * 255 - pixels).max() <= 2
    assert "the JPEG has 8 bits" in image.source.notes[0]


def test_jpeg_of_another_size_than_the_header_is_damaged(tmp_path):
    pixels = np.zeros((72, 64), dtype=np.uint8)
    dataset = compressed(np.zeros((64, 64), dtype=np.uint8), 8, pillow_jpeg(pixels))
    with pytest.raises(InputError, match="64×72") as caught:
        read(write(tmp_path / "x.dcm", dataset, uid.JPEGBaseline8Bit))
    assert caught.value.code == "damaged"


def test_fragmented_jpeg_is_joined(tmp_path):
    """One frame in many fragments (PS3.5 A.4): only the first would give a truncated film."""
    pixels = np.tile(np.arange(64, dtype=np.uint8) * 4, (64, 1))
    dataset = compressed(pixels, 8, b"\xff\xd8")
    dataset.PixelData = encapsulate([pillow_jpeg(pixels, 100)], fragments_per_frame=4)
    image = read(write(tmp_path / "x.dcm", dataset, uid.JPEGBaseline8Bit))
    assert np.abs(image.pixels * 255 - pixels).max() <= 2


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.4.102", "1.2.840.10008.1.2.4.110", "1.2.3"])
def test_unknown_syntax_says_no_decoder(tmp_path, syntax):
    dataset = compressed(RAMP, 12, b"\0" * 100)
    path = write(tmp_path / "x.dcm", dataset, uid.JPEGBaseline8Bit)
    old = uid.JPEGBaseline8Bit.encode()
    new = syntax.encode().ljust(len(old), b"\0")
    content = path.read_bytes()
    at = content.index(old)
    length = len(old) + len(old) % 2
    new = syntax.encode() + b"\0" * (len(syntax) % 2)
    content = content[: at - 2] + len(new).to_bytes(2, "little") + new + content[at + length :]
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        read(path)
    assert caught.value.code == "no-decoder"


def test_without_preamble_and_meta_header(tmp_path):
    """Old archives keep the bare data set; the encoding is told by its first element."""
    for syntax in (uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian, uid.ExplicitVRBigEndian):
        whole = write(tmp_path / "whole.dcm", film(RAMP, bits=12), syntax).read_bytes()
        start = 132 + 12 + int.from_bytes(whole[140:144], "little")
        bare = tmp_path / "bare"
        bare.write_bytes(whole[start:])
        image = read(bare)
        assert np.abs(image.pixels - RAMP / 1640).max() < 1e-6
        assert "TransferSyntaxUID is missing" in image.source.notes[0]


def test_deflate_bomb_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("pneumoseg.reading.dicom.file.MAX_INFLATED_BYTES", 4096)
    path = write(tmp_path / "x.dcm", film(RAMP, bits=12), uid.DeflatedExplicitVRLittleEndian)
    with pytest.raises(InputError) as caught:
        read(path)
    assert caught.value.code == "too-large"


def test_deflated_and_cut_is_truncated(films, tmp_path):
    path = tmp_path / "x.dcm"
    path.write_bytes(films["deflated"][0].read_bytes()[:-40])
    with pytest.raises(InputError) as caught:
        read(path)
    assert caught.value.code == "truncated"


def test_threads_read_the_same_as_one(films):
    paths = [films[name][0] for name in NAMES if name != "jpeg-extended-12"] * 3
    alone = [read(path).pixels for path in paths]
    with ThreadPoolExecutor(4) as pool:
        together = [image.pixels for image in pool.map(read, paths)]
    assert all(np.array_equal(a, b) for a, b in zip(alone, together, strict=True))


SIIM = Path(__file__).parents[3].parent / "shared" / "data" / "siim" / "dicom"


@pytest.mark.skipif(not SIIM.is_dir(), reason="the SIIM sample is not beside the repository")
def test_siim_films_are_their_stored_values_over_255():
    """8 bits without a window are shown as they are: training and inference depend on it."""
    import pydicom

    paths = sorted(SIIM.glob("*.dcm"))
    assert len(paths) == 60
    for path in paths:
        image = read(path)
        stored = pydicom.dcmread(path).pixel_array
        assert image.shape == (1024, 1024)
        assert np.array_equal(image.pixels, stored.astype(np.float32) / np.float32(255))
        assert image.source.image_id == path.stem and image.spacing_mm is not None


def test_a_file_that_ends_gdcm_ends_neither_the_run_nor_the_next_film(films, tmp_path):
    """Without a Huffman table GDCM throws what nobody catches: its process ends, ours must not."""
    for name in ("jpeg-lossless-1", "jpeg-extended-12"):
        content = films[name][0].read_bytes()
        at = content.index(b"\xff\xc4")
        path = tmp_path / "damaged.dcm"
        path.write_bytes(content[:at] + b"\xff\xd6" + content[at + 2 :])
        with pytest.raises(InputError) as caught:
            read(path)
        assert caught.value.code == "damaged"
        assert read(films[name][0]).source.notes == ()


def test_signed_values_in_jpeg_lossless(tmp_path):
    """JPEG knows no sign: -1000 of 12 bits is stored as 3096."""
    stored = np.full((64, 64), 2000, dtype=np.uint16)
    stored[0, :2] = 3096, 0
    dataset = compressed(stored, 12, lossless(stored, 12, 1))
    dataset.PixelRepresentation = 1
    image = read(write(tmp_path / "x.dcm", dataset, uid.JPEGLosslessSV1))
    assert image.pixels[0, :3].tolist() == pytest.approx([0, 1000 / 3000, 1])
