"""What docs/deploying.md promises of a page's first seconds, and of new versions, in Chromium."""

from __future__ import annotations

import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import webdnn
import webdnn.errors
from tests.chromium import driven
from webdnn.browser.server import Request, running

PAGE = """<!doctype html><script type="module">
import { load } from '/m/model.js';
const run = async () => {
  // Past the browser's cache, in which the files of the page's version would outlive a deploy.
  const fetched = (url, init) => fetch(url, { ...init, cache: 'no-store' });
  const model = await load({ backend: 'wasm', threads: 1, fetch: fetched });
  const { y } = await model.run({ x: Float32Array.of(1, 2) });
  return y.data[0];
};
const say = (work) => work.catch((error) => error.code);
globalThis.again = () => say(run());
globalThis.first = say(run());
</script>"""


def transpiled(output: Path, factor: float, columns: int = 1 << 20, **options: Any) -> None:
    """y = x · factor, whose weights take two shards, or one if there are few columns."""
    weights = {"w": np.full((2, columns), factor, np.float32)}
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("MatMul", ["x", "w"], ["y"])],
        "m",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, 2])],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1, columns])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)])
    options = {"targets": ["wasm"], "name": "m", **options}
    webdnn.transpile(model.SerializeToString(), output, **options)


@contextmanager
def opened(folder: Path, hook: Callable[[Request], bool], page_text: str = PAGE) -> Iterator[Any]:
    """A page that loads the model at /m/, in an isolated Chromium; `hook` sees each request."""

    def answer(request: Request) -> bool:
        if request.path_only == "/":
            request.reply(200, page_text.encode(), {"Content-Type": "text/html"})
            return True
        return hook(request)

    with running({"/m/": folder}, hook=answer) as server, driven() as page:
        page.goto(server.url)
        yield page


def test_weights_are_asked_for_with_the_kernels_and_the_worker(tmp_path: Path) -> None:
    """As soon as model.js has come: none of these is answered before all are asked for."""
    transpiled(tmp_path / "m", 3)
    asked: list[str] = []
    together = threading.Barrier(4, timeout=60)

    def hook(request: Request) -> bool:
        name = request.path_only.rpartition("/")[2]
        if name != "favicon.ico":
            asked.append(name)
        if name.endswith((".wasm", ".bin")) or name == "worker.js":
            together.wait()
        return False

    with opened(tmp_path / "m", hook) as page:
        assert page.evaluate("first") == 9
    assert asked[0] == "model.js"
    first_weight = next(i for i, name in enumerate(asked) if name.startswith("weights"))
    assert first_weight <= 3, asked
    assert sorted(name.partition(".")[0] for name in asked) == [
        *("model", "relaxed", "weights-0", "weights-1", "worker"),
    ]


def test_a_new_version_under_an_open_page(tmp_path: Path) -> None:
    """The load in flight ends with the version that it began, and so do later ones while it is
    kept; then the page is told to reload, and a new page has the new version."""
    live = tmp_path / "m"
    transpiled(live, 3)
    shutil.copytree(live, tmp_path / "next")
    transpiled(tmp_path / "next", 5)

    def deploy() -> None:
        """As the page recommends: the folder is copied over, then what is gone is deleted."""
        # Each file at once: the server reads them meanwhile.
        shutil.copytree(
            tmp_path / "next",
            live,
            dirs_exist_ok=True,
            copy_function=lambda old, new: Path(shutil.copy(old, f"{new}~")).replace(new),
        )
        for gone in {p.name for p in live.iterdir()} - {p.name for p in tmp_path.glob("next/*")}:
            (live / gone).unlink()

    swapped = threading.Lock()

    def hook(request: Request) -> bool:
        if "weights-0" in request.path_only and swapped.acquire(blocking=False):
            deploy()
        return False

    with opened(live, hook) as page:
        assert page.evaluate("first") == 9
        assert page.evaluate("again()") == 9
        transpiled(tmp_path / "next", 7)
        deploy()
        assert page.evaluate("again()") == "newer-version"
        page.reload()
        assert page.evaluate("first") == 21


def test_kept_versions(tmp_path: Path) -> None:
    """Files of so many earlier versions, each once; those before are gone, and so is all else."""

    def weights() -> set[str]:
        return {p.name for p in tmp_path.glob("m/weights-0.*")}

    found = []
    for factor, keep in ((1, 1), (2, 1), (2, 1), (3, 1), (4, 2), (5, 0)):
        transpiled(tmp_path / "m", factor, keep_versions=keep)
        found.append(weights())
    assert [len(names) for names in found] == [1, 2, 2, 2, 3, 1]
    assert found[1] == found[2] and found[3] != found[2]
    assert len(list(tmp_path.glob("m/runner.*"))) == 1


def test_the_console_says_once_that_there_is_no_adapter(tmp_path: Path) -> None:
    """A page whose weights take a second, and which loads twice: Chromium writes one line."""
    transpiled(tmp_path / "m", 3, 1 << 10, targets=["webgpu", "wasm"])
    options = "{ backend: 'wasm', threads: 1, fetch: fetched }"
    page_text = PAGE.replace(options, "{ fetch: fetched }")
    assert options in PAGE
    said: list[str] = []

    def hook(request: Request) -> bool:
        if "weights" in request.path_only:
            time.sleep(1.2)
        if request.path_only == "/favicon.ico":
            request.reply(204)
        return request.path_only == "/favicon.ico"

    with opened(tmp_path / "m", hook, page_text) as page:
        page.evaluate("first")  # what this load writes is written
        page.on("console", lambda message: said.append(message.text))
        page.reload()
        assert page.evaluate("first") == 9
        assert page.evaluate("again()") == 9
        assert page.evaluate("navigator.gpu.requestAdapter()") is None
        page.wait_for_timeout(100)
    # The last one is the test's own.
    assert said == ["No available adapters."] * 2


def test_lines_of_a_page_ask_before_its_script(tmp_path: Path) -> None:
    """Of what the lines name, each is asked for once, and all before any is answered; a new
    version changes the lines, and no other text of the page."""
    page_file = tmp_path / "index.html"
    around = (
        "<!doctype html><title>é</title>\r\n\t<!-- webdnn ./m/ relaxed -->",
        "\t<!-- /webdnn -->\n" + PAGE.replace(", fetch: fetched", "").partition(">")[2],
    )
    page_file.write_bytes('\n<link rel="preload" href="lost">'.join(around).encode())
    asked: list[str] = []
    said: list[str] = []
    together = threading.Barrier(4, timeout=60)

    def hook(request: Request) -> bool:
        if request.path_only == "/":
            request.reply(200, page_file.read_bytes(), {"Content-Type": "text/html"})
            return True
        asked.append(request.path_only.rpartition("/")[2])
        if asked[-1] != "favicon.ico":
            together.wait()
        return False

    for factor in (3, 5):
        transpiled(tmp_path / "m", factor, 1 << 10, preload=page_file)
        text = page_file.read_bytes().decode()
        assert text.startswith(around[0]) and text.endswith(around[1]) and "lost" not in text
        asked.clear()
        with running({"/m/": tmp_path / "m"}, hook=hook) as server, driven() as page:
            page.on("console", lambda message: said.append(message.text))
            page.goto(server.url)
            assert page.evaluate("first") == 3 * factor
        names = sorted(name.partition(".")[0] for name in asked if name != "favicon.ico")
        assert names == ["model", "relaxed", "weights-0", "worker"]
        together.reset()
    assert not [line for line in said if "preload" in line], said


def test_pages_without_a_place_for_the_lines(tmp_path: Path) -> None:
    """Each is refused before the model is read, with what to write."""
    page = tmp_path / "index.html"
    (tmp_path / "a" / "m").mkdir(parents=True)
    for text, expected in (
        ("<p>none</p>", "expected the comments <!-- webdnn ./m/ -->"),
        ("<!-- webdnn ./n/ --><!-- /webdnn -->", "the address of m as the page sees it"),
        ("<!-- webdnn m --><!-- webdnn n --><!-- /webdnn -->", "the address of m"),
        ("<!-- webdnn a/m/ --><!-- /webdnn -->", "the address of m"),  # another of that name
        ("<!-- webdnn m --><title>A</title><!-- /webdnn -->", "nothing but the lines of --preload"),
        (2 * "<!-- webdnn m --><!-- /webdnn -->", "one place for the lines of m, found 2: <!-- w"),
        ("import './x/m/model.js?v=3'", "expected the comments <!-- webdnn ./x/m/model.js?v=3 -->"),
        (b"\xff\xfe1", "expected a page in UTF-8"),
        ("<!-- webdnn m simd --><!-- /webdnn -->", "simd in <!-- webdnn m simd -->: expected"),
        ("<!-- webdnn m webgpu --><!-- /webdnn -->", "of the model's targets"),
        (None, "cannot be changed: No such file"),
    ):
        if isinstance(text, bytes):
            page.write_bytes(text)
        else:
            page.unlink() if text is None else page.write_text(text)
        with pytest.raises(webdnn.errors.WebDNNError, match=re.escape(expected)) as raised:
            webdnn.transpile(b"no model", tmp_path / "m", targets=["wasm"], preload=page)
        assert "In Python --preload PAGE is preload=PAGE" in raised.value.__notes__
        assert not (tmp_path / "m").exists()


def test_every_way_to_write_the_place_for_the_lines(tmp_path: Path) -> None:
    """Addresses and comments as pages have them, in their encodings and line ends; all else in the
    page stays as it is, and a second run changes nothing."""
    folder = tmp_path / "pages"
    where = {"m y": folder / "a" / "m y", "beside": tmp_path / "build"}
    addresses = {
        "./a/m%20y/": ("./a/m%20y/model.js", "./a/m%20y/"),
        "a/m%20y/model.js?v=3&amp": ("a/m%20y/model.js?v=3&amp;amp", "a/m%20y/"),
        "https://other.example/a/m%20y": (
            "https://other.example/a/m%20y/model.js",
            "https://other.example/a/m%20y/",
        ),
        "model.js?v=3": ("model.js?v=3", ""),
        "./": ("./model.js", "./"),
    }
    ways = [("<!-- webdnn {} -->", "<!-- /webdnn -->"), ("<!--webdnn  {}-->", "<!--/webdnn-->")]
    codes = [("utf-8", "\n"), ("utf-8-sig", "\r\n"), ("utf-16", "\r\n"), ("cp1252", "\r")]
    folder.mkdir()
    pages = {
        folder / f"{i}{j}{k}.html": (address, way, code)
        for i, address in enumerate(addresses)
        for j, way in enumerate(ways)
        for k, code in enumerate(codes)
    }

    def text(address: str, way: tuple[str, str], end: str, lines: str) -> str:
        begin, close = way
        return f"<title>é</title>{end}\t{begin.format(address)}{lines}\t{close}{end}<p>{end}"

    for page, (address, way, (code, end)) in pages.items():
        page.write_bytes(text(address, way, end, end).encode(code))
    for name, output in where.items():
        mine = [p for p, (a, *_) in pages.items() if ("m%20y" in a) == (name == "m y")]
        for _ in range(2):
            transpiled(output, 3, 1, preload=mine)
        (shard,) = output.glob("weights-0.*")
        for page in mine:
            address, way, (code, end) = pages[page]
            module, place = addresses[address]
            lines = [
                f'\t<link rel="modulepreload" href="{module}">',
                f'\t<link rel="preload" as="fetch" crossorigin href="{place}{shard.name}">',
            ]
            wanted = text(address, way, end, "".join(end + line for line in [*lines, ""]))
            assert page.read_bytes() == wanted.encode(code), page
    wrong = folder / "wrong.html"
    wrong.write_text("<p>")
    with pytest.raises(webdnn.errors.WebDNNError, match=r"<!-- webdnn \./a/m%20y/ -->"):
        webdnn.transpile(b"no model", where["m y"], preload=wrong)
