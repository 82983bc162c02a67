"""Lines of a page that ask for a model's files before any script does: `--preload`.

    <!-- webdnn ./models/style/ -->
    <!-- /webdnn -->

Names of files carry hashes, so whoever makes the names keeps the lines between these comments. The
first comment has the address of the folder as the page sees it, and then, where every visitor runs
the same, what that is: `webgpu` or a variant of wasm.
"""

from __future__ import annotations

import html
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import WebDNNError

_PLACE = re.compile(
    r"(?P<begin>[ \t]*<!-- webdnn (?P<address>[^\s>]+)(?P<runs>(?: [\w-]+)*) -->)"
    r"(?P<lines>(?:(?!<!-- webdnn ).)*?)(?P<end>[ \t]*<!-- /webdnn -->)",
    re.DOTALL,
)
_LINE = re.compile(r'<link rel="(?:module)?preload"[^>]*>')
# The runner asks for so many shards at once; a page's own pictures wait for no more.
_SHARDS = 4


def _read(page: Path) -> str:
    try:
        with page.open("r+b") as file:  # before the work, also whether it may be written
            return file.read().decode()  # line ends stay as they are
    except OSError as error:
        raise WebDNNError(f"--preload {page}: cannot be changed: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise WebDNNError(f"--preload {page}: expected a page in UTF-8: {error}") from error


def _places(page: Path, text: str, output: Path) -> list[re.Match[str]]:
    """The places for the model at `output`: by the folder that an address leads to; where a server
    maps it, by as much of the path as it says; where none fits, by the folder's name."""
    here = output.resolve()
    near, far = [], []
    for place in _PLACE.finditer(text):
        folder = page.parent / place["address"]
        names = tuple(n for n in place["address"].split("/") if n not in ("", ".", ".."))
        if folder.is_dir():
            if folder.resolve() == here:
                near.append(place)
        elif names and here.parts[-len(names) :] == names:
            near.append(place)
        elif names and here.name == names[-1]:
            far.append(place)
    return near or far


def check_page(page: Path, output: Path, targets: Sequence[str]) -> None:
    """Raises WebDNNError where `page` has no place for the lines of a model at `output`."""
    places = _places(page, _read(page), output)
    if not places:
        name = output.resolve().name
        raise WebDNNError(
            f"--preload {page}: expected the comments <!-- webdnn ./{name}/ --> and "
            f"<!-- /webdnn --> in its head, with the address of {name} as the page sees it; "
            "the lines go between them"
        )
    for place in places:
        if other := _LINE.sub("", place["lines"]).strip():
            raise WebDNNError(
                f"--preload {page}: expected nothing but the lines of --preload between "
                f"{place['begin'].strip()} and <!-- /webdnn -->, found {other[:60]!r}; "
                "what is between them is written anew: put that elsewhere"
            )
        for word in place["runs"].split():
            known = ("webgpu", "relaxed-threads", "plain-threads", "relaxed", "plain")
            if word not in known or ("webgpu" if word == "webgpu" else "wasm") not in targets:
                raise WebDNNError(
                    f"--preload {page}: {word} in {place['begin'].strip()}: expected what runs, "
                    f"of the model's targets: {', '.join(known)}"
                )


def write_lines(page: Path, output: Path, document: Mapping[str, Any]) -> None:
    """Writes the lines of the files of `document`, a model.json, into `page`."""

    def filled(place: re.Match[str]) -> str:
        if place.start() not in ours:
            return place[0]
        begin = place["begin"]
        indent = begin[: len(begin) - len(begin.lstrip())]
        address = place["address"].rstrip("/")
        lines = [
            f'{indent}<link {how} href="{html.escape(f"{address}/{name}")}">'
            for name, how in _asked(document, place["runs"].split())
        ]
        return "\n".join([begin, *lines, indent + place["end"].lstrip()])

    text = _read(page)
    ours = {place.start() for place in _places(page, text, output)}
    page.write_bytes(_PLACE.sub(filled, text).encode())


def _asked(document: Mapping[str, Any], runs: Sequence[str]) -> list[tuple[str, str]]:
    """The files that every page fetches, and those of what this one runs; how to ask for each."""
    module, data = 'rel="modulepreload"', 'rel="preload" as="fetch" crossorigin'
    found = [("model.js", module)]
    found += [(name, data) for name in document["weights"]["shards"][:_SHARDS]]
    files = {v["name"]: v["file"] for v in document["targets"].get("wasm", {}).get("variants", ())}
    if "webgpu" in document["targets"]:
        files["webgpu"] = document["targets"]["webgpu"]["file"]
    found += [(files[name], data) for name in runs]
    if any(name != "webgpu" for name in runs):
        found.append((f"{document['runner']}/worker.js", module))
    return found


__all__ = ["check_page", "write_lines"]
