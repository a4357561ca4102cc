"""Firefox over WebDriver BiDi: Playwright drives only a Firefox of its own."""

from __future__ import annotations

import base64
import itertools
import json
import re
import subprocess
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

from websockets.sync.client import connect

SLOW = 90  # seconds for an answer
PREFERENCES = """\
user_pref("app.update.enabled", false);
user_pref("browser.shell.checkDefaultBrowser", false);
user_pref("datareporting.policy.dataSubmissionEnabled", false);
user_pref("intl.accept_languages", "en");
user_pref("network.captive-portal-service.enabled", false);
user_pref("network.connectivity-service.enabled", false);
user_pref("services.settings.server", "data:,none");
user_pref("toolkit.telemetry.reportingpolicy.firstRun", false);
"""


class Firefox:
    """One tab of a headless Firefox.

    Attributes:
        version: of the browser.
        troubles: errors in the console since the page was opened.
    """

    def __init__(self, program: str, profile: Path) -> None:
        (profile / "user.js").write_text(PREFERENCES)
        self._ids = itertools.count(1)
        self.troubles: list[str] = []
        command = [program, "--headless", "--no-remote", "--profile", str(profile), "--remote-debugging-port", "0"]
        with ExitStack() as stack:
            process = stack.enter_context(
                subprocess.Popen(
                    [*command, "about:blank"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
                )
            )
            stack.callback(process.terminate)
            assert process.stderr
            address = next(found[1] for line in process.stderr if (found := re.search(r"(ws://[\d.:]+)", line)))
            self._socket = stack.enter_context(connect(f"{address}/session", max_size=None, open_timeout=SLOW))
            self._stack = stack.pop_all()
        self.version = self.send("session.new", capabilities={})["capabilities"]["browserVersion"]
        self.send("session.subscribe", events=["log.entryAdded"])
        self._tab = self.send("browsingContext.getTree")["contexts"][0]["context"]

    def send(self, method: str, **params: Any) -> Any:
        """Run a command of the protocol; events that come meanwhile are noted."""
        number = next(self._ids)
        self._socket.send(json.dumps({"id": number, "method": method, "params": params}))
        while True:
            answer = json.loads(self._socket.recv(timeout=SLOW))
            if answer.get("method") == "log.entryAdded" and answer["params"]["level"] == "error":
                self.troubles.append(answer["params"]["text"])
            if answer.get("id") == number:
                if answer["type"] == "error":
                    raise AssertionError(f"{method}: {answer['message']}")
                return answer["result"]

    def goto(self, url: str) -> None:
        self.troubles.clear()
        self.send("browsingContext.navigate", context=self._tab, url=url, wait="complete")

    def evaluate(self, script: str) -> Any:
        """Return the value of an expression or a promise, as JSON holds it."""
        expression = f"Promise.resolve({script}).then((value) => JSON.stringify(value ?? null))"
        target = {"context": self._tab}
        found = self.send("script.evaluate", expression=expression, target=target, awaitPromise=True)
        if found["type"] != "success":
            raise AssertionError(found["exceptionDetails"]["text"])
        return json.loads(found["result"]["value"])

    def wait(self, condition: str) -> None:
        """Wait until an expression is true."""
        turn = "(resolve) => setTimeout(resolve, 50)"
        script = f"(async () => {{ const end = performance.now() + {1000 * SLOW - 5000}; while (!({condition})) {{"
        script += f" if (performance.now() > end) return false; await new Promise({turn}); }} return true; }})()"
        assert self.evaluate(script), f"{condition} did not become true"

    def text(self, selector: str) -> str:
        return str(self.evaluate(f"document.querySelector({json.dumps(selector)}).innerText"))

    def click(self, selector: str) -> None:
        self.evaluate(f"document.querySelector({json.dumps(selector)}).click()")

    def upload(self, selector: str, *paths: Path) -> None:
        locator = {"type": "css", "value": selector}
        node = self.send("browsingContext.locateNodes", context=self._tab, locator=locator)["nodes"][0]
        files = [str(path) for path in paths]
        self.send("input.setFiles", context=self._tab, element={"sharedId": node["sharedId"]}, files=files)

    def screenshot(self) -> bytes:
        """Return a PNG of what is in sight."""
        return base64.b64decode(self.send("browsingContext.captureScreenshot", context=self._tab)["data"])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()
