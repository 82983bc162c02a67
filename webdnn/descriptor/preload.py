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
    r"(?:(?!<!-- webdnn ).)*?(?P<end>[ \t]*<!-- /webdnn -->)",
    re.DOTALL,
)
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


def _is_of(page: Path, place: re.Match[str], output: Path) -> bool:
    """Whether a place is of the model at `output`: by folder, or by name where a server maps it."""
    folder = page.parent / place["address"]
    if folder.is_dir():
        return folder.resolve() == output.resolve()
    return place["address"].rstrip("/").rpartition("/")[2] == output.resolve().name


def check_page(page: Path, output: Path, targets: Sequence[str]) -> None:
    """Raises WebDNNError where `page` has no place for the lines of a model at `output`."""
    places = [place for place in _PLACE.finditer(_read(page)) if _is_of(page, place, output)]
    if not places:
        name = output.resolve().name
        raise WebDNNError(
            f"--preload {page}: expected the comments <!-- webdnn ./{name}/ --> and "
            f"<!-- /webdnn --> in its head, with the address of {name} as the page sees it; "
            "the lines go between them"
        )
    for place in places:
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
        if not _is_of(page, place, output):
            return place[0]
        begin = place["begin"]
        indent = begin[: len(begin) - len(begin.lstrip())]
        address = place["address"].rstrip("/")
        lines = [
            f'{indent}<link {how} href="{html.escape(f"{address}/{name}")}">'
            for name, how in _asked(document, place["runs"].split())
        ]
        return "\n".join([begin, *lines, indent + place["end"].lstrip()])

    page.write_bytes(_PLACE.sub(filled, _read(page)).encode())


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
