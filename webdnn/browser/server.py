"""A static web server for this machine alone, with the headers that WebDNN's pages need.

A page gets threads (shared memory) only when it is *cross-origin isolated*, which takes two
response headers that ordinary development servers do not send. This one sends them, gives every
file its right type, and lets browsers keep files whose names carry a content hash:

>>> with running({"/": Path("public")}) as server:  # doctest: +SKIP
...     print(server.url)
http://127.0.0.1:40213/

`serve(folder)` is `webdnn serve`: the same until Ctrl-C. The limits: loopback only, no TLS, no
ranges, no compression, no directory listing. It is for development and tests, not for the public.
"""

from __future__ import annotations

import errno
import re
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from webdnn.errors import WebDNNError

HOST = "127.0.0.1"

TYPES: Mapping[str, str] = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".json": "application/json",
    ".map": "application/json",
    ".txt": "text/plain; charset=utf-8",
    ".ts": "text/plain; charset=utf-8",
    ".wgsl": "text/plain; charset=utf-8",
    ".wasm": "application/wasm",
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".webp": "image/webp",
    ".svg": "image/svg+xml",
    ".ico": "image/x-icon",
}

ISOLATION: Mapping[str, str] = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "cross-origin",
}

# The strictest policy that WebDNN promises to run under; tests and the demo are served with it.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; "
    "connect-src 'self'; style-src 'self'; img-src 'self' blob: data:"
)

# weights-0.3fa94c1be2.bin, runner.9d01c2ab41/index.js: below such a name nothing ever changes.
_HASHED = re.compile(r"[.-][0-9a-f]{8,64}(?:(?:\.[A-Za-z0-9]+)+$|/)")


@dataclass(frozen=True)
class Site:
    """What a server shows.

    `mounts` maps URL prefixes, each beginning and ending with a slash, to folders; the longest
    matching prefix wins. `hook` sees each request first and returns True when it has replied.
    """

    mounts: Mapping[str, Path]
    isolation: bool = True
    csp: bool = False
    hook: Callable[[Request], bool] | None = None
    types: Mapping[str, str] = field(default_factory=lambda: TYPES)

    def headers(self) -> dict[str, str]:
        """The headers that every response carries, errors included."""
        headers = {"X-Content-Type-Options": "nosniff"}
        if self.isolation:
            headers |= ISOLATION
        if self.csp:
            headers["Content-Security-Policy"] = CONTENT_SECURITY_POLICY
        return headers

    def find(self, path: str) -> Path | None:
        """The file or folder behind a decoded URL path, or None: missing, or outside its mount.

        A link that leads out of the mounted folder counts as outside.
        """
        prefix = max((p for p in self.mounts if path.startswith(p)), key=len, default=None)
        if prefix is None or "\0" in path or "\\" in path:
            return None
        folder = self.mounts[prefix].resolve()
        target = (folder / path[len(prefix) :].lstrip("/")).resolve()
        if not target.is_relative_to(folder) or not target.exists():
            return None
        return None if path.endswith("/") and target.is_file() else target


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    site: Site

    def handle_error(self, request: object, client_address: object) -> None:
        """A browser that closes a connection early is no error worth a traceback."""
        if not isinstance(sys.exc_info()[1], ConnectionError | TimeoutError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


class Request(BaseHTTPRequestHandler):
    """One request; `hook` functions use `path_only`, `body()` and `reply()`."""

    protocol_version = "HTTP/1.1"
    # Headers and body are two writes; held back for an acknowledgement, a reply takes 40 ms.
    disable_nagle_algorithm = True
    server: _Server

    @property
    def path_only(self) -> str:
        """The decoded path without its query."""
        return unquote(urlsplit(self.path).path)

    def body(self) -> bytes:
        """The whole request body."""
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def reply(
        self, status: int, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> None:
        """Sends a complete response; the body is left out for HEAD."""
        self.send_response(status)
        for name, value in (self.server.site.headers() | dict(headers or {})).items():
            self.send_header(name, value)
        if status != HTTPStatus.NOT_MODIFIED:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD" and status != HTTPStatus.NOT_MODIFIED:
            self.wfile.write(body)

    def do_GET(self) -> None:
        """Sends a file."""
        site = self.server.site
        if site.hook is not None and site.hook(self):
            return
        path = self.path_only
        found = site.find(path)
        if found is not None and found.is_dir():
            if not path.endswith("/"):
                # Built from the decoded path: a raw "//host" must not become another origin.
                self._redirect("/" + path.strip("/") + "/")
                return
            # A descriptor's folder has no index, but a report written for people.
            if not (found / "index.html").is_file() and (found / "report.html").is_file():
                self._redirect(path + "report.html")
                return
            found = found / "index.html"
        if found is None or not found.is_file():
            self._fail(HTTPStatus.NOT_FOUND, f"{path}: no such file")
            return
        self._send_file(found, forever=_HASHED.search(path) is not None)

    do_HEAD = do_GET

    def do_POST(self) -> None:
        """Passes the request to its hook; only a hook accepts data."""
        hook = self.server.site.hook
        if hook is None or not hook(self):
            self.close_connection = True  # its body is unread
            self._fail(HTTPStatus.METHOD_NOT_ALLOWED, "this server only sends files")

    def _send_file(self, file: Path, forever: bool) -> None:
        stat = file.stat()
        headers = {
            "Content-Type": self.server.site.types.get(
                file.suffix.lower(), "application/octet-stream"
            ),
            "Last-Modified": formatdate(stat.st_mtime, usegmt=True),
        }
        if forever:
            headers["Cache-Control"] = "public, max-age=31536000, immutable"
        else:
            headers["Cache-Control"] = "no-cache"
            headers["ETag"] = f'"{stat.st_mtime_ns:x}-{stat.st_size:x}"'
            if self.headers.get("If-None-Match") == headers["ETag"]:
                self.reply(HTTPStatus.NOT_MODIFIED, headers=headers)
                return
        self.reply(HTTPStatus.OK, file.read_bytes(), headers)

    def _redirect(self, path: str) -> None:
        query = urlsplit(self.path).query
        self.reply(
            HTTPStatus.MOVED_PERMANENTLY,
            headers={"Location": quote(path) + (f"?{query}" if query else "")},
        )

    def _fail(self, status: int, message: str) -> None:
        self.reply(status, f"{message}\n".encode(), {"Content-Type": "text/plain; charset=utf-8"})

    def log_message(self, format: str, *args: object) -> None:
        """Logs nothing: the browser's network panel is the better log."""


class Running:
    """A server at work in the background. `url` ends with a slash."""

    def __init__(self, site: Site, port: int) -> None:
        try:
            self._server = _Server((HOST, port), Request)
        except OSError as error:
            raise _cannot_listen(port, error) from error
        self._server.site = site
        self.port: int = self._server.server_address[1]
        self.url = f"http://{HOST}:{self.port}/"

    def serve_until_interrupted(self) -> None:
        """Serves in the calling thread until KeyboardInterrupt."""
        try:
            self._server.serve_forever()
        except KeyboardInterrupt:
            pass
        finally:
            self._server.server_close()


def _cannot_listen(port: int, error: OSError) -> WebDNNError:
    if error.errno == errno.EADDRINUSE:
        return WebDNNError(
            f"port {port} on {HOST} is taken by another program: "
            "choose another with --port, or --port 0 for any free one"
        )
    if error.errno == errno.EACCES:
        return WebDNNError(
            f"port {port} on {HOST} needs administrator rights: choose one above 1023 with --port"
        )
    return WebDNNError(f"cannot listen on {HOST}:{port}: {error.strerror}")


@contextmanager
def running(
    mounts: Mapping[str, Path],
    *,
    isolation: bool = True,
    csp: bool = False,
    port: int = 0,
    hook: Callable[[Request], bool] | None = None,
    types: Mapping[str, str] = TYPES,
) -> Iterator[Running]:
    """Serves folders from a background thread for the length of a `with` block.

    `port` 0 takes any free port. Raises WebDNNError when the port cannot be had or a folder is
    missing.
    """
    for prefix, folder in mounts.items():
        if not (prefix.startswith("/") and prefix.endswith("/")):
            raise ValueError(f"mount {prefix!r} must begin and end with a slash")
        if not folder.is_dir():
            raise WebDNNError(f"{folder}: expected a folder to serve, found none")
    server = Running(Site(dict(mounts), isolation, csp, hook, types), port)
    thread = threading.Thread(target=server._server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server._server.shutdown()
        server._server.server_close()
        thread.join()


def serve(
    folder: Path,
    *,
    isolation: bool = True,
    csp: bool = False,
    port: int = 8080,
    announce: Callable[[str], None] = print,
) -> None:
    """Serves one folder until Ctrl-C; `announce` gets the address once it listens."""
    if not folder.is_dir():
        raise WebDNNError(f"{folder}: expected a folder to serve, found none")
    server = Running(Site({"/": folder}, isolation, csp), port)
    announce(server.url)
    server.serve_until_interrupted()
