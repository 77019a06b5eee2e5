"""The system's Chromium for tests, driven by Playwright."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, sync_playwright

from tests.optional import CHROMIUM

_FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-quic"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)


class Tab:
    """One tab. `requested` lists the URLs that it asked for, without opened files and data URIs."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.requested: list[str] = []
        page.on("request", self._note)

    def open(self, path: Path) -> None:
        """Load a file, and wait until it and its images are there."""
        self.page.goto(path.absolute().as_uri())
        self.page.evaluate("Promise.all([...document.images].map(image => image.decode().catch(() => 0)))")

    def show(self, width: int, *, dark: bool = False, media: str = "null") -> None:
        """Set the window's width in CSS pixels, whether the reader prefers dark pages, and `print` for paper."""
        self.page.set_viewport_size({"width": width, "height": 900})
        scheme = "dark" if dark else "light"
        self.page.emulate_media(media=media, color_scheme=scheme, reduced_motion="reduce")  # type: ignore[arg-type]

    def click(self, selector: str) -> None:
        """Bring the first element that matches into view and click on it."""
        self.page.locator(selector).first.click()

    def press(self, *keys: str) -> None:
        """Type keys, one after the other."""
        for key in keys:
            self.page.keyboard.press(key)

    def evaluate(self, script: str) -> Any:
        """Return the value of a JavaScript expression."""
        return self.page.evaluate(script)

    def accessible(self) -> list[tuple[str, str]]:
        """Return role and name of everything that a screen reader is told of."""
        # Playwright shows no tree of all nodes, so that this one is Chromium's own.
        session = self.page.context.new_cdp_session(self.page)
        nodes = session.send("Accessibility.getFullAXTree")["nodes"]
        session.detach()
        kept = [node for node in nodes if not node["ignored"]]
        pairs = [(node.get("role", {}).get("value", ""), node.get("name", {}).get("value", "")) for node in kept]
        return [pair for pair in pairs if pair[0] != "InlineTextBox"]  # which repeats the text above it

    def _note(self, request: Any) -> None:
        if not request.url.startswith("data:") and not request.is_navigation_request():
            self.requested.append(request.url)


@contextmanager
def browser() -> Iterator[tuple[Tab, Tab]]:
    """Run a browser with a tab of a desktop and one of a phone while the block runs."""
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=_FLAGS)
        try:
            yield Tab(chromium.new_page()), Tab(chromium.new_page(is_mobile=True))
        finally:
            chromium.close()
