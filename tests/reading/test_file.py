"""One file of any kind: told by content, refused with a code, never another exception."""

from __future__ import annotations

import gzip
import io
import os
import zipfile

import numpy as np
import pytest
from dicom_files import RAMP, film, write, write_every_syntax
from PIL import Image as Pillow

from pneumoseg.errors import InputError
from pneumoseg.reading import read
from pneumoseg.reading.file import Format, sniff


def code_of(path):
    with pytest.raises(InputError) as caught:
        read(path)
    return caught.value.code


def zip_of(content):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a.dcm", content)
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "empty-file"),
        (zip_of(b"x" * 100), "archive"),
        (gzip.compress(b"x" * 1000, mtime=0), "archive"),
        (b"%PDF-1.7\n%\xe2\xe3", "document"),
        ("ImageId, EncodedPixels\nPatient Müller".encode(), "document"),
        (b"<html></html>", "document"),
        (b"\0\0\0\x0cjP  \r\n\x87\n" + b"\0" * 50, "unknown-format"),
        (bytes(range(256)) * 4, "unknown-format"),
        (b"\0", "unknown-format"),
        (b"\0" * 128 + b"DICM", "truncated"),
        (b"\x89PNG\r\n\x1a\n", "damaged"),
        (b"\xff\xd8\xff\xe0", "damaged"),
    ],
)
def test_what_is_no_image_has_its_code(tmp_path, content, code):
    path = tmp_path / "film.dcm"
    path.write_bytes(content)
    assert code_of(path) == code


def test_names_do_not_matter(tmp_path):
    path = write(tmp_path / "really_dicom.png", film(RAMP, bits=12))
    assert read(path).source.sop_instance_uid
    Pillow.fromarray(RAMP.astype(np.uint8)).save(tmp_path / "png", "PNG")
    (tmp_path / "png").rename(tmp_path / "really_png.dcm")
    assert read(str(tmp_path / "really_png.dcm")).source.image_id == "really_png"


def test_dual_format_preamble_is_dicom(tmp_path):
    """PS3.10 7.1 lets the preamble be a TIFF header."""
    content = write(tmp_path / "x", film(RAMP, bits=12)).read_bytes()
    assert sniff(b"II*\0" + content[4:1024]) is Format.DICOM


def test_what_cannot_be_opened(tmp_path):
    assert code_of(tmp_path / "missing") == "unreadable"
    assert code_of(tmp_path) == "not-a-file"
    assert code_of("nul\0byte") == "unreadable"
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    assert code_of(tmp_path / "link") == "unreadable"
    os.mkfifo(tmp_path / "pipe")
    assert code_of(tmp_path / "pipe") == "not-a-file"
    if os.geteuid() != 0:
        closed = tmp_path / "closed"
        closed.write_bytes(b"x")
        closed.chmod(0)
        assert code_of(closed) == "unreadable"


def test_very_large_file_is_refused_unread(tmp_path, monkeypatch):
    path = write(tmp_path / "x.dcm", film(RAMP, bits=12))
    monkeypatch.setattr("pneumoseg.reading.file.MAX_FILE_BYTES", 4096)
    assert code_of(path) == "too-large"


def damaged(content, rng):
    """Cut, flip up to 20 bytes (half of them in the header), or both."""
    changed = bytearray(content)
    for _ in range(int(rng.integers(0, 20))):
        end = min(len(changed), 1000) if rng.random() < 0.5 else len(changed)
        changed[int(rng.integers(0, end))] = int(rng.integers(0, 256))
    if rng.random() < 0.3:
        del changed[int(rng.integers(1, len(changed))) :]
    return bytes(changed)


def test_damaged_files_are_read_or_refused_never_anything_else(tmp_path, capfd):
    """A foreign exception here would stop a run over a whole archive."""
    rng = np.random.default_rng(20261123)
    sources = [made[0] for made in write_every_syntax(tmp_path).values()]
    for suffix in ("png", "jpg", "webp", "tif"):
        Pillow.fromarray(RAMP.astype(np.uint8)).save(tmp_path / f"x.{suffix}")
        sources.append(tmp_path / f"x.{suffix}")
    contents = [path.read_bytes() for path in sources]
    read_well = refused = 0
    path = tmp_path / "damaged"
    for number in range(220):
        path.write_bytes(damaged(contents[number % len(contents)], rng))
        try:
            image = read(path)
        except InputError as error:
            assert str(error) and "\n" not in str(error)
            refused += 1
        else:
            assert image.pixels.dtype == np.float32
            read_well += 1
    assert read_well > 20 and refused > 20
    noise = [line for line in capfd.readouterr().err.splitlines() if "data precision" not in line]
    assert len(noise) < 40  # what native decoders print themselves; pydicom and Pillow are quiet
    assert not [line for line in noise if "Warning" in line]
