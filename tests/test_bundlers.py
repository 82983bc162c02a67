"""The recipes of docs/bundlers.md, built with the bundlers themselves, of docs/offline.md, of the
README and of a descriptor's report: in Chromium."""

from __future__ import annotations

import contextlib
import html
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import webdnn
from tests.chromium import driven
from webdnn.browser.server import Request, running

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "bundlers.md").read_text()
COMMON, *SECTIONS = re.split(r"^## ", PAGE, flags=re.MULTILINE)
RECIPES = {title: text for title, _, text in (s.partition("\n") for s in SECTIONS)}
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_NAMED = re.compile(r"(?://|<!--) (\S+)(?: -->)?\n")


@pytest.fixture(scope="module")
def bundlers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the bundlers, in the versions of tests/bundlers/package-lock.json."""
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed")
    folder = tmp_path_factory.mktemp("bundlers")
    for name in ("package.json", "package-lock.json"):
        shutil.copyfile(ROOT / "tests" / "bundlers" / name, folder / name)
    subprocess.run(["npm", "ci", "--no-audit", "--no-fund", "--silent"], cwd=folder, check=True)
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """y = x · w + 1, whose weights are large enough to be a file."""
    weights = np.arange(4 * 3, dtype=np.float32).reshape(4, 3)
    graph = onnx.helper.make_graph(
        [
            onnx.helper.make_node("MatMul", ["x", "w"], ["xw"]),
            onnx.helper.make_node("Add", ["xw", "one"], ["y"]),
        ],
        "m",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, 4])],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1, 3])],
        [
            numpy_helper.from_array(weights, "w"),
            numpy_helper.from_array(np.float32([1]), "one"),
        ],
    )
    made = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)])
    output = tmp_path_factory.mktemp("model") / "name"
    webdnn.transpile(made.SerializeToString(), output)
    return output


def written(title: str, bundlers: Path, model: Path, name: str) -> Path:
    """A project folder with the files of a recipe, and the model where it wants it."""
    project = bundlers / f"{name}-{re.sub(r'[^A-Za-z]+', '-', title)}"
    project.mkdir()
    (project / "package.json").write_text('{ "type": "module" }')
    write_blocks(COMMON + RECIPES[title], project)
    place = "public" if "public" in title else "src"
    shutil.copytree(model, project / place / "models" / "name")
    return project


def write_blocks(page: str, folder: Path) -> None:
    """The files that a page of the documentation shows; each block begins with its name."""
    for kind, text in _BLOCK.findall(page):
        if kind != "sh":
            named = _NAMED.match(text)
            assert named, f"a block does not say its file: {text}"
            file = folder / named[1]
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text[named.end() :])


def answer(url: str) -> None:
    """The page at `url` shows what the model computes, and no error."""
    with driven() as page:
        page.add_init_script(  # a page that fails says so, instead of nothing
            "addEventListener('error', (e) => document.body.append(e.message));"
            "addEventListener('unhandledrejection', (e) => document.body.append(e.reason));"
        )
        page.goto(url)
        page.wait_for_function("document.body?.innerText.trim()", timeout=60_000)
        assert page.inner_text("body").split() == ["19", "23", "27"]
        assert page.evaluate("crossOriginIsolated")


@pytest.mark.parametrize("title", RECIPES)
def test_recipe(title: str, bundlers: Path, model: Path) -> None:
    """Its files and commands make a page that shows what the model computes, or print that."""
    project = written(title, bundlers, model, "build")
    commands = [text for kind, text in _BLOCK.findall(RECIPES[title]) if kind == "sh"]
    for command in commands:
        run = subprocess.run(
            ["sh", "-ec", command],
            cwd=project,
            capture_output=True,
            text=True,
            check=False,
            timeout=240,  # a program that its worker keeps alive is a failure
            env=os.environ | {"NEXT_TELEMETRY_DISABLED": "1"},
        )
        assert run.returncode == 0, run.stdout + run.stderr
    if "// src/run.js" in RECIPES[title]:
        assert run.stdout.split() == ["19", "23", "27"]
        return
    site = project / "dist" if commands else project
    with running({"/": site}) as server:
        answer(server.url)


@pytest.mark.parametrize("title", [title for title in RECIPES if "Vite" in title])
def test_the_development_server_of_vite(title: str, bundlers: Path, model: Path) -> None:
    """The same pages without a build."""
    project = written(title, bundlers, model, "develop")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = ["npx", "vite", "--host", "127.0.0.1", "--port", str(port), "--strictPort"]
    with subprocess.Popen(
        command, cwd=project, stdout=subprocess.DEVNULL, start_new_session=True
    ) as server:
        try:
            end = time.monotonic() + 60
            while True:
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                    break
                assert server.poll() is None and time.monotonic() < end, "vite did not start"
                time.sleep(0.1)
            answer(f"http://127.0.0.1:{port}/")
        finally:
            os.killpg(server.pid, signal.SIGTERM)


def test_a_page_of_ones_own(tmp_path: Path) -> None:
    """The README's page shows what it runs on; the lines in the report run the report's model."""
    kinds = {"image": "FLOAT", "ids": "INT64", "half": "FLOAT16", "small": "UINT8", "mask": "BOOL"}
    for name, inputs, shape, dims in (
        ("name", ["image"], [1, 3, 224, 224], {}),
        ("open", list(kinds), ["n"], {"n": (3, 5)}),
    ):
        of = {i: getattr(onnx.TensorProto, kinds[i]) for i in inputs}
        graph = onnx.helper.make_graph(
            [onnx.helper.make_node("Identity", [i], [f"{i}_out"]) for i in of],
            "m",
            [onnx.helper.make_tensor_value_info(i, of[i], shape) for i in of],
            [onnx.helper.make_tensor_value_info(f"{i}_out", of[i], shape) for i in of],
        )
        made = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)])
        folder = tmp_path / "models" / name
        webdnn.transpile(made, folder, targets=["wasm"], dims=dims, name="m")
    blocks = dict(_BLOCK.findall((ROOT / "README.md").read_text()))
    (tmp_path / "index.html").write_text(blocks["html"])
    report = (tmp_path / "models" / "open" / "report.html").read_text()
    lines = html.unescape(report.partition("<pre>")[2].partition("</pre>")[0])
    (tmp_path / "models" / "open" / "index.html").write_text(
        f"<!doctype html><body></body><script type=module>{lines}\n"
        "document.body.append(Object.values(outputs).map((o) => o.shape).join())</script>"
    )
    with driven() as page, running({"/": tmp_path}) as server:
        for place, text in (("", "m runs on wasm"), ("models/open/", "3,3,3,3,3")):
            page.goto(server.url + place)
            page.wait_for_function("document.body?.innerText.trim()", timeout=60_000)
            assert page.inner_text("body").strip() == text


def test_a_damaged_copy_that_a_browser_keeps(model: Path, tmp_path: Path) -> None:
    """It is immutable: the server is asked once more, past the cache, and then the copy is good."""
    shutil.copytree(model, tmp_path / "name")
    (weights,) = (tmp_path / "name").glob("weights-*.bin")
    whole = weights.read_bytes()
    load = """async () => {
      const { load } = await import('/name/model.js');
      let end;
      return load({ progress: ({ loaded, total }) => (end = loaded === total) })
        .then(() => `loaded ${end}`, ({ code }) => code);
    }"""
    asked: list[str] = []

    def hook(request: Request) -> bool:
        asked.append(request.path_only)
        return False

    with driven() as page, running({"/": tmp_path}, hook=hook) as server:
        page.goto(server.url + "name/report.html")
        for content, answer, times in (
            (whole[::-1], "corrupted", 2),
            (whole[:8], "truncated", 3),  # the copy is corrupted, what the server has is cut
            (whole, "loaded true", 4),
            (whole[:8], "loaded true", 4),
        ):
            weights.write_bytes(content)
            assert page.evaluate(load) == answer
            assert asked.count(f"/name/{weights.name}") == times


def test_answers_that_a_browser_keeps(model: Path) -> None:
    """Whatever it keeps of a file, the server is asked for it once more; the model is right."""
    files = [p for p in model.rglob("*") if p.suffix in (".bin", ".wasm")]
    names = [p.relative_to(model).as_posix() for p in files]
    (worker,) = (p.relative_to(model).as_posix() for p in model.rglob("worker.js"))
    names += ["model.json", worker]
    kept = {"Cache-Control": "public, max-age=31536000, immutable"}
    script = kept | {"Content-Type": "text/javascript"}
    answers = (
        (200, b"", script),
        (404, b"Not found", kept),
        (200, b"const x = {", script),
        (503, b"Busy", kept),
        (200, b"<!doctype html>", kept | {"Content-Type": "text/html"}),
    )
    asked: list[str] = []
    bad: dict[str, tuple[int, bytes, dict[str, str]]] = {}

    def hook(request: Request) -> bool:
        name = request.path_only.removeprefix("/name/")
        asked.append(name)
        if name in bad:
            request.reply(*bad[name])
        return name in bad

    load = """async (module) => {
      const timeout = 8000; // a quarter of it for a worker that is silent
      const { load } = await import(module);
      const bound = module.endsWith('model.js');
      const model = await (bound ? load({ timeout }) : load('/name/', { timeout }));
      const { y } = await model.run({ x: new Float32Array(4).fill(1) });
      return [...y.data, model.viewKind];
    }"""
    with driven() as first, running({"/name/": model}, hook=hook) as server:
        for turn in range(3):
            context = first.context.browser.new_context()
            page = context.new_page()
            page.goto(server.url + "name/report.html")
            for k, name in enumerate(reversed(names)):  # the worker first
                bad[name] = answers[(k + turn) % len(answers)]
                page.evaluate("async (n) => { await (await fetch(n)).text() }", f"/name/{name}")
            bad.clear()
            asked.clear()
            runner = f"/name/{Path(worker).parent}/index.js"
            for module in ("/name/model.js", runner):
                assert page.evaluate(load, module) == [19, 23, 27, "direct-shared"]
            assert all(asked.count(name) <= 1 for name in names), asked
            assert {worker, "model.json"} < set(asked), asked
            context.close()


def test_a_service_worker(model: Path, tmp_path: Path) -> None:
    """The page comes back when the server is gone."""
    write_blocks((ROOT / "docs" / "offline.md").read_text(), tmp_path)
    shutil.copytree(model, tmp_path / "models" / "name")
    answered = "document.body?.innerText.trim()"
    with driven() as page:
        with running({"/": tmp_path}) as server:
            page.goto(server.url)
            page.wait_for_function(answered, timeout=60_000)
            page.evaluate("navigator.serviceWorker.ready.then(() => {})")
        page.reload()
        page.wait_for_function(answered, timeout=60_000)
        assert page.inner_text("body").split() == ["19", "23", "27"]
