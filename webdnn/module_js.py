"""The module of a descriptor that pages import: `model.js`, and its types in `model.d.ts`.

    model_js(model)    # "import { load as loadFrom } from './runner/index.js'; …"
    model_dts(model)   # "export type Inputs = { 'image': { dtype: 'float32'; shape: readonly [1, 3, number, number] } }; …"

`model.js` is a convenience around the data: it names each file once, literally, as bundlers want to see
it. Everything else is in model.json, which is always fetched. Tensor names are quoted, so that any name
will do; a symbolic dimension is `number` in the types.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

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
    """`model.js` of a model.json: the runner's functions, bound to the addresses of this folder's files."""
    names = ["model.json", *model["files"]]
    files = "".join(f"  {_quoted(n)}: new URL({_quoted('./' + n)}, import.meta.url).href,\n" for n in names)
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
        f"import type {{ Kit, LoadOptions, Model as AnyModel }} from {types};\n\n"
        f"export {{ WebDNNError }} from {types};\n"
        f"{_type('Inputs', model['inputs'], model['dims'])}\n"
        f"{_type('Outputs', model['outputs'], model['dims'])}\n"
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
        "): Promise<{ requiredFeatures: string[]; requiredLimits: Record<string, number> }>;\n"
    )


def _comment(text: str) -> str:
    """Text that cannot end its line."""
    return json.dumps(text)[1:-1]


def _type(name: str, tensors: Sequence[Mapping[str, Any]], dims: Sequence[Mapping[str, Any]]) -> str:
    lines = []
    for tensor in tensors:
        shape = ", ".join(str(size) if isinstance(size, int) else "number" for size in tensor["shape"])
        used = {symbol for size in tensor["shape"] for symbol in _symbols(size)}
        ranges = [f"{d['name']} = {d['min']}..{d['max']}" for d in dims if d["name"] in used]
        if ranges:
            sizes = ", ".join(map(_expression, tensor["shape"]))
            text = _comment(f"[{sizes}] with {', '.join(ranges)}").replace("*/", "* /")
            lines.append(f"  /** {text} */")
        lines.append(f"  {_quoted(tensor['name'])}: {{ dtype: '{tensor['dtype']}'; shape: readonly [{shape}] }};")
    return f"\nexport type {name} = {{\n" + "\n".join(lines) + "\n};"


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
    return f"({f' {op} '.join(parts)})" if len(parts) == 2 and op[0] != "m" else f"{op}({', '.join(parts)})"


__all__ = ["model_dts", "model_js"]
