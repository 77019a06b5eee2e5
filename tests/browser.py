"""A real browser for tests: Debian's chromium, driven over its DevTools pipe, so that no port and no package is needed.

Messages are JSON, each ended by a zero byte: we write to the browser's descriptor 3, and read from its descriptor 4.
The protocol: https://chromedevtools.github.io/devtools-protocol/.
"""

import base64
import fcntl
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium")
MISSING = "no chromium on the PATH: apt-get install chromium (Debian's package of that name)"
_FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"),
    *("--disable-quic", "--disable-background-networking", "--disable-component-update", "--disable-sync"),
    "--remote-debugging-pipe",
)
_KEYS = {"Tab": (9, ""), "Space": (32, " "), "ArrowDown": (40, ""), "ArrowRight": (39, ""), "Home": (36, "")}
"""Of each key its Windows code, and the text that it types."""
_MIDDLE = """selector => {
  const element = document.querySelector(selector);
  element.scrollIntoView({block: "center", behavior: "instant"});
  const box = element.getBoundingClientRect();
  return [box.x + box.width / 2, box.y + box.height / 2];
}"""


class Page:
    """One tab. `requested` lists the URLs that it asked for, the opened file and data URIs left out."""

    def __init__(self, reading: int, writing: int) -> None:
        self._reading, self._writing = reading, writing
        self._buffer, self._number, self._session = b"", 0, ""
        self.requested: list[str] = []
        self._events: list[str] = []
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network"):
            self._call(f"{domain}.enable")

    def open(self, path: Path) -> None:
        """Load a file, and wait until it and its images are there."""
        self._events.clear()
        if error := self._call("Page.navigate", url=path.absolute().as_uri()).get("errorText"):
            raise RuntimeError(f"{path}: {error}")
        while "Page.loadEventFired" not in self._events:
            self._receive()
        self.evaluate("Promise.all([...document.images].map(image => image.decode().catch(() => 0)))")

    def show(self, width: int, *, dark: bool = False, height: int = 900, media: str = "") -> None:
        """Set the window's size in CSS pixels, whether the reader prefers dark pages, and `print` for paper."""
        shape = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self._call("Emulation.setDeviceMetricsOverride", **shape)
        wishes = {"prefers-color-scheme": "dark" if dark else "light", "prefers-reduced-motion": "reduce"}
        features = [{"name": name, "value": value} for name, value in wishes.items()]
        self._call("Emulation.setEmulatedMedia", features=features, media=media)

    def click(self, selector: str) -> None:
        """Bring the first element that matches into view, and press and release the mouse in its middle."""
        x, y = self.evaluate(f"({_MIDDLE})({json.dumps(selector)})")
        for kind in ("mousePressed", "mouseReleased"):
            self._call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def press(self, *keys: str) -> None:
        """Type keys of `_KEYS`, one after the other."""
        for key in keys:
            code, text = _KEYS[key]
            what = {"key": text or key, "code": key, "windowsVirtualKeyCode": code}
            self._call("Input.dispatchKeyEvent", type="keyDown", text=text, **what)
            self._call("Input.dispatchKeyEvent", type="keyUp", **what)

    def spoken(self) -> list[tuple[str, str]]:
        """Role and name of everything that a screen reader is told of."""
        nodes = self._call("Accessibility.getFullAXTree")["nodes"]
        told = [(node.get("role", {}), node.get("name", {})) for node in nodes if not node["ignored"]]
        named = [(role.get("value", ""), name.get("value", "")) for role, name in told]
        return [one for one in named if one[0] != "InlineTextBox"]  # which says the text above it again

    def printed(self) -> bytes:
        """The page as a PDF."""
        return base64.b64decode(self._call("Page.printToPDF", printBackground=False)["data"])

    def evaluate(self, script: str) -> Any:
        """The value of a JavaScript expression in the page; a promise is awaited."""
        answer = self._call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(f"{script}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def screenshot(self, *, whole: bool = False) -> bytes:
        """PNG of the window, or of the whole page."""
        data = self._call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)["data"]
        return base64.b64decode(data)

    def _call(self, method: str, **params: Any) -> dict[str, Any]:
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._writing, json.dumps(message).encode() + b"\0")
        while (answer := self._receive()).get("id") != self._number:
            pass
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']['message']}")
        return dict(answer["result"])

    def _receive(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            data = os.read(self._reading, 1 << 20)
            if not data:
                raise RuntimeError("the browser ended")
            self._buffer += data
        text, _, self._buffer = self._buffer.partition(b"\0")
        message: dict[str, Any] = json.loads(text)
        self._events.append(message.get("method", ""))
        if message.get("method") == "Network.requestWillBeSent":
            url = message["params"]["request"]["url"]
            if not url.startswith("data:") and message["params"].get("type") != "Document":
                self.requested.append(url)
        return message


@contextmanager
def browser() -> Iterator[Page]:
    """A browser of its own, with one tab; it ends with the block. CHROMIUM must be there."""
    assert CHROMIUM is not None, MISSING
    from_us, to_browser = _pipe()
    from_browser, to_us = _pipe()

    def wire() -> None:
        os.dup2(from_us, 3)
        os.dup2(to_us, 4)

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = [CHROMIUM, *_FLAGS, f"--user-data-dir={profile}"]
        # With `close_fds` 3 and 4 would be closed again after `wire`, and cannot be kept: they need not be open before.
        process = subprocess.Popen(command, close_fds=False, preexec_fn=wire, stderr=subprocess.DEVNULL)
        os.close(from_us)
        os.close(to_us)
        try:
            yield Page(from_browser, to_browser)
        finally:
            os.close(to_browser)  # the browser ends when its pipe does
            os.close(from_browser)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _pipe() -> tuple[int, int]:
    """A pipe whose descriptors are 10 or more, out of the way of 3 and 4."""
    ends = os.pipe()
    moved = tuple(fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in ends)
    for end in ends:
        os.close(end)
    return moved[0], moved[1]
