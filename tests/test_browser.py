"""The page harness, in each engine that is installed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from webdnn.browser import engine as browser
from webdnn.browser.engine import BrowserError, Engine, Page, PageError, open_page

MODULES = {
    "double.js": """
        export default async function (argument, io) {
          const x = new Float32Array(await io.read('x/0'));
          await io.write('y 1', x.map((value) => value * argument.factor));
          return { length: x.length, isolated: globalThis.crossOriginIsolated };
        }""",
    "fail.js": """
        class Refused extends Error { name = 'Refused'; code = 'no-way'; }
        export default function () {
          console.warn('on the way', { depth: 3 });
          throw new Refused('expected 2, found 3');
        }""",
    "hang.js": """
        export default () => { console.log('waiting for nothing'); return new Promise(() => {}); }
        """,
    "busy.js": """
        export default function (ms) {
          const end = performance.now() + ms;
          while (performance.now() < end);
          return 'done';
        }""",
    "eval.js": """
        export default function () {
          try { return (0, eval)('1 + 1'); } catch (error) { return error.name; }
        }""",
    "adapter.js": """
        export default async function () {
          if (!navigator.gpu) return 'no WebGPU';
          for (let attempt = 0; attempt < 20; attempt++) {  // null at first in a fresh browser
            const adapter = await navigator.gpu.requestAdapter();
            if (adapter) {
              const device = await adapter.requestDevice();
              return device.limits.maxStorageBuffersPerShaderStage;
            }
            await new Promise((resolve) => setTimeout(resolve, 100));
          }
          return 'no adapter';
        }""",
}


@pytest.fixture(scope="module")
def modules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("modules")
    for name, text in MODULES.items():
        (folder / name).write_text(text)
    return folder


def need(engine: Engine) -> None:
    """Skips a test whose engine is missing; in CI that is a failure."""
    try:
        browser.find(engine)
    except BrowserError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(error))


@pytest.fixture(scope="module", params=["chromium", "firefox", "webkit"])
def page(request: pytest.FixtureRequest, modules: Path) -> Iterator[Page]:
    need(request.param)
    with open_page(request.param, mounts={"/m/": modules}) as opened:
        yield opened


def test_values_and_arrays_cross(page: Page) -> None:
    import numpy as np

    x = np.array([1.5, -2, 0], np.float32)
    reply = page.call("/m/double.js", {"factor": 2}, {"x/0": x.tobytes()})
    assert reply.value == {"length": 3, "isolated": True}
    np.testing.assert_array_equal(np.frombuffer(reply.arrays["y 1"], np.float32), 2 * x)
    # and again in the same page, with nothing left of the first call
    reply = page.call("/m/double.js", {"factor": 1}, {"x/0": b""})
    assert (reply.value["length"], dict(reply.arrays)) == (0, {"y 1": b""})


def test_thrown_error_keeps_its_fields(page: Page) -> None:
    with pytest.raises(PageError) as caught:
        page.call("/m/fail.js")
    assert (caught.value.name, caught.value.code) == ("Refused", "no-way")
    assert caught.value.message == "expected 2, found 3"
    assert any("on the way" in line and '"depth":3' in line for line in page.console)


def test_missing_module_is_a_page_error(page: Page) -> None:
    with pytest.raises(PageError):
        page.call("/m/absent.js")


def test_missing_array_is_named(page: Page) -> None:
    with pytest.raises(PageError, match="no array named x/0"):
        page.call("/m/double.js", {"factor": 2})


def test_timeout_says_what_the_page_said(modules: Path) -> None:
    need("chromium")
    with open_page("chromium", mounts={"/m/": modules}) as opened:
        with pytest.raises(
            BrowserError, match=r"no answer from /m/hang\.js within 1 s(.|\n)*waiting for nothing"
        ):
            opened.call("/m/hang.js", timeout=1)


def test_blocked_page_is_alive(page: Page) -> None:
    """A kernel that blocks the page for seconds is no crash."""
    assert page.call("/m/busy.js", 2500).value == "done"


def test_policy_forbids_eval(page: Page) -> None:
    assert page.call("/m/eval.js").value == "EvalError"


def test_no_isolation_no_policy(modules: Path) -> None:
    need("chromium")
    with open_page("chromium", mounts={"/m/": modules}, isolation=False, csp=False) as opened:
        assert opened.call("/m/double.js", {"factor": 1}, {"x/0": b""}).value["isolated"] is False
        assert opened.call("/m/eval.js").value == 2


@pytest.mark.parametrize("engine", ["chromium", "firefox"])
def test_software_webgpu(engine: Engine, modules: Path) -> None:
    need(engine)
    with open_page(engine, mounts={"/m/": modules}, webgpu=True) as opened:
        assert opened.call("/m/adapter.js").value >= 8


def test_webkit_has_no_webgpu(modules: Path) -> None:
    need("webkit")
    with (
        pytest.raises(BrowserError, match="no WebGPU"),
        open_page("webkit", mounts={"/m/": modules}, webgpu=True),
    ):
        pass


def _children(pid: int) -> list[tuple[int, str]]:
    rows = subprocess.run(
        ["ps", "-o", "pid=,sess=,stat=,args=", "-e"], capture_output=True, text=True, check=True
    ).stdout
    fields = [row.split(None, 3) for row in rows.splitlines()]
    return [
        (int(p), args)
        for p, session, state, args in fields
        if int(session) == pid and not state.startswith("Z")
    ]


def test_crashed_renderer_is_reported_at_once(modules: Path) -> None:
    need("chromium")
    with open_page("chromium", mounts={"/m/": modules}) as opened:
        assert opened._process is not None
        renderers = [p for p, args in _children(opened._process.pid) if "--type=renderer" in args]
        assert renderers
        threading.Timer(1, lambda: [os.kill(p, signal.SIGKILL) for p in renderers]).start()
        begin = time.monotonic()
        with pytest.raises(BrowserError, match=r"page crashed while running /m/hang\.js"):
            opened.call("/m/hang.js", timeout=60)
        assert time.monotonic() - begin < 20


def test_ended_browser_is_reported(modules: Path) -> None:
    need("chromium")
    with open_page("chromium", mounts={"/m/": modules}) as opened:
        assert opened._process is not None
        os.killpg(opened._process.pid, signal.SIGKILL)
        with pytest.raises(BrowserError, match=r"ended with status -9|page crashed"):
            opened.call("/m/hang.js", timeout=60)


def test_nothing_is_left_running(modules: Path) -> None:
    need("chromium")
    with open_page("chromium", mounts={"/m/": modules}) as opened:
        assert opened._process is not None
        pid = opened._process.pid
        assert _children(pid)
    assert _children(pid) == []


@pytest.mark.parametrize("engine", ["chromium", "firefox", "webkit"])
def test_killed_program_leaves_no_browser(engine: Engine, modules: Path) -> None:
    """Nobody runs our clean-up then; the page notices that its server is gone and closes itself."""
    need(engine)
    program = (
        "import sys, time; from pathlib import Path; from webdnn.browser import open_page\n"
        "with open_page(sys.argv[1], mounts={'/m/': Path(sys.argv[2])}) as page:\n"
        "    print(page._process.pid, flush=True); time.sleep(600)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, engine, str(modules)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    pid = int(process.stdout.readline())
    assert _children(pid)
    process.kill()
    process.wait()
    deadline = time.monotonic() + 60
    while _children(pid) and time.monotonic() < deadline:
        time.sleep(0.2)
    left = _children(pid)
    if left:
        os.killpg(pid, signal.SIGKILL)
    assert left == []


def test_missing_browser_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(BrowserError, match=r"chromium is not installed.*apt-get install chromium"):
        browser.find("chromium")


def test_browser_that_does_not_start(
    modules: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = tmp_path / "chromium"
    fake.write_text("#!/bin/sh\necho 'libfoo is missing' >&2\nexit 3\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with (
        pytest.raises(BrowserError, match=r"ended with status 3(.|\n)*libfoo is missing"),
        open_page("chromium", mounts={"/m/": modules}),
    ):
        pass
