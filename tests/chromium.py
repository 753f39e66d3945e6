"""A headless Chromium that opens pages from disk and tells what they did: DevTools' protocol over two pipes."""

import base64
import contextlib
import json
import os
import pathlib
import shutil
import subprocess
import time
from collections.abc import Iterator
from typing import BinaryIO

import pytest

TIMEOUT_SECONDS = 120


class Page:
    """One tab.

    Attributes:
      problems: errors of the console, exceptions, and refused or failed requests.
      requests: addresses that were asked for.
    """

    def __init__(self, into: BinaryIO, out: BinaryIO):
        self._into, self._out = into, out
        self._number, self._buffer, self._session = 0, b"", None
        self.problems: list[str] = []
        self.requests: list[str] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters) -> dict:
        """Sends a command and returns its result; events that come meanwhile are noted."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        self._into.write(json.dumps(message).encode() + b"\0")
        self._into.flush()
        while True:
            received = self._receive()
            if received.get("id") == self._number:
                assert "error" not in received, received
                return received["result"]
            self._note(received.get("method"), received.get("params"))

    def open(self, path: pathlib.Path, width: int = 1200, height: int = 900, is_phone: bool = False) -> None:
        """Opens a file and waits until it is loaded."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": is_phone}
        self.call("Emulation.setDeviceMetricsOverride", **size)
        self.requests.clear()
        self.call("Page.navigate", url=path.resolve().as_uri())
        self.wait_for("document.readyState === 'complete' && location.protocol === 'file:'")

    def evaluate(self, expression: str):
        """The value of a JavaScript expression."""
        return self.call("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")

    def wait_for(self, expression: str) -> None:
        end = time.monotonic() + TIMEOUT_SECONDS
        while not self.evaluate(expression):
            assert time.monotonic() < end, f"still not: {expression}"
            time.sleep(0.1)

    def screenshot(self, path: pathlib.Path) -> None:
        """Saves the whole page as PNG."""
        data = self.call("Page.captureScreenshot", captureBeyondViewport=True)["data"]
        path.write_bytes(base64.b64decode(data))

    def _receive(self) -> dict:
        while b"\0" not in self._buffer:
            piece = os.read(self._out.fileno(), 2**16)
            assert piece, "Chromium ended"
            self._buffer += piece
        message, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(message)

    def _note(self, method: str, parameters: dict) -> None:
        if method == "Network.requestWillBeSent":
            self.requests.append(parameters["request"]["url"])
        elif method == "Network.loadingFailed":
            self.problems.append(f"request failed: {parameters['errorText']}")
        elif method == "Runtime.exceptionThrown" or (
            method == "Runtime.consoleAPICalled" and parameters["type"] in ("error", "warning", "assert")
        ):
            self.problems.append(json.dumps(parameters))
        elif method == "Log.entryAdded" and parameters["entry"]["level"] in ("error", "warning"):
            self.problems.append(parameters["entry"]["text"])


@contextlib.contextmanager
def chromium_page(profile: pathlib.Path) -> Iterator[Page]:
    """Starts Chromium for a block; skips the test where there is none."""
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        pytest.skip("needs Chromium to open pages: apt-get install chromium")
    options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--remote-debugging-pipe"]
    read_commands, write_commands = os.pipe()
    read_answers, write_answers = os.pipe()
    # Chromium reads commands from descriptor 3 and writes answers to 4.
    command = f'exec "$@" 3<&{read_commands} 4>&{write_answers}'
    arguments = [program, *options, "--autoplay-policy=no-user-gesture-required", f"--user-data-dir={profile}"]
    with open(os.devnull, "wb") as nowhere:
        process = subprocess.Popen(
            ["bash", "-c", command, "chromium", *arguments],
            pass_fds=(read_commands, write_answers),
            stdout=nowhere,
            stderr=nowhere,
        )
    os.close(read_commands)
    os.close(write_answers)
    with os.fdopen(write_commands, "wb") as into, os.fdopen(read_answers, "rb") as out:
        try:
            yield Page(into, out)
        finally:
            process.terminate()
            process.wait(timeout=30)
