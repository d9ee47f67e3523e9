"""What each step towards the shipped chest X-ray weights gave: docs/weights.md.

    python docs/weights.py            measure the runs that are here, write json and page
    python docs/weights.py --page     write the page from docs/weights.json alone
    python docs/weights.py --check    say whether the page is that of docs/weights.json

Every step is a run of `pneumoseg train` with a file of configs/. Measured on the calibration part,
which chooses between them: the test part is for the weights that ship, once. A run whose folder is
not here keeps the figures that docs/weights.json has of it. Needs cache/lean
(pneumoseg prepare --settings configs/prepare_cxr.toml).
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pneumoseg import metrics
from pneumoseg.metrics import Statistic

ROOT = Path(__file__).parents[1]
KEPT, PAGE = ROOT / "docs/weights.json", ROOT / "docs/weights.md"
BEGIN, END = "<!-- steps:{} -->\n", "<!-- /steps:{} -->"
CACHE = Path("cache/lean")
SEED = 0


@dataclass(frozen=True)
class Step:
    """One run, and what was new in it."""

    network: str
    """``classifier``, ``segmenter`` (U-Net on EfficientNet-B3) or ``convnext`` (the seed's)."""
    run: str
    """Folder below ``runs/``; its recipe is ``configs/RUN.toml``."""
    what: str
    """What was new, one line."""
    size: int = 0
    """Pixels a side that the network is shown here, 0 for those it was trained at."""

    @property
    def key(self) -> str:
        """In docs/weights.json."""
        return f"{self.run}@{self.size}" if self.size else self.run


STEPS = (
    Step("classifier", "cxr_classifier", "grown out of lite2; masks say where to look"),
    Step(
        "classifier",
        "cxr_classifier_finer",
        "goes on finer, films changed more; with films a public model is sure of, and phantoms",
    ),
    Step("segmenter", "cxr_segmenter", "the first classifier learns to segment"),
    Step("segmenter", "cxr_segmenter", "the same network, shown larger films", 384),
    Step("segmenter", "cxr_segmenter", "and larger still", 448),
    Step("convnext", "cxr_convnext_segmenter", "from random weights, distilled from the one above"),
)


def measure(step: Step) -> dict[str, Any] | None:
    """Figures of one run on the calibration part, or None where its folder is not here."""
    import torch

    from pneumoseg.dataset.cache import Cache
    from pneumoseg.preprocess import mask_to_input
    from pneumoseg.training.distill import build_teacher
    from pneumoseg.training.initialise import build_classifier, build_segmenter, load_weights
    from pneumoseg.training.validation import infer, predict_logits

    path = Path("runs") / step.run / "best.pt"
    if not path.is_file():
        return None
    held = torch.load(path, map_location="cpu", weights_only=True)
    size, cpu = step.size or int(held["recipe"]["size"]), torch.device("cpu")
    cache = Cache.open(CACHE)
    rows = cache.part("calibration")
    labels = cache.labels[rows] == 1
    if step.network == "segmenter":
        network = build_teacher(str(path))
    else:
        build = build_classifier if step.network == "classifier" else build_segmenter
        network = build("scratch")
        load_weights(network, path)

    def mirrored(film: torch.Tensor) -> torch.Tensor:
        """Mean logits of a film and of its mirror image."""
        plain, back = network(film), network(film.flip(3))
        return (plain + (back.flip(3) if back.ndim == 4 else back)) / 2

    def statistic(model: Callable[..., Any]) -> tuple[str, Statistic]:
        """The network's figure: its name, and how it is computed of some of the films."""
        if step.network == "classifier":
            score = predict_logits(model, cache, rows, size, cpu)
            return "AUROC", lambda i: metrics.auroc(score[i], labels[i])
        dices = np.zeros(len(rows))
        for at, row in enumerate(rows):
            if labels[at]:
                predicted = infer(model, cache, rows[at : at + 1], size, cpu)[0, 0] >= 0
                truth = mask_to_input(cache.masks[row], size)[0] > 0
                dices[at] = metrics.dice(predicted, truth) if predicted.any() else 0.0
        return "lesion Dice", lambda i: metrics.lesion_dice(dices[i], labels[i])

    name, alone = statistic(network.eval())
    _, averaged = statistic(mirrored)
    statistics = {name: alone, f"{name}, mirrored": averaged}
    record = path.parent / "metrics.json"  # weights handed on may come without
    history = json.loads(record.read_text(encoding="utf-8")) if record.is_file() else []
    metrics_kept, schedule = held["metrics"], held["recipe"]["schedule"]
    about = {
        "size": size,
        "films": int(
            (metrics_kept["epoch"] - 1) * schedule["films_per_epoch"] + metrics_kept["films"]
        ),
        "minutes": round(metrics_kept["minutes"]),
        "n": len(rows),
        "positive": int(labels.sum()),
        "patients": len(set(cache.patients[rows].tolist())),
        "curve": [
            [int(sum(e["films"] for e in history[: k + 1])), e.get("auroc", e["score"])]
            for k, e in enumerate(history)
        ],
    }
    figures = {}
    for key, figure in statistics.items():
        rng = np.random.default_rng(SEED)
        interval = metrics.bootstrap_by_patient(figure, cache.patients[rows], rng, n=len(rows))
        figures[key] = [figure(np.arange(len(rows))), interval.low, interval.high]
    return about | {"figures": figures}


def table(network: str, kept: dict[str, Any]) -> str:
    """The steps of one network as a Markdown table."""
    lines = [
        "| step | recipe | pixels | films in this step | minutes | figure | 95 % interval "
        "| with the mirror image | images | positive | patients |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for step in STEPS:
        about = kept.get(step.key)
        if step.network != network or about is None:
            continue
        (name, (value, low, high)), (_, both) = about["figures"].items()
        recipe = f"[{step.run}.toml](../configs/{step.run}.toml)"
        lines.append(
            f"| {step.what} | {recipe} | {about['size']} | {about['films']:,} | {about['minutes']} "
            f"| {name} {value:.3f} | {low:.3f} to {high:.3f} "
            f"| {both[0]:.3f} ({both[1]:.3f} to {both[2]:.3f}) "
            f"| {about['n']} | {about['positive']} | {about['patients']} |"
        )
    return "\n".join(lines) + "\n"


def curve(run: str, kept: dict[str, Any]) -> str:
    """A run's figure after each epoch."""
    about = kept.get(run)
    if about is None:
        return "\nNot measured.\n"
    films = " | ".join(f"{seen:,}" for seen, _ in about["curve"])
    values = " | ".join(f"{value:.3f}" for _, value in about["curve"])
    name = next(iter(about["figures"]))
    rule = "|---" * (len(about["curve"]) + 1) + "|"
    return f"\n| films seen | {films} |\n{rule}\n| {name} | {values} |\n"


def page(text: str, kept: dict[str, Any]) -> str:
    """The page with every table anew."""
    for name in re.findall(r"<!-- steps:(\S+) -->", text):
        made = curve(name[6:], kept) if name.startswith("curve:") else table(name, kept)
        begin, end = BEGIN.format(name), END.format(name)
        before, _, rest = text.partition(begin)
        text = before + begin + made + end + rest.partition(end)[2]
    return text


def main() -> int:
    """Measure, and write or compare the page."""
    kept = json.loads(KEPT.read_text(encoding="utf-8")) if KEPT.exists() else {}
    if not sys.argv[1:]:
        kept |= {s.key: about for s in STEPS if (about := measure(s)) is not None}
        KEPT.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    text = PAGE.read_text(encoding="utf-8")
    wanted = page(text, kept)
    if sys.argv[1:] == ["--check"]:
        if text != wanted:
            sys.exit("docs/weights.md is not that of docs/weights.json; run docs/weights.py --page")
        return 0
    PAGE.write_text(wanted, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
