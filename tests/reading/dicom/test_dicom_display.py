"""Stored values to brightness; each expected value is computed by hand beside its case."""

from __future__ import annotations

import numpy as np
import pytest
from dicom_files import film, write
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from pneumoseg.errors import InputError
from pneumoseg.reading import read


def with_values(*values, dtype=np.uint16):
    """64×64: the given stored values in the first row, the last value everywhere else."""
    pixels = np.full((64, 64), values[-1], dtype=dtype)
    pixels[0, : len(values)] = values
    return pixels


def brightness(tmp_path, dataset, count, syntax=uid.ExplicitVRLittleEndian):
    image = read(write(tmp_path / "film.dcm", dataset, syntax))
    return image.pixels[0, :count].tolist(), image.source.notes


def table(first, entries, bits, *, packed=False):
    item = Dataset()
    item.LUTDescriptor = [len(entries) & 0xFFFF, first, bits]
    dtype = np.uint8 if packed else np.dtype("<u2")
    item.LUTData = np.array(entries, dtype=dtype).tobytes()
    item["LUTData"].VR = "OW"
    item["LUTDescriptor"].VR = "US"
    return Sequence([item])


def test_eight_bits_without_window_are_divided_by_255(tmp_path):
    found, notes = brightness(tmp_path, film(with_values(0, 51, 255, 102, dtype=np.uint8)), 4)
    assert found == [0.0, np.float32(0.2), 1.0, np.float32(0.4)] and notes == ()


def test_other_depths_without_window_are_stretched(tmp_path):
    found, _ = brightness(tmp_path, film(with_values(1000, 1500, 3000), bits=12), 3)
    assert found == [0.0, 0.25, 1.0]


def test_monochrome1_is_inverted_once(tmp_path):
    pixels = with_values(0, 51, 255, dtype=np.uint8)
    for shape in ("", "INVERSE", "IDENTITY"):
        dataset = film(pixels, PhotometricInterpretation="MONOCHROME1", PresentationLUTShape=shape)
        found, _ = brightness(tmp_path, dataset, 3)
        assert found == pytest.approx([1.0, 0.8, 0.0])


def test_monochrome2_with_inverse_is_not_inverted_but_noted(tmp_path):
    dataset = film(with_values(0, 255, dtype=np.uint8), PresentationLUTShape="INVERSE")
    found, notes = brightness(tmp_path, dataset, 2)
    assert found == [0.0, 1.0] and "INVERSE" in notes[0]


@pytest.mark.parametrize(
    ("function", "centre", "width", "expected"),
    [
        # LINEAR, (x - (c - 0.5)) / (w - 1) + 0.5: c 2048, w 4096 is x / 4095
        ("LINEAR", 2048, 4096, [0.0, 819 / 4095, 1.0]),
        ("", 2048, 4096, [0.0, 819 / 4095, 1.0]),
        ("LINEAR", 820, 1, [0.0, 0.0, 1.0]),  # w 1: a step above c - 0.5
        ("LINEAR_EXACT", 2048, 4096, [0.0, 819 / 4096, 4095 / 4096]),
        ("LINEAR_EXACT", 819, 0.5, [0.0, 0.5, 1.0]),
        ("SIGMOID", 819, 1000, [1 / (1 + np.exp(3.276)), 0.5, 1 / (1 + np.exp(-13.104))]),
    ],
)
def test_windows(tmp_path, function, centre, width, expected):
    dataset = film(with_values(0, 819, 4095), bits=12, WindowCenter=centre, WindowWidth=width)
    if function:
        dataset.VOILUTFunction = function
    found, notes = brightness(tmp_path, dataset, 3)
    assert found == pytest.approx(expected, abs=1e-6) and notes == ()


def test_first_of_several_windows(tmp_path):
    dataset = film(
        with_values(0, 819, 4095), bits=12, WindowCenter=[2048, 100], WindowWidth=[4096, 10]
    )
    assert brightness(tmp_path, dataset, 3)[0] == pytest.approx([0, 0.2, 1])


@pytest.mark.parametrize("width", [0, -5, 0.5])
def test_unusable_window_is_ignored_with_a_note(tmp_path, width):
    dataset = film(with_values(10, 15, 30), bits=12, WindowCenter=20, WindowWidth=width)
    found, notes = brightness(tmp_path, dataset, 3)
    assert found == [0.0, 0.25, 1.0] and "WindowWidth" in notes[0]


def test_window_that_hides_everything_is_ignored_with_a_note(tmp_path):
    dataset = film(with_values(10, 15, 30), bits=12, WindowCenter=3000, WindowWidth=10)
    found, notes = brightness(tmp_path, dataset, 3)
    assert found == [0.0, 0.25, 1.0] and "alike" in notes[0]


def test_window_acts_on_rescaled_values(tmp_path):
    """x * 2 - 100 gives 0, 100, 200: window centre 100.5, width 201 is y / 200."""
    dataset = film(
        with_values(50, 100, 150),
        bits=12,
        RescaleSlope=2,
        RescaleIntercept=-100,
        WindowCenter=100.5,
        WindowWidth=201,
    )
    assert brightness(tmp_path, dataset, 3)[0] == pytest.approx([0, 0.5, 1])


def test_negative_slope_inverts(tmp_path):
    dataset = film(with_values(0, 63, 255, dtype=np.uint8), RescaleSlope=-1, RescaleIntercept=0)
    assert brightness(tmp_path, dataset, 3)[0] == pytest.approx([1, 192 / 255, 0])


def test_signed_values(tmp_path):
    dataset = film(with_values(-1000, 0, 3000, dtype=np.int16))
    assert brightness(tmp_path, dataset, 3)[0] == [0.0, 0.25, 1.0]


def test_unused_high_bits_are_dropped_and_the_sign_is_kept(tmp_path):
    """12 bits in 16: overlay bits above them must not count; 0xFFF is -1 when signed."""
    pixels = with_values(0xF000, 0xF000 | 1024, 0xA000 | 4095)
    found, _ = brightness(tmp_path, film(pixels, bits=12), 3)
    assert found == pytest.approx([0, 1024 / 4095, 1])
    dataset = film(with_values(0x0FFF, 0x0000, 0x0003), bits=12, PixelRepresentation=1)
    assert brightness(tmp_path, dataset, 3)[0] == [0.0, 0.25, 1.0]


def test_high_bit_at_the_top(tmp_path):
    """12 bits in bits 15 to 4: stored values are shifted down by 4."""
    pixels = with_values(0 << 4 | 7, 1000 << 4 | 3, 4000 << 4)
    dataset = film(pixels, bits=12, HighBit=15)
    assert brightness(tmp_path, dataset, 3)[0] == [0.0, 0.25, 1.0]


@pytest.mark.parametrize("syntax", [uid.ExplicitVRLittleEndian, uid.ImplicitVRLittleEndian])
def test_voi_lut(tmp_path, syntax):
    """First input 10: 9 and 10 take entry 0, 11 entry 1, 12 and 99 the last; of 10 bits."""
    dataset = film(with_values(9, 10, 11, 12, 99), bits=12)
    dataset.VOILUTSequence = table(10, [0, 1023, 341], 10)
    found, _ = brightness(tmp_path, dataset, 5, syntax)
    assert found == pytest.approx([0, 0, 1, 1 / 3, 1 / 3])


def test_voi_lut_in_big_endian(tmp_path):
    dataset = film(with_values(10, 11, 12), bits=12)
    dataset.VOILUTSequence = table(10, [0, 1023, 341], 10)
    swapped = np.array([0, 1023, 341], dtype=">u2").tobytes()
    dataset.VOILUTSequence[0].LUTData = swapped
    found, _ = brightness(tmp_path, dataset, 3, uid.ExplicitVRBigEndian)
    assert found == pytest.approx([0, 1, 1 / 3])


def test_voi_lut_goes_before_the_window_and_the_first_counts(tmp_path):
    dataset = film(with_values(0, 1, 2), bits=12, WindowCenter=2048, WindowWidth=4096)
    dataset.VOILUTSequence = Sequence([*table(0, [0, 255, 51], 8), *table(0, [9, 9, 9], 8)])
    found, notes = brightness(tmp_path, dataset, 3)
    assert found == pytest.approx([0, 1, 0.2]) and "first of 2" in notes[0]


def test_voi_lut_with_a_negative_first_input(tmp_path):
    """First mapped -2 comes as US 65534."""
    dataset = film(with_values(-2, -1, 0, dtype=np.int16))
    dataset.VOILUTSequence = table(65534, [0, 51, 255], 8)
    assert brightness(tmp_path, dataset, 3)[0] == pytest.approx([0, 0.2, 1])


def test_voi_lut_of_packed_bytes(tmp_path):
    dataset = film(with_values(0, 1, 2, 3), bits=12)
    dataset.VOILUTSequence = table(0, [0, 51, 102, 255], 8, packed=True)
    assert brightness(tmp_path, dataset, 4)[0] == pytest.approx([0, 0.2, 0.4, 1])


def test_modality_lut_then_window(tmp_path):
    dataset = film(with_values(0, 1, 2), bits=12, WindowCenter=500.5, WindowWidth=1001)
    dataset.ModalityLUTSequence = table(0, [0, 1000, 250], 16)
    assert brightness(tmp_path, dataset, 3)[0] == pytest.approx([0, 1, 0.25])


def test_malformed_lut_is_ignored_with_a_note(tmp_path):
    dataset = film(with_values(10, 15, 30), bits=12)
    dataset.VOILUTSequence = table(0, [0, 1], 8)
    dataset.VOILUTSequence[0].LUTDescriptor = [4000, 0, 8]
    found, notes = brightness(tmp_path, dataset, 3)
    assert found == [0.0, 0.25, 1.0] and "LUTData" in notes[0]


def test_padding_is_black_and_does_not_set_the_range(tmp_path):
    dataset = film(with_values(0, 1000, 2000, 3000), bits=12, PixelPaddingValue=0)
    assert brightness(tmp_path, dataset, 4)[0] == [0.0, 0.0, 0.5, 1.0]


def test_padding_of_an_inverted_film_is_black_too(tmp_path):
    dataset = film(
        with_values(0, 1000, 2000, 3000),
        bits=12,
        PixelPaddingValue=0,
        PhotometricInterpretation="MONOCHROME1",
    )
    assert brightness(tmp_path, dataset, 4)[0] == [0.0, 1.0, 0.5, 0.0]


def test_padding_range(tmp_path):
    dataset = film(
        with_values(0, 5, 10, 1000, 3000), bits=12, PixelPaddingValue=0, PixelPaddingRangeLimit=9
    )
    assert brightness(tmp_path, dataset, 5)[0] == pytest.approx([0, 0, 0, 990 / 2990, 1])


def test_padding_that_needs_more_bits_is_ignored(tmp_path):
    dataset = film(with_values(0, 1000, 4000), bits=12, PixelPaddingValue=65535)
    found, notes = brightness(tmp_path, dataset, 3)
    assert found == [0.0, 0.25, 1.0] and "PixelPaddingValue" in notes[0]


def test_constant_film_is_refused(tmp_path):
    with pytest.raises(InputError) as caught:
        read(write(tmp_path / "film.dcm", film(with_values(7), bits=12)))
    assert caught.value.code == "constant-image"


def test_window_in_shared_functional_groups(tmp_path):
    dataset = film(with_values(0, 819, 4095), bits=12)
    voi, group = Dataset(), Dataset()
    voi.WindowCenter, voi.WindowWidth = 2048, 4096
    group.FrameVOILUTSequence = Sequence([voi])
    dataset.SharedFunctionalGroupsSequence = Sequence([group])
    assert brightness(tmp_path, dataset, 3)[0] == pytest.approx([0, 0.2, 1])
