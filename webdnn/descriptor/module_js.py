"""The modules of a descriptor that pages import: `model.js`, `model.d.ts`, and the runner's.

    model_js(model)    # "import { load as loadFrom } from './runner/index.js'; …"
    model_dts(model)   # "export type Inputs = { 'image': { dtype: 'float32'; shape: … } }; …"

`model.js` is a convenience around the data: it names each file once, as a literal that bundlers can
find. Everything else is in model.json, which is always fetched. Tensor names are quoted, so that
any name will do; a symbolic dimension is `number` in the types. `lean` takes comments and
spaces out of the runner's modules, which are half of their bytes; names stay, so that a page's
debugger shows them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

# Node and webpack read here that these are modules, whatever the project around them says.
PACKAGE = '{ "type": "module", "sideEffects": false }\n'

_LOAD = """\
/** Loads the model from the files beside this module. */
export const load = (options) => loadFrom(files, options);

/** What `instantiate` needs in a worklet. */
export const prepare = (options) => prepareFrom(files, options);

/** What a GPUDevice must have to run the model. */
export const requirements = (options) => requirementsFrom(files, options);
"""


def _quoted(text: str) -> str:
    """A JavaScript string literal, single-quoted as the runner's own are."""
    return "'" + json.dumps(text)[1:-1].replace('\\"', '"').replace("'", "\\'") + "'"


def model_js(model: Mapping[str, Any]) -> str:
    """`model.js` of a model.json: the runner's functions, bound to this folder's files."""
    names = ["model.json", *model["files"]]
    files = "".join(
        f"  {_quoted(n)}: new URL({_quoted('./' + n)}, import.meta.url).href,\n" for n in names
    )
    runner = _quoted(f"./{model['runner']}/index.js")
    return (
        f"// The model {_comment(model['name'])}, written by {_comment(model['generator'])}.\n"
        "import { load as loadFrom, prepare as prepareFrom, requirements as requirementsFrom }\n"
        f"  from {runner};\n\n"
        f"export {{ WebDNNError, instantiate }} from {runner};\n\n"
        f"const files = {{\n{files}}};\n\n{_LOAD}"
    )


def model_dts(model: Mapping[str, Any]) -> str:
    """`model.d.ts` of a model.json: the names, dtypes and shapes of its own inputs and outputs."""
    types = _quoted(f"./{model['runner']}/types.js")
    return (
        f"// The model {_comment(model['name'])}, written by {_comment(model['generator'])}.\n"
        f"import type {{ Kit, LoadOptions, Model as AnyModel, Requirements }} from {types};\n\n"
        f"export type {{ ImageSource, Scored }} from {types};\n"
        f"export {{ WebDNNError }} from {types};\n"
        f"{_type('Inputs', model['inputs'], model['dims'])}\n"
        f"{_type('Outputs', _shown(model['outputs']), model['dims'])}\n"
        "export type Model = AnyModel<Inputs, Outputs>;\n\n"
        "/** Loads the model from the files beside this module. */\n"
        "export declare function load(options?: LoadOptions): Promise<Model>;\n\n"
        "/** What `instantiate` needs in a worklet. */\n"
        "export declare function prepare(\n"
        "  options?: Pick<LoadOptions, 'fetch' | 'signal' | 'progress' | 'variant'>,\n"
        "): Promise<Kit>;\n\n"
        "/** The model from a kit, at once and in the calling thread. */\n"
        "export declare function instantiate(kit: Kit): Model;\n\n"
        "/** What a GPUDevice must have to run the model: pass it to `adapter.requestDevice`. */\n"
        "export declare function requirements(\n"
        "  options?: Pick<LoadOptions, 'fetch' | 'signal'>,\n"
        "): Promise<Requirements>;\n"
    )


def _shown(outputs: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The outputs that a page sees: those that count others are the runner's own."""
    return [t for t in outputs if not t.get("hidden")]


def _comment(text: str) -> str:
    """Text that cannot end its line."""
    return json.dumps(text)[1:-1]


def _type(
    name: str, tensors: Sequence[Mapping[str, Any]], dims: Sequence[Mapping[str, Any]]
) -> str:
    lines = []
    for tensor in tensors:
        shape = ", ".join(
            str(size) if isinstance(size, int) else "number" for size in tensor["shape"]
        )
        used = {symbol for size in tensor["shape"] for symbol in _symbols(size)}
        ranges = [f"{d['name']} = {range_text(d)}" for d in dims if d["name"] in used]
        if ranges:
            sizes = ", ".join(map(_expression, tensor["shape"]))
            text = _comment(f"[{sizes}] with {', '.join(ranges)}").replace("*/", "* /")
            lines.append(f"  /** {text} */")
        spec = f"{{ dtype: '{tensor['dtype']}'; shape: readonly [{shape}] }}"
        if "image" in tensor:
            lines.append("  /** A picture of any size, or its pixels (RGBA, one word each). */")
            spec = f"{spec[:-2]}; image: true }}"
        lines.append(f"  {_quoted(tensor['name'])}: {spec};")
    return f"\nexport type {name} = {{\n" + "\n".join(lines) + "\n};"


def range_text(dim: Mapping[str, Any]) -> str:
    """The sizes that a dimension of the descriptor may have: `64..512`, `32..640:32`."""
    step = dim.get("step", 1)
    return f"{dim['min']}..{dim['max']}" + (f":{step}" if step > 1 else "")


def _symbols(size: Any) -> set[str]:
    """The dimensions that an Int of the descriptor mentions."""
    if isinstance(size, list):
        return {symbol for part in size[1:] for symbol in _symbols(part)}
    return {size} if isinstance(size, str) else set()


def _expression(size: Any) -> str:
    """An Int of the descriptor as people read it: `3`, `h`, `(2 * h)`."""
    if not isinstance(size, list):
        return str(size)
    op, *rest = size
    parts = [_expression(x) for x in rest]
    return (
        f"({f' {op} '.join(parts)})"
        if len(parts) == 2 and op[0] != "m"
        else f"{op}({', '.join(parts)})"
    )


def runner_files(source: Path) -> dict[str, bytes]:
    """What a descriptor's runner folder holds, by path: modules made lean, types as they are."""
    return {
        path.relative_to(source).as_posix(): lean(path.read_text("utf-8")).encode()
        if path.suffix == ".js"
        else path.read_bytes()
        for path in sorted(source.rglob("*"))
        if path.suffix == ".js" or path.name.endswith(".d.ts")
    }


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


__all__ = ["PACKAGE", "lean", "model_dts", "model_js", "range_text", "runner_files"]
