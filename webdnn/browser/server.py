"""A static web server for this machine, with the headers that WebDNN's pages need.

A page gets threads (shared memory) only when it is *cross-origin isolated*, which takes two
response headers that ordinary development servers do not send. This one sends them, gives every
file its right type, and lets browsers keep the files of a descriptor whose names carry a hash:

>>> with running({"/": Path("public")}) as server:  # doctest: +SKIP
...     print(server.url)
http://127.0.0.1:40213/

A page of any site may send requests here, and read the answers if it can make its own name resolve
to this machine (DNS rebinding). So only requests that name this machine are answered, and files
whose names begin with a dot never are, nor what a link outside of the folder leads to.

`webdnn serve` (serve.py) is the same until Ctrl-C. The limits: no TLS, one range a request, no
compression, no directory listing. It is for development and tests, not for the public.
"""

from __future__ import annotations

import errno
import ipaddress
import json
import mimetypes
import re
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from webdnn.errors import WebDNNError

HOST = "127.0.0.1"

# Python's own table, never the machine's; and what it lacks, or tells otherwise in some versions.
TYPES: Mapping[str, str] = {
    suffix: kind + ("; charset=utf-8" if kind.startswith("text/") else "")
    for suffix, kind in {
        **mimetypes.MimeTypes().types_map[True],
        ".js": "text/javascript",
        ".mjs": "text/javascript",
        ".map": "application/json",
        ".ts": "text/plain",
        ".md": "text/plain",  # browsers offer text/markdown for download
        ".wgsl": "text/plain",
        ".wasm": "application/wasm",
        ".gz": "application/gzip",
        ".webp": "image/webp",
        ".avif": "image/avif",
        ".ico": "image/x-icon",
        ".wav": "audio/wav",
        ".ogg": "audio/ogg",
        ".opus": "audio/ogg",
        ".flac": "audio/flac",
        ".m4a": "audio/mp4",
        ".m4v": "video/mp4",
        ".webm": "video/webm",
        ".woff": "font/woff",
        ".woff2": "font/woff2",
        ".ttf": "font/ttf",
        ".otf": "font/otf",
        ".glb": "model/gltf-binary",
        ".gltf": "model/gltf+json",
        ".webmanifest": "application/manifest+json",
    }.items()
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

_HASHED = re.compile(r".+\.[0-9a-f]{10}(\.\w+)?")  # weights-0.3fa94c1be2.bin, runner.9d01c2ab41
_RANGE = re.compile(r"bytes=(\d{1,18})?-(\d{1,18})?")
_PIECE = 1 << 20  # bytes of a file that are held at once


@dataclass(frozen=True)
class Site:
    """What a server shows.

    `mounts` maps URL prefixes, each beginning and ending with a slash, to folders; the longest
    matching prefix wins. `hook` sees each request first and returns True when it has replied.
    `host` is the address or name that it listens on: requests must name that or loopback. A name
    that is not this machine's, as a tunnel to it has, is answered to on loopback.
    """

    mounts: Mapping[str, Path]
    isolation: bool = True
    csp: bool = False
    hook: Callable[[Request], bool] | None = None
    types: Mapping[str, str] = field(default_factory=lambda: TYPES)
    host: str = HOST

    def answers(self, header: str | None) -> bool:
        """Whether a request whose Host header this is was meant for this server.

        A site that makes its name resolve to this machine still sends that name.
        """
        match = re.fullmatch(r"(?:\[([0-9a-fA-F:.]+)\]|([^:\[\]]+))(?::\d*)?", header or "")
        if match is None:
            return False
        name = (match[1] or match[2]).lower().rstrip(".")
        if name in ("localhost", self.host.lower()):
            return True
        address = _address(name)
        own = _address(self.host)
        # Listening on all addresses of the machine, it cannot tell which are its own; but an
        # address is no name that anyone could turn to another machine.
        return address is not None and (
            address.is_loopback or (own is not None and own.is_unspecified)
        )

    def headers(self) -> dict[str, str]:
        """The headers that every response carries, errors included."""
        headers = {"X-Content-Type-Options": "nosniff"}
        if self.isolation:
            headers |= ISOLATION
        if self.csp:
            headers["Content-Security-Policy"] = CONTENT_SECURITY_POLICY
        return headers

    def find(self, path: str) -> Path | None:
        """The file or folder behind a decoded URL path, or None: missing, or not to be shown.

        Outside of its mount nothing is shown, not even by a link, and nothing below a name that
        begins with a dot.
        """
        prefix = max((p for p in self.mounts if path.startswith(p)), key=len, default=None)
        if prefix is None or "\0" in path or "\\" in path:
            return None
        folder = self.mounts[prefix].resolve()
        target = (folder / path[len(prefix) :].lstrip("/")).resolve()
        if not target.is_relative_to(folder) or not target.exists():
            return None
        parts = (*path[len(prefix) :].split("/"), *target.relative_to(folder).parts)
        if any(part.startswith(".") for part in parts):
            return None
        return None if path.endswith("/") and target.is_file() else target


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        return None


def _changes_never(file: Path) -> bool:
    """Whether a file is a descriptor's, of those whose names carry the hash of their content."""
    for folder in file.parents:
        document = folder / "model.json"
        name = file.relative_to(folder).parts[0]
        if _HASHED.fullmatch(name) and document.is_file():
            stat = document.stat()
            return name in _listed(document, stat.st_mtime_ns, stat.st_size)
    return False


@lru_cache(64)
def _listed(document: Path, changed: int, size: int) -> frozenset[str]:
    """The names that a model.json lists whose content their names tell, older versions' too."""
    try:
        found: Any = json.loads(document.read_bytes())
        files = {n for n, f in found["files"].items() if f"{f['sha256'][:10]}." in n}
        kept = (name for names in found.get("kept", ()) for name in names)
        return frozenset({*files, found["runner"], *kept})
    except (OSError, ValueError, RecursionError, LookupError, TypeError, AttributeError):
        return frozenset()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, site: Site, port: int) -> None:
        self.site = site
        try:
            self._listen(site.host, port)
        except (OSError, UnicodeError) as error:
            number = error.errno if isinstance(error, OSError) else None
            unknown = isinstance(error, socket.gaierror | UnicodeError)
            other = unknown or number == errno.EADDRNOTAVAIL
            # 192.168.1.500 is an address, if none that exists: no name ends in a number.
            if not other or _address(site.host) or site.host.rpartition(".")[2].isdecimal():
                raise
            self._listen(HOST, port)  # the name of a tunnel, which ends here

    def _listen(self, host: str, port: int) -> None:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        self.address_family = found[0][0]
        super().__init__((host, port), Request)
        address = _address(host)
        self.host = HOST if address is not None and address.is_unspecified else host

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
        length = {} if status == HTTPStatus.NOT_MODIFIED else {"Content-Length": str(len(body))}
        self._begin(status, {**(headers or {}), **length})
        if self.command != "HEAD" and status != HTTPStatus.NOT_MODIFIED:
            self.wfile.write(body)

    def _begin(self, status: int, headers: Mapping[str, str]) -> None:
        """Sends the status and the headers, those of every response among them."""
        self._begun = True
        self.send_response(status)
        for name, value in (self.server.site.headers() | dict(headers)).items():
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()

    def do_GET(self) -> None:
        """Sends a file."""
        self._answered(self._get)

    do_HEAD = do_GET

    def do_POST(self) -> None:
        """Passes the request to its hook; only a hook accepts data."""
        self._answered(self._post)

    def _answered(self, answer: Callable[[], None]) -> None:
        """Answers the request, or says why not; what a page did wrong is no traceback."""
        hosts = self.headers.get_all("Host", [])
        if len(hosts) != 1 or not self.server.site.answers(hosts[0]):
            self.close_connection = True  # a body is unread
            self._fail(
                HTTPStatus.MISDIRECTED_REQUEST,
                "this server answers requests for localhost and 127.0.0.1, and for what "
                f"`webdnn serve --host` names; this one is for {', '.join(hosts) or 'no host'}",
            )
            return
        self._begun = False
        try:
            answer()
        except ConnectionError:
            raise
        except (OSError, ValueError) as error:  # a name too long, an address that is none
            why = error.strerror if isinstance(error, OSError) else error
            refused = isinstance(error, PermissionError)
            if self._begun:
                self.close_connection = True
            else:
                status = HTTPStatus.FORBIDDEN if refused else HTTPStatus.BAD_REQUEST
                self._fail(status, f"{self.path}: {why}")

    def _get(self) -> None:
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
            found = site.find(path + "index.html")
            if found is None:
                self._fail(HTTPStatus.NOT_FOUND, f"{path}: no index.html in this folder")
                return
        if found is None or not found.is_file():
            self._fail(HTTPStatus.NOT_FOUND, f"{path}: no such file")
            return
        self._send_file(found)

    def _post(self) -> None:
        hook = self.server.site.hook
        if hook is None or not hook(self):
            self.close_connection = True  # its body is unread
            self._fail(HTTPStatus.METHOD_NOT_ALLOWED, "this server only sends files")

    def _send_file(self, file: Path) -> None:
        with file.open("rb") as content:
            stat = file.stat()
            kind = self.server.site.types.get(file.suffix.lower(), "application/octet-stream")
            forever = _changes_never(file)
            headers = {
                "Content-Type": kind,
                "Last-Modified": formatdate(stat.st_mtime, usegmt=True),
                "ETag": f'"{stat.st_mtime_ns:x}-{stat.st_size:x}"',
                "Accept-Ranges": "bytes",
                "Cache-Control": "public, max-age=31536000, immutable" if forever else "no-cache",
            }
            if self.headers.get("If-None-Match") == headers["ETag"]:
                self.reply(HTTPStatus.NOT_MODIFIED, headers=headers)
                return
            status, start, length = HTTPStatus.OK, 0, stat.st_size
            part = self._range(headers, stat.st_size)
            if part is not None:
                start, end = part
                if start >= stat.st_size or start >= end:
                    self._fail(
                        HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE,
                        f"{self.path_only}: has {stat.st_size} bytes, none of this range",
                        {"Content-Range": f"bytes */{stat.st_size}"},
                    )
                    return
                status, length = HTTPStatus.PARTIAL_CONTENT, end - start
                headers["Content-Range"] = f"bytes {start}-{end - 1}/{stat.st_size}"
            self._begin(status, headers | {"Content-Length": str(length)})
            if self.command == "HEAD":
                return
            content.seek(start)
            while length and (piece := content.read(min(length, _PIECE))):
                self.wfile.write(piece)
                length -= len(piece)
            if length:  # it has been cut meanwhile: what was promised cannot be sent any more
                self.close_connection = True

    def _range(self, headers: Mapping[str, str], size: int) -> tuple[int, int] | None:
        """The first byte and the end of the one range that is asked for, if it is one that counts.

        Several ranges, and those of a file that has changed since, get the whole file instead.
        """
        match = _RANGE.fullmatch(self.headers.get("Range", "").strip())
        if self.command != "GET" or match is None or match[0] == "bytes=-":
            return None
        condition = self.headers.get("If-Range")
        if condition is not None and condition not in (headers["ETag"], headers["Last-Modified"]):
            return None
        first, last = match.groups()
        if first is None:  # the last so many
            return max(0, size - int(last)), size if int(last) else 0
        if last is not None and int(last) < int(first):
            return None
        return int(first), size if last is None else min(size, int(last) + 1)

    def _redirect(self, path: str) -> None:
        query = urlsplit(self.path).query
        self.reply(
            HTTPStatus.MOVED_PERMANENTLY,
            headers={"Location": quote(path) + (f"?{query}" if query else "")},
        )

    def _fail(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        text = f"{message}\n".encode("utf-8", "replace")
        self.reply(status, text, {"Content-Type": TYPES[".txt"], **(headers or {})})

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answers what is no request that this server knows, as it answers everything else."""
        self.close_connection = True
        self.command, self.request_version = self.command or "", self.protocol_version
        self._fail(code, message or explain or HTTPStatus(code).phrase)

    def log_message(self, format: str, *args: object) -> None:
        """Logs nothing: the browser's network panel is the better log."""


class Running:
    """A server at work in the background. `url` ends with a slash."""

    def __init__(self, site: Site, port: int) -> None:
        try:
            self._server = _Server(site, port)
        except (OSError, UnicodeError) as error:
            raise _cannot_listen(site.host, port, error) from error
        self.port: int = self._server.server_address[1]
        shown = f"[{self._server.host}]" if ":" in self._server.host else self._server.host
        self.url = f"http://{shown}:{self.port}/"

    def serve_until_interrupted(self) -> None:
        """Serves in the calling thread until KeyboardInterrupt."""
        try:
            self._server.serve_forever()
        except KeyboardInterrupt:
            pass
        finally:
            self._server.server_close()


def _cannot_listen(host: str, port: int, error: OSError | UnicodeError) -> WebDNNError:
    number = error.errno if isinstance(error, OSError) else None
    if number == errno.EADDRINUSE:
        return WebDNNError(
            f"port {port} on {host} is taken by another program: "
            "choose another with --port, or --port 0 for any free one"
        )
    if number == errno.EACCES:
        return WebDNNError(
            f"port {port} on {host} needs administrator rights: choose one above 1023 with --port"
        )
    if isinstance(error, socket.gaierror | UnicodeError) or number == errno.EADDRNOTAVAIL:
        return WebDNNError(f"--host {host}: expected an address of this machine, as 127.0.0.1")
    return WebDNNError(f"cannot listen on {host}:{port}: {error.strerror}")


@contextmanager
def running(
    mounts: Mapping[str, Path],
    *,
    isolation: bool = True,
    csp: bool = False,
    port: int = 0,
    hook: Callable[[Request], bool] | None = None,
    types: Mapping[str, str] = TYPES,
    host: str = HOST,
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
    server = Running(Site(dict(mounts), isolation, csp, hook, types, host), port)
    thread = threading.Thread(target=server._server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server._server.shutdown()
        server._server.server_close()
        thread.join()
