"""Builds every example into build/examples, with a page of pictures that leads to each.

    python -m examples.gallery              # builds all, takes their pictures, prints what to do
    python -m examples.gallery onnx keras   # these alone; the page keeps what was built before
    python -m examples.gallery --serve      # and serves the page until Ctrl-C

`make examples` does this. An example whose framework is not installed is left out, and said so. The
pictures need Chromium; where there is none, the cards have none.
"""

from __future__ import annotations

import argparse
import html
import importlib.util
import os
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

from examples.showcase import BUILD, HERE, Example, show, visit
from webdnn.browser import engine as browser
from webdnn.browser import server
from webdnn.errors import WebDNNError

FOLDERS = ("onnx", "keras", "caffe", "chainer", "pytorch")


def load(folder: str) -> ModuleType | None:
    """An example's script; None, and a word about it, where what it imports is not installed."""
    try:
        return importlib.import_module(f"examples.{folder}.build")
    except ImportError as error:
        print(f"examples/{folder} is left out ({error}): its README says what it needs")
        return None


def take_picture(example: Example) -> None:
    """The page's screenshot, for its card."""
    with server.running({"/": example.site}, csp=True) as running:
        visit(f"{running.url}{example.page}?backend=wasm", example.screenshot)


def _command() -> str:
    """How a shell calls the `webdnn` of this environment, which may not be on its path."""
    here = Path(sys.executable).with_name("webdnn")
    return "webdnn" if shutil.which("webdnn") or not here.is_file() else os.path.relpath(here)


def write_page(examples: Iterable[Example]) -> Path:
    """build/examples/index.html: a card for each built page."""
    cards = [_card(example) for example in examples if (example.site / example.page).is_file()]
    shutil.copyfile(HERE / "style.css", BUILD / "style.css")
    page = BUILD / "index.html"
    page.write_text(_PAGE.replace("CARDS", "\n".join(cards)))
    return page


def _card(example: Example) -> str:
    page = "" if example.page == "index.html" else example.page
    picture = '<div class="blank"></div>'
    if example.screenshot.is_file():
        picture = f'<img src="{example.folder}/{example.screenshot.name}" alt="" loading="lazy">'
    framework, title, text = map(html.escape, (example.framework, example.title, example.text))
    return (
        f'<a class="card" href="{example.folder}/{page}">{picture}'
        f"<div><small>{framework}</small><h2>{title}</h2><p>{text}</p></div></a>"
    )


_PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>WebDNN: examples</title>
<link rel="stylesheet" href="style.css">
<link rel="icon" href="data:,">
</head>
<body>
<header>
  <h1><small>WebDNN</small>Examples</h1>
  <p>Trained neural networks of five frameworks, compiled ahead of time into static files. Each page
  runs its network in your browser, on WebGPU or WebAssembly; nothing that you give it leaves the
  page.</p>
</header>
<div class="cards">
CARDS
</div>
</body>
</html>
"""


def main() -> int:
    """Builds, takes pictures, writes the page; the status is 1 if one of them failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="*", metavar="FOLDER", help=f"of {', '.join(FOLDERS)}")
    parser.add_argument("--serve", action="store_true", help="serve the page until Ctrl-C")
    parser.add_argument("--port", type=int)
    options = parser.parse_args()
    present = [f for f in FOLDERS if (HERE / f / "build.py").is_file()]
    unknown = [f for f in options.folders if f not in present]
    if unknown:
        print(
            f"error: no example {', '.join(unknown)}; there are {', '.join(present)}",
            file=sys.stderr,
        )
        return 2
    try:
        browser.find("chromium")
        pictures = importlib.util.find_spec("playwright") is not None
        if not pictures:
            print("no pictures for the cards: Playwright is not installed", file=sys.stderr)
    except WebDNNError as error:
        print(f"no pictures for the cards: {error}", file=sys.stderr)
        pictures = False
    known: list[Example] = []
    failed = False
    for folder in present:
        try:
            script = load(folder)
            if script is None:
                continue
            known += script.EXAMPLES
            if options.folders and folder not in options.folders:
                continue
            print(f"\n{', '.join(example.title for example in script.EXAMPLES)}:", flush=True)
            script.build()
            for example in script.EXAMPLES if pictures else ():
                take_picture(example)
        except WebDNNError as error:
            failed = True
            print(f"examples/{folder}: {error}", file=sys.stderr)
    page = write_page(known)
    print(f"\nWrote {page}. Look at it: {_command()} serve {os.path.relpath(page.parent)}")
    if options.serve:
        show(BUILD, options.port)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
