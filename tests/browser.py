"""A real browser without a window, driven over a pipe: keys pressed, pages reloaded, files saved."""

import fcntl
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)

KEYS = {
    "Enter": {"text": "\r"}, "Backspace": {"windowsVirtualKeyCode": 8}, "Escape": {"windowsVirtualKeyCode": 27}
}  # fmt: skip
"""What a key needs beside its name to do in the browser what it does on a keyboard."""


class Browser:
    """One tab; files that it saves go to `downloads`."""

    def __init__(self, send: int, receive: int, downloads: Path) -> None:
        self.send, self.receive, self.downloads = send, receive, downloads
        self.number, self.buffer, self.session = 0, b"", None
        self.problems: list[str] = []
        self.requests: list[str] = []
        self.num_saved = 0
        tab = self("Target.createTarget", url="about:blank")["targetId"]
        self.session = self("Target.attachToTarget", targetId=tab, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self(f"{domain}.enable")
        self("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(downloads), eventsEnabled=True)

    def __call__(self, method: str, **params: Any) -> Any:
        """Send one command of the DevTools protocol and wait for its answer."""
        self.number += 1
        message = {"id": self.number, "method": method, "params": params}
        if self.session and not method.startswith(("Target.", "Browser.")):
            message["sessionId"] = self.session
        os.write(self.send, json.dumps(message).encode() + b"\0")
        while (answer := self.hear()).get("id") != self.number:
            pass
        assert "error" not in answer, answer
        return answer["result"]

    def hear(self) -> dict[str, Any]:
        """The next message; what the page reports goes to `problems`, what it asks for to `requests`."""
        while b"\0" not in self.buffer:
            piece = os.read(self.receive, 1 << 20)
            assert piece, "the browser ended"
            self.buffer += piece
        first, self.buffer = self.buffer.split(b"\0", 1)
        message = json.loads(first)
        if message.get("method") in ("Runtime.exceptionThrown", "Log.entryAdded"):
            self.problems.append(json.dumps(message["params"]))
        if message.get("method") == "Network.requestWillBeSent":
            self.requests.append(message["params"]["request"]["url"])
        if message.get("method") == "Browser.downloadProgress":
            self.num_saved += message["params"]["state"] == "completed"
        return message

    def open(self, url: str, until: Callable[[], bool] = lambda: True) -> None:
        """Go to a page and wait until it is there; again for at most ten seconds, `until` it shows what was stored before.

        What a page stores is on its way to another process: no person reloads faster than it gets there.
        """
        end = time.monotonic() + 10
        while True:
            self("Page.navigate", url=url)
            while self.hear().get("method") != "Page.loadEventFired":
                pass
            if until() or time.monotonic() > end:
                return
            time.sleep(0.2)

    def value(self, script: str) -> Any:
        """What a JavaScript expression gives."""
        found = self("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def press(self, *keys: str) -> None:
        """Press and release keys, as a keyboard does."""
        for key in keys:
            text = {"text": key} if len(key) == 1 else KEYS.get(key, {})
            self("Input.dispatchKeyEvent", type="keyDown", key=key, **text)
            self("Input.dispatchKeyEvent", type="keyUp", key=key)

    def click(self, element: str) -> None:
        """Click the middle of an element, as a mouse does."""
        box = f"document.querySelector({json.dumps(element)}).getBoundingClientRect()"
        x, y = self.value(f"(b => [b.left + b.width / 2, b.top + b.height / 2])({box})")
        for kind in ("mousePressed", "mouseReleased"):
            self("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def saved(self) -> Path:
        """The file that was saved last, once it is whole, out of the way of the next one of that name."""
        while not self.num_saved:
            self.hear()
        self.num_saved -= 1
        (file,) = self.downloads.glob("*.*")
        self.number += 1
        place = self.downloads / str(self.number)
        place.mkdir()
        return file.rename(place / file.name)


@contextmanager
def browser(folder: Path) -> Iterator[Browser]:
    """A fresh browser whose profile and downloads lie in `folder`."""
    assert CHROMIUM is not None
    downloads = folder / "downloads"
    downloads.mkdir()
    to_read, send = os.pipe()
    receive, to_write = os.pipe()
    options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--remote-debugging-pipe",
               "--disable-background-networking", "--disable-dev-shm-usage", f"--user-data-dir={folder / 'profile'}"]  # fmt: skip
    ends = [fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (to_read, to_write)]  # out of the way of 3 and 4
    command = ["bash", "-c", f'exec "$0" "$@" 3<&{ends[0]} 4>&{ends[1]}', CHROMIUM, *options]
    process = subprocess.Popen(command, pass_fds=ends, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for end in (to_read, to_write, *ends):
        os.close(end)
    try:
        yield Browser(send, receive, downloads)
    finally:
        os.close(send)
        os.close(receive)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
