"""The loopback server: headers, types, caching, paths, ports."""

from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from webdnn.browser import server
from webdnn.errors import WebDNNError


@pytest.fixture
def site(tmp_path: Path) -> Path:
    root = tmp_path / "site"
    (root / "model").mkdir(parents=True)
    (root / "index.html").write_text("<!doctype html>home")
    (root / "model" / "report.html").write_text("<!doctype html>report")
    (root / "model" / "model.json").write_text("{}")
    (root / "model" / "model.js").write_text("export {}")
    (root / "model" / "kernels.9d01c2ab.wasm").write_bytes(b"\0asm")
    (root / "model" / "runner.9d01c2ab41").mkdir()
    (root / "model" / "runner.9d01c2ab41" / "index.js").write_text("export {}")
    (root / "model" / "weights.0.3fa94c1be2d77aa0.bin").write_bytes(b"1234")
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
        ("/model/kernels.9d01c2ab.wasm", "application/wasm"),
        ("/model/weights.0.3fa94c1be2d77aa0.bin", "application/octet-stream"),
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


def test_only_hashed_names_are_cached_for_ever(up: server.Running) -> None:
    for path in (
        "/model/kernels.9d01c2ab.wasm",
        "/model/weights.0.3fa94c1be2d77aa0.bin",
        "/model/runner.9d01c2ab41/index.js",
    ):
        assert "immutable" in get(up, path)[1]["Cache-Control"]
    for path in ("/", "/model/model.js", "/model/model.json"):
        assert get(up, path)[1]["Cache-Control"] == "no-cache"


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
    # A descriptor has no index, so its report is shown.
    status, headers, _ = get(up, "/model/")
    assert (status, headers["Location"]) == (301, "/model/report.html")


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
            server.serve(site, port=port)


def test_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(WebDNNError, match="expected a folder"):
        server.serve(tmp_path / "absent")


def test_slow_client_does_not_block_others(up: server.Running) -> None:
    with socket.create_connection(("127.0.0.1", up.port)) as idle:
        idle.sendall(b"GET / HTTP/1.1\r\n")  # never finished
        done: list[int] = []
        thread = threading.Thread(target=lambda: done.append(get(up, "/")[0]))
        thread.start()
        thread.join(10)
        assert done == [200]
