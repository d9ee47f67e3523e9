"""The picture of a bench is made from its document."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import pytest
from made_up_bench import made_up

from pneumoseg.installation.bench.picture import draw_bench
from pneumoseg.installation.bench.result import (
    Bench,
)


@pytest.mark.parametrize("found", [made_up(), made_up(200.0), made_up(with_rates=False)])
def test_the_picture_is_made_from_the_document_alone(found: Bench, tmp_path: Path) -> None:
    document = json.loads(json.dumps(found.as_document()))
    draw_bench(document, tmp_path / "first.png")
    draw_bench(document, tmp_path / "again.png")
    first = (tmp_path / "first.png").read_bytes()
    assert first == (tmp_path / "again.png").read_bytes()
    drawn = cv2.imread(str(tmp_path / "first.png"))
    assert drawn is not None and drawn.std() > 5
