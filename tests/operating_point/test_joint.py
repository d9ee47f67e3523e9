"""``operating-point`` and ``ablate`` on films whose answers are known, and what they write."""

from __future__ import annotations

import dataclasses
import json
import shlex
from pathlib import Path

import numpy as np
import pytest
from cascade_films import many_films, write_films

from pneumoseg.cli import main
from pneumoseg.errors import DataError, UsageError
from pneumoseg.metrics import Estimate
from pneumoseg.operating_point.ablation import (
    ALWAYS,
    CASCADE,
    SOFT,
    TRIPLET,
    AblateSettings,
    Cost,
    WayReport,
    run_ablate,
    verdict,
)
from pneumoseg.operating_point.joint import (
    OperatingPointSettings,
    run_operating_point,
    scored_films,
)
from pneumoseg.operating_point.joint_search import Aim, apply_choice, nested_search, outer_folds
from pneumoseg.operating_point.outline_tables import outline_tables
from pneumoseg.pipeline_inference import Cascade
from pneumoseg.reading import read
from tiny_bundle import write_tiny_bundle

COUNT = 36


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("operating_point")
    write_films(folder, many_films(COUNT))
    write_tiny_bundle(folder / "tiny")
    return folder


def call(data: Path, **changes: object) -> dict[str, object]:
    values = {
        "images": data / "images",
        "masks": data / "masks.csv",
        "table": data / "table.csv",
        "bundle": str(data / "tiny"),
        "scores": data / "scores",
        "threads": 1,
        "folds": 3,
        "repeats": 50,
        "certified": False,
        "recall": 0.8,
    }
    return {**values, **changes}


@pytest.fixture(scope="module")
def report(data: Path):
    settings = OperatingPointSettings(
        **call(data, out=data / "op", out_bundle=data / "derived")  # type: ignore[arg-type]
    )
    return run_operating_point(settings)


def test_tables_agree_with_the_cascade_at_the_chosen_point(data: Path, tmp_path: Path) -> None:
    """The flags that are printed do what the search found, film by film, on the films' pixels."""
    settings = OperatingPointSettings(**call(data))  # type: ignore[arg-type]
    cascade = Cascade.load(data / "tiny", threads=1)
    _, films = scored_films(cascade, settings, None)
    fold = outer_folds(films.label, films.patient, np.random.default_rng(0), 3)
    for aim in Aim:
        choice = nested_search(films, fold, aim, settings.constraint).final
        outcome = apply_choice(films, choice)
        values = dataclasses.asdict(choice.config)
        values.pop("min_volume_ml")
        chosen = Cascade.load(data / "tiny", threads=1, **values)
        paths = sorted((data / "images").iterdir())[::5]
        for path, index in zip(paths, range(0, COUNT, 5), strict=True):
            finding = chosen.predict(read(path))
            area = 0 if finding.mask is None else finding.mask.area_px
            assert area == outcome.area[index], path.name
            assert finding.detection.positive == outcome.suspected[index]


def test_tables_by_hand(data: Path) -> None:
    settings = OperatingPointSettings(**call(data))  # type: ignore[arg-type]
    scores, films = scored_films(Cascade.load(data / "tiny", threads=1), settings, None)
    tables = films.tables
    half = tables.bottoms.index(0.5)
    assert tables.area[0, half, tables.min_pixels.index(300)] == 400  # f000: 20×20, whole
    assert tables.area[0, half, tables.min_pixels.index(500)] == 0
    assert tables.overlap[0, half, 0] == tables.truth_area[0] == 400
    assert tables.true_lesions[0] == (400,)
    assert tables.passes[0, tables.rules.index((0.9, 400))]
    assert not tables.passes[0, tables.rules.index((0.9, 800))]
    assert tables.dice[0, half, 0] == 1.0
    assert tables.dice[0, half, tables.min_pixels.index(500)] == 0.0
    assert tables.area[1, half, 0] == 144  # f001: healthy, its spot is bright
    assert tables.dice[1, half, 0] == 0.0
    assert tables.area[2, half, 0] == 0  # f002: healthy, its spot is dim
    assert tables.dice[2, half, 0] == 1.0
    soft = outline_tables(scores, weight=np.full(COUNT, 0.4))
    assert soft.area[0, half, 0] == 0  # 0.4 times 1 no longer reaches 0.5
    assert soft.area[0, soft.bottoms.index(0.35), 0] == 400


def test_the_report_is_written_whole(data: Path, report) -> None:
    content = json.loads((data / "op" / "operating_point.json").read_text())
    assert (content["n"], content["n_positive"], content["n_positive_patients"]) == (36, 12, 6)
    assert (data / "op" / "operating_point.png").stat().st_size > 20_000
    clinical = content["aims"]["clinical"]
    assert clinical["figures"]["lesion Dice"]["value"] == pytest.approx(1.0)
    assert clinical["figures"]["specificity of the mask"]["value"] == 1.0  # spots are small
    assert clinical["config"]["min_pixels"] > 144 or clinical["config"]["top_min_pixels"] > 144
    assert clinical["removed_by_min_pixels"]["of_lesions"] == 12
    assert len(clinical["fold_configs"]) == 3
    assert {size["unit"] for size in clinical["sizes"]} == {"grid pixels", "percent of the film"}
    empty = content["aims"]["leaderboard"]["figures"]["SIIM mean Dice of empty masks"]
    assert empty["value"] == pytest.approx(24 / 36)
    assert any("12 true lesions" in message for message in report.aims[0].sentences(content))


def test_the_derived_bundle_has_the_point_and_names_its_parent(data: Path, report) -> None:
    card = report.bundle.card
    assert card.config == report.aims[0].config
    assert card.parent.startswith("tiny 1.2 ")
    assert "aim clinical" in card.training.notes[-1]
    assert "out of fold" in card.figures[-1].split


def test_the_flags_are_predict_s(data: Path, report, tmp_path: Path) -> None:
    words = ["predict", str(data / "images" / "f000.png"), "--out", str(tmp_path / "run")]
    bundle = ["--bundle", str(data / "tiny"), "--threads", "1"]
    assert main([*words, *bundle, *shlex.split(report.aims[0].flags)]) == 0
    run = json.loads((tmp_path / "run" / "run.json").read_text())["call"]
    for name, value in dataclasses.asdict(report.aims[0].config).items():
        assert run[name] == value


def test_too_few_patients_for_a_certificate_are_said(data: Path, tmp_path: Path) -> None:
    settings = OperatingPointSettings(
        **call(data, certified=True, out=tmp_path / "op")  # type: ignore[arg-type]
    )
    with pytest.raises(DataError, match="--no-certified"):
        run_operating_point(settings)
    assert not (tmp_path / "op").exists()
    with pytest.raises(UsageError, match="folds must be 3"):
        OperatingPointSettings(**call(data, folds=2))  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="small_percent"):
        OperatingPointSettings(**call(data, small_percent=0.0))  # type: ignore[arg-type]


def test_ablation_compares_four_ways_on_the_same_folds(data: Path) -> None:
    done = run_ablate(AblateSettings(**call(data, out=data / "ab")))  # type: ignore[arg-type]
    content = json.loads((data / "ab" / "ablation.json").read_text())
    ways = content["aims"]["clinical"]["ways"]
    assert list(ways) == [CASCADE, ALWAYS, TRIPLET, SOFT]
    for name, difference in ways[CASCADE]["differences_from_cascade"].items():
        assert difference["value"] == 0.0, name
    assert ways[CASCADE]["cost"]["share_reaching_stage_two"] < 1.0
    assert ways[ALWAYS]["cost"]["seconds"] == ways[ALWAYS]["cost"]["stage_two_seconds"]
    one, two = (ways[SOFT]["cost"][f"stage_{k}_seconds"] for k in ("one", "two"))
    assert ways[SOFT]["cost"]["seconds"] == pytest.approx(one + two)
    assert ways[ALWAYS]["config"]["top_min_pixels"] == 0
    assert (data / "ab" / "ablation.png").stat().st_size > 20_000
    assert "clinical aim" in done.verdicts[Aim.CLINICAL]


def way(name: str, dice: float, alarms: float, share: float) -> WayReport:
    def figure(what: str, value: float) -> Estimate:
        return Estimate(what, value, value - 0.01, value + 0.01, 9, 9, 9, "patient")

    return WayReport(
        way=name,
        aim=Aim.CLINICAL,
        figures=(figure("lesion Dice", 0.5 + dice), figure("false outlines", 0.5 + alarms)),
        differences=(figure("lesion Dice", dice), figure("false outlines", alarms)),
        cost=Cost(0.1, 1.0, name in (CASCADE, SOFT), share),
        nested=None,  # type: ignore[arg-type]
    )


@pytest.mark.parametrize(
    ("dice", "alarms", "share", "message"),
    [
        (0.0, 0.1, 0.5, "the cascade pays here"),  # faster, fewer alarms, Dice alike
        (0.1, 0.0, 1.0, "the cascade does not pay here"),  # slower, worse
        (0.1, 0.1, 0.5, "the cascade pays in part here"),  # faster, but lesions are lost
    ],
)
def test_the_verdict_follows_the_intervals(
    dice: float, alarms: float, share: float, message: str
) -> None:
    """Differences are the other way's minus the cascade's."""
    reports = [way(CASCADE, 0.0, 0.0, share)]
    reports += [way(name, dice, alarms, 1.0) for name in (ALWAYS, TRIPLET, SOFT)]
    sentence = verdict(reports)
    assert message in sentence
    if share == 0.5:
        assert "it takes 40% less time" in sentence  # 0.1 + 0.5 against 1.0
