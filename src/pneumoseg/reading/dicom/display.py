"""Stored values to display brightness: modality LUT, VOI LUT or window, polarity, padding.

PS3.3 C.11.1 (modality), C.11.2 (VOI), C.7.5.1.1.2 (padding); the order is PS3.4 N.2. All of it is
one function of the stored value, so it is computed once for each value and looked up.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from pneumoseg.reading.decoding import check_contrast
from pneumoseg.reading.dicom.fence import items, number, text, whole
from pneumoseg.reading.dicom.lut import lookup_table
from pneumoseg.reading.dicom.pixels import StoredPixels

_Curve = NDArray[np.float64]


def display(stored: StoredPixels, dataset: Dataset, notes: list[str]) -> NDArray[np.float32]:
    """Bring stored values to the brightness a reader sees.

    Args:
        stored: from :func:`pneumoseg.reading.dicom.pixels.decode`.
        dataset: the object they belong to.
        notes: receives what had to be decided.

    Returns:
        float32 (rows, cols) in [0, 1]: 0 black, 1 white. The first VOI LUT, else the first usable
        window; without either, 8-bit values divided by 255 and others stretched from the lowest to
        the highest value that is not padding. MONOCHROME1 is inverted, once. Padding is black.

    Raises:
        InputError: ``constant-image``.
    """
    values_seen, levels = _unsigned(stored.values)
    domain = np.arange(int(stored.values.min()), int(stored.values.max()) + 1)
    level_of = domain & (levels - 1)  # where each value of the domain stands in a table of all
    is_padding = _padding(domain, stored, dataset, notes)
    histogram = cv2.calcHist([values_seen], [0], None, [levels], [0, levels]).reshape(-1)
    occurs = histogram[level_of] > 0
    is_film = occurs & ~is_padding
    if not is_film.any():
        notes.append("PixelPaddingValue covers the whole image: ignored")
        is_padding, is_film = np.zeros_like(occurs), occurs
    values, is_identity = _modality(domain.astype(np.float64), stored, dataset, notes)
    brightness = _voi(values, is_film, stored, dataset, notes)
    if brightness is None:
        is_plain_byte = is_identity and stored.bits == 8 and not stored.signed
        brightness = domain / 255.0 if is_plain_byte else _stretch(values, is_film)
    if stored.photometric == "MONOCHROME1":
        brightness = 1.0 - brightness
    elif text(dataset, "PresentationLUTShape").upper() == "INVERSE":
        notes.append("PresentationLUTShape INVERSE contradicts MONOCHROME2: ignored")
    brightness = np.where(is_padding, 0.0, brightness).astype(np.float32)
    check_contrast(brightness[occurs])
    table = np.zeros(levels, dtype=np.float32)
    table[level_of] = brightness
    return np.asarray(cv2.LUT(values_seen, table), dtype=np.float32)


def _unsigned(values: NDArray[np.integer]) -> tuple[NDArray[np.unsignedinteger], int]:
    """Stored values as indices of a table (two's complement read without its sign), and its size.

    OpenCV's tables have 256 or 65536 entries, in the machine's byte order.
    """
    bits = values.dtype.itemsize * 8
    native = np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("="))
    return native.view(f"u{bits // 8}"), 2**bits


def _padding(
    domain: NDArray[np.int64], stored: StoredPixels, dataset: Dataset, notes: list[str]
) -> NDArray[np.bool_]:
    """Which values are padding: PixelPaddingValue up to PixelPaddingRangeLimit, both included."""
    ends = padding_range(dataset, stored, notes)
    if ends is None:
        return np.zeros(domain.shape, dtype=np.bool_)
    return np.asarray((domain >= ends[0]) & (domain <= ends[1]))


def padding_range(
    dataset: Dataset, stored: StoredPixels, notes: list[str]
) -> tuple[int, int] | None:
    """Lowest and highest stored value that are padding (PS3.3 C.7.5.1.1.2), None without one."""
    value = whole(dataset, "PixelPaddingValue")
    if value is None:
        return None
    limit = whole(dataset, "PixelPaddingRangeLimit")
    ends = [_in_range(v, stored) for v in (value, value if limit is None else limit)]
    if None in ends:
        notes.append(f"PixelPaddingValue {value} does not fit {stored.bits} bits: ignored")
        return None
    low, high = sorted(e for e in ends if e is not None)
    return low, high


def _in_range(value: int, stored: StoredPixels) -> int | None:
    """The value as stored; its VR often has the wrong sign (US for SS), 16 bits either way."""
    low = -(2 ** (stored.bits - 1)) if stored.signed else 0
    for candidate in (value, value - 65536, value + 65536):
        if low <= candidate < low + 2**stored.bits:
            return candidate
    return None


def _modality(
    domain: _Curve, stored: StoredPixels, dataset: Dataset, notes: list[str]
) -> tuple[_Curve, bool]:
    """Modality LUT, else slope and intercept; and whether that changed nothing."""
    for item in items(dataset, "ModalityLUTSequence")[:1]:
        table = lookup_table(item, stored.signed, notes)
        if table is not None:
            return table.apply(domain), False
    slope, intercept = number(dataset, "RescaleSlope"), number(dataset, "RescaleIntercept")
    if slope == 0:
        notes.append("RescaleSlope is 0: ignored")
        slope = None
    slope, intercept = 1.0 if slope is None else slope, intercept or 0.0
    return domain * slope + intercept, slope == 1.0 and intercept == 0.0


def _voi(
    values: _Curve,
    is_film: NDArray[np.bool_],
    stored: StoredPixels,
    dataset: Dataset,
    notes: list[str],
) -> _Curve | None:
    """Brightness in [0, 1] by VOI LUT or window; None where there is none that shows anything."""
    source = _voi_source(dataset)
    found: _Curve | None = None
    tables = items(source, "VOILUTSequence")
    if tables:
        if len(tables) > 1:
            notes.append(f"the first of {len(tables)} VOI LUTs is used")
        table = lookup_table(tables[0], stored.signed or bool(values.min() < 0), notes)
        found = None if table is None else table.apply(values) / (2.0**table.bits - 1.0)
    if found is None:
        found = _window(values, source, notes)
    if found is None:
        return None
    if np.ptp(found[is_film]) == 0 and np.ptp(values[is_film]) > 0:
        notes.append("the VOI shows every pixel alike: ignored")
        return None
    return found


def _voi_source(dataset: Dataset) -> Dataset:
    """Where the VOI is: the object itself, or the functional groups of an enhanced object."""
    for group in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        for item in items(dataset, group)[:1]:
            for voi in items(item, "FrameVOILUTSequence")[:1]:
                return voi
    return dataset


def _window(values: _Curve, source: Dataset, notes: list[str]) -> _Curve | None:
    """The first window, PS3.3 C.11.2.1.2 and C.11.2.1.3."""
    centre, width = number(source, "WindowCenter"), number(source, "WindowWidth")
    if centre is None or width is None:
        return None
    function = text(source, "VOILUTFunction").upper() or "LINEAR"
    if function not in ("LINEAR", "LINEAR_EXACT", "SIGMOID"):
        notes.append(f"VOILUTFunction {function[:16]!r} is unknown: taken for LINEAR")
        function = "LINEAR"
    if width <= 0 or (function == "LINEAR" and width < 1):
        notes.append(f"WindowWidth {width:g} is unusable: ignored")
        return None
    if function == "SIGMOID":
        steps = np.clip(-4.0 * (values - centre) / width, -700.0, 700.0)  # exp stays finite
        return np.asarray(1.0 / (1.0 + np.exp(steps)))
    if function == "LINEAR_EXACT":
        return np.clip((values - centre) / width + 0.5, 0.0, 1.0)
    if width == 1:
        return (values > centre - 0.5).astype(np.float64)
    return np.clip((values - (centre - 0.5)) / (width - 1.0) + 0.5, 0.0, 1.0)


def _stretch(values: _Curve, is_film: NDArray[np.bool_]) -> _Curve:
    """Lowest film value to 0, highest to 1."""
    low, high = float(values[is_film].min()), float(values[is_film].max())
    if high == low:
        return np.zeros_like(values)
    return np.clip((values - low) / (high - low), 0.0, 1.0)
