"""Templates: real `.c` and `.wgsl` files with holes.

    >>> print(render('''int s = 0;
    ... $for i in range(n):
    ...   $if i % 2 == 0:
    ...     s += x[${i}];
    ...   $else:
    ...     s -= 1;
    ... ''', {"n": 3}))
    int s = 0;
    s += x[0];
    s -= 1;
    s += x[2];

A line `$for v in EXPR:`, `$if EXPR:`, `$elif EXPR:`, `$else:` governs the more deeply indented
lines that follow; `$assert EXPR` checks the template's contract; `$# text` is a comment of the
template alone; `$let name = EXPR` names a value; `${EXPR}` is replaced by the text of a Python
expression. If that text has several lines, each is indented as the hole is. Nothing else is
special.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import CodeType
from typing import Any

from ..errors import WebDNNError
from ..schedule.kernel import Instance, Kernel

_HOLE = re.compile(r"\$\{((?:[^{}]|\{[^{}]*\})*)\}")
_CONTROL = re.compile(r"(\s*)\$(for|if|elif|else|assert|let)\b\s*(.*?)\s*$")


def own_source(kernel: Kernel, suffix: str) -> str | None:
    """The file of a kernel's text, its folder's name before it, where that is a plugin's own."""
    if not isinstance(kernel, Instance) or kernel.folder is None:
        return None
    return f"{kernel.folder.name}/{kernel.template}{suffix}"


def render(source: str, env: Mapping[str, Any]) -> str:
    """The text of a template; a failing `$assert` or a bad expression raises with the line."""
    out: list[str] = []
    _block(source.splitlines(), dict(env), out, 0)
    return "\n".join(out)


def render_own(path: Path, env: Mapping[str, Any]) -> str:
    """The text of a template of a user's; raises WebDNNError, with the file, for what is wrong."""
    try:
        return render(path.read_text(), env)
    except OSError as error:
        raise WebDNNError(
            f"template {path}: cannot be read: {error.strerror}. Write it, or leave this target "
            "out with --target"
        ) from None
    except ValueError as error:
        raise WebDNNError(f"template {path}: {error}") from error


@cache
def _compiled(code: str) -> CodeType:
    return compile(code, "<template>", "eval")


def _evaluate(code: str, env: dict[str, Any], line: str) -> Any:
    try:
        return eval(_compiled(code), env)
    except Exception as error:
        kind = "no" if isinstance(error, KeyError) else f"{type(error).__name__}:"
        raise ValueError(f"line {line.strip()!r}: {kind} {error}") from error


def _block(lines: list[str], env: dict[str, Any], out: list[str], dedent: int) -> None:
    i = 0
    taken = False  # whether a branch of the current $if chain was taken
    while i < len(lines):
        line = lines[i]
        i += 1
        if line.lstrip().startswith("$#"):
            continue
        control = _CONTROL.match(line)
        if not control:
            out.append(_fill(line[min(dedent, len(line) - len(line.lstrip())) :], env))
            continue
        indent, word, rest = len(control[1]), control[2], control[3]
        if word == "assert":
            if not _evaluate(rest, env, line):
                raise ValueError(f"its contract is not met: {rest}")
            continue
        if word == "let":
            name, _, code = rest.partition("=")
            env[name.strip()] = _evaluate(code.strip(), env, line)
            continue
        body: list[str] = []
        while i < len(lines) and (
            not lines[i].strip() or len(lines[i]) - len(lines[i].lstrip()) > indent
        ):
            body.append(lines[i])
            i += 1
        first = next((b for b in body if b.strip()), "")
        inner = dedent + (len(first) - len(first.lstrip()) - indent)
        code = rest[:-1].strip() if rest.endswith(":") else rest
        if word == "for":
            names, _, items = code.partition(" in ")
            keys = [k.strip() for k in names.split(",")]
            for item in _evaluate(items, env, line):
                env.update(zip(keys, item if len(keys) > 1 else (item,)))
                _block(body, env, out, inner)
        else:
            if word == "if":
                taken = False
            if not taken and (word == "else" or _evaluate(code, env, line)):
                taken = True
                _block(body, env, out, inner)


def _fill(line: str, env: dict[str, Any]) -> str:
    only = _HOLE.fullmatch(line.strip())
    indent = line[: len(line) - len(line.lstrip())]
    if only:
        text = str(_evaluate(only[1], env, line))
        return "\n".join(indent + t if t else t for t in text.split("\n"))
    return _HOLE.sub(lambda m: str(_evaluate(m[1], env, line)), line)
