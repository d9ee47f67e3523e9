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

ROOT = Path(__file__).parents[1]
PAGES = ("README.md", "docs/explanation.md")
MARKS = re.compile(r"(<!-- figures:(\w+) -->\n).*?(<!-- /figures:\2 -->)", re.DOTALL)


def table(card: Card) -> str:
    """Draw the card's figures as a Markdown table with n, interval, split and origin."""
    lines = [
        "| figure | value | 95 % interval | images | positive | patients |",
        "|---|---|---|---|---|---|",
    ]
    lines += [_line(figure) for figure in card.figures]
    splits = sorted({f"{figure.split}; {figure.origin}" for figure in card.figures})
    return (
        "\n".join(lines)
        + f"\n\nBundle `{card.name}` {card.version}, classifier at {card.classifier_size}×"
        + f"{card.classifier_size}, segmenter at {card.segmenter_size}×{card.segmenter_size}, "
        + f"operating point {card.config.classifier_threshold:.3f} / "
        + f"{card.config.segmenter_threshold:.2f} / {card.config.min_pixels} px. Measured on: "
        + f"{', '.join(splits)}. Intervals: bootstrap by patient. Remade by "
        + "`pneumoseg calibrate --settings configs/cxr_calibrate.toml`.\n"
    )


def _line(figure: CardFigure) -> str:
    value = "n/a" if figure.value is None else f"{figure.value:.3f}"
    interval = "–" if figure.low is None else f"{figure.low:.3f} to {figure.high:.3f}"
    counts = f"{figure.n} | {figure.n_positive} | {figure.n_patients}"
    return f"| {figure.name} | {value} | {interval} | {counts} |"


def main() -> int:
    """Write or check every page."""
    stale = []
    for page in PAGES:
        path = ROOT / page
        text = path.read_text(encoding="utf-8")
        new = MARKS.sub(
            lambda m: m[1] + table(load_bundle(m[2]).card) + m[3],
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
