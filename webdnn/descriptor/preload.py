"""Lines of a page that ask for a model's files before any script does: `--preload`.

    <!-- webdnn ./models/style/ -->
    <!-- /webdnn -->

Names of files carry hashes, so whoever makes the names keeps the lines between these comments. The
first comment has the address of the folder as the page sees it, or that of its `model.js` as the
page imports it, and then, where every visitor runs the same, what that is: `webgpu` or a variant of
wasm. All else in the page stays as it is, to the byte.
"""

from __future__ import annotations

import html
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from ..errors import WebDNNError

_PLACE = re.compile(
    r"(?P<begin>[ \t]*<!--\s*webdnn\s+(?P<address>[^\s>]+)(?P<runs>(?:\s+[\w-]+)*?)\s*-->)"
    r"(?P<lines>(?:(?!<!--\s*webdnn\s).)*?)(?P<end>[ \t]*<!--\s*/webdnn\s*-->)",
    re.DOTALL,
)
_LINE = re.compile(r'<link rel="(?:module)?preload"[^>]*>')
_IMPORT = re.compile(r"""["']([^"'\s<>]*\bmodel\.js(?:\?[^"'\s<>]*)?)["']""")
_ADDRESS = re.compile(r"((?:[a-zA-Z][\w+.-]*:)?//[^/?#]*)?([^?#]*).*", re.DOTALL)
_ESCAPED = "surrogateescape"
# The runner asks for so many shards at once; a page's own pictures wait for no more.
_SHARDS = 4


def _read(page: Path) -> tuple[str, str]:
    """The text, with its line ends and byte order mark, and its encoding. What is no UTF-8 is
    escaped: whatever else a page is in has ASCII as it is, and the rest is written as it was."""
    try:
        with page.open("r+b") as file:  # before the work, also whether it may be written
            found = file.read()
    except OSError as error:
        raise WebDNNError(f"--preload {page}: cannot be changed: {error.strerror}") from error
    wide = {b"\xff\xfe": "utf-16-le", b"\xfe\xff": "utf-16-be"}.get(found[:2])
    try:
        return (found.decode(wide), wide) if wide else (found.decode(errors=_ESCAPED), "utf-8")
    except UnicodeDecodeError as error:
        raise WebDNNError(f"--preload {page}: expected a page in UTF-8: {error}") from error


def _split(address: str) -> tuple[str, str, str]:
    """Of an address its server, its folder, which ends in a slash or is empty, and its module."""
    server, path = _ADDRESS.fullmatch(address).groups("")  # type: ignore[union-attr]
    folder, _, last = path.rpartition("/")
    if last == "model.js":
        return server, path.removesuffix("model.js"), address
    folder = f"{path.rstrip('/')}/"
    return server, folder, f"{server}{folder}model.js"


def _fits(page: Path, address: str, output: Path) -> int:
    """2: the folder at `address` is `output`, as far as can be told; 1: it has its name; else 0."""
    here, (server, path, _) = output.resolve(), _split(address)
    path = unquote(path)
    folder = page.parent / path
    names = tuple(name for name in path.split("/") if name not in ("", ".", ".."))
    if not names:  # beside the page, where both are copied to; nothing says another name
        return 1
    if not server and folder.is_dir():
        return 2 * (folder.resolve() == here)
    return 2 if here.parts[-len(names) :] == names else int(here.name == names[-1])


def _places(page: Path, text: str, output: Path) -> list[re.Match[str]]:
    """The places for the model at `output`: by the folder that an address leads to; where a server
    maps it, by as much of the path as it says; where none fits, by the folder's name, or none."""
    fits = [(_fits(page, place["address"], output), place) for place in _PLACE.finditer(text)]
    best = max((fit for fit, _ in fits), default=0)
    return [place for fit, place in fits if fit == best > 0]


def _advised(page: Path, text: str, output: Path) -> str:
    """The address for the comment: that of the page's own import, or the way to the folder."""
    for address in _IMPORT.findall(text):
        if _fits(page, address, output):
            return str(address)
    here, start = output.resolve(), page.parent.resolve()
    way = here.relative_to(start).as_posix() if here.is_relative_to(start) else here.name
    return f"./{quote(way)}/"


def check_page(page: Path, output: Path, targets: Sequence[str]) -> None:
    """Raises WebDNNError where `page` has not one place for the lines of a model at `output`."""
    text, _ = _read(page)
    places = _places(page, text, output)
    if not places:
        raise WebDNNError(
            f"--preload {page}: expected the comments <!-- webdnn {_advised(page, text, output)} "
            f"--> and <!-- /webdnn --> in its head, with the address of {output.resolve().name} "
            "as the page sees it; the lines go between them"
        )
    if len(places) > 1:
        raise WebDNNError(
            f"--preload {page}: expected one place for the lines of {output.resolve().name}, found "
            f"{len(places)}: {' and '.join(place['begin'].strip() for place in places)}; leave one"
        )
    (place,) = places
    if other := _LINE.sub("", place["lines"]).strip():
        raise WebDNNError(
            f"--preload {page}: expected nothing but the lines of --preload between "
            f"{place['begin'].strip()} and <!-- /webdnn -->, found {other[:60]!r}; "
            "what is between them is written anew: put that elsewhere"
        )
    for word in place["runs"].split():
        known = ("webgpu", "webgpu-f16", "relaxed-threads", "plain-threads", "relaxed", "plain")
        if word not in known or (word if word in known[:2] else "wasm") not in targets:
            raise WebDNNError(
                f"--preload {page}: {word} in {place['begin'].strip()}: expected what runs, "
                f"of the model's targets: {', '.join(known)}"
            )


def write_lines(page: Path, output: Path, document: Mapping[str, Any]) -> None:
    """Writes the lines of the files of `document`, a model.json, into `page`."""
    text, encoding = _read(page)
    for place in _places(page, text, output):
        begin = place["begin"]
        indent = begin[: len(begin) - len(begin.lstrip())]
        server, folder, module = _split(place["address"])
        lines = [f'{indent}<link rel="modulepreload" href="{html.escape(module)}">']
        lines += [
            f'{indent}<link {how} href="{html.escape(server + folder + name)}">'
            for name, how in _asked(document, place["runs"].split())
        ]
        ends = re.findall(r"\r\n|\n|\r", place["lines"] + text) or ["\n"]
        new = ends[0].join([begin, *lines, indent + place["end"].lstrip()])
        changed = text[: place.start()] + new + text[place.end() :]
        if changed != text:
            page.write_bytes(changed.encode(encoding, _ESCAPED))


def _asked(document: Mapping[str, Any], runs: Sequence[str]) -> list[tuple[str, str]]:
    """The files that every page fetches after model.js, and those of what this one runs; how to
    ask for each."""
    module, data = 'rel="modulepreload"', 'rel="preload" as="fetch" crossorigin'
    found = [(name, data) for name in document["weights"]["shards"][:_SHARDS]]
    files = {v["name"]: v["file"] for v in document["targets"].get("wasm", {}).get("variants", ())}
    on_gpu = [name for name in document["targets"] if name != "wasm"]
    files |= {name: document["targets"][name]["file"] for name in on_gpu}
    found += [(files[name], data) for name in runs]
    if any(name not in on_gpu for name in runs):
        found.append((f"{document['runner']}/worker.js", module))
    return found


__all__ = ["check_page", "write_lines"]
