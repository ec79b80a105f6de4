"""A browser for tests: Chromium without a window, asked over its own pipe, with the standard library alone.

Chromium started with --remote-debugging-pipe reads commands of the DevTools protocol from file descriptor 3 and answers
on 4, one JSON object each, ended by a zero byte (https://chromedevtools.github.io/devtools-protocol/).
"""
import base64
import json
import os
import select
import shutil
import subprocess
import tempfile
import time

CHROMIUM = shutil.which(os.environ.get("CHROMIUM", ""))


class Browser:
    """One page in one Chromium. Use it in a `with` statement; errors the page reports are in `errors`."""

    def __init__(self, width=1400, height=900, dark=False):
        self.folder = tempfile.mkdtemp()
        to_browser, self.commands = os.pipe()
        self.answers, from_browser = os.pipe()
        flags = ["--headless", "--remote-debugging-pipe", "--disable-gpu", "--no-first-run", "--disable-extensions",
                 "--disable-background-networking", "--disable-component-update", "--disable-sync",
                 f"--user-data-dir={self.folder}", f"--window-size={width},{height}"]
        if os.geteuid() == 0:
            flags.append("--no-sandbox")  # Chromium's sandbox refuses to run as root
        shell = f'exec "$0" "$@" 3<&{to_browser} 4>&{from_browser}'
        self.process = subprocess.Popen(["bash", "-c", shell, CHROMIUM, *flags], pass_fds=(to_browser, from_browser),
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.close(to_browser)
        os.close(from_browser)
        self.number, self.rest, self.errors = 0, b"", []
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.send(f"{domain}.enable")
        self.send("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1,
                  mobile=width < 720)
        self.send("Emulation.setEmulatedMedia",
                  features=[{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}])

    def __enter__(self):
        return self

    def __exit__(self, *error):
        os.close(self.commands)  # its end of the pipe: Chromium and its helpers leave
        os.close(self.answers)
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def read(self):
        """The next message from the browser; what the page complains of is kept in `errors`."""
        while b"\0" not in self.rest:
            if not select.select([self.answers], [], [], 120)[0]:
                raise RuntimeError("Chromium does not answer")  # rather than wait for ever
            piece = os.read(self.answers, 1 << 16)
            if not piece:
                raise RuntimeError("Chromium has gone")
            self.rest += piece
        message, self.rest = self.rest.split(b"\0", 1)
        message = json.loads(message)
        method = message.get("method")
        if method == "Runtime.exceptionThrown":
            details = message["params"]["exceptionDetails"]
            self.errors.append(details.get("exception", {}).get("description", details["text"]))
        if method == "Runtime.consoleAPICalled" and message["params"]["type"] in ("error", "warning"):
            self.errors.append(str(message["params"]["args"]))
        if method == "Log.entryAdded" and message["params"]["entry"]["level"] in ("error", "warning"):
            self.errors.append(message["params"]["entry"]["text"])
        return message

    def send(self, method, **parameters):
        """One command, and its result."""
        self.number += 1
        command = {"id": self.number, "method": method, "params": parameters}
        if hasattr(self, "session"):
            command["sessionId"] = self.session
        os.write(self.commands, json.dumps(command).encode() + b"\0")
        while True:
            answer = self.read()
            if answer.get("id") == self.number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]

    def open(self, path, fragment=""):
        """Loads a file and waits until it has run."""
        for url in ("about:blank", f"file://{path}{fragment}"):  # by way of an empty page, so that it is loaded anew
            self.send("Page.navigate", url=url)
            while not self.has_loaded(url):
                time.sleep(0.02)
        return self

    def has_loaded(self, url):
        """Whether a page that was asked for is there, and its scripts have run."""
        try:
            protocol = url.split(":")[0] + ":"
            return self.run(f"location.protocol === {json.dumps(protocol)} && document.readyState === 'complete'")
        except RuntimeError:  # the page that was asked has just gone
            return False

    def run(self, script):
        """The value of a JavaScript expression in the page; promises are waited for."""
        answer = self.send("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(answer["exceptionDetails"].get("exception", {}).get("description", "error in the page"))
        return answer["result"].get("value")

    def press(self, key, shift=False):
        """A real key press, as from a keyboard: "Tab", "Enter", "ArrowDown", "a"."""
        codes = {"Tab": 9, "Enter": 13, "Escape": 27, "ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40,
                 " ": 32}
        what = {"key": key, "code": key, "windowsVirtualKeyCode": codes.get(key, ord(key[0])), "modifiers": 8 * shift}
        text = {"text": "\r"} if key == "Enter" else {"text": key} if len(key) == 1 else {}
        self.send("Input.dispatchKeyEvent", type="keyDown", **what, **text)
        self.send("Input.dispatchKeyEvent", type="keyUp", **what)

    def click(self, x, y):
        """A real mouse click."""
        for kind in ("mousePressed", "mouseReleased"):
            self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def screenshot(self, path):
        """What the window shows, as a PNG."""
        with open(path, "wb") as file:
            file.write(base64.b64decode(self.send("Page.captureScreenshot", format="png")["data"]))
