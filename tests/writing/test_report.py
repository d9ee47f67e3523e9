"""The page: complete in itself, everything escaped, words that agree with the findings."""

from __future__ import annotations

import base64
import re
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest

from pneumoseg.study import (
    Detection,
    Finding,
    Image,
    Lesion,
    Mask,
    Provenance,
    Side,
    Source,
    Units,
)
from pneumoseg.writing.report import report_row, write_report
from pneumoseg.writing.tables import finding_record

PROVENANCE = Provenance("cxr", "1.0", "0.1.0", "openvino", "f32")
VOID = {"meta", "img", "br"}


def make_row(name="film", probability=0.9, lesion=True, spacing_mm=(0.5, 0.5), truth=None):
    pixels = np.zeros((900, 600), dtype=np.bool_)
    if lesion:
        pixels[100:140, 50:150] = True  # 4000 pixels: 10 cm² at 0.5 mm
    mask = Mask(pixels, spacing_mm) if probability >= 0.35 else None
    lesions = (Lesion(mask, 0.8, Side.RIGHT),) if lesion and mask is not None else ()
    image = Image(
        np.full((900, 600), 0.5, np.float32), Units.UNIT_INTERVAL, spacing_mm, Source(name)
    )
    finding = Finding(
        Source(name), (900, 600), Detection(1.0, probability, 0.35), mask, lesions, PROVENANCE
    )
    return report_row(image, finding_record(finding), truth=truth)


class Page(HTMLParser):
    """Collects tags, attributes and text; fails where tags do not nest."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def write(tmp_path, rows, **options) -> Page:
    path = tmp_path / "report.html"
    write_report(path, rows, **({"title": "Run"} | options))
    assert [entry.name for entry in tmp_path.iterdir()] == ["report.html"]
    return Page(path.read_text(encoding="utf-8"))


def test_the_page_needs_nothing_from_outside(tmp_path):
    """Breaks if a script, a link, a font or a picture would be fetched: hospitals have no net."""
    page = write(tmp_path, [make_row(), make_row("b", 0.1)])
    names = {tag for tag, _ in page.tags}
    assert not names & {"script", "link", "iframe", "object", "form"}
    for tag, attributes in page.tags:
        assert not any(name.startswith("on") for name in attributes)
        if tag == "img":
            assert attributes["src"].startswith("data:image/jpeg;base64,")
            assert "probability" in attributes["alt"]
    raw = (tmp_path / "report.html").read_text()
    assert not re.search(r"https?:|url\(|@import", raw)
    assert "prefers-color-scheme: dark" in raw
    assert "not a medical device" in raw


def test_everything_that_came_with_a_file_is_escaped(tmp_path):
    """Breaks if a file name can put markup on the page."""
    evil = '"><script>alert(1)</script>\n<img src=x onerror=alert(1)>'
    page = write(tmp_path, [make_row(evil)], title=evil, introduction=evil, facts=[(evil, evil)])
    assert "script" not in {tag for tag, _ in page.tags}
    assert sum(tag == "img" for tag, _ in page.tags) == 1
    assert "<script>alert(1)</script>" in page.text


def test_thumbnails_are_small_and_show_the_outline(tmp_path):
    page = write(tmp_path, [make_row()])
    (source,) = (attributes["src"] for tag, attributes in page.tags if tag == "img")
    data = np.frombuffer(base64.b64decode(source.split(",")[1]), np.uint8)
    picture = cv2.imdecode(data, cv2.IMREAD_COLOR)
    assert picture.shape == (480, 320, 3)
    blue, _, red = picture[53, 53].astype(int)  # (100 rows, 100 cols) of the film: upper border
    assert red - blue > 60


@pytest.mark.parametrize(
    ("probability", "truth", "outcome"),
    [
        (0.9, True, "Found"),
        (0.1, True, "Missed"),
        (0.9, False, "False alarm"),
        (0.1, False, "Passed"),
        (0.9, None, None),
    ],
)
def test_outcome_in_words(probability, truth, outcome):
    assert make_row(probability=probability, truth=truth).outcome == outcome


def test_a_true_mask_is_truth_by_its_pixels():
    some = np.zeros((900, 600), np.bool_)
    assert make_row(truth=Mask(some)).truth is False
    some = some.copy()
    some[5, 5] = True
    assert make_row(truth=Mask(some)).truth is True


def test_areas_are_never_guessed():
    """Breaks if a film without spacing gets an area in cm²."""
    assert make_row().area == "10.0\N{NO-BREAK SPACE}cm²"
    assert make_row(spacing_mm=None).area == "4,000\N{NO-BREAK SPACE}px"
    assert make_row(lesion=False).area == "–"


def test_counts_on_top(tmp_path):
    rows = [
        make_row("a", 0.9, truth=True),
        make_row("b", 0.1, truth=True),
        make_row("c", 0.9, lesion=False, truth=False),
        make_row("d", 0.2, truth=False),
    ]
    page = write(tmp_path, rows)
    for words in ("Suspected2", "With an outline1", "found1 of 2", "passed1 of 2"):
        assert words in page.text


def test_truth_columns_only_where_truth_is_known(tmp_path):
    assert "Outcome" not in write(tmp_path, [make_row()]).text
    assert "Outcome" in write(tmp_path, [make_row(truth=True)]).text


def test_no_films_is_still_a_page(tmp_path):
    assert "Films0" in write(tmp_path, []).text
