"""The descriptor runner in real browsers, on the hand-made descriptor: `tests/runner_page/page.js`.

Every page is served under the policy of docs/deploying.md, with isolation headers and without.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import pytest
from fixtures import tiny_model

from tests.chromium import driven
from webdnn.browser.engine import BrowserError, Engine, Page, PageError, find, open_page
from webdnn.browser.server import TYPES, Request, running
from webdnn.descriptor.write import sealed

ROOT = Path(__file__).resolve().parents[1]
Mounts = dict[str, Path]


@pytest.fixture(scope="session")
def mounts(tmp_path_factory: pytest.TempPathFactory) -> Mounts:
    """The tiny descriptor, damaged copies of it, and the scenarios."""
    folder = tmp_path_factory.mktemp("descriptors")
    model, contents = tiny_model.descriptor()
    tiny_model.write(folder / "tiny", model, contents)

    def copy(name: str) -> Path:
        return Path(shutil.copytree(folder / "tiny", folder / name))

    def rewrite(target: Path, change: Any) -> None:
        data = json.loads((target / "model.json").read_text())
        change(data)
        (target / "model.json").write_text(sealed(data))

    shard = model["weights"]["shards"][1]
    file = copy("truncated") / shard
    file.write_bytes(file.read_bytes()[:100])
    file = copy("longer") / shard
    file.write_bytes(file.read_bytes() + b"\0\0\0\0")
    file = copy("flipped") / shard
    data = bytearray(file.read_bytes())
    data[-2] ^= 1
    file.write_bytes(data)
    (copy("missing") / shard).unlink()
    file = copy("cut-json") / "model.json"
    file.write_text(file.read_text()[:100])
    (copy("no-worker") / "runner" / "worker.js").unlink()
    (copy("empty-worker") / "runner" / "worker.js").write_text("")
    file = copy("cut-worker") / "runner" / "worker.js"
    file.write_text(file.read_text()[:3000])
    (copy("not-json") / "model.json").write_text("<!doctype html><title>Not found</title>")
    file = copy("edited") / "model.json"
    file.write_text(file.read_text().replace('"name": "mask"', '"name": "mark"'))
    rewrite(copy("format"), lambda m: m.update(format=2, generator="webdnn 9.0"))
    rewrite(copy("no-shards"), lambda m: m["weights"].pop("shards"))
    rewrite(copy("wasm-only"), lambda m: m["targets"].pop("webgpu"))
    rewrite(copy("huge"), lambda m: m["targets"]["wasm"]["memory"].update(bytes=6 << 30))
    limits = {"maxBufferSize": 1 << 50}
    rewrite(copy("limits"), lambda m: m["targets"]["webgpu"]["limits"].update(limits))
    rewrite(copy("features"), lambda m: m["targets"]["webgpu"]["features"].append("time-travel"))

    def replace_program(name: str, change: Any) -> None:
        changed = dict(contents)
        description = json.loads(json.dumps(model))
        old = description["targets"]["webgpu"]["file"]
        program = json.loads(changed.pop(old))
        change(program)
        text = json.dumps(program).encode()
        new = tiny_model.add(changed, "webgpu", "json", text)
        description["targets"]["webgpu"]["file"] = new
        del description["files"][old]
        description["files"][new] = tiny_model.entry(text)
        tiny_model.write(folder / name, description, changed)

    model["states"] = [{"name": "h", "dtype": "float32", "shape": [1]}]
    model["targets"]["wasm"]["states"] = [{"offset": 0, "bytes": 4}]

    def remembering(program: Any) -> None:
        program["states"] = [{"buffer": len(program["buffers"])}]
        program["buffers"].append({"bytes": 4, "max": 4})

    replace_program("stateful", remembering)
    del model["states"], model["targets"]["wasm"]["states"]

    def broken(program: Any, **more: str) -> None:
        kernel = program["kernels"][1]
        kernel.update(more, code="fn (\n" + kernel["code"])

    replace_program("bad-kernel", broken)
    replace_program("plugin", lambda p: broken(p, source="mine/total.wgsl"))
    replace_program("bad-binding", lambda p: p["steps"][0]["bindings"].pop())
    twice = {"b": 7}  # which the step also writes
    replace_program("read-written", lambda p: p["prepare"][0].update(bindings=[twice] * 3))
    served = {f"/{path.name}/": path for path in folder.iterdir()}
    return served | {"/test/": ROOT / "tests" / "runner_page"}


def _page(mounts: Mounts, engine: Engine = "chromium", **options: Any) -> Iterator[Page]:
    try:
        find(engine)
    except BrowserError as error:
        pytest.skip(str(error))
    with open_page(engine, mounts=mounts, **options) as page:
        yield page


@pytest.fixture(scope="module")
def isolated(mounts: Mounts) -> Iterator[Page]:
    yield from _page(mounts, webgpu=True)


@pytest.fixture(scope="module")
def plain(mounts: Mounts) -> Iterator[Page]:
    yield from _page(mounts, webgpu=True, isolation=False)


@pytest.fixture(params=["isolated", "plain"])
def page(request: pytest.FixtureRequest) -> Page:
    """A page with isolation headers, and one without."""
    found: Page = request.getfixturevalue(request.param)
    return found


def call(page: Page, scenario: str, **argument: Any) -> Any:
    """Plays a scenario; what it throws fails the test with the page's own stack."""
    try:
        return page.call("/test/page.js", {"scenario": scenario, **argument}, timeout=60).value
    except PageError as error:
        pytest.fail(f"{error}\n{error.stack}", pytrace=False)


WASM = {"backend": "wasm"}
GPU = {"backend": "webgpu"}
LOCAL = {"backend": "wasm", "worker": False}
ONE = {"backend": "wasm", "threads": 1}
PLACES = [
    pytest.param(WASM, id="workers"),
    pytest.param(ONE, id="worker"),
    pytest.param(LOCAL, id="calling-thread"),
    pytest.param(GPU, id="webgpu"),
]


@pytest.mark.parametrize("options", PLACES)
def test_right_answers_everywhere(page: Page, options: Any) -> None:
    backend = call(page, "runs", options=options)
    assert backend["name"] == options["backend"]


@pytest.mark.parametrize("variant", ["plain", "relaxed", "plain-threads", "relaxed-threads"])
def test_each_wasm_variant(isolated: Page, variant: str) -> None:
    threads = 3 if variant.endswith("threads") else 1
    backend = call(isolated, "runs", options=WASM | {"variant": variant, "threads": threads})
    assert (backend["variant"], backend["threads"]) == (variant, threads)


def test_the_backend_says_why(isolated: Page, plain: Page) -> None:
    """Software WebGPU loses to wasm; without isolation wasm runs on one thread and says so."""
    for page, code, view in ((isolated, None, "direct-shared"), (plain, "not-isolated", "staging")):
        backend = call(page, "runs", options={"threads": 2})
        assert backend["name"] == "wasm"
        assert backend["viewKind"] == view
        rejected = {r["name"]: r["code"] for r in backend["rejected"]}
        assert rejected["webgpu"] == "fallback-adapter"
        assert rejected.get("relaxed-threads") == code
        assert backend["threads"] == (1 if code else 2)
        assert backend["variant"] == ("relaxed" if code else "relaxed-threads")


def test_gpu_variants(isolated: Page) -> None:
    assert call(isolated, "runs", options=GPU)["variant"] == "subgroups"
    assert call(isolated, "runs", options=GPU | {"variant": "plain"})["variant"] == "plain"


def test_memory(mounts: Mounts) -> None:
    """In a browser of its own, whose memory may run out."""
    for page in _page(mounts, webgpu=True):
        print(call(page, "memory", places=[WASM, ONE, LOCAL, GPU]))


def test_threads_are_bit_equal(isolated: Page) -> None:
    call(isolated, "threads")


@pytest.mark.parametrize("options", PLACES)
def test_queue(page: Page, options: Any) -> None:
    call(page, "queue", options=options)


def test_abort(isolated: Page, plain: Page) -> None:
    """On shared memory a run stops at the next kernel; elsewhere its result is dropped."""
    call(isolated, "abort", options=WASM | {"threads": 2}, stops=True, rounds=1 << 30)
    call(isolated, "abort", options=WASM | {"threads": 3}, stops=True, rounds=1 << 30)
    call(plain, "abort", options=WASM, stops=False, rounds=1 << 26)


@pytest.mark.parametrize("options", [*PLACES[:2], PLACES[3]])
def test_dispose(page: Page, options: Any) -> None:
    call(page, "dispose", options=options, rounds=1 << 28)


def test_views(isolated: Page, plain: Page) -> None:
    for page, options, kind in (
        (isolated, WASM | {"threads": 2}, "direct-shared"),
        (isolated, ONE, "staging"),
        (isolated, LOCAL, "direct"),
        (isolated, GPU, "staging"),
        (plain, WASM, "staging"),
    ):
        call(page, "views", options=options, kind=kind)


@pytest.mark.parametrize("options", PLACES)
def test_bad_inputs(isolated: Page, options: Any) -> None:
    call(isolated, "inputs", options=options)


@pytest.mark.parametrize(
    ("where", "options", "code", "parts"),
    [
        ("truncated", WASM, "truncated", ["weights-1", "expected 256 bytes, found 100"]),
        ("truncated", GPU, "truncated", ["weights-1", "expected 256 bytes, found 100"]),
        ("longer", WASM, "truncated", ["weights-1", "expected 256 bytes, found 260"]),
        ("flipped", WASM, "corrupted", ["weights-1", "expected SHA-256", "found"]),
        ("flipped", GPU, "corrupted", ["weights-1", "expected SHA-256", "found"]),
        ("missing", WASM, "missing-file", ["weights-1", "404", "whole folder"]),
        ("format", WASM, "format", ["format 2", "webdnn 9.0", "reads format 1", "webdnn t"]),
        ("not-json", WASM, "html", ["found a web page", "/not-json/model.json", "whole folder"]),
        ("cut-json", WASM, "descriptor", ["expected JSON", '"{\\n']),
        ("no-shards", WASM, "descriptor", ["weights.shards: expected a list", "Transpile the m"]),
        ("edited", WASM, "descriptor", ["changed after it was written", "Transpile the model"]),
        ("wasm-only", GPU, "not-in-descriptor", ["without the webgpu target"]),
        ("huge", WASM, "memory", ["6145 MiB", "0.0 MiB for weights"]),
        ("huge", WASM | {"threads": 1}, "memory", ["6145 MiB"]),
        ("limits", GPU, "limits", ["maxBufferSize", "expected at least 1125899906842624, found"]),
        ("features", GPU, "features", ["time-travel"]),
        ("bad-kernel", GPU, "kernel", ["total__1", "hand-written", "line 1"]),
        ("plugin", GPU, "kernel", ["total__1", "mine/total.wgsl, which is not WebDNN's: correct"]),
        ("bad-binding", GPU, "descriptor", ["steps[0].bindings: expected a list of 5, found"]),
        ("read-written", GPU, "kernel", ["bug of the transpiler"]),
    ],
)
def test_bad_descriptors(
    isolated: Page, where: str, options: Any, code: str, parts: list[str]
) -> None:
    print(call(isolated, "refuses", where=f"/{where}/", options=options, code=code, parts=parts))


def test_bad_options(page: Page) -> None:
    call(page, "options")


def test_files_within_their_addresses(isolated: Page) -> None:
    call(isolated, "inlined")


def test_loading(page: Page) -> None:
    call(page, "loading")


def test_missing_worker(page: Page) -> None:
    parts = ["file is missing", "Content-Security-Policy", "Cross-Origin-Embedder-Policy"]
    named = [*parts, "/no-worker/runner/worker.js"]
    print(call(page, "noWorker", where="/no-worker/", parts=named))
    call(page, "noWorker", make="/nowhere.js", parts=parts)


def test_workers_that_do_not_answer(isolated: Page) -> None:
    call(isolated, "deadWorkers")


def test_faults_in_words(isolated: Page) -> None:
    call(isolated, "faults")


def test_worker_blocked_by_policy(mounts: Mounts) -> None:
    for page in _page(mounts):
        call(page, "noWorker", policy="worker-src 'none'", parts=["worker.js", "worker-src 'self'"])


def test_workers_made_by_the_page(page: Page) -> None:
    call(page, "ownWorkers")


@pytest.mark.parametrize("options", PLACES[:3])
def test_a_trap_ends_the_model(page: Page, options: Any) -> None:
    call(page, "traps", options=options)


@pytest.mark.parametrize("options", [*PLACES[:2], PLACES[3]])
def test_inside_a_worker(page: Page, options: Any) -> None:
    assert call(page, "inWorker", options=options)["name"] == options["backend"]


def test_the_page_stays_responsive(page: Page) -> None:
    call(page, "responsive", options=WASM, rounds=1 << 16)


def test_kit(page: Page) -> None:
    call(page, "kit")


def test_audio_worklet(page: Page) -> None:
    call(page, "worklet")


def test_without_an_adapter_nothing_waits(isolated: Page) -> None:
    call(isolated, "adapters")


def test_lost_devices(isolated: Page) -> None:
    call(isolated, "lost")


def test_gpu_fails_while_a_model_is_built(isolated: Page) -> None:
    call(isolated, "gpuFails")


def test_gpu_buffers(page: Page) -> None:
    call(page, "gpu")


@pytest.mark.parametrize("isolation", [True, False], ids=["isolated", "plain"])
@pytest.mark.parametrize("engine", ["firefox", "webkit"])
def test_other_engines(mounts: Mounts, engine: Engine, isolation: bool) -> None:
    """The same scenarios; WebKitGTK has neither relaxed SIMD, nor shared memory, nor WebGPU."""
    firefox = engine == "firefox"
    gpu = firefox and isolation
    for page in _page(mounts, engine, isolation=isolation, webgpu=gpu):
        for options in (WASM, ONE, LOCAL, *([GPU] if gpu else [])):
            backend = call(page, "runs", options=options)
            assert backend["name"] == options["backend"]
            if options is WASM:
                threads = "-threads" if gpu else ""
                assert backend["variant"] == f"relaxed{threads}" if firefox else "plain"
                codes = {r["code"] for r in backend["rejected"]}
                shared = set() if gpu else {"no-shared-memory" if isolation else "not-isolated"}
                assert codes == (shared if firefox else shared | {"no-relaxed-simd"})
            call(page, "queue", options=options)
            call(page, "inputs", options=options)
        for scenario in ("loading", "options", "kit", "worklet", "ownWorkers"):
            call(page, scenario)
        call(page, "noWorker", make="/nowhere.js", parts=["file is missing"])
        call(page, "inWorker", options=WASM)
        call(page, "dispose", options=WASM, rounds=1 << 28)
        call(page, "responsive", options=WASM, rounds=1 << 16)
        call(page, "traps", options=WASM)
        if gpu:
            call(page, "gpu")
            call(page, "threads")
            call(page, "abort", options=WASM | {"threads": 2}, stops=True, rounds=1 << 30)


def _driven(mounts: Mounts, host: str, argument: object, without: str = "") -> Any:
    """Plays a scenario at http://host/ in a Chromium that Playwright drives; scripts whose path
    contains `without` are served without isolation headers."""
    flag = f"--host-resolver-rules=MAP {host} 127.0.0.1"
    with running(mounts, csp=True, host=host) as server, driven(flag) as page:
        if without:

            def bare(route: Any) -> None:
                response = route.fetch(url=route.request.url.replace(host, "127.0.0.1"))
                headers = response.headers.items()
                kept = {k: v for k, v in headers if not k.startswith("cross-origin")}
                route.fulfill(response=response, headers=kept)

            page.route(f"**{without}**", bare)
        page.goto(f"http://{host}:{server.port}/test/blank.html")
        return page.evaluate(
            "argument => import('/test/page.js').then((m) => m.default(argument))"
            ".catch((e) => { throw new Error(e.stack); })",
            argument,
        )


def test_hostile_pages(mounts: Mounts) -> None:
    """Sandboxed frames, models of another origin, and policies: it runs, or says which line."""
    cors = {"Access-Control-Allow-Origin": "*"}
    wasm = "script-src 'self' 'unsafe-inline' 'wasm-unsafe-eval'"
    scenario = "import('/test/page.js').then((m) => m.default({scenario: 'hostile', ...a}))"

    def hook(request: Request) -> bool:
        if request.path_only == "/empty.js":
            request.reply(204)
            return True
        file = request.server.site.find(request.path_only)
        if file is None or not file.is_file():
            return False
        kind = TYPES.get(file.suffix, "application/octet-stream")
        request.reply(200, file.read_bytes(), {"Content-Type": kind, **cors})
        return True

    def bare(request: Request) -> bool:
        """A page without a policy, but for that of its query."""
        if request.path_only != "/page":
            return hook(request)
        policy = unquote(urlsplit(request.path).query)
        headers = {"Content-Type": "text/html", "Content-Security-Policy": policy}
        request.reply(200, b"<!doctype html>", headers if policy else {"Content-Type": "text/html"})
        return True

    with (
        running(mounts, hook=bare) as own,
        running(mounts, hook=hook) as other,
        driven() as page,
    ):
        for policy, argument in (
            ("", {"case": "foreign", "where": f"{other.url}tiny/"}),
            ("", {"case": "adrift"}),
            ("", {"case": "no-content"}),
            ("sandbox allow-scripts", {"case": "sandboxed"}),
            (wasm.replace("'wasm-unsafe-eval'", ""), {"case": "no-wasm-eval"}),
            (f"{wasm}; require-trusted-types-for 'script'", {"case": "trusted-types"}),
        ):
            page.goto(f"{own.url}page?{quote(policy)}")
            text = scenario.replace("/test/", f"{own.url}test/")
            page.evaluate(
                f"a => {text}.catch((e) => {{ throw new Error(e.stack); }})", argument
            )


def test_worker_without_embedder_header(mounts: Mounts) -> None:
    """A script without the page's embedder policy is refused, which the browser does not say."""
    parts = ["/tiny/runner/worker.js", "Cross-Origin-Embedder-Policy"]
    argument = {"scenario": "noWorker", "parts": parts}
    print(_driven(mounts, "127.0.0.1", argument, without="/runner/worker.js"))


def test_insecure_origin(mounts: Mounts) -> None:
    """http:// off loopback: no WebGPU, threads or hashes; the model runs and says why."""
    backend = _driven(mounts, "insecure.test", {"scenario": "runs", "options": {"threads": 2}})
    rejected = {r["name"]: r["code"] for r in backend["rejected"]}
    assert rejected["webgpu"] == "insecure-origin"
    assert rejected["relaxed-threads"] == "not-isolated"
    assert backend["threads"] == 1
    parts = ["https://", "http://insecure.test"]
    argument = {"scenario": "refuses", "where": "/tiny/", "options": GPU}
    argument |= {"code": "insecure-origin", "parts": parts}
    print(_driven(mounts, "insecure.test", argument))
