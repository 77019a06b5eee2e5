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

    def show(self, width: int, *, dark: bool = False, height: int = 900) -> None:
        """Set the window's size in CSS pixels, and whether the reader prefers dark pages."""
        shape = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self._call("Emulation.setDeviceMetricsOverride", **shape)
        feature = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._call("Emulation.setEmulatedMedia", features=[feature])

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
        # `wire` runs after the descriptors to be closed are chosen: 3 and 4 have to be named.
        process = subprocess.Popen(command, pass_fds=(3, 4), preexec_fn=wire, stderr=subprocess.DEVNULL)
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
