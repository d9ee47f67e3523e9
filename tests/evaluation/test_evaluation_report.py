"""The whole report of a made-up run: every number by hand, pictures from JSON, all or nothing."""

import base64
import dataclasses
import html
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import cv2
import pytest
from report_run import write_run

from pneumoseg.errors import DataError, UsageError
from pneumoseg.evaluation.report_pictures import draw_report
from pneumoseg.evaluation.run import EvaluateSettings, run_evaluate

PICTURES = {
    "roc_and_precision_recall.png",
    "decisions.png",
    "reliability.png",
    "froc.png",
    "size.png",
    "pass_and_cost.png",
    "strata.png",
}


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> EvaluateSettings:
    made = write_run(tmp_path_factory.mktemp("report"), spacing_mm=[0.5, 0.5])
    made.pop("films")
    settings = EvaluateSettings(**made, report=True, repeats=40)
    run_evaluate(settings)
    return settings


@pytest.fixture(scope="module")
def report(settings: EvaluateSettings) -> dict:
    return json.loads((settings.folder / "report" / "report.json").read_text(encoding="utf-8"))


def _value(report: dict, group: str, name: str) -> dict:
    return next(f for f in report["figures"] if (f["group"], f["name"]) == (group, name))


def test_every_figure_by_hand(report: dict) -> None:
    """Fails if any figure of the report were wrong. Four films are positive (f1 to f4)."""
    expected = {
        # f3 (.4) loses to f5 and f8; f4 (.6) and f2 (.7) to f5: 12 of 16 pairs
        ("ranking and probability", "AUROC"): 12 / 16,
        # falling: f1+ f5- f2+ f4+ f8- f3+
        ("ranking and probability", "average precision"): (1 + 2 / 3 + 3 / 4 + 4 / 6) / 4,
        ("ranking and probability", "prevalence"): 0.5,
        ("decisions at the default threshold", "recall"): 1.0,
        ("decisions at the default threshold", "specificity"): 0.5,
        ("decisions at the default threshold", "PPV"): 4 / 6,
        ("decisions at the default threshold", "NPV"): 1.0,
        ("decisions at the calibrated threshold", "recall"): 3 / 4,
        ("decisions at the calibrated threshold", "specificity"): 2 / 4,
        ("decisions at the calibrated threshold", "PPV"): 3 / 5,
        ("decisions at the calibrated threshold", "NPV"): 2 / 3,
        ("decisions at the calibrated threshold", "F2"): 5 * 3 / (5 * 3 + 4 * 1 + 2),
        # f1 whole, f2 half of its box, f3 missed, f4 one of two boxes (80 of 280 pixels)
        ("outlines", "lesion Dice"): (1 + 2 / 3 + 0 + 160 / 360) / 4,
        ("outlines", "SIIM mean Dice"): (1 + 2 / 3 + 0 + 160 / 360 + 0 + 1 + 1 + 1) / 8,
        ("outlines", "SIIM mean Dice of an all-empty submission"): 4 / 8,
        ("outlines", "recall by outline"): 3 / 4,
        ("outlines", "specificity by outline"): 3 / 4,
        # five true lesions: f1, f2 and one of f4's two are hit; f5's outline is false
        ("lesions, hit by any overlap", "sensitivity"): 3 / 5,
        ("lesions, hit by any overlap", "false positives per image"): 1 / 8,
        ("lesions, hit by IoU ≥ 0.1", "sensitivity at 0.125 false positives per image"): 3 / 5,
        ("pass-through and cost", "share reaching stage two"): 5 / 8,
        ("pass-through and cost", "share of negatives reaching it"): 2 / 4,
        ("pass-through and cost", "seconds per image"): (5 * 0.3 + 3 * 0.1) / 8,
        ("pass-through and cost", "seconds, stage one alone"): 0.1,
        ("pass-through and cost", "time saved against always segmenting"): 1 - 0.225 / 0.3,
    }
    found = {key: _value(report, *key)["value"] for key in expected}
    assert found == pytest.approx(expected)
    # f1 0 mm. f2: the truth's lower border lies 10 rows, 5 mm, below the outline's.
    distance = _value(report, "outlines", "HD95 in mm")
    assert distance["n"] == 3
    assert distance["value"] > 0


def test_every_number_has_its_counts_and_interval(report: dict) -> None:
    """Fails if a figure came without n, positives, patients, or an interval around its value."""
    figures = list(report["figures"])
    for stratum in report["strata"]:
        figures += [figure for group in stratum["groups"] for figure in group["figures"]]
    figures += report["curves"]["reliability"]
    figures += [part[key] for part in report["curves"]["size"] for key in ("recall", "lesion_dice")]
    assert len(figures) > 80
    for figure in figures:
        assert figure["n"] >= figure["n_positive"] >= 0
        assert figure["n_patients"] <= figure["n"]
        assert figure["unit"] == "patient"
        assert (figure["value"] is None) == bool(figure["reason"])
        if figure["low"] is not None:
            assert figure["low"] <= figure["high"]
    recall = _value(report, "decisions at the default threshold", "recall")
    # All three patients with pneumothorax found: exact, not the bootstrap's 1 to 1.
    assert (recall["n"], recall["n_patients"]) == (4, 3)
    assert recall["low"] == pytest.approx(0.025 ** (1 / 3))
    assert recall["high"] == 1.0


def test_strata_by_hand(report: dict) -> None:
    """Fails if a film stood in a wrong group or fell out of all."""
    found = {
        stratum["by"]: {
            group["name"]: next(f for f in group["figures"] if f["name"] == "recall")
            for group in stratum["groups"]
        }
        for stratum in report["strata"]
    }
    # 200, 200, 80 and 280 of 4,096 pixels: 4.9, 4.9, 2.0, 6.8 %
    assert {name: f["n"] for name, f in found["size"].items()} == {"large": 4}
    assert {name: (f["n"], f["value"]) for name, f in found["side"].items()} == {
        "right": (1, 0.0),
        "left": (2, 1.0),
        "both": (1, 1.0),
    }
    assert {name: f["n"] for name, f in found["view"].items()} == {"AP": 2, "PA": 2}
    # no age for f5, 413 years for f7
    assert {name: f["n"] for name, f in found["age"].items()} == {
        "0 to 17": 1,
        "18 to 39": 2,
        "40 to 64": 0,
        "65 and over": 1,
        "unknown": 0,
    }
    assert found["age"]["unknown"]["reason"] == "no positive image"
    assert {name: f["n"] for name, f in found["sex"].items()} == {"F": 2, "M": 2}


def test_curves_by_hand(report: dict) -> None:
    curves = report["curves"]
    assert curves["roc"]["false_positive_rate"] == [0, 0, 0.25, 0.25, 0.5, 0.5, 1]
    assert curves["roc"]["recall"] == [0, 0.25, 0.25, 0.75, 0.75, 1, 1]
    assert curves["precision_recall"]["recall"] == [0.25, 0.5, 0.75, 1.0]
    froc = curves["froc"]["any overlap"]
    assert (froc["true_lesions"], froc["images"]) == (5, 8)
    assert froc["false_positives_per_image"] == [0, 0, 0.125, 0.125, 0.125]
    cost = curves["pass_and_cost"]
    assert cost["seconds_stage_one"] == pytest.approx(0.1)
    assert cost["seconds_stage_two"] == pytest.approx(0.2)
    assert cost["share_passing"][-1] == 1.0
    assert cost["seconds_per_image"][-1] == pytest.approx(0.3)
    assert sum(part["n"] for part in curves["reliability"]) == 8


def test_what_may_be_claimed_is_said(report: dict, settings: EvaluateSettings) -> None:
    claim = report["certified_recall"]["chosen_here"]
    assert not claim["certified"]
    assert claim["more_units_needed"] == 56  # 59 patients without a miss, here are 3
    page = (settings.folder / "report.html").read_text(encoding="utf-8")
    assert html.escape(claim["claim"]) in page


def test_worst_cases_are_chosen_by_rule_and_drawn(report: dict, settings: EvaluateSettings) -> None:
    """Fails if a miss were not shown, or a film were drawn that is none of the three kinds."""
    shown = [(case["kind"], case["image_id"]) for case in report["worst_cases"]]
    assert shown == [
        ("missed pneumothorax", "f3"),
        ("poor outline", "f4"),
        ("poor outline", "f2"),
        ("poor outline", "f1"),
        ("false alarm", "f5"),
        ("false alarm", "f8"),
    ]
    for case in report["worst_cases"]:
        picture = cv2.imread(str(settings.folder / "report" / case["picture"]))
        assert picture.shape == (64, 64, 3)


class _Page(HTMLParser):
    """Every address a page refers to, and whether its tags close."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.addresses += [value for name, value in attrs if name in ("src", "href")]
        if tag not in ("meta", "img", "link", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_one_file_that_holds_everything(settings: EvaluateSettings) -> None:
    """Fails if the page fetched anything, or a picture in it were broken."""
    content = (settings.folder / "report.html").read_text(encoding="utf-8")
    page = _Page()
    page.feed(content)
    assert page.open == []
    assert len(page.addresses) == len(PICTURES) + 6
    for address in page.addresses:
        kind, _, data = address.partition(";base64,")
        assert kind in ("data:image/png", "data:image/jpeg")
        assert base64.b64decode(data)[:2] in (b"\x89P", b"\xff\xd8")
    assert "<script" not in content
    assert "f3" in content
    assert re.search(r"None|nan\b", re.sub(r"base64,[^\"]*", "", content)) is None


def test_pictures_are_made_of_the_json_alone(settings: EvaluateSettings, tmp_path: Path) -> None:
    """Fails if a picture needed anything but report.json, or changed from run to run."""
    there = settings.folder / "report"
    assert {path.name for path in there.glob("*.png")} == PICTURES
    shutil.copy(there / "report.json", tmp_path / "copy.json")
    for path in draw_report(tmp_path / "copy.json", tmp_path / "pictures"):
        assert path.read_bytes() == (there / path.name).read_bytes()
    (tmp_path / "copy.json").write_text("[]")
    with pytest.raises(DataError, match="is no report of pneumoseg evaluate"):
        draw_report(tmp_path / "copy.json", tmp_path)
    with pytest.raises(UsageError, match="cannot read"):
        draw_report(tmp_path / "none.json", tmp_path)


def test_masks_drawn_on_a_finer_grid(tmp_path: Path, report: dict) -> None:
    """Fails if masks of another size were scored, or brought wrongly to the films' grid."""
    made = write_run(tmp_path, truth_grid=128)
    films = made.pop("films")
    settings = EvaluateSettings(**made, report=True, films=films, repeats=20, mask_grid=128)
    with pytest.raises(DataError, match="seem to be drawn on columns of about 128 pixels|--mask-g"):
        run_evaluate(dataclasses.replace(settings, mask_grid=None))
    with pytest.raises(DataError, match="seem to be drawn on columns of about 128 pixels, not of"):
        run_evaluate(dataclasses.replace(settings, mask_grid=512))
    assert not settings.folder.exists()
    run_evaluate(settings)
    finer = json.loads((settings.folder / "report" / "report.json").read_text(encoding="utf-8"))
    for group, name in (("outlines", "lesion Dice"), ("outlines", "SIIM mean Dice")):
        assert _value(finer, group, name)["value"] == _value(report, group, name)["value"]
    distance = _value(finer, "outlines", "HD95 in mm")
    assert (distance["value"], distance["n"]) == (None, 0)
    assert distance["reason"] == "spacing in mm not known"


def test_nothing_is_left_of_a_report_that_fails(tmp_path: Path) -> None:
    """Fails if a wrong input left a partial report, or took an earlier one away."""
    made = write_run(tmp_path)
    films = made.pop("films")
    settings = EvaluateSettings(**made, report=True, films=films, repeats=5)
    run_evaluate(settings)
    before = {p: p.read_bytes() for p in settings.folder.rglob("*") if p.is_file()}
    (films / "f5.png").unlink()  # a worst case, met when all figures are done
    with pytest.raises(DataError, match=r"holds no file 'f5.png' for the image f5"):
        run_evaluate(settings)
    other = tmp_path / "other.csv"
    other.write_text("image_id,patient_id\nz,p\n")
    with pytest.raises(DataError, match="gives none of the 8 evaluated images a patient"):
        run_evaluate(dataclasses.replace(settings, table=other))
    other.write_text("image_id,patient_id,sex\nf1,p1,F\nf1,p1,M\n")
    with pytest.raises(DataError, match="image f1 is listed twice"):
        run_evaluate(dataclasses.replace(settings, table=other))
    assert {p: p.read_bytes() for p in settings.folder.rglob("*") if p.is_file()} == before
    assert not list(settings.predictions.glob(".*"))
    # Where the films are gone and no folder is given, the page says so.
    shutil.rmtree(films)
    run_evaluate(dataclasses.replace(settings, films=None))
    page = (settings.folder / "report.html").read_text(encoding="utf-8")
    assert "6 films are no longer where they were predicted" in page
    # An evaluation without a report leaves no report of an earlier one beside it.
    run_evaluate(dataclasses.replace(settings, films=None, report=False))
    assert not (settings.folder / "report.html").exists()
    assert not (settings.folder / "report").exists()


def test_what_does_not_belong_to_an_evaluation_is_not_replaced(tmp_path: Path) -> None:
    made = write_run(tmp_path)
    films = made.pop("films")
    settings = EvaluateSettings(**made, report=True, repeats=5)
    (settings.folder / "report").mkdir(parents=True)
    with pytest.raises(UsageError, match="is not an evaluation's"):
        run_evaluate(settings)
    with pytest.raises(UsageError, match="give --report as well"):
        EvaluateSettings(**made, films=films)
    with pytest.raises(UsageError, match="mask_grid must be"):
        EvaluateSettings(**made, mask_grid=0)


def test_lesions_that_are_not_the_mask_are_refused(tmp_path: Path) -> None:
    """Fails if a record without its lesions gave a FROC curve without outlines."""
    made = write_run(tmp_path)
    made.pop("films")
    lines = made["predictions"] / "predictions.jsonl"
    records = [json.loads(line) for line in lines.read_text().splitlines()]
    records[0].pop("lesions")
    lines.write_text("".join(json.dumps(record) + "\n" for record in records))
    with pytest.raises(DataError, match="image f1: its lesions .* do not unite"):
        run_evaluate(EvaluateSettings(**made, report=True, repeats=5))


def test_one_class_alone_still_makes_a_report(tmp_path: Path) -> None:
    """Fails if a set without positives, table or films stopped the report."""
    made = write_run(tmp_path)
    made.pop("films")
    made.pop("table")
    masks = made["masks"]
    masks.write_text("".join(f"{line.split(',')[0]},-1\n" if line.startswith("f") else line
                             for line in masks.read_text().splitlines(keepends=True)))  # fmt: skip
    settings = EvaluateSettings(**made, report=True, repeats=5)
    run_evaluate(settings)
    report = json.loads((settings.folder / "report" / "report.json").read_text(encoding="utf-8"))
    area = _value(report, "ranking and probability", "AUROC")
    assert (area["value"], area["reason"]) == (None, "needs positive and negative images")
    assert report["certified_recall"] is None
    assert {stratum["reason"] for stratum in report["strata"]} == {
        "no positive image",
        "no table was given",
    }
    assert "no table was given" in (settings.folder / "report.html").read_text(encoding="utf-8")
    assert {path.stem for path in (settings.folder / "report").glob("*.png")} == {
        "decisions",
        "reliability",
    }


def test_every_key_and_figure_is_in_the_reference(report: dict) -> None:
    """Fails if the report's format were changed and the reference did not know it."""
    page = Path(__file__).parents[2] / "docs" / "reference.md"
    section = page.read_text(encoding="utf-8").split("### The report", 1)[1].split("\n## ", 1)[0]
    names = {*report, *report["curves"], *(figure["group"] for figure in report["figures"])}
    names |= {key for part in ("operating_points", "worst_cases") for key in report[part][0]}
    shared = {*report["operating_points"][0]} - {"name", "threshold", "share_passing"}
    for name in names - shared:
        assert f"`{name}`" in section, name
