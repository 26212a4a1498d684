"""A headless Chromium, driven over its DevTools protocol: for the tests of pages, and of nothing else."""

import base64
import json
import shutil
import socket
import subprocess
import time
import urllib.request

import websocket

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


class Browser:
    """One page of a browser without network, but for this machine itself.

    Attributes
    ----------
    complaints : list of str
        What the console showed as a warning or an error, exceptions and failed requests included.
    requests : list of str
        Addresses that were asked for.
    """

    def __init__(self, folder):
        self.complaints, self.requests, self._number, self._loaded = [], [], 0, False
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
        options += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
        options += ["--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", "--remote-debugging-port=0"]
        self._process = subprocess.Popen(
            [CHROMIUM, *options, f"--user-data-dir={folder}", "about:blank"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        until(lambda: (folder / "DevToolsActivePort").exists() and (folder / "DevToolsActivePort").read_text(), 60)
        port = (folder / "DevToolsActivePort").read_text().split()[0]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list") as answer:
            (target,) = [page for page in json.load(answer) if page["type"] == "page"]
        self._socket = websocket.create_connection(target["webSocketDebuggerUrl"], suppress_origin=True, timeout=600)
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def close(self):
        self._socket.close()
        self._process.terminate()
        self._process.wait(20)

    def call(self, method, **parameters):
        """Send a command; return its result."""
        self._number += 1
        self._socket.send(json.dumps({"id": self._number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._socket.recv())
            if message.get("id") == self._number:
                assert "error" not in message, message
                return message["result"]
            self._event(message["method"], message["params"])

    def _event(self, method, about):
        if method == "Page.loadEventFired":
            self._loaded = True
        elif method == "Runtime.consoleAPICalled" and about["type"] in ("error", "warning", "assert"):
            shown = [str(each.get("value", each.get("description"))) for each in about["args"]]
            self.complaints.append(f"{about['type']}: {' '.join(shown)}")
        elif method == "Runtime.exceptionThrown":
            details = about["exceptionDetails"]
            self.complaints.append(f"exception: {details.get('exception', details).get('description', details)}")
        elif method == "Log.entryAdded" and about["entry"]["level"] in ("error", "warning"):
            self.complaints.append(
                f"{about['entry']['level']}: {about['entry']['text']} {about['entry'].get('url', '')}"
            )
        elif method == "Network.requestWillBeSent":
            self.requests.append(about["request"]["url"])

    def resize(self, width, height):
        """Set the size of the window, in pixels."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def open(self, url):
        """Load a page, with all its pictures."""
        self._loaded = False
        self.call("Page.navigate", url=url)
        until(lambda: self.evaluate("document.readyState") and self._loaded, 120)

    def evaluate(self, expression):
        """Return the value of an expression of JavaScript; a promise is waited for."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, (expression, answer["exceptionDetails"])
        return answer["result"].get("value")

    def press(self, key, code):
        """Press and release a key, with its virtual key code."""
        for kind in ("rawKeyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code)

    def picture(self, path, whole=True):
        """Save a screenshot, of the whole page or of the window, as a PNG file."""
        answer = self.call("Page.captureScreenshot", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(answer["data"]))


NOTEBOOK = "[...jupyterapp.shell.widgets('main')][0]"  # in JupyterLab's page, where one is open


def free_port():
    """Return the number of a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def lab_options(port, folder):
    """Options of `jupyter lab` that let a browser of this module in, and keep what is open out of a user's workspace."""
    own = [f"--ServerApp.port={port}", "--IdentityProvider.token=secret", "--no-browser", "--allow-root"]
    return [*own, f"--LabApp.workspaces_dir={folder / 'workspaces'}", "--LabApp.expose_app_in_browser=True"]


def listens(port):
    """Whether somebody listens on a port."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def run_all(browser, port, name):
    """Open a notebook in JupyterLab and run all its cells; return when the last has ended."""
    browser.resize(1400, 1000)
    browser.open(f"http://127.0.0.1:{port}/lab/tree/{name}?token=secret")
    until(lambda: browser.evaluate(f"!!(window.jupyterapp && {NOTEBOOK}?.content?.model?.cells?.length)"), 120)
    browser.evaluate(f"{NOTEBOOK}.sessionContext.ready.then(() => true)")
    browser.evaluate(f"jupyterapp.shell.activateById({NOTEBOOK}.id)")
    browser.evaluate("jupyterapp.commands.execute('notebook:run-all-cells').then(() => true)")


def until(met, seconds):
    """Wait until a condition is met, and return what it returned."""
    end = time.monotonic() + seconds
    while not (found := met()):
        assert time.monotonic() < end, f"waited for {seconds} s"
        time.sleep(0.1)
    return found
