"""Chromium without a window, told what to do through a pipe (https://chromedevtools.github.io/devtools-protocol)."""

import base64
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PROGRAM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


class Page:
    """A page that is open."""

    def __init__(self, to: int, back: int, url: str):
        self._to, self._back, self._last, self._held = to, back, 0, b""
        target = self._call("Target.createTarget", {"url": url})["targetId"]
        self._session = self._call("Target.attachToTarget", {"targetId": target, "flatten": True})["sessionId"]

    _session: str | None = None

    def _call(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        self._last += 1
        message: dict[str, Any] = {"id": self._last, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            while b"\0" not in self._held:
                data = os.read(self._back, 1 << 16)
                assert data, "the browser has gone"
                self._held += data
            answer, self._held = self._held.split(b"\0", 1)
            found = json.loads(answer)
            if found.get("id") == self._last:
                assert "error" not in found, found
                return dict(found["result"])

    def evaluate(self, script: str) -> Any:
        """The value of an expression in the page."""
        found = self._call("Runtime.evaluate", {"expression": script, "returnByValue": True, "awaitPromise": True})
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def wait_for(self, script: str, seconds: float = 20.0) -> None:
        end = time.monotonic() + seconds
        while not self.evaluate(script):
            assert time.monotonic() < end, script
            time.sleep(0.05)

    def screenshot(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self._call("Page.captureScreenshot", {"format": "png"})["data"]))


@contextmanager
def page(url: str, profile: Path) -> Iterator[Page]:
    """The page at ``url``; ``profile`` is a folder for what the browser writes."""
    assert PROGRAM is not None
    to_browser, from_us = os.pipe()
    from_browser, to_us = os.pipe()
    # It reads at descriptor 3 and writes at 4.
    command = 'exec 3<&"$1" 4>&"$2"; shift 2; exec "$@"'
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--window-size=1000,700", "--remote-debugging-pipe"]
    arguments = [
        "bash",
        "-c",
        command,
        "bash",
        str(to_browser),
        str(to_us),
        PROGRAM,
        *flags,
        f"--user-data-dir={profile}",
    ]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(arguments, pass_fds=(to_browser, to_us), **quiet)  # type: ignore[call-overload]
    for ours in (to_browser, to_us):
        os.close(ours)
    try:
        yield Page(from_us, from_browser, url)
    finally:
        process.kill()
        process.wait()
        os.close(from_us)
        os.close(from_browser)
