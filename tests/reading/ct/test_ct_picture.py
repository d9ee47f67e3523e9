"""A picture of a slice: its window undone, and what was assumed said."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image as Pillow

from pneumoseg.errors import InputError
from pneumoseg.preprocess import Window
from pneumoseg.reading.volumes import find_volumes, open_volume, read_volume
from pneumoseg.study import Modality


def save(path, values):
    Pillow.fromarray(values).save(path)
    return path


def slice_hu():
    """Air around, soft tissue, lung, bone: float (64, 80)."""
    hu = np.full((64, 80), -1000.0)
    hu[8:56, 8:72] = 40
    hu[16:48, 16:64] = -850
    hu[30:34, 38:42] = 700
    return hu


def opened(path, window=None):
    (found,) = find_volumes([path])
    assert found.kind == "picture"
    return open_volume(found, window=window)


def test_the_lung_window_is_assumed_and_noted(tmp_path):
    grey = np.tile(np.arange(80, dtype=np.uint8) * 3, (64, 1))
    grey[:, -1] = 255
    volume = opened(save(tmp_path / "slice.png", grey))
    (hu,) = volume.slices()
    np.testing.assert_allclose(hu[0, :3], [-1350, -1350 + 1500 * 3 / 255, -1350 + 1500 * 6 / 255])
    assert hu[0, -1] == 150
    assert "-1350 to 150 HU (window assumed" in volume.source.notes[0]
    assert volume.source.modality is Modality.CT
    assert (volume.shape, volume.spacing_mm, volume.geometry) == ((1, 64, 80), None, None)
    assert volume.sop_instance_uids is None


@pytest.mark.parametrize("window", [Window(), Window(40, 400), Window(-500, 1400)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_given_window_is_undone(tmp_path, window, dtype):
    shown = window.apply(slice_hu().astype(np.float32))
    top = np.iinfo(dtype).max
    path = save(tmp_path / "slice.png", np.rint(shown * top).astype(dtype))
    volume = opened(path, window)
    (hu,) = volume.slices()
    low, high = window.center - window.width / 2, window.center + window.width / 2
    np.testing.assert_allclose(hu, slice_hu().clip(low, high), atol=window.width / 255)
    np.testing.assert_allclose(window.apply(hu), shown, atol=1 / 255)
    assert "window given" in volume.source.notes[-2]


def test_sixteen_bits_of_hu_and_1024(tmp_path):
    path = save(tmp_path / "slice.png", (slice_hu() + 1024).astype(np.uint16))
    image = read_volume(path)
    np.testing.assert_array_equal(image.pixels[0], slice_hu())
    assert "values − 1024" in image.source.notes[0]


@pytest.mark.parametrize("top", [4095, 65535])
def test_sixteen_bits_of_a_windowed_picture(tmp_path, top):
    shown = Window().apply(slice_hu().astype(np.float32))
    path = save(tmp_path / "slice.png", np.rint(shown * top).astype(np.uint16))
    image = read_volume(path)
    np.testing.assert_allclose(image.pixels[0], slice_hu().clip(None, 150), atol=1)


def test_each_picture_is_a_volume_of_its_own(tmp_path):
    for name in ("a", "b"):
        save(tmp_path / f"{name}.png", (slice_hu() + 1024).astype(np.uint16))
    assert [found.name for found in find_volumes([tmp_path])] == ["a", "b"]


def test_pictures_keep_their_codes(tmp_path):
    colours = np.zeros((64, 80, 3), np.uint8)
    colours[..., 0] = 200
    with pytest.raises(InputError) as caught:
        read_volume(save(tmp_path / "c.png", colours))
    assert caught.value.code == "colour-image"
    with pytest.raises(InputError) as caught:
        read_volume(save(tmp_path / "k.png", np.full((64, 64), 7, np.uint8)))
    assert caught.value.code == "constant-image"
