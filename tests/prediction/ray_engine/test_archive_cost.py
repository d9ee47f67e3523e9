"""The table of costs says what the measurements say, and that a missing one is missing."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

PAGE_MAKER = Path(__file__).parents[3] / "docs" / "archive.py"


@pytest.fixture
def costs():
    spec = importlib.util.spec_from_file_location("archive_costs", PAGE_MAKER)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_million_films_at_ten_a_second(costs, tmp_path):
    """1,000,000 / 10 a second are 100,000 s, 27.8 hours; at 8 a second 34.7, at 12.5 22.2."""
    report = {
        "contestants": {
            "pneumoseg predict": {"images_per_second": {"median": 10, "low": 8, "high": 12.5}}
        },
        "machine": {"processor": "a processor", "cores": 2},
        "runtime": "openvino",
        "precision": "bf16",
        "bundle": "cxr 1",
        "images": 300,
        "films": "phantoms",
        "pass_rate": 0.45,
        "repeats": 3,
    }
    (tmp_path / "predict.json").write_text(json.dumps(report))
    lines = costs.block(tmp_path).splitlines()
    assert "| one machine | 10.00 (8.00 to 12.50) | 27.8 (22.2 to 34.7) | 27.8 |" in lines
    assert "| ten such machines | 10.00 (8.00 to 12.50) | 2.8 (2.2 to 3.5) | 27.8 |" in lines
    assert "| one machine with a GPU | not measured | | |" in lines
    assert any("a processor, 2 cores, openvino bf16" in line for line in lines)


def test_the_page_is_that_of_the_measurements(costs, monkeypatch):
    """Breaks if somebody measured again, or edited the table by hand."""
    monkeypatch.setattr("sys.argv", ["archive.py", "--check"])
    assert costs.main() == 0
