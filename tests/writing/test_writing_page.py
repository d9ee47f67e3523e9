"""The frame of the HTML pages: nothing of a file's gets into the markup, nothing is fetched."""

from __future__ import annotations

from html.parser import HTMLParser

from pneumoseg.writing import page

EVIL = '<script>alert("x")</script> & "quoted"'


class Seen(HTMLParser):
    """Tags, attributes and text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def test_text_of_a_file_stays_text() -> None:
    parts = [
        page.page(EVIL, page.lead(EVIL), page.tiles([(EVIL, EVIL)]), page.facts([(EVIL, EVIL)])),
        page.image(b"x", "png", EVIL),
        page.table([EVIL], [], ""),
    ]
    for part in parts:
        seen = Seen(part)
        assert seen.named("script") == []
        texts = seen.text + [a for image in seen.named("img") for a in [image["alt"] or ""]]
        assert EVIL in texts


def test_a_page_fetches_nothing_and_says_so() -> None:
    seen = Seen(page.page("Run", "", page.image(b"\xff", "jpeg", "film"), ""))
    (policy,) = [m["content"] for m in seen.named("meta") if "http-equiv" in m]
    assert policy == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    assert [image["src"] for image in seen.named("img")] == ["data:image/jpeg;base64,/w=="]
    assert not seen.named("link") and not seen.named("script")


def test_numbers_stand_on_the_right() -> None:
    seen = Seen(page.table(["name", "n"], ["n"], "<tr><td>a</td></tr>"))
    assert [head.get("class") for head in seen.named("th")] == [None, "number"]
    assert "a" in seen.text


def test_what_is_not_known_leaves_nothing() -> None:
    assert page.lead("") == "" and page.facts([]) == ""
    assert page.NOT_A_DEVICE in page.notice("More.")


def test_a_tile_holds_its_values_in_order() -> None:
    seen = Seen(page.tiles([("AUROC", "0.93", "0.90 to 0.96")]))
    assert [text for text in seen.text if text.strip()] == ["AUROC", "0.93", "0.90 to 0.96"]
    assert [name for name, _ in seen.tags] == ["dl", "div", "dt", "dd", "dd"]
