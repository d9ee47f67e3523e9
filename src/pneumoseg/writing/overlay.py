"""Pictures of a finding: the film with its outlined pneumothorax, and the mask as an image.

The outline is drawn, not the area filled, so that the pleural line underneath stays visible; it is
taken from the mask on the film's own grid, so that a thin lesion does not vanish when the picture
is smaller. Colours are from Okabe and Ito's palette (2008), told apart by readers with any colour
vision.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import cv2
import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont
from numpy.typing import NDArray

from pneumoseg.storage.files import whole_file
from pneumoseg.study import Finding, Image, Mask
from pneumoseg.writing.tables import printable

FOUND_COLOUR = (230, 159, 0)
"""RGB of a predicted outline: orange."""
TRUTH_COLOUR = (86, 180, 233)
"""RGB of a true outline: sky blue."""
MAX_SIDE = 1024
"""Longer side of the film in a picture, in pixels; a film is never enlarged."""
NOTICE = "Research use only. Not a medical device."

_CAPTION_COLOUR, _CAPTION_BACKGROUND = (225, 228, 232), (24, 27, 31)
_SUBPIXEL_BITS = 4  # cv2 draws at 1/16 pixel, so that a scaled outline lies where the mask lies
_SAFE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")
_RESERVED_NAME = re.compile(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?")  # Windows devices


def safe_file_name(image_id: str) -> str:
    """Give a file name (without ending) for any image id, however hostile.

    An id of letters, digits, ``.``, ``_`` and ``-`` that does not start with a dot (any DICOM UID)
    stays as it is. Another is cut, cleaned and marked with ``~`` and a digest of the whole id, so
    that different ids never share a file and none leaves its folder.
    """
    if _SAFE_NAME.fullmatch(image_id) and not _RESERVED_NAME.fullmatch(image_id):
        return image_id
    digest = hashlib.blake2b(image_id.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
    cleaned = re.sub(r"[^A-Za-z0-9_-]+", "_", image_id)[:60].strip("_-") or "image"
    return f"{cleaned}~{digest}"


def draw_overlay(
    image: Image,
    mask: Mask | None,
    *,
    truth: Mask | None = None,
    max_side: int = MAX_SIDE,
) -> NDArray[np.uint8]:
    """Draw a film with its outlines.

    Args:
        image: a film in the unit interval, (rows, cols).
        mask: predicted mask on the film's grid, outlined in orange; None where there is none.
        truth: true mask on the film's grid, outlined in blue beneath the prediction.
        max_side: longer side of the picture in pixels.

    Returns:
        uint8 RGB (height, width, 3), proportions kept.

    Raises:
        ValueError: the image is no film or a mask is not on its grid.
    """
    if image.pixels.ndim != 2:
        raise ValueError(f"pictures are drawn of films (rows, cols), got {image.shape}")
    picture = _display(image.pixels, max_side)  # (height, width, 3)
    for outlined, colour in ((truth, TRUTH_COLOUR), (mask, FOUND_COLOUR)):
        if outlined is None:
            continue
        if outlined.pixels.shape != image.shape:
            raise ValueError(f"mask {outlined.pixels.shape} is not on the film {image.shape}")
        picture = _outlined(picture, outlined.pixels, colour)
    return picture


def captioned_overlay(
    image: Image, finding: Finding, *, truth: Mask | None = None, side_by_side: bool = False
) -> NDArray[np.uint8]:
    """Draw a finding for a file: outlined film over a caption strip.

    Args:
        image: the film the finding is about.
        finding: its result.
        truth: true mask on the film's grid, where known.
        side_by_side: show the bare film to the left of the outlined one.

    Returns:
        uint8 RGB (height, width, 3).
    """
    picture = draw_overlay(image, finding.mask, truth=truth)
    if side_by_side:
        picture = np.concatenate([draw_overlay(image, None), picture], axis=1)
    return with_caption(picture, [*_caption(finding, truth), NOTICE])


def write_overlay(
    path: Path,
    image: Image,
    finding: Finding,
    *,
    truth: Mask | None = None,
    side_by_side: bool = False,
) -> None:
    """Write :func:`captioned_overlay` as an RGB PNG.

    Raises:
        OSError: the file cannot be written.
    """
    write_png(
        path, captioned_overlay(image, finding, truth=truth, side_by_side=side_by_side)[..., ::-1]
    )


def write_mask(path: Path, finding: Finding) -> None:
    """Write the mask as a grey PNG on the film's own grid: 255 inside, 0 outside.

    All 0 where stage two was not run or found nothing.

    Raises:
        OSError: the file cannot be written.
    """
    write_mask_picture(path, finding.mask, finding.shape)


def write_mask_picture(path: Path, mask: Mask | None, shape: tuple[int, ...]) -> None:
    """Write a mask (rows, cols) as a grey PNG: 255 inside, 0 outside; all 0 where there is none.

    Raises:
        OSError: the file cannot be written.
    """
    pixels = np.zeros(shape, dtype=np.uint8)
    if mask is not None:
        pixels[mask.pixels] = 255
    write_png(path, pixels)


def _display(pixels: NDArray[np.float32], max_side: int) -> NDArray[np.uint8]:
    """Bring unit-interval pixels to 8-bit RGB of at most ``max_side``."""
    rows, cols = pixels.shape
    scale = min(1.0, max_side / max(rows, cols))
    size = (max(1, round(cols * scale)), max(1, round(rows * scale)))  # cv2: width, height
    smaller = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA) if scale < 1.0 else pixels
    grey = np.rint(np.clip(smaller, 0.0, 1.0) * 255.0).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)


def _outlined(
    picture: NDArray[np.uint8], mask: NDArray[np.bool_], colour: tuple[int, int, int]
) -> NDArray[np.uint8]:
    """Draw the border of a mask (rows, cols) onto a copy of a picture of the film, at any scale."""
    drawn = picture.copy()
    above = np.ascontiguousarray(mask).view(np.uint8)
    left, top, width, height = cv2.boundingRect(above)
    if not (width and height):
        return drawn
    crop = np.ascontiguousarray(above[top : top + height, left : left + width])
    contours, _ = cv2.findContours(crop, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    scale = np.array(picture.shape[1::-1]) / np.array(mask.shape[::-1])  # (x, y)
    thickness = max(1, round(max(picture.shape[:2]) / 300))
    for contour in contours:
        points = (contour.reshape(-1, 2) + (left + 0.5, top + 0.5)) * scale - 0.5
        fixed = np.rint(points * (1 << _SUBPIXEL_BITS)).astype(np.int32)[:, None, :]
        cv2.polylines(drawn, [fixed], True, colour, thickness, cv2.LINE_AA, _SUBPIXEL_BITS)
    return drawn


def _caption(finding: Finding, truth: Mask | None) -> list[str]:
    """Lines that tell what was found, without the notice; Pillow's own font knows no ² and no ≥."""
    detection = finding.detection
    decision = "suspected" if detection.positive else "not suspected"
    lines = [
        printable(finding.source.image_id),
        f"Probability {detection.probability:.2f}, threshold {detection.threshold:.2f}: {decision}",
    ]
    if finding.mask is None:
        lines.append("Not segmented")
    elif not finding.lesions:
        lines.append("No lesion outlined")
    else:
        area = finding.mask.area_mm2
        size = f"{finding.mask.area_px} px" if area is None else f"{area / 100.0:.1f} sq cm"
        plural = "" if len(finding.lesions) == 1 else "s"
        lines.append(f"{len(finding.lesions)} lesion{plural}, {size} (orange)")
    if truth is not None:
        lines.append("Truth: blue" if truth.area_px else "Truth: no pneumothorax")
    return lines


def with_caption(picture: NDArray[np.uint8], lines: list[str]) -> NDArray[np.uint8]:
    """Put lines of text on a strip under a picture; lines too long for it are cut."""
    width = max(picture.shape[1], 320)  # a tiny film still gets a readable caption
    size = max(12, min(20, width // 48))
    font = PIL.ImageFont.load_default(size)
    margin, step = size, round(size * 1.5)
    height = 2 * margin + step * len(lines) - (step - size)
    canvas = PIL.Image.new("RGB", (width, picture.shape[0] + height), _CAPTION_BACKGROUND)
    canvas.paste(PIL.Image.fromarray(picture), ((width - picture.shape[1]) // 2, 0))
    draw = PIL.ImageDraw.Draw(canvas)
    for number, line in enumerate(lines):
        text = line
        while len(text) > 1 and draw.textlength(text, font=font) > width - 2 * margin:
            text = text[:-2] + "…"
        origin = (margin, picture.shape[0] + margin + number * step)
        draw.text(origin, text, fill=_CAPTION_COLOUR, font=font)
    return np.asarray(canvas)


def write_png(path: Path, pixels: NDArray[np.uint8]) -> None:
    """Write grey or (blue, green, red) pixels as PNG, whole or not at all."""
    _, encoded = cv2.imencode(".png", np.ascontiguousarray(pixels))
    with whole_file(path) as part:
        part.write_bytes(encoded.tobytes())
