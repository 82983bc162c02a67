"""The loopback server: headers, types, caching, paths, ports."""

from __future__ import annotations

import http.client
import json
import re
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

import webdnn
from webdnn.browser import server
from webdnn.browser.serve import PAGES, PREFIX, pages, serve
from webdnn.descriptor.write import ALWAYS
from webdnn.errors import WebDNNError


@pytest.fixture
def site(tmp_path: Path) -> Path:
    root = tmp_path / "site"
    (root / "model").mkdir(parents=True)
    (root / "index.html").write_text("<!doctype html>home")
    (root / "model" / "report.html").write_text("<!doctype html>report")
    names = ("kernels.9d01c2ab41.wasm", "weights-0.3fa94c1be2.bin")
    document = {
        "runner": "runner.9d01c2ab41",
        "files": {n: {"sha256": n.split(".")[1] + "0" * 54} for n in names},
    }
    (root / "model" / "model.json").write_text(json.dumps(document))
    (root / "model" / "model.js").write_text("export {}")
    (root / "model" / "kernels.9d01c2ab41.wasm").write_bytes(b"\0asm")
    (root / "model" / "runner.9d01c2ab41").mkdir()
    (root / "model" / "runner.9d01c2ab41" / "index.js").write_text("export {}")
    (root / "model" / "weights-0.3fa94c1be2.bin").write_bytes(b"1234")
    (root / "film.mp4").write_bytes(bytes(range(200)))
    for secret in (".env", ".git/config", "model/.htaccess"):
        (root / secret).parent.mkdir(exist_ok=True)
        (root / secret).write_text("secret")
    (root / "way-in").symlink_to(root / ".git")
    (root / "model" / "déjà vu.txt").write_text("again")
    (tmp_path / "secret.txt").write_text("secret")
    (root / "way-out").symlink_to(tmp_path)
    return root


@pytest.fixture
def up(site: Path) -> Iterator[server.Running]:
    with server.running({"/": site}) as running:
        yield running


def get(
    up: server.Running, path: str, method: str = "GET", **headers: str
) -> tuple[int, dict[str, str], bytes]:
    """One request whose path is sent exactly as written (urllib would tidy it)."""
    connection = http.client.HTTPConnection("127.0.0.1", up.port, timeout=10)
    try:
        connection.request(method, path, headers=headers)
        reply = connection.getresponse()
        return reply.status, dict(reply.getheaders()), reply.read()
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", "text/html; charset=utf-8"),
        ("/model/model.js", "text/javascript; charset=utf-8"),
        ("/model/model.json", "application/json"),
        ("/model/kernels.9d01c2ab41.wasm", "application/wasm"),
        ("/model/weights-0.3fa94c1be2.bin", "application/octet-stream"),
        ("/model/d%C3%A9j%C3%A0%20vu.txt", "text/plain; charset=utf-8"),
    ],
)
def test_types(up: server.Running, path: str, kind: str) -> None:
    status, headers, body = get(up, path)
    assert (status, headers["Content-Type"]) == (200, kind)
    assert int(headers["Content-Length"]) == len(body) > 0
    assert headers["X-Content-Type-Options"] == "nosniff"


def test_isolation_headers_are_on_every_answer(up: server.Running) -> None:
    for path in ("/", "/model/model.js", "/absent"):
        _, headers, _ = get(up, path)
        assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
        assert headers["Cross-Origin-Embedder-Policy"] == "require-corp"
        assert headers["Cross-Origin-Resource-Policy"] == "cross-origin"
        assert "Content-Security-Policy" not in headers


def test_without_isolation_with_policy(site: Path) -> None:
    with server.running({"/": site}, isolation=False, csp=True) as up:
        _, headers, _ = get(up, "/")
    assert not any(name.startswith("Cross-Origin") for name in headers)
    assert headers["Content-Security-Policy"].startswith("default-src 'none'; script-src 'self'")


def test_types_are_not_the_machines() -> None:
    """`application/octet-stream` is downloaded, or refused as a script or a picture."""
    for suffixes, kind in {
        "gif png jpg jpeg webp avif": "image",
        "mp4 webm mov": "video",
        "mp3 wav ogg m4a": "audio",
        "woff2": "font",
        "htm html txt md csv xml wgsl": "text",
        "glb": "model",
    }.items():
        for suffix in suffixes.split():
            found = server.TYPES[f".{suffix}"]
            assert found.startswith(f"{kind}/")
            assert (kind != "text") or found.endswith("; charset=utf-8")


def test_only_what_a_descriptor_lists_is_cached_for_ever(up: server.Running, site: Path) -> None:
    listed = (
        "/model/kernels.9d01c2ab41.wasm",
        "/model/weights-0.3fa94c1be2.bin",
        "/model/runner.9d01c2ab41/index.js",
    )
    others = ("/", "/model/model.js", "/model/model.json", "/photo-20240131.jpg",
              "/model/photo.2024013112.jpg", "/model/weights-0.3fa94c1be3.bin")  # fmt: skip
    for path in others[3:]:
        (site / path[1:]).write_bytes(b"x")
    for path in listed:
        assert "immutable" in get(up, path)[1]["Cache-Control"]
    for path in others:
        assert get(up, path)[1]["Cache-Control"] == "no-cache"
    (site / "model" / "model.json").write_text('{"files": []}')
    assert get(up, listed[0])[1]["Cache-Control"] == "no-cache"


def test_what_the_transpiler_writes_is_cached_for_ever(tmp_path: Path) -> None:
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 4))
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    for number in (1, 2):  # of the first version, what the second lacks is kept
        weight = numpy_helper.from_array(np.full((4, 3), number, "f"), "w")
        graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "g", [x], [y],
                                  [weight])  # fmt: skip
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
        webdnn.transpile(model, tmp_path, targets="webgpu")
    paths = [str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()]
    assert sum("weights" in path for path in paths) == 2
    with server.running({"/": tmp_path}) as up:
        for path in paths:
            caching = get(up, f"/{path}", "HEAD")[1]["Cache-Control"]
            assert ("immutable" in caching) == (path not in ALWAYS)


@pytest.mark.parametrize(
    ("asked", "status", "content"),
    [
        ("bytes=0-99", 206, "bytes 0-99/200"),
        ("bytes=100-", 206, "bytes 100-199/200"),
        ("bytes=-5", 206, "bytes 195-199/200"),
        ("bytes=-500", 206, "bytes 0-199/200"),
        ("bytes=190-9999", 206, "bytes 190-199/200"),
        ("bytes=200-", 416, "bytes */200"),
        ("bytes=-0", 416, "bytes */200"),
        ("bytes=9-3", 200, None),
        ("bytes=0-1,5-6", 200, None),
        ("pages=1-2", 200, None),
    ],
)
def test_ranges(up: server.Running, asked: str, status: int, content: str | None) -> None:
    found, headers, body = get(up, "/film.mp4", Range=asked)
    assert (found, headers.get("Content-Range")) == (status, content)
    assert headers["Cross-Origin-Embedder-Policy"] == "require-corp"
    whole = bytes(range(200))
    if status == 206 and content is not None:
        first, last = map(int, content[6:].split("/")[0].split("-"))
        assert body == whole[first : last + 1]
    elif status == 200:
        assert (body, headers["Accept-Ranges"]) == (whole, "bytes")


def test_ranges_of_a_file_that_has_changed(up: server.Running) -> None:
    _, headers, body = get(up, "/film.mp4", "HEAD", Range="bytes=0-9")
    assert (headers["Content-Length"], body) == ("200", b"")
    for now in (headers["ETag"], headers["Last-Modified"]):
        assert get(up, "/film.mp4", Range="bytes=0-9", **{"If-Range": now})[0] == 206
    assert get(up, "/film.mp4", Range="bytes=0-9", **{"If-Range": '"older"'})[0] == 200


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("LOCALHOST:8080", 200),
        ("127.0.0.1:1", 200),
        ("127.8.9.1", 200),
        ("[::1]:8080", 200),
        ("rebound.example", 421),
        ("rebound.example:8080", 421),
        ("192.168.1.5", 421),
        ("localhost.rebound.example", 421),
        ("127.0.0.1.rebound.example", 421),
        ("rebound.example@127.0.0.1", 421),
        ("", 421),
    ],
)
def test_only_requests_for_this_machine_are_answered(
    up: server.Running, host: str, status: int
) -> None:
    for path in ("/", "/absent", "/.env"):
        found, headers, body = get(up, path, Host=host)
        assert found == (status if path == "/" or status == 421 else 404)
        assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
        if status == 421:
            assert b"--host" in body and b"home" not in body


def test_another_host() -> None:
    named = server.Site({}, host="studio.example")
    assert named.answers("studio.example:8080") and named.answers("localhost:8080")
    assert not named.answers("rebound.example") and not named.answers("10.0.0.7")
    everywhere = server.Site({}, host="0.0.0.0")
    assert everywhere.answers("10.0.0.7:80") and everywhere.answers("[fe80::1]")
    assert not everywhere.answers("rebound.example")


def test_an_address_that_is_not_here(site: Path) -> None:
    with pytest.raises(WebDNNError, match=r"--host 192\.0\.2\.1: expected an address of this"):
        serve(site, host="192.0.2.1", port=0)


def test_the_name_of_a_tunnel(site: Path) -> None:
    up = server.Running(server.Site({"/": site}, host="no such name"), 0)
    assert up.url == f"http://127.0.0.1:{up.port}/"
    thread = threading.Thread(target=up.serve_until_interrupted, daemon=True)
    thread.start()
    assert get(up, "/", Host="no such name")[0] == get(up, "/", Host="localhost")[0] == 200
    assert get(up, "/", Host="rebound.example")[0] == 421
    up._server.shutdown()
    thread.join()


@pytest.mark.parametrize(
    "path",
    ["/.env", "/.git/config", "/.git/", "/model/.htaccess", "/way-in/config", "/%2eenv",
     "/way-out/secret.txt", "/model/../.env"],
)  # fmt: skip
def test_hidden_files_are_not_served(up: server.Running, path: str) -> None:
    status, _, body = get(up, path)
    assert status == 404 and body != b"secret"


def test_errors_are_answers_too(up: server.Running, capfd: pytest.CaptureFixture[str]) -> None:
    asked = [
        b"GET /" + b"a" * 5000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET //[/ HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /%00 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"PUT / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"no request at all\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET /" + b"a" * 70000 + b" HTTP/1.1\r\n\r\n",
    ]
    for request in asked:
        with socket.create_connection(("127.0.0.1", up.port), timeout=10) as connection:
            connection.sendall(request)
            connection.shutdown(socket.SHUT_WR)
            reply = b""
            while part := connection.recv(65536):
                reply += part
        head, _, body = reply.partition(b"\r\n\r\n")
        assert re.match(rb"HTTP/1\.1 [45]\d\d ", head), reply[:200]
        assert b"Cross-Origin-Opener-Policy: same-origin" in head
        assert b"text/plain" in head and b"Traceback" not in body and body.strip()
    assert capfd.readouterr().err == ""


def test_unchanged_file_is_not_sent_twice(up: server.Running, site: Path) -> None:
    tag = get(up, "/model/model.json")[1]["ETag"]
    assert get(up, "/model/model.json", **{"If-None-Match": tag})[0] == 304
    (site / "model" / "model.json").write_text('{"changed": true}')
    status, _, body = get(up, "/model/model.json", **{"If-None-Match": tag})
    assert (status, body) == (200, b'{"changed": true}')


@pytest.mark.parametrize(
    "path",
    [
        "/../secret.txt",
        "/%2e%2e/secret.txt",
        "/model/..%2f..%2fsecret.txt",
        "/..%5csecret.txt",
        "//../secret.txt",
        "/way-out/secret.txt",
        "/model/model.js%00.txt",
        "/absent",
        "/model/model.js/",
    ],
)
def test_nothing_outside_the_folder(up: server.Running, path: str) -> None:
    status, _, body = get(up, path)
    assert (status, b"secret" in body.replace(b"secret.txt", b"")) == (404, False)


def test_folders(up: server.Running) -> None:
    status, headers, _ = get(up, "/model?x=1")
    assert (status, headers["Location"]) == (301, "/model/?x=1")
    status, _, body = get(up, "/model/runner.9d01c2ab41/")
    assert (status, body) == (404, b"/model/runner.9d01c2ab41/: no index.html in this folder\n")


def test_folders_of_models_have_pages(site: Path) -> None:
    """Of a model's folder, of one with models below; never in the place of an own index.html."""
    (site / "more" / "deep" / "a & b").mkdir(parents=True)
    for name in ("model.json", "model.js"):
        (site / "more" / "deep" / "a & b" / name).write_bytes((site / "model" / name).read_bytes())
    (site / "more" / "linked").symlink_to(site / "model")
    (site / "empty").mkdir()
    with server.running({"/": site, PREFIX: PAGES}, hook=pages, csp=True) as up:
        assert get(up, "/")[2] == b"<!doctype html>home"
        status, headers, body = get(up, "/model/")
        assert (status, headers["Cache-Control"]) == (200, "no-cache")
        assert b"<h1><small>WebDNN</small>model</h1>" in body and b"href=report.html" in body
        assert get(up, "/model/", "HEAD")[2] == b"" and get(up, "/model")[0] == 301
        _, _, body = get(up, "/more/")
        assert (
            body.count(b"<li>") == 1 and b'<a href="deep/a%20%26%20b/">deep/a &amp; b</a>' in body
        )
        assert b"report.html" not in get(up, "/more/deep/a%20%26%20b/")[2]
        assert get(up, "/empty/")[0] == get(up, "/model/runner.9d01c2ab41/")[0] == 404
        assert get(up, f"{PREFIX}model.js")[1]["Content-Type"].startswith("text/javascript")
        assert get(up, "/model/", Host="rebound.example")[0] == 421


def test_redirect_stays_on_this_server(up: server.Running) -> None:
    assert get(up, "//model")[1]["Location"] == "/model/"


def test_head_has_no_body(up: server.Running) -> None:
    status, headers, body = get(up, "/", method="HEAD")
    assert (status, body, headers["Content-Length"]) == (200, b"", "19")


def test_data_is_refused(up: server.Running) -> None:
    assert get(up, "/", method="POST")[0] == 405


def test_longest_mount_wins(site: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "model.js").write_text("other")
    with server.running({"/": site, "/model/": other}) as up:
        assert get(up, "/model/model.js")[2] == b"other"
        assert get(up, "/index.html")[0] == 200
        assert get(up, "/model/model.json")[0] == 404


def test_taken_port(site: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(WebDNNError, match=rf"port {port} on 127\.0\.0\.1 is taken.*--port 0"):
            serve(site, port=port)


def test_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(WebDNNError, match="expected a folder"):
        serve(tmp_path / "absent")


def test_slow_client_does_not_block_others(up: server.Running) -> None:
    with socket.create_connection(("127.0.0.1", up.port)) as idle:
        idle.sendall(b"GET / HTTP/1.1\r\n")  # never finished
        done: list[int] = []
        thread = threading.Thread(target=lambda: done.append(get(up, "/")[0]))
        thread.start()
        thread.join(10)
        assert done == [200]
