"""One HTML page for a run: the films with what was outlined, and a table of the results.

Meant for some hundred films; for archives there are the tables. The frame of the page is
:mod:`pneumoseg.writing.page`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from pneumoseg import rle
from pneumoseg.storage.files import whole_file
from pneumoseg.storage.record import FindingRecord
from pneumoseg.study import Image, Mask
from pneumoseg.writing import page
from pneumoseg.writing.overlay import draw_overlay
from pneumoseg.writing.page import escaped
from pneumoseg.writing.tables import printable

THUMBNAIL_SIDE = 480
"""Longer side of a film on the page, in pixels."""
JPEG_QUALITY = 85


@dataclass(frozen=True)
class ReportRow:
    """One film on the page; made by :func:`report_row`.

    Attributes:
        name: what the film is called on the page.
        probability: calibrated, in [0, 1].
        threshold: of the classifier, in [0, 1].
        suspected: whether the film went on to stage two.
        lesions: number of outlined lesions.
        sides: the patient's sides they lie on, as far as known.
        area_px: their area in source pixels.
        area_mm2: their area in mm², or None where the spacing is unknown.
        truth: whether there is a pneumothorax, or None where it is not known.
        picture_jpeg: the film with its outlines, a JPEG file.
        is_ct: whether it is a CT volume; the areas are then not shown.
        volume_ml: of the lesions of a CT, None where the spacing is unknown.
    """

    name: str
    probability: float
    threshold: float
    suspected: bool
    lesions: int
    sides: tuple[str, ...]
    area_px: int
    area_mm2: float | None
    truth: bool | None
    picture_jpeg: bytes
    is_ct: bool = False
    volume_ml: float | None = None

    @property
    def decision(self) -> str:
        """The decision in words."""
        return "Suspected" if self.suspected else "Not suspected"

    @property
    def outcome(self) -> str | None:
        """How the decision compares with the truth, in words, or None where it is not known."""
        if self.truth is None:
            return None
        if self.truth:
            return "Found" if self.suspected else "Missed"
        return "False alarm" if self.suspected else "Passed"

    @property
    def area(self) -> str:
        """The area in cm², in pixels where the spacing is unknown, or a dash for none.

        Of a CT the volume in mL.
        """
        if not self.lesions:
            return "–"
        if self.volume_ml is not None:
            return f"{self.volume_ml:,.0f}\N{NO-BREAK SPACE}mL"
        if self.area_mm2 is None:
            return f"{self.area_px:,}\N{NO-BREAK SPACE}px"
        return f"{self.area_mm2 / 100.0:.1f}\N{NO-BREAK SPACE}cm²"


def report_row(
    image: Image,
    record: FindingRecord,
    *,
    truth: Mask | bool | None = None,
    name: str | None = None,
) -> ReportRow:
    """Prepare one film for the page; only its small picture is kept.

    Args:
        image: the film, (rows, cols).
        record: its line of ``predictions.jsonl``.
        truth: the true mask on the film's grid, drawn in blue; or only whether there is a
            pneumothorax; None where it is not known.
        name: what to call the film; its image id by default.
    """
    true_mask = truth if isinstance(truth, Mask) else None
    rows, cols = image.shape
    mask = Mask(rle.decode(record.rle, (rows, cols)), image.spacing_mm)
    picture = draw_overlay(
        image, mask if record.segmented else None, truth=true_mask, max_side=THUMBNAIL_SIDE
    )
    return ReportRow(
        name=printable(name or record.image_id),
        probability=record.probability,
        threshold=record.classifier_threshold,
        suspected=record.positive,
        lesions=len(record.lesions),
        sides=tuple(sorted({lesion.side for lesion in record.lesions if lesion.side})),
        area_px=record.area_px,
        area_mm2=record.area_mm2,
        truth=bool(truth.area_px) if isinstance(truth, Mask) else truth,
        picture_jpeg=jpeg_of(picture),
    )


def jpeg_of(picture: NDArray[np.uint8]) -> bytes:
    """An RGB picture (height, width, 3) as a JPEG file."""
    _, jpeg = cv2.imencode(
        ".jpg", np.ascontiguousarray(picture[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    )
    return jpeg.tobytes()


def write_report(
    path: Path,
    rows: Sequence[ReportRow],
    *,
    title: str,
    introduction: str = "",
    facts: Sequence[tuple[str, str]] = (),
) -> None:
    """Write the page.

    Args:
        path: an ``.html`` file; replaced whole or not at all.
        rows: the films, in the order of the page.
        title: heading of the page.
        introduction: one or two plain sentences under it.
        facts: name and value of what made the results (bundle, versions, folder), shown at the end.

    Raises:
        OSError: the file cannot be written.
    """
    with whole_file(path) as part:
        part.write_text(_page(rows, title, introduction, facts), encoding="utf-8")


def _page(
    rows: Sequence[ReportRow], title: str, introduction: str, facts: Sequence[tuple[str, str]]
) -> str:
    films = "\n".join(_film(number, row) for number, row in enumerate(rows, start=1))
    return page.page(
        title,
        f"""{page.lead(introduction)}
{page.notice("Not for diagnosis.")}
{_tiles(rows)}""",
        f"""<h2>{_kind(rows)}</h2>
{_legend(rows)}
<div class="films">
{films}
</div>
<h2>Table</h2>
{_table(rows)}
{page.facts(facts)}""",
        "Made with pneumoseg, a two-stage cascade that finds pneumothorax in chest X-rays\n"
        f"and chest CT and outlines it. {page.NOT_A_DEVICE}",
    )


def _tiles(rows: Sequence[ReportRow]) -> str:
    """The counts on top."""
    known = [row for row in rows if row.truth is not None]
    counts = [
        (_kind(rows), f"{len(rows)}"),
        ("Suspected", f"{sum(row.suspected for row in rows)}"),
        ("With an outline", f"{sum(row.lesions > 0 for row in rows)}"),
    ]
    if known:
        positive = [row for row in known if row.truth]
        negative = [row for row in known if not row.truth]
        found, passed = sum(r.suspected for r in positive), sum(not r.suspected for r in negative)
        counts.append(("Pneumothoraces found", f"{found} of {len(positive)}"))
        counts.append((f"Normal {_kind(rows).lower()} passed", f"{passed} of {len(negative)}"))
    return page.tiles(counts)


def _kind(rows: Sequence[ReportRow]) -> str:
    """What the rows are."""
    return "Studies" if any(row.is_ct for row in rows) else "Films"


def _legend(rows: Sequence[ReportRow]) -> str:
    truth = ""
    if any(row.truth is not None for row in rows):
        truth = ', <span class="key truth"></span>the true border where one is known'
    return (
        f'<p class="legend"><span class="key found"></span>outlined by the cascade{truth}. '
        "The bar is the probability of a pneumothorax; the mark on it is the threshold. "
        "Sides are the patient's.</p>"
    )


def _film(number: int, row: ReportRow) -> str:
    return f"""<figure id="film-{number}">
<div class="film">{page.image(row.picture_jpeg, "jpeg", _described(row))}</div>
<figcaption>
<b>{escaped(row.name)}</b>
{_bar(row)}
<span class="detail">Probability {row.probability:.2f}, {escaped(_lesions(row))}</span>
<span class="chips">{_chips(row)}</span>
</figcaption>
</figure>"""


def _table(rows: Sequence[ReportRow]) -> str:
    with_truth = any(row.truth is not None for row in rows)
    size = "Size" if any(row.is_ct for row in rows) else "Area"
    columns = ["Study", "Probability", "Decision", "Lesions", "Side", size]
    columns += ["Truth", "Outcome"] if with_truth else []
    body = "\n".join(_table_row(number, row, with_truth) for number, row in enumerate(rows, 1))
    return page.table(columns, ("Lesions", size), body)


def _table_row(number: int, row: ReportRow, with_truth: bool) -> str:
    suspected = " suspected" if row.suspected else ""
    cells = [
        f'<th scope="row" title="{escaped(row.name)}"><a href="#film-{number}">'
        f"{escaped(row.name)}</a></th>",
        f"<td>{_bar(row)}{row.probability:.2f}</td>",
        f'<td><span class="chip{suspected}">{row.decision}</span></td>',
        f'<td class="number">{row.lesions or "–"}</td>',
        f"<td>{escaped(' and '.join(row.sides)) or '–'}</td>",
        f'<td class="number">{escaped(row.area)}</td>',
    ]
    if with_truth:
        truth = {True: "Pneumothorax", False: "None", None: "Not known"}[row.truth]
        cells += [f"<td>{truth}</td>", f"<td>{_outcome(row)}</td>"]
    return f"<tr>{''.join(cells)}</tr>"


def _bar(row: ReportRow) -> str:
    """Probability and threshold as a bar; hidden from screen readers, which get the number."""
    suspected = " suspected" if row.suspected else ""
    return (
        f'<span class="bar{suspected}" aria-hidden="true" '
        f'style="--p:{row.probability:.1%};--t:{row.threshold:.1%}"><i></i><u></u></span>'
    )


def _chips(row: ReportRow) -> str:
    suspected = " suspected" if row.suspected else ""
    return f'<span class="chip{suspected}">{row.decision}</span>{_outcome(row)}'


def _outcome(row: ReportRow) -> str:
    if row.outcome is None:
        return ""
    kind = "right" if row.suspected == row.truth else "wrong"
    return f'<span class="chip {kind}">{row.outcome}</span>'


def _lesions(row: ReportRow) -> str:
    """What was outlined, in words."""
    if not row.lesions:
        return "nothing outlined" if row.suspected else "not segmented"
    number = "1 lesion" if row.lesions == 1 else f"{row.lesions} lesions"
    side = f" {' and '.join(row.sides)}" if row.sides else ""
    return f"{number}{side}, {row.area}"


def _described(row: ReportRow) -> str:
    """The picture for those who do not see it."""
    truth = {True: " True pneumothorax.", False: " Truly none.", None: ""}[row.truth]
    return (
        f"Chest {'CT' if row.is_ct else 'X-ray'} {row.name}: {row.decision.lower()}, "
        f"probability {row.probability:.2f}, {_lesions(row)}.{truth}"
    )
