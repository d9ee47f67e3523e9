"""PNG, JPEG, WebP and TIFF films."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image as Pillow

from pneumoseg.errors import InputError
from pneumoseg.reading import read

GREY = (np.arange(64)[:, None] * 2 + np.arange(80)[None]).astype(np.uint8)  # 0 to 205


def code_of(path):
    with pytest.raises(InputError) as caught:
        read(path)
    return caught.value.code


@pytest.mark.parametrize(
    ("suffix", "options"), [("png", {}), ("tiff", {}), ("webp", {"lossless": True})]
)
def test_eight_bits_over_255(tmp_path, suffix, options):
    path = tmp_path / f"a.b.{suffix}"
    Pillow.fromarray(GREY).save(path, **options)
    image = read(path)
    assert np.array_equal(image.pixels, GREY.astype(np.float32) / np.float32(255))
    assert image.source.image_id == "a.b" and image.spacing_mm is None


def test_jpeg_is_close(tmp_path):
    path = tmp_path / "a.jpg"
    Pillow.fromarray(GREY).save(path, quality=98)
    assert np.abs(read(path).pixels * 255 - GREY).max() <= 3


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize(
    ("top", "white"), [(65535, 65535), (4000, 4095), (16383, 16383), (200, 255)]
)
def test_sixteen_bits_by_the_depth_in_use(tmp_path, suffix, top, white):
    pixels = (GREY.astype(np.float64) / 205 * top).astype(np.uint16)
    path = tmp_path / f"a.{suffix}"
    Pillow.fromarray(pixels).save(path)
    image = read(path)
    assert np.abs(image.pixels - pixels / white).max() < 1e-6
    assert bool(image.source.notes) == (white != 65535)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "P"])
def test_grey_in_other_modes_is_read(tmp_path, mode):
    path = tmp_path / "a.png"
    Pillow.fromarray(GREY).convert(mode).save(path)
    assert np.abs(read(path).pixels * 255 - GREY).max() <= 1


def test_exif_orientation_is_honoured(tmp_path):
    picture = Pillow.fromarray(GREY)
    exif = picture.getexif()
    exif[0x0112] = 6  # to be turned 90 degrees clockwise
    path = tmp_path / "a.png"
    picture.save(path, exif=exif)
    image = read(path)
    assert np.array_equal(np.rint(image.pixels * 255), np.rot90(GREY, -1))
    assert "EXIF" in image.source.notes[0]


def test_white_is_zero_tiff_of_sixteen_bits(tmp_path):
    pixels = GREY.astype(np.uint16) * 300
    path = tmp_path / "a.tif"
    Pillow.fromarray(pixels).save(path, tiffinfo={262: 0})
    content = path.read_bytes()
    with Pillow.open(path) as picture:
        assert picture.tag_v2[262] in (0, 1)
        if picture.tag_v2[262] == 1:  # the writer sets it itself: put 0 into the file
            at = content.index(b"\x06\x01\x03\x00\x01\x00\x00\x00\x01")
            path.write_bytes(content[: at + 8] + b"\0" + content[at + 9 :])
    assert np.abs(read(path).pixels - (1 - pixels / 65535)).max() < 1e-6


def test_what_is_no_film(tmp_path):
    colours = np.stack([GREY, GREY // 2, GREY], axis=2)
    cases = {
        "colour-image": Pillow.fromarray(colours),
        "too-small": Pillow.fromarray(GREY[:63]),
        "constant-image": Pillow.fromarray(np.full((64, 64), 9, dtype=np.uint8)),
        "unsupported-pixels": Pillow.fromarray(GREY > 100),
    }
    for code, picture in cases.items():
        picture.save(tmp_path / "a.png")
        assert code_of(tmp_path / "a.png") == code
    Pillow.fromarray(GREY.astype(np.float32)).save(tmp_path / "a.tif")
    assert code_of(tmp_path / "a.tif") == "unsupported-pixels"
    page = Pillow.fromarray(GREY)
    page.save(tmp_path / "b.tif", save_all=True, append_images=[page])
    assert code_of(tmp_path / "b.tif") == "multi-frame"


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "tif"])
@pytest.mark.parametrize("kept", [0.1, 0.5, 0.9])
def test_truncated_is_refused(tmp_path, suffix, kept):
    noise = np.random.default_rng(0).integers(0, 256, (128, 128)).astype(np.uint8)
    path = tmp_path / f"a.{suffix}"
    Pillow.fromarray(noise).save(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])
    assert code_of(path) in ("truncated", "damaged")


def test_bomb_is_refused_before_it_is_decoded(tmp_path):
    path = tmp_path / "a.png"
    Pillow.new("1", (20001, 64)).save(path)
    assert code_of(path) == "too-large"
