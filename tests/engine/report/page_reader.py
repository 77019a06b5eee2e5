"""A parser for report pages."""

from html.parser import HTMLParser
from pathlib import Path

from engine.report.write_report import write_report
from engine.run.run import Run

Attributes = dict[str, str | None]


class ReadPage(HTMLParser):
    """The tags of a page with their attributes, and its visible text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.html = html
        self.tags: list[tuple[str, Attributes]] = []
        self._text: list[str] = []
        self._within = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._within = tag
        self._text.append(" ")

    def handle_endtag(self, tag: str) -> None:
        self._within = ""
        self._text.append(" ")

    def handle_data(self, data: str) -> None:
        if self._within not in ("style", "title"):
            self._text.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self._text).split())

    @property
    def sections(self) -> list[str]:
        return [attributes["id"] or "" for tag, attributes in self.tags if tag == "section"]

    def images(self, prefix: str) -> list[str]:
        """Return the alternative texts of images that begin with the prefix."""
        texts = [attributes["alt"] or "" for tag, attributes in self.tags if tag == "img"]
        return [text for text in texts if text.startswith(prefix)]

    def of_class(self, name: str) -> list[Attributes]:
        """Return the attributes of the elements of a CSS class."""
        return [attributes for _, attributes in self.tags if name in (attributes.get("class") or "").split()]


def read_page(run: Run) -> ReadPage:
    """Write the report of a run and read it."""
    return ReadPage(Path(write_report(run)).read_text())


def assert_nothing_runs(page: ReadPage) -> None:
    """Fail if the page has a script, an event handler, or an image from elsewhere."""
    assert "script" not in {tag for tag, _ in page.tags}
    assert not [tag for tag, attributes in page.tags if any(name.startswith("on") for name in attributes)]
    assert all("data:" in (attributes["src"] or "") for tag, attributes in page.tags if tag == "img")
