"""The descriptor runner as a page downloads it: one file for each of its doors.

    runner_files(source)    # {"index.js": b"const $errors=…", "worker.js": …, "types.d.ts": …}

A module that imports others, which import others again, costs a page one round trip for each of
these steps. `bundle` puts a module and all that it imports into one file: each becomes a function
that returns its exports, in the order of their imports, so that no two names can meet. `lean` takes
comments and spaces out, which are half of the bytes; names stay, so that a page's debugger
shows them. Both are for the runner's own style, and refuse what they do not know.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

# The modules that pages name: the runner, its worker, and what an AudioWorklet imports.
DOORS = ("index.js", "worker.js", "worklet.js")


def runner_files(source: Path) -> dict[str, bytes]:
    """What a descriptor's runner folder holds, by name: bundles of the doors, types as they are."""
    types = {path.name: path.read_bytes() for path in sorted(source.glob("*.d.ts"))}
    return {door: bundle(source, door).encode() for door in DOORS} | types


_IMPORT = re.compile(
    r"^import\s*(?:\{([^}]*)\}|\*\s*as\s+(\w+))\s*from\s*'([^']+)';$", re.MULTILINE
)
_EXPORT_FROM = re.compile(r"^export\s*\{([^}]*)\}\s*from\s*'([^']+)';$", re.MULTILINE)
_EXPORT = re.compile(r"^export\s*\{([^}]*)\};$", re.MULTILINE)
_DECLARED = re.compile(
    r"^export\s+((?:async\s+)?(?:const|let|function|class)\s+(\w+))", re.MULTILINE
)
_BESIDE = re.compile(r"new URL\('([^']+)'")
_LEFT = re.compile(r"^(?:import|export)\b.*", re.MULTILINE)


def bundle(source: Path, door: str) -> str:
    """The module `door` of the folder `source`, with all that it imports: one lean module.

    Raises ValueError where a module is written in a form that this cannot join.
    """
    done: dict[str, str] = {}  # module: what stands for its exports
    out: list[str] = []

    def names(text: str) -> list[tuple[str, str]]:
        """`a,b as c` as pairs of the name here and the name there."""
        pairs = [part.split(" as ") for part in re.split(r"[\s,]*,\s*|\s+$", text.strip()) if part]
        return [(pair[0].strip(), pair[-1].strip()) for pair in pairs]

    def add(module: str, path: tuple[str, ...]) -> str:
        if module in done:
            return done[module]
        if module in path:
            raise ValueError(f"modules of the runner import in a circle: {[*path, module]}")
        beside = posixpath.dirname(module)
        exported: list[tuple[str, str]] = []

        def other(name: str) -> str:
            return add(posixpath.normpath(posixpath.join(beside, name)), (*path, module))

        def imported(match: re.Match[str]) -> str:
            found = other(match[3])
            if match[2]:
                return f"const {match[2]}={found};"
            pairs = names(match[1])
            return f"const{{{','.join(a if a == b else f'{a}:{b}' for a, b in pairs)}}}={found};"

        def passed_on(match: re.Match[str]) -> str:
            found = other(match[2])
            exported.extend((f"{found}.{here}", there) for here, there in names(match[1]))
            return ""

        def listed(match: re.Match[str]) -> str:
            exported.extend(names(match[1]))
            return ""

        def declared(match: re.Match[str]) -> str:
            exported.append((match[2], match[2]))
            return match[1]

        def at_the_root(match: re.Match[str]) -> str:
            return f"new URL('./{posixpath.normpath(posixpath.join(beside, match[1]))}'"

        text = lean((source / module).read_text("utf-8"))
        for form, replaced in (
            (_IMPORT, imported),
            (_EXPORT_FROM, passed_on),
            (_EXPORT, listed),
            (_DECLARED, declared),
            (_BESIDE, at_the_root),
        ):
            text = form.sub(replaced, text)
        if left := _LEFT.search(text):
            raise ValueError(f"{module}: cannot be put into one file with others: {left[0]}")
        text = text.strip() + "\n"
        if module == door:
            aliases = [
                f"export const {there}={here};\n" for here, there in exported if here != there
            ]
            plain = [here for here, there in exported if here == there]
            out.append(text + "".join(aliases))
            out.append(f"export{{{','.join(plain)}}};\n" if plain else "")
        else:
            done[module] = "$" + module.removesuffix(".js").replace("/", "_")
            pairs = ",".join(a if a == b else f"{b}:{a}" for a, b in exported)
            out.append(f"const {done[module]}=(()=>{{\n{text}return{{{pairs}}};\n}})();\n")
        return done.get(module, "")

    add(door, ())
    return "".join(out)


_TOKENS = re.compile(
    r"""(?P<comment>//[^\n]*|/\*.*?\*/)|(?P<string>'(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*")"""
    r"""|(?P<regex>/(?![/*])(?:\\.|\[(?:\\.|[^\]\\\n])*\]|[^/\\\[\n])+/\w*)|(?P<other>.)""",
    re.DOTALL,
)
# No space is needed beside these. (`a + +b` needs one, and so may a slash.)
_TIGHT = frozenset("=*<>(){}[],;:?&|!")
# After a value a slash divides; elsewhere it begins a regular expression.
_VALUE = re.compile(r"[\w$)\]}'\"`]\s*$")
_KEYWORD = re.compile(r"\b(?:return|case|typeof)\s*$")


def lean(source: str) -> str:
    """A JavaScript module without comments, blank lines and most spaces: what a page downloads.

    Lines stay lines, so that nothing else changes. For the runner's own style: a regular expression
    does not begin a statement.
    """
    out: list[str] = []
    end = _code(source, 0, out, nested=False)
    assert end == len(source)
    return "".join(out).lstrip("\n")


def _code(source: str, at: int, out: list[str], nested: bool) -> int:
    """Copies code from `at`; within a template's `${`, up to its `}`. Returns where it stopped."""
    depth = 0
    last = ""  # the code just before, as far as a slash's meaning needs it
    while at < len(source):
        if source[at] == "`":
            at = _template(source, at, out)
            last = "`"
            continue
        match = _TOKENS.match(source, at)
        assert match is not None
        text = match[0]
        if match["regex"] and _VALUE.search(last) and not _KEYWORD.search(last):
            text = "/"
        at += len(text)
        if match["comment"]:
            continue
        if nested and text == "}" and depth == 0:
            return at - 1
        depth += (text == "{") - (text == "}")
        if text == "\n":
            while out and out[-1] == " ":
                out.pop()
            if out and out[-1] != "\n":
                out.append(text)
        elif text != " ":
            if out[-1:] == [" "] and (text in _TIGHT or out[-2][-1] in _TIGHT):
                out.pop()
            out.append(text)
        elif out and out[-1] not in ("\n", " "):
            out.append(text)
        last = (last + text)[-12:]
    return at


def _template(source: str, at: int, out: list[str]) -> int:
    """Copies a template literal, whose own text stays as it is; returns where it ends."""
    start = at
    at += 1
    while source[at] != "`":
        if source.startswith("${", at):
            out.append(source[start : at + 2])
            start = at = _code(source, at + 2, out, nested=True)
        elif source[at] == "\\":
            at += 1
        at += 1
    out.append(source[start : at + 1])
    return at + 1


__all__ = ["DOORS", "bundle", "lean", "runner_files"]
