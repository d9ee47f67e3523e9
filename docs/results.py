"""Measure the shipped X-ray bundle on the real films and write docs/results.md.

    python docs/results.py            run what is not measured yet, then write the page
    python docs/results.py --page     write the page from docs/results.json alone
    python docs/results.py --check    say whether the page is that of docs/results.json

Every step is a command of pneumoseg, shown on the page; its JSON and pictures stay in
outputs/results, which is not committed: they name films. docs/results.json keeps the figures.
Needs ../shared/data/siim and cache/lean (pneumoseg prepare --settings configs/prepare_cxr.toml).
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pneumoseg.reading.siim_csv import read_table

ROOT = Path(__file__).parents[1]
OUT = Path("outputs/results")
SIIM = Path("../shared/data/siim")
TABLE = Path("cache/lean/table.csv")
KEPT, PAGE = ROOT / "docs/results.json", ROOT / "docs/results.md"
SIMULATED = ROOT / "benchmarks/results/certified_recall/simulation.json"
HEADER = (
    "| figure | value | 95 % interval | images | positive | patients |\n|---|---|---|---|---|---|"
)

TRUTH = f"--masks {SIIM}/train-rle.csv"
FILMS = f"--images {SIIM}/images {TRUTH} --mask-grid 1024 --table {TABLE} --where source=siim"
TEST, BOTH = f"{FILMS} part=test", f"{FILMS} part=calibration|test"
RUN = f"--predictions {OUT}/run {TRUTH} --table {SIIM}/manifest.csv --allow-missing"
STEPS = {
    "doctor/doctor.json": f"doctor {SIIM}/images {TRUTH} --table {SIIM}/manifest.csv --mask-grid "
    "1024 --split-column split --train stage1_train --test stage1_test --allow-leaks "
    f"--out {OUT}/doctor",
    "run/predictions_aggregated.csv": f"predict {OUT}/films --modality xray --out {OUT}/run",
    "report/report/report.json": f"evaluate {RUN} --mask-grid 1024 --report --out {OUT}/report",
    "validated/validate.json": f"validate {OUT}/run/predictions_split.csv --images {OUT}/films "
    f"--pair {OUT}/run/predictions_aggregated.csv --out {OUT}/validated",
    "certified/certified.json": f"certify {RUN} --out {OUT}/certified",
    "point/operating_point.json": f"operating-point {BOTH} --scores {OUT}/scores --out {OUT}/point",
    "ablation/ablation.json": f"ablate {BOTH} --scores {OUT}/scores --out {OUT}/ablation",
    "audit/labels.json": f"audit labels {TEST} --others "
    f"{SIIM}/manifest.csv:nih_findings=Pneumothorax --out {OUT}/audit",
    "audit/occlusion.json": f"audit occlusion {TEST} --out {OUT}/audit",
    "audit/tube.json": f"audit tube {TEST} --out {OUT}/audit",
    "audit/history.json": f"audit history {TEST} --out {OUT}/audit",
    "recalibrated/recalibration.json": f"recalibrate --images {SIIM}/images {TRUTH} "
    f"--table {TABLE} --where source=siim part=test view=AP sex=F "
    "--origin 'AP films of women, test part' "
    f"--out {OUT}/recalibrated",
    "retarget/retarget.json": f"retarget --bundle cxr --out {OUT}/retarget",
}
"""What each command leaves below ``OUT``, and its words."""


def measure() -> None:
    """Run every step whose result is not there yet."""
    films = OUT / "films"
    films.mkdir(parents=True, exist_ok=True)
    for row in read_table(ROOT / TABLE).values():
        if (row["part"], row["source"]) == ("test", "siim"):
            link = films / Path(row["file"]).name
            if not link.exists():
                link.symlink_to((ROOT / SIIM / "images" / row["file"]).resolve())
    for made, words in STEPS.items():
        if not (OUT / made).exists():
            subprocess.run(
                [Path(sys.executable).parent / "pneumoseg", *shlex.split(words)], check=True
            )
    KEPT.write_text(json.dumps(_gather(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _gather() -> dict[str, Any]:
    """The figures of every step, without what names a film or a patient."""
    found = {made: json.loads((OUT / made).read_text()) for made in STEPS if made.endswith(".json")}
    doctor = found["doctor/doctor.json"]
    report = found["report/report/report.json"]
    certified = found["certified/certified.json"]
    ablation, point = found["ablation/ablation.json"], found["point/operating_point.json"]
    return {
        "bundle": report["bundle"],
        "doctor": [
            {key: finding[key] for key in ("severity", "code", "count", "what", "advice")}
            for finding in doctor["findings"]
        ],
        "report": {key: report[key] for key in ("figures", "operating_points", "strata", "notes")},
        "certified": [certified[key]["claim"] for key in ("chosen_here", "chosen_elsewhere")],
        "operating point": {
            aim: {"flags": said["flags"], "figures": list(said["figures"].values())}
            | {"sizes": said["sizes"], "removed": said["removed_by_min_pixels"]}
            for aim, said in point["aims"].items()
        },
        "ablation": {
            aim: {
                "verdict": said["verdict"],
                "ways": {way: list(of["figures"].values()) for way, of in said["ways"].items()},
            }
            for aim, said in ablation["aims"].items()
        },
        "timed_on": ablation["timed_on"],
        "audits": {
            name: {key: found[f"audit/{name}.json"][key] for key in ("sentences", "panels")}
            for name in ("labels", "occlusion", "tube", "history")
        },
        "validated": {key: found["validated/validate.json"][key] for key in ("rows", "images")}
        | {"problems": sum(found["validated/validate.json"]["counts"].values())},
        "recalibrated": {
            key: found["recalibrated/recalibration.json"][key] for key in ("sentences", "panels")
        },
        "retarget": found["retarget/retarget.json"]["prevalences"],
    }


def page(kept: dict[str, Any]) -> str:
    """The results page, Markdown."""
    return "\n".join(_lines(kept)).rstrip("\n") + "\n"


def _lines(kept: dict[str, Any]) -> Iterator[str]:
    yield f"# Results of the bundle {kept['bundle']} on real films"
    yield ""
    yield (
        "Written by `make results` (docs/results.py) from docs/results.json; do not edit. "
        "Films: NIH ChestX-ray14 (NIH Clinical Center; Wang et al., CVPR 2017). Masks: "
        "SIIM-ACR Pneumothorax Segmentation challenge 2019. Where nothing else is said, the "
        "figures come from the test part: `stage1_test` films of patients that were never "
        "trained or calibrated on. Figures of the operating point and of the ablation come "
        "from calibration and test part together, out of fold; the probabilities were "
        "calibrated on the first of the two. Each line says how many images of how many "
        "patients stand behind it; intervals: 95 %, bootstrap by patient. Figures of audits "
        "on phantoms count phantoms. The false alarms of the data set's content rules were "
        "tuned on these same films. Research use only."
    )
    yield "\nSeconds were taken on two processors busy with other work: trust their ratios at most."
    yield from _section("The data set, before anyone trains", "doctor/doctor.json")
    yield "| severity | finding | what to do |\n|---|---|---|"
    for finding in kept["doctor"]:
        yield f"| {finding['severity']} | {_cell(finding['what'])} | {_cell(finding['advice'])} |"
    yield from _section("The report", "report/report/report.json")
    yield from _table(_grouped(kept["report"]["figures"]))
    for stratum in kept["report"]["strata"]:
        yield f"\n**By {stratum['by']}.** {stratum['definition']} {stratum['reason']}\n".rstrip()
        rows = [
            figure | {"name": f"{group['name']}: {figure['name']}"}
            for group in stratum["groups"]
            for figure in group["figures"]
        ]
        if rows:
            yield ""
            yield from _table(rows)
    yield ""
    yield from (f"- {note}" for note in kept["report"]["notes"])
    yield from _section("The submission's check", "validated/validate.json")
    checked = kept["validated"]
    yield f"{checked['rows']} rows of {checked['images']} images, {checked['problems']} problems."
    yield from _certified(kept)
    yield from _points(kept)
    yield from _audits(kept)
    yield from _section("Predictive values at other prevalences", "retarget/retarget.json")
    yield "Intervals: Jeffreys, each patient counted once.\n"
    yield "| prevalence | PPV | 95 % interval | NPV | 95 % interval | suspected |"
    yield "|---|---|---|---|---|---|"
    for row in kept["retarget"]:
        yield (
            f"| {row['prevalence']:.0%} | {row['ppv']:.3f} | {row['ppv_low']:.3f} to "
            f"{row['ppv_high']:.3f} | {row['npv']:.3f} | {row['npv_low']:.3f} to "
            f"{row['npv_high']:.3f} | {row['suspected']:.0%} |"
        )


def _certified(kept: dict[str, Any]) -> Iterator[str]:
    yield from _section("Certified recall", "certified/certified.json")
    names = ("Choosing the threshold on the test part", "Judging the card's threshold there")
    for name, claim in zip(names, kept["certified"], strict=True):
        yield f"- {name}: {claim}"
    yield "\n```sh\npython -P benchmarks/certified_recall.py\n```\n"
    yield "How often the true recall falls short of 0.95, over seeded, simulated draws:\n"
    yield "| rule | positives | draws | falls short | 95 % interval |\n|---|---|---|---|---|"
    for row in json.loads(SIMULATED.read_text(encoding="utf-8"))["shortfalls"]:
        yield (
            f"| {row['rule']} | {row['patients']} | {row['draws']:,} | {row['share']:.1%} | "
            f"{row['low']:.1%} to {row['high']:.1%} |"
        )


def _points(kept: dict[str, Any]) -> Iterator[str]:
    yield from _section("Joint operating point", "point/operating_point.json")
    for aim, said in kept["operating point"].items():
        removed = said["removed"]
        yield f"\n**Aim: {aim}.** `predict {said['flags']}`\n"
        yield from _table(said["figures"])
        yield (
            f"\nThe size filter alone would remove {removed['lesions']} of {removed['of_lesions']} "
            f"true lesions, and every lesion of {removed['films']} of {removed['of_films']} films."
        )
    yield from _section("Does the cascade pay?", "ablation/ablation.json")
    timed = kept["timed_on"]
    yield (
        f"Timed with {timed['runtime']} {timed['precision']} on {timed['processors']} processors, "
        f"classifier {timed['classifier_size']}², segmenter {timed['segmenter_size']}²."
    )
    for aim, said in kept["ablation"].items():
        yield f"\n**Aim: {aim}.** {said['verdict']}\n"
        yield from _table(
            figure | {"name": f"{way}: {figure['name']}"}
            for way, figures in said["ways"].items()
            for figure in figures
        )


def _audits(kept: dict[str, Any]) -> Iterator[str]:
    for name, audit in kept["audits"].items():
        yield from _section(f"Audit: {name}", f"audit/{name}.json")
        yield from _panels(audit)
    yield from _section("Local recalibration", "recalibrated/recalibration.json")
    yield "Some films of the test part stand for a site's own: an exercise, not another hospital.\n"
    yield from _panels(kept["recalibrated"])


def _panels(audit: dict[str, Any]) -> Iterator[str]:
    yield from (f"- {sentence}" for sentence in audit["sentences"])
    for panel in audit["panels"]:
        yield f"\n**{panel['title']}**\n"
        yield from _table(panel["figures"])


def _section(title: str, made: str) -> Iterator[str]:
    yield f"\n## {title}\n\n```sh\npneumoseg {STEPS[made].replace('|', chr(92) + '|')}\n```\n"


def _table(figures: Any) -> Iterator[str]:
    yield HEADER
    for figure in figures:
        if figure["value"] is None:
            value = _cell(figure.get("reason") or "n/a")
        else:
            value = f"{figure['value']:.3f}"
        known = figure.get("low") is not None
        interval = f"{figure['low']:.3f} to {figure['high']:.3f}" if known else "–"
        patients = figure.get("n_patients")
        counts = f"{figure['n']} | {figure['n_positive']} | {'–' if patients is None else patients}"
        yield f"| {_cell(figure['name'])} | {value} | {interval} | {counts} |"


def _grouped(figures: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Figures with their group before the name: recall is there at two thresholds."""
    return [figure | {"name": f"{figure['group']}: {figure['name']}"} for figure in figures]


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def main() -> int:
    """Measure and write, only write, or check."""
    if not {"--page", "--check"} & set(sys.argv):
        measure()
    text = page(json.loads(KEPT.read_text(encoding="utf-8")))
    if "--check" in sys.argv:
        if PAGE.is_file() and text == PAGE.read_text(encoding="utf-8"):
            return 0
        sys.stderr.write("docs/results.md is not up to date; run python docs/results.py --page\n")
        return 1
    PAGE.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
