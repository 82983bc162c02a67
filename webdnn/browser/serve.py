"""`webdnn serve`: a folder on this machine, and a page for each model in it that runs the model.

>>> serve(Path("public"), port=0)  # doctest: +SKIP
http://127.0.0.1:40213/

A folder's own `index.html` is always what is shown. Where there is none, the folder of a model
shows a page (`pages/model.html`) on which it runs, beside the code that does so in a page of one's
own; another folder shows which models lie below it. Both exist only in this server: nothing is
written into the folder.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from html import escape
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import quote

from webdnn.errors import WebDNNError
from webdnn.inspect.describe import kind_text, shape_text
from webdnn.inspect.report import snippet

from .inputs import signature_of
from .server import HOST, TYPES, Request, Running, Site

PAGES = Path(__file__).parent / "pages"
PREFIX = "/__webdnn__/"
_DEEPEST, _MOST = 6, 500  # folders below the one that is shown, models in its list


def serve(
    folder: Path,
    *,
    isolation: bool = True,
    csp: bool = False,
    host: str = HOST,
    port: int = 8080,
    announce: Callable[[str], None] = print,
) -> None:
    """Serves one folder until Ctrl-C; `announce` gets the address once it listens."""
    if not folder.is_dir():
        raise WebDNNError(f"{folder}: expected a folder to serve, found none")
    mounts = {"/": folder, PREFIX: PAGES}
    server = Running(Site(mounts, isolation, csp, hook=pages, host=host), port)
    announce(server.url)
    server.serve_until_interrupted()


def pages(request: Request) -> bool:
    """Answers for a folder without a page of its own: the hook of a `Site` with PAGES at PREFIX."""
    path = request.path_only
    folder = request.server.site.find(path)
    if request.command not in ("GET", "HEAD") or not path.endswith("/") or folder is None:
        return False
    if path.startswith(PREFIX) or (folder / "index.html").is_file():
        return False
    if _is_model(folder):
        page = _model(folder, path)
    elif models := list(_below(folder)):
        page = _list(folder, path, models)
    else:
        return False
    headers = {"Content-Type": TYPES[".html"], "Cache-Control": "no-cache"}
    request.reply(HTTPStatus.OK, page.encode(), headers)
    return True


def _is_model(folder: Path) -> bool:
    return (folder / "model.json").is_file() and (folder / "model.js").is_file()


def _filled(page: str, /, **holes: str) -> str:
    """A page of `pages/` with its holes, `{{name}}`, filled with HTML."""
    head, *parts = (PAGES / page).read_text("utf-8").split("{{")
    return head + "".join(holes[key] + rest for key, _, rest in (p.partition("}}") for p in parts))


def _signature(folder: Path) -> dict[str, Any]:
    """A model.json, or nothing of it where it is damaged, of which its page tells."""
    try:
        return signature_of(folder)
    except WebDNNError:
        return {"inputs": [], "outputs": [], "dims": []}


def _model(folder: Path, path: str) -> str:
    document = _signature(folder)
    code = snippet(document, quote(f"{path}model.js")) if document["inputs"] else ""
    name = document.get("name") or folder.name
    report = (folder / "report.html").is_file()
    return _filled(
        "model.html",
        name=escape(str(name)),
        code=escape(code, quote=False),
        report="<a href=report.html>Its kernels, files and memory</a>" if report else "",
    )


def _list(folder: Path, path: str, models: list[Path]) -> str:
    def line(model: Path) -> str:
        place = model.relative_to(folder).as_posix()
        document = _signature(model)
        sides = (
            ", ".join(
                f"{t['name']}: {kind_text(t)} {_sizes(t['shape'])}"
                for t in document[kind]
                if not t.get("hidden")
            )
            for kind in ("inputs", "outputs")
        )
        return (
            f'<li><a href="{escape(quote(place))}/">{escape(place)}</a>'
            f"<p class=quiet>{escape(' → '.join(sides))}</p></li>"
        )

    return _filled("models.html", path=escape(path), models="\n".join(map(line, models)))


def _sizes(shape: list[Any]) -> str:
    return f"[{shape_text(shape)}]" if shape else "scalar"


def _below(folder: Path) -> Iterator[Path]:
    """The folders of models below a folder, by name, none of them by a link."""
    found = 0
    for place, inner, _ in os.walk(folder):
        here = Path(place)
        if _is_model(here):
            found += 1
            yield here
        deep = len(here.relative_to(folder).parts) >= _DEEPEST or _is_model(here)
        inner[:] = [] if deep else sorted(n for n in inner if n[0] != "." and n != "node_modules")
        if found == _MOST:
            return


__all__ = ["PAGES", "PREFIX", "pages", "serve"]
