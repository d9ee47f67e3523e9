"""The report as one HTML file without scripts: tables and pictures are inside, nothing is fetched.

It has the look of a run's page (:mod:`pneumoseg.writing.report`) and is made of ``report.json`` and
the pictures beside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pneumoseg.statistics.estimate import Estimate
from pneumoseg.writing import page as frame
from pneumoseg.writing.page import escaped

Report = Mapping[str, Any]

ALT = {
    "roc_and_precision_recall": "ROC curve and precision-recall curve with both operating points",
    "decisions": "Recall, specificity, PPV, NPV and F2 at both thresholds",
    "reliability": "Reliability diagram: observed share of pneumothorax against stated probability",
    "froc": "FROC curve: sensitivity by lesion against false positives per image",
    "size": "Recall and lesion Dice against lesion size",
    "pass_and_cost": "Recall against the share passing to stage two, and seconds against recall",
    "strata": "AUROC, recall and lesion Dice in every group of images",
}
WIDE = ("roc_and_precision_recall", "pass_and_cost", "strata")


def write_report_page(page: Path, report: Report, folder: Path, pictures: Sequence[Path]) -> None:
    """Write the page.

    Args:
        page: HTML file to write.
        report: content of ``report.json``.
        folder: the folder it lies in, which the worst cases' pictures are below.
        pictures: PNG files of :func:`pneumoseg.evaluation.report_pictures.draw_report`.
    """
    coverage = report["coverage"]
    lead = (
        f"{coverage['evaluated']:,} images against their true masks: what the cascade "
        f"{report['bundle']} finds, misses and outlines, each number with its count and interval."
    )
    content = frame.page(
        f"Evaluation of {report['bundle']}",
        f"""{frame.lead(lead)}
{frame.notice("This page may show patients' images: keep it where they may be.")}
{_tiles(report)}""",
        f"""{_certified(report)}
<h2>Figures</h2>
{_figures(report)}
<h2>Pictures</h2>
<div class="plots">
{"".join(_plot(path) for path in pictures)}
</div>
<h2>Groups of images</h2>
{"".join(_stratum(stratum) for stratum in report["strata"])}
{_worst(report, folder)}
<h2>How to read it</h2>
<ul class="notes">{"".join(f"<li>{escaped(note)}</li>" for note in report["notes"])}</ul>
{frame.facts(_facts(report))}""",
        "Made by pneumoseg evaluate --report. All numbers are in report/report.json, from which "
        f"the pictures are drawn. {frame.NOT_A_DEVICE}",
        styles=(__package__,),
    )
    page.write_text(content, encoding="utf-8")


def _tiles(report: Report) -> str:
    shown = (
        ("AUROC", "ranking and probability", "AUROC"),
        ("Recall", "decisions at the calibrated threshold", "recall"),
        ("Specificity", "decisions at the calibrated threshold", "specificity"),
        ("Lesion Dice", "outlines", "lesion Dice"),
        ("Reaching stage two", "pass-through and cost", "share reaching stage two"),
    )
    found = {(f["group"], f["name"]): f for f in report["figures"]}
    whole = found["ranking and probability", "prevalence"]
    patients = "unknown" if whole["n_patients"] is None else f"{whole['n_patients']:,}"
    tiles = [
        ("Images", f"{whole['n']:,}", ""),
        ("Positive", f"{whole['n_positive']:,}", ""),
        ("Patients", patients, ""),
    ]
    for title, group, name in shown:
        figure = Estimate.of_record(found[group, name])
        detail = f"{figure.interval_in_words()}, n {figure.n:,}"
        tiles.append((title, "–" if figure.value is None else figure.value_in_words(), detail))
    return frame.tiles(tiles)


def _certified(report: Report) -> str:
    claims = report["certified_recall"]
    if claims is None:
        return ""
    chosen, judged = claims["chosen_here"]["claim"], claims["chosen_elsewhere"]["claim"]
    return f"""<h2>Recall that may be claimed</h2>
<p class="claim"><b>The run's threshold</b>, if it was chosen on other patients:
{escaped(judged)}</p>
<p class="claim"><b>A threshold chosen on these images</b>: {escaped(chosen)}</p>"""


def _table(first: str, body: str) -> str:
    names = ("value", "95 % interval", "images", "positive", "patients")
    return frame.table((first, *names), names, body)


def _row(figure: Mapping[str, Any]) -> str:
    counts = (
        f'<td class="number">{figure["n"]:,}</td><td class="number">{figure["n_positive"]:,}</td>'
        f'<td class="number">'
        f"{'unknown' if figure['n_patients'] is None else format(figure['n_patients'], ',')}</td>"
    )
    name = f'<th scope="row">{escaped(figure["name"])}</th>'
    if figure["value"] is None:
        reason = f'<td class="reason" colspan="2">{escaped(figure["reason"])}</td>'
        return f"<tr>{name}{reason}{counts}</tr>\n"
    value, interval, *_ = Estimate.of_record(figure).cells()
    return (
        f'<tr>{name}<td class="number">{value}</td>'
        f'<td class="number">{interval}</td>{counts}</tr>\n'
    )


def _heading(text: str) -> str:
    return f'<tr class="heading"><th scope="rowgroup" colspan="6">{escaped(text)}</th></tr>\n'


def _figures(report: Report) -> str:
    body, group = [], None
    for figure in report["figures"]:
        if figure["group"] != group:
            group = figure["group"]
            body.append(_heading(_headline(report, group)))
        body.append(_row(figure))
    return _table("figure", "".join(body))


def _headline(report: Report, group: str) -> str:
    """A group's name, with the threshold or the number of lesions it is about."""
    title = group[0].upper() + group[1:]
    for name, threshold in report["thresholds"].items():
        if group == f"decisions at the {name} threshold":
            return f"{title}, {threshold:.4g}"
    for rule, curve in report["curves"]["froc"].items():
        if group == f"lesions, hit by {rule}":
            return f"{title}; {curve['true_lesions']:,} true lesions"
    return title


def _plot(path: Path) -> str:
    wide = ' class="wide"' if path.stem in WIDE else ""
    return f"<figure{wide}>{frame.image(path.read_bytes(), 'png', ALT[path.stem])}</figure>\n"


def _stratum(stratum: Mapping[str, Any]) -> str:
    title = f"<h3>By {escaped(stratum['by'])}</h3>\n"
    definition = f'<p class="legend">{escaped(stratum["definition"])}</p>\n'
    if not stratum["groups"]:
        return f"{title}{definition}<p>Not available: {escaped(stratum['reason'])}.</p>\n"
    body = "".join(
        _heading(group["name"]) + "".join(_row(figure) for figure in group["figures"])
        for group in stratum["groups"]
    )
    return title + definition + _table("figure", body)


def _worst(report: Report, folder: Path) -> str:
    cases = report["worst_cases"]
    if not cases:
        return ""
    missing = sum(case["picture"] is None for case in cases)
    note = (
        f" {missing} films are no longer where they were predicted; --films FOLDER shows them."
        if missing
        else ""
    )
    inside = "".join(_case(case, folder) for case in cases)
    return f"""<h2>Worst cases</h2>
<p class="legend"><span class="key found"></span>outlined by the cascade,
<span class="key truth"></span>the true border. Missed ones by size, outlines by Dice, false alarms
by probability.{note}</p>
<div class="films">
{inside}</div>
"""


def _case(case: Mapping[str, Any], folder: Path) -> str:
    picture = '<span class="detail">no picture</span>'
    if case["picture"] is not None:
        alt = f"Chest X-ray {case['image_id']}: {case['kind']}"
        picture = frame.image((folder / case["picture"]).read_bytes(), "jpeg", alt)
    side = f", {case['side']}" if case["side"] else ""
    return f"""<figure>
<div class="film">{picture}</div>
<figcaption><b>{escaped(case["image_id"])}</b>
<span class="detail">Probability {case["probability"]:.3f}, Dice {case["dice"]:.3f}; truth
{case["true_share_of_film"]:.2%} of the film{escaped(side)}, outline
{case["outlined_share_of_film"]:.2%}</span>
<span class="chips"><span class="chip wrong">{escaped(case["kind"])}</span></span></figcaption>
</figure>
"""


def _facts(report: Report) -> list[tuple[str, str]]:
    coverage = report["coverage"]
    grid = report["mask_grid"]
    return [
        ("Bundle", report["bundle"]),
        ("Thresholds", ", ".join(f"{k} {v:.4g}" for k, v in report["thresholds"].items())),
        ("Intervals", f"{report['interval']}, drawn by {report['drawn_by']}, "
         f"{report['repeats']:,} resamples, seed {report['seed']}"),
        ("Masks drawn on", "the films' own grids" if grid is None else f"{grid}×{grid} pixels"),
        ("Images evaluated", f"{coverage['evaluated']:,}"),
        ("Predicted without truth", f"{coverage['predictions_without_truth']:,}, left out"),
        ("Truth without prediction", f"{coverage['truth_without_prediction']:,}, not evaluated"),
        ("Files that could not be predicted", f"{coverage['failures']:,}"),
        ("Images without a known patient", f"{coverage['without_patient']:,}"),
    ]  # fmt: skip
