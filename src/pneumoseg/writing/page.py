"""The frame of every HTML page: one file without scripts, nothing fetched, light and dark.

Style and pictures are inside; a Content-Security-Policy says so to the browser. What has not gone
through :func:`escaped` must be of this package, never of a file of the user's.
"""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Sequence
from importlib import resources

CSP = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
NUMBER = ' class="number"'
"""Of a cell that holds a number."""
STYLE = "report.css"
"""In this package, and in each that has a page with parts of its own."""
NOT_A_DEVICE = "Research software, not a medical device."


def page(title: str, header: str, content: str, footer: str, *, styles: Iterable[str] = ()) -> str:
    """A whole page.

    Args:
        title: plain text, also its heading.
        header: HTML below the heading: lead, notice, tiles.
        content: HTML of the page.
        footer: HTML of the last lines.
        styles: packages whose ``report.css`` follows that of all pages.
    """
    css = "".join(
        resources.files(package).joinpath(STYLE).read_text(encoding="utf-8")
        for package in (__package__, *styles)
    )
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{CSP}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escaped(title)}</title>
<style>
{css}</style>
</head>
<body>
<main>
<header>
<h1>{escaped(title)}</h1>
{header}
</header>
{content}
<footer>{footer}</footer>
</main>
</body>
</html>
"""


def lead(introduction: str) -> str:
    """The sentences below the heading; nothing where there are none."""
    return f'<p class="lead">{escaped(introduction)}</p>' if introduction else ""


def notice(further: str) -> str:
    """What the page is not, and HTML of what else must be known before it is read."""
    return f'<p class="notice">{NOT_A_DEVICE} {further}</p>'


def tiles(counts: Iterable[tuple[str, ...]]) -> str:
    """The numbers on top: a name, its value, and what belongs below the value."""
    inside = ""
    for name, *values in counts:
        below = "".join(f"<dd>{escaped(value)}</dd>" for value in values)
        inside += f"<div><dt>{escaped(name)}</dt>{below}</div>"
    return f'<dl class="tiles">{inside}</dl>'


def table(columns: Sequence[str], numbers: Iterable[str], body: str) -> str:
    """A table that scrolls by itself where the page is narrow.

    Args:
        columns: names of the columns.
        numbers: those of them that hold numbers, which stand on the right.
        body: HTML of the rows.
    """
    right = set(numbers)
    head = "".join(
        f'<th scope="col"{NUMBER if name in right else ""}>{escaped(name)}</th>' for name in columns
    )
    return (
        f'<div class="scroll"><table>\n<thead><tr>{head}</tr></thead>\n'
        f"<tbody>\n{body}\n</tbody>\n</table></div>\n"
    )


def facts(lines: Iterable[tuple[str, str]]) -> str:
    """What made the results, name and value; nothing where nothing is known."""
    inside = "".join(f"<dt>{escaped(name)}</dt><dd>{escaped(value)}</dd>" for name, value in lines)
    return f'<h2>How it was made</h2>\n<dl class="facts">{inside}</dl>' if inside else ""


def image(content: bytes, kind: str, described: str) -> str:
    """A picture inside the page: the bytes of a file, ``jpeg`` or ``png``, and it in words."""
    data = base64.b64encode(content).decode("ascii")
    return f'<img src="data:image/{kind};base64,{data}" alt="{escaped(described)}">'


def escaped(plain: str) -> str:
    """Escape for HTML text and for double-quoted attributes."""
    return html.escape(plain, quote=True)
