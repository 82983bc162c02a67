"""Runs JavaScript modules in a real browser: Chromium, Firefox or WebKitGTK.

>>> with open_page("firefox", mounts={"/here/": Path(".")}) as page:  # doctest: +SKIP
...     reply = page.call("/here/double.js", {"factor": 2}, {"x": b"..."})
...     reply.value, reply.arrays["y"]

`double.js` exports one default function, `(argument, io) => value`: `argument` and `value` travel
as JSON, `await io.read("x")` and `await io.write("y", bytes)` carry arrays. Calls on one page run
in the same JavaScript realm, one after another.

No driver protocol is used. The page asks its server for jobs and posts results
(`pages/boot.js`), so opening a URL is all that a browser must be able to do, and what the
tests see is what a user's page sees. Every browser starts headless, with an empty profile, and ends
with the `with` block. The limits: Linux and macOS; no clicks, no screenshots: whoever needs those
drives Chromium with Playwright.
"""

from __future__ import annotations

import json
import os
import queue
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any, Literal

from webdnn.browser.server import Request, running
from webdnn.errors import WebDNNError

Engine = Literal["chromium", "firefox", "webkit"]

PAGES = Path(__file__).parent / "pages"

_START_SECONDS = 60  # a cold Firefox on a busy machine took 12
_POLL_SECONDS = 10


class BrowserError(WebDNNError):
    """A browser is missing, did not start, crashed or did not answer."""


class PageError(WebDNNError):
    """The module called in the page threw; the fields are those of its JavaScript error."""

    def __init__(self, name: str, message: str, code: str | None, stack: str) -> None:
        super().__init__(f"{name}: {message}")
        self.name = name
        self.message = message
        self.code = code
        self.stack = stack


@dataclass(frozen=True)
class Reply:
    """What a module returned (JSON) and the arrays it wrote (bytes by name)."""

    value: Any
    arrays: Mapping[str, bytes]


@dataclass(frozen=True)
class _Launch:
    """One engine: where it is found, what installs it, how it is started on a URL."""

    executables: tuple[str, ...]  # command names, or absolute patterns
    install: str
    command: Callable[[str, Path, str, bool], list[str]]  # (executable, profile, url, webgpu)
    environment: Mapping[str, str] = field(default_factory=dict)
    needs_display: bool = False


# WebGPU on the processor. A loop that zeroes workgroup memory compiles there in a sixth of the time
# that Vulkan's own way takes, which SwiftShader writes out element by element.
SOFTWARE_WEBGPU = (
    "--enable-unsafe-webgpu",
    "--use-webgpu-adapter=swiftshader",
    "--disable-dawn-features=use_vulkan_zero_initialize_workgroup_memory_extension",
)

# WebGPU on the graphics card, in a Chromium without a display. Timestamps come in steps of 100 µs
# unless it is told otherwise, and its watchdog ends what a card needs long for.
HARDWARE_WEBGPU = (
    "--ignore-gpu-blocklist",
    "--disable-gpu-sandbox",
    "--disable-gpu-watchdog",
    "--disable-dawn-features=timestamp_quantization",
    "--disable-background-timer-throttling",
    "--disable-renderer-backgrounding",
    "--disable-backgrounding-occluded-windows",
    *(
        (
            "--use-angle=vulkan",
            "--use-vulkan=native",
            "--disable-vulkan-surface",
            "--enable-features=Vulkan,VulkanFromANGLE,DefaultANGLEVulkan",
        )
        if sys.platform == "linux"
        else ()
    ),
)


# Further flags, with which Chromium's own painting is on the (software) GPU, as it is where there
# is a real one: without, it brings no video to WebGPU.
SOFTWARE_PAINTING = (
    "--use-angle=vulkan",
    "--use-vulkan=swiftshader",
    "--enable-features=Vulkan",
    "--enable-gpu-rasterization",
    "--ignore-gpu-blocklist",
)


def _chromium(executable: str, profile: Path, url: str, webgpu: bool) -> list[str]:
    flags = [
        "--headless",
        f"--user-data-dir={profile}",
        "--disable-dev-shm-usage",  # containers give /dev/shm 64 MB
        "--disable-quic",
        "--no-first-run",
        "--no-default-browser-check",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--mute-audio",
    ]
    if os.geteuid() == 0:
        flags.append("--no-sandbox")  # Chromium refuses root otherwise
    if webgpu:
        flags += SOFTWARE_WEBGPU
    return [executable, *flags, url]


# Quiet start, nothing fetched from outside, and no "slow script" question during a long kernel.
_FIREFOX_PREFERENCES: Mapping[str, bool | int | str] = {
    "app.normandy.enabled": False,
    "app.update.enabled": False,
    "browser.aboutwelcome.enabled": False,
    "browser.newtabpage.enabled": False,
    "browser.safebrowsing.malware.enabled": False,
    "browser.safebrowsing.phishing.enabled": False,
    "browser.search.update": False,
    "browser.sessionstore.resume_from_crash": False,
    "browser.shell.checkDefaultBrowser": False,
    "browser.startup.homepage_override.mstone": "ignore",
    "browser.tabs.unloadOnLowMemory": False,
    "datareporting.policy.dataSubmissionEnabled": False,
    "dom.allow_scripts_to_close_windows": True,
    "dom.max_script_run_time": 0,
    "extensions.getAddons.cache.enabled": False,
    "extensions.update.enabled": False,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "network.http.response.timeout": 0,
    "services.settings.server": "data:,",
    "toolkit.startup.max_resumed_crashes": -1,
    "toolkit.telemetry.reportingpolicy.firstRun": False,
}


def _firefox(executable: str, profile: Path, url: str, webgpu: bool) -> list[str]:
    preferences = dict(_FIREFOX_PREFERENCES)
    preferences["dom.webgpu.enabled"] = webgpu
    preferences["gfx.webgpu.ignore-blocklist"] = webgpu
    lines = [f"user_pref({json.dumps(k)}, {json.dumps(v)});\n" for k, v in preferences.items()]
    (profile / "user.js").write_text("".join(lines))
    return [executable, "--headless", "--no-remote", "--profile", str(profile), url]


def _webkit(executable: str, profile: Path, url: str, webgpu: bool) -> list[str]:
    if webgpu:
        raise BrowserError("WebKitGTK has no WebGPU: run the webgpu target in chromium or firefox")
    return [executable, "--private", url]


ENGINES: Mapping[Engine, _Launch] = {
    "chromium": _Launch(
        (
            "chromium",
            "chromium-browser",
            "google-chrome",
            "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
        ),
        "chromium",
        _chromium,
    ),
    "firefox": _Launch(
        (
            "firefox-esr",
            "firefox",
            "/Applications/Firefox.app/Contents/MacOS/firefox",
        ),
        "firefox-esr mesa-vulkan-drivers",
        _firefox,
    ),
    "webkit": _Launch(
        ("/usr/lib/*/webkit2gtk-4.*/MiniBrowser", "/usr/libexec/webkit2gtk-4.*/MiniBrowser"),
        "webkit2gtk-driver xvfb",
        _webkit,
        {
            "GDK_BACKEND": "x11",
            "LIBGL_ALWAYS_SOFTWARE": "1",
            "NO_AT_BRIDGE": "1",
            # Its sandbox needs namespaces that containers lack; pages here are only our own.
            "WEBKIT_DISABLE_SANDBOX_THIS_IS_DANGEROUS": "1",
        },
        needs_display=True,
    ),
}


def find(engine: Engine) -> str:
    """The engine's executable; raises BrowserError, saying what to install, when it is missing."""
    launch = ENGINES[engine]
    found = next(filter(None, map(_locate, launch.executables)), None)
    if found is None or (launch.needs_display and shutil.which("Xvfb") is None):
        raise BrowserError(
            f"{engine} is not installed (looked for {', '.join(launch.executables)}"
            f"{' and Xvfb' if launch.needs_display else ''}). "
            f"Debian: apt-get install {launch.install}"
        )
    return found


def _locate(name: str) -> str | None:
    if name.startswith("/"):
        return next((str(path) for path in sorted(Path("/").glob(name[1:]))), None)
    return shutil.which(name)


class Page:
    """An open page. Use `open_page`; the methods here are for its `with` block."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.console: deque[str] = deque(maxlen=1000)  # what the page logged, oldest first
        self._process: subprocess.Popen[bytes] | None = None
        self._stderr: Path | None = None
        self._jobs: queue.Queue[bytes] = queue.Queue()
        self._results: queue.Queue[tuple[int, bytes]] = queue.Queue()
        self._arrays: dict[str, bytes] = {}
        self._written: dict[str, bytes] = {}
        self._job = 0
        self._open = threading.Event()
        self._died = threading.Event()
        self._closing = threading.Event()

    def call(
        self,
        module: str,
        argument: object = None,
        arrays: Mapping[str, bytes] | None = None,
        *,
        timeout: float = 300,
    ) -> Reply:
        """Calls the default export of the module at URL path `module` and waits for its result.

        `argument` must be JSON; `arrays` are what `io.read` finds. Raises PageError when the module
        throws; BrowserError, with what the page last wrote to its console, when the page crashes or
        `timeout` seconds pass.
        """
        self._job += 1
        self._arrays = {f"{self._job}/{name}": data for name, data in (arrays or {}).items()}
        self._written = {}
        job = {"id": self._job, "module": module, "argument": argument}
        self._jobs.put(json.dumps(job, allow_nan=False).encode())
        message = json.loads(self._wait(timeout, module))
        written = {name.partition("/")[2]: data for name, data in self._written.items()}
        self._arrays, self._written = {}, {}
        if "error" in message:
            raise PageError(**message["error"])
        return Reply(message["value"], written)

    def _wait(self, timeout: float, module: str) -> bytes:
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            try:
                job, result = self._results.get(timeout=0.1)
            except queue.Empty:
                self._check_alive(f"while running {module}")
                continue
            if job == self._job:  # else the late answer of a call that timed out
                return result
        raise BrowserError(
            f"{self.engine}: no answer from {module} within {timeout:g} s.{self._context()}"
        )

    def _check_alive(self, when: str) -> None:
        status = self._process.poll() if self._process is not None else None
        if status is not None:
            raise BrowserError(
                f"{self.engine} ended with status {status} {when}.{self._context(True)}"
            )
        if self._died.is_set():
            raise BrowserError(
                f"{self.engine}: the page crashed {when} (out of memory is the usual cause)."
                f"{self._context(True)}"
            )

    def _context(self, with_stderr: bool = False) -> str:
        lines = [f"console  {line}" for line in list(self.console)[-20:]]
        if with_stderr and self._stderr is not None:
            text = self._stderr.read_text(errors="replace")
            # Chromium complains at length about machines without a desktop's message bus.
            tail = [t for t in text.splitlines() if t.strip() and ":dbus/" not in t][-10:]
            lines += [f"stderr   {line}" for line in tail]
        return "".join(f"\n  {line}" for line in lines)

    def _start(self, command: list[str], environment: Mapping[str, str], stderr: Path) -> None:
        self._stderr = stderr
        with stderr.open("wb") as log:
            self._process = subprocess.Popen(
                command,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # so that its children end with it
            )
        deadline = time.monotonic() + _START_SECONDS
        while not self._open.wait(0.05):
            self._check_alive("before it opened the page")
            if time.monotonic() > deadline:
                raise BrowserError(
                    f"{self.engine} did not open the page within {_START_SECONDS} s."
                    f"{self._context(True)}"
                )

    def _stop(self) -> None:
        self._closing.set()
        if self._process is not None:
            _end(self._process)

    # The server's half; runs in the server's threads.

    def _hook(self, request: Request) -> bool:
        path = request.path_only
        if not path.startswith("/__page__/"):
            return False
        verb, _, rest = path.removeprefix("/__page__/").partition("/")
        match request.command, verb:
            case "GET", "":
                request.reply(200, (PAGES / "run.html").read_bytes(), {"Content-Type": "text/html"})
            case "GET", "alive":
                self._watch(request)
            case "GET", "data":
                data = self._arrays.get(rest)
                if data is None:
                    request.reply(HTTPStatus.NOT_FOUND)
                else:
                    request.reply(200, data, {"Content-Type": "application/octet-stream"})
            case "POST", "job":
                request.body()
                self._open.set()
                self._hand_out(request)
            case "POST", "data":
                self._written[rest] = request.body()
                request.reply(HTTPStatus.NO_CONTENT)
            case "POST", "log":
                self.console.append(request.body().decode(errors="replace"))
                request.reply(HTTPStatus.NO_CONTENT)
            case "POST", "result":
                self._results.put((int(rest), request.body()))
                request.reply(HTTPStatus.NO_CONTENT)
            case _:
                return False  # boot.js: a file of the mount
        return True

    def _hand_out(self, request: Request) -> None:
        deadline = time.monotonic() + _POLL_SECONDS
        while time.monotonic() < deadline and not self._closing.is_set():
            try:
                job = self._jobs.get(timeout=0.05)
            except queue.Empty:
                continue
            request.reply(200, job, {"Content-Type": "application/json"})
            return
        request.reply(HTTPStatus.NO_CONTENT)

    def _watch(self, request: Request) -> None:
        """Holds a response open until the page's process drops the connection."""
        request.send_response(200)
        for name, value in request.server.site.headers().items():
            request.send_header(name, value)
        request.send_header("Content-Type", "text/plain")
        request.end_headers()
        request.close_connection = True
        while not self._closing.is_set():
            readable, _, _ = select.select([request.connection], [], [], 0.1)
            if readable and not request.connection.recv(1):
                self._died.set()
                return


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ends a process group: politely, and after three seconds by force."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        try:
            process.wait(3)
        except subprocess.TimeoutExpired:
            continue


@contextmanager
def _orderly_end() -> Iterator[None]:
    """SIGTERM ends this process as an exception does, so that its browsers end with it."""
    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return

    def end(number: int, frame: object) -> None:
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


@contextmanager
def _display() -> Iterator[str]:
    """A virtual X display, for the engine that has no headless mode."""
    read, write = os.pipe()
    with subprocess.Popen(
        [
            "Xvfb",
            "-displayfd",
            str(write),
            "-screen",
            "0",
            "1280x1024x24",
            "-nolisten",
            "tcp",
            "-terminate",
        ],
        pass_fds=(write,),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as process:
        os.close(write)
        try:
            with os.fdopen(read) as numbers:
                ready, _, _ = select.select([numbers], [], [], _START_SECONDS)
                number = numbers.readline().strip() if ready else ""
            if not number:
                raise BrowserError("Xvfb did not start: no virtual display for WebKit")
            yield f":{number}"
        finally:
            _end(process)


@contextmanager
def open_page(
    engine: Engine = "chromium",
    *,
    mounts: Mapping[str, Path],
    webgpu: bool = False,
    isolation: bool = True,
    csp: bool = True,
    flags: Sequence[str] = (),
) -> Iterator[Page]:
    """Starts a browser on an empty page that serves `mounts` (URL prefix → folder) beside itself.

    `webgpu` turns on the engine's software adapter (SwiftShader, lavapipe); `isolation` and `csp`
    choose the headers of `server.py`; `flags` are further arguments for the browser. Raises
    BrowserError when the engine is missing or does not start.
    """
    executable = find(engine)
    launch = ENGINES[engine]
    page = Page(engine)
    with ExitStack() as stack:
        stack.enter_context(_orderly_end())
        profile = Path(
            stack.enter_context(
                tempfile.TemporaryDirectory(prefix="webdnn-browser-", ignore_cleanup_errors=True)
            )
        )
        # The whole home is temporary: no engine reads or leaves anything of the user's.
        home = {
            name: str(profile)
            for name in ("HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME")
        }
        environment = {**os.environ, **home, **launch.environment}
        environment.pop("WAYLAND_DISPLAY", None)
        if launch.needs_display:
            environment["DISPLAY"] = stack.enter_context(_display())
        server = stack.enter_context(
            running({**mounts, "/__page__/": PAGES}, isolation=isolation, csp=csp, hook=page._hook)
        )
        stack.callback(page._stop)
        url = f"{server.url}__page__/"
        command = launch.command(executable, profile, url, webgpu)
        page._start([*command[:-1], *flags, command[-1]], environment, profile / "stderr.txt")
        yield page
