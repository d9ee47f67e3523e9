"""Write the shipped bundle's figures into README.md and docs/ between their marks.

    python docs/figures.py            write them
    python docs/figures.py --check    say whether they are up to date (exit code 1 if not)

Every number comes from the bundle's card, which `pneumoseg calibrate` measured.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from pneumoseg.bundle import Card, CardFigure, load_bundle
from pneumoseg.study import Modality

ROOT = Path(__file__).parents[1]
PAGES = ("README.md", "docs/explanation.md")
MARKS = re.compile(r"(<!-- figures:(\w+)(?::([^>]*))? -->\n).*?(<!-- /figures:\2 -->)", re.DOTALL)
"""``figures:BUNDLE`` for all figures of a card; ``figures:BUNDLE:A|B`` for those begun so."""


def table(card: Card, begun: str | None = None) -> str:
    """Draw the card's figures as a Markdown table with n, interval, split and origin.

    Args:
        card: of a bundle.
        begun: with which words the names of the figures to show begin, ``|`` between them; None
            shows all.
    """
    chosen = [
        f for f in card.figures if begun is None or f.name.startswith(tuple(begun.split("|")))
    ]
    cases = "slices or volumes" if card.modality is Modality.CT else "images"
    patients = "anatomies" if card.modality is Modality.CT else "patients"
    lines = [
        f"| figure | value | 95 % interval | {cases} | positive | {patients} |",
        "|---|---|---|---|---|---|",
    ]
    lines += [_line(figure) for figure in chosen]
    point = f"{card.config.classifier_threshold:.3f} / {card.config.segmenter_threshold:.2f} / "
    point += f"{card.config.min_pixels} px"
    if card.modality is Modality.CT:
        # the splits differ by what is resampled; the sources are in the figures' names
        measured_on = "simulated pneumothorax, test part, anatomies never trained or calibrated on"
        intervals = "by anatomy, where there is one anatomy alone (lidc) by volume"
        point += f" ({card.config.min_volume_ml:g} mL where the spacing is known)"
    else:
        measured_on = ", ".join(sorted({f"{figure.split}; {figure.origin}" for figure in chosen}))
        intervals = "by patient"
    return (
        "\n".join(lines)
        + f"\n\nBundle `{card.name}` {card.version}, classifier at {card.classifier_size}×"
        + f"{card.classifier_size}, segmenter at {card.segmenter_size}×{card.segmenter_size}, "
        + f"operating point {point}. Measured on: {measured_on}. Intervals: bootstrap {intervals}. "
        + f"Remade by `pneumoseg calibrate --settings configs/{card.name}_calibrate.toml`.\n"
    )


def _line(figure: CardFigure) -> str:
    places = ".0f" if " mL" in figure.name and "correlation" not in figure.name else ".3f"
    value = "n/a" if figure.value is None else f"{figure.value:{places}}"
    interval = "–" if figure.low is None else f"{figure.low:{places}} to {figure.high:{places}}"
    counts = f"{figure.n} | {figure.n_positive} | {figure.n_patients}"
    return f"| {figure.name} | {value} | {interval} | {counts} |"


def main() -> int:
    """Write or check every page."""
    stale = []
    for page in PAGES:
        path = ROOT / page
        text = path.read_text(encoding="utf-8")
        new = MARKS.sub(
            lambda m: m[1] + table(load_bundle(m[2]).card, m[3]) + m[4],
            text,
        )
        if new != text:
            stale.append(page)
            if "--check" not in sys.argv:
                path.write_text(new, encoding="utf-8")
    if "--check" in sys.argv and stale:
        sys.stderr.write(f"not up to date: {', '.join(stale)}; run make figures\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
