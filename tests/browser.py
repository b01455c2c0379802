"""A headless Chromium, driven over its debugging protocol."""

import itertools
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from websockets.sync.client import connect

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
_WAIT_S = 60.0


class Browser:
    """One page; everything that it complains about is in ``problems``."""

    def __init__(self, folder: Path, size: tuple[int, int] = (1280, 900)) -> None:
        self._profile = folder / "profile"
        self.downloads = folder / "downloads"
        self._size = size
        self._numbers = itertools.count(1)
        self.problems: list[str] = []

    def __enter__(self) -> Self:
        self.downloads.mkdir(parents=True)
        self._process = subprocess.Popen(
            [
                str(CHROMIUM),
                *("--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0"),
                *("--disable-dev-shm-usage", "--hide-scrollbars", "--no-first-run"),
                f"--window-size={self._size[0]},{self._size[1]}",
                f"--user-data-dir={self._profile}",
                "about:blank",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        port_file = self._profile / "DevToolsActivePort"
        self.wait(lambda: port_file.is_file() and len(port_file.read_text().split()) == 2)
        port, path = port_file.read_text().split()
        self._socket = connect(f"ws://127.0.0.1:{port}{path}", max_size=None, proxy=None)
        self._session: str | None = None
        (target,) = [
            one for one in self.send("Target.getTargets")["targetInfos"] if one["type"] == "page"
        ]
        attached = self.send("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.send(f"{domain}.enable")
        self.resize(*self._size)
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()
        self._process.terminate()
        self._process.wait()

    def send(self, method: str, **params: object) -> dict[str, Any]:
        number = next(self._numbers)
        message: dict[str, Any] = {"id": number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        self._socket.send(json.dumps(message))
        while True:
            answer = json.loads(self._socket.recv(timeout=_WAIT_S))
            self._note(answer)
            if answer.get("id") == number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]

    def _note(self, message: dict[str, Any]) -> None:
        kind, params = message.get("method"), message.get("params", {})
        if kind == "Runtime.exceptionThrown":
            self.problems.append(json.dumps(params["exceptionDetails"]))
        elif kind == "Log.entryAdded" and params["entry"]["level"] in {"error", "warning"}:
            self.problems.append(params["entry"]["text"])
        elif kind == "Runtime.consoleAPICalled" and params["type"] in {"error", "warning"}:
            self.problems.append(json.dumps(params["args"]))

    def wait(self, is_done: Any) -> None:
        end = time.monotonic() + _WAIT_S
        while not is_done():
            if time.monotonic() > end:
                raise TimeoutError("the browser did not get there")
            time.sleep(0.05)

    def open(self, page: Path) -> None:
        self.send("Page.navigate", url=page.resolve().as_uri())
        self.wait(lambda: self.run("document.readyState") == "complete")
        self.wait(lambda: self.run("location.href") == page.resolve().as_uri())

    def reload(self) -> None:
        self.run("window.isOld = true")
        self.send("Page.reload")

        def is_there() -> bool:
            try:
                return bool(self.run("!window.isOld && document.readyState === 'complete'"))
            except RuntimeError:  # asked between two pages
                return False

        self.wait(is_there)

    @contextmanager
    def inside_frame(self) -> Iterator[None]:
        """Address the only sandboxed frame of the page, which runs in a process of its own."""
        page, self._session = self._session, None
        frames: list[str] = []

        def find() -> bool:
            targets = self.send("Target.getTargets")["targetInfos"]
            frames[:] = [one["targetId"] for one in targets if one["type"] == "iframe"]
            return bool(frames)

        try:
            self.wait(find)
            attached = self.send("Target.attachToTarget", targetId=frames[0], flatten=True)
            self._session = attached["sessionId"]
            self.wait(lambda: self.run("document.readyState") == "complete")
            yield
        finally:
            self._session = page

    def run(self, script: str) -> Any:
        answer = self.send("Runtime.evaluate", expression=script, returnByValue=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(json.dumps(answer["exceptionDetails"]))
        return answer["result"].get("value")

    def press(self, key: str) -> None:
        text = {"text": key} if len(key) == 1 else {}
        for kind in ("keyDown", "keyUp"):
            self.send("Input.dispatchKeyEvent", type=kind, key=key, **text)

    def resize(self, width: int, height: int) -> None:
        self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )

    def catch_downloads(self) -> None:
        session, self._session = self._session, None
        self.send("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(self.downloads))
        self._session = session

    def screenshot(self, path: Path) -> None:
        import base64

        picture = self.send("Page.captureScreenshot")["data"]
        path.write_bytes(base64.b64decode(picture))
