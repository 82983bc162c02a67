"""The modules of a descriptor that are its own: `model.js` and `model.d.ts`.

    model_js(model, text, bound)    # "const MODEL = '…'; const FILES = () => ({ … }); …"
    model_dts(model)    # "export type Inputs = { 'image': { dtype: 'float32'; shape: … } }; …"

`model.js` is the runner around the data: it imports nothing and holds model.json's text, so that a
page asks for the weights as soon as it has come; and it names each other file once, as a literal
that bundlers can find. Tensor names are quoted, so that any name will do; a symbolic dimension is
`number` in the types.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

# Node and webpack read here that these are modules, whatever the project around them says.
PACKAGE = '{ "type": "module", "sideEffects": false }\n'

# The modules that the runner looks for beside itself, and which a page of each target fetches.
_BESIDE = ("worker.js", "pictures.js", "pictures-gpu.js", "loops-gpu.js")


def _quoted(text: str) -> str:
    """A JavaScript string literal, single-quoted as the runner's own are."""
    return "'" + json.dumps(text)[1:-1].replace('\\"', '"').replace("'", "\\'") + "'"


def model_js(model: Mapping[str, Any], text: str, bound: str) -> str:
    """`model.js` of a model.json, given its text and the runner's code for it, `bound.js`."""
    files = "".join(
        f"  {_quoted(n)}: new URL({_quoted('./' + n)}, import.meta.url).href,\n"
        for n in model["files"]
    )
    runner = model["runner"]
    needed = {"worker.js", *(name for target in model["targets"] for name in beside(model, target))}
    modules = ", ".join(_quoted(f"{runner}/{name}") for name in _BESIDE if name in needed)
    named = re.compile(f'"(\\./)?({"|".join(map(re.escape, _BESIDE))})"')
    placed = named.sub(rf'"\g<1>{runner}/\g<2>"', bound)
    return (
        f"// The model {_comment(model['name'])}, written by {_comment(model['generator'])}.\n"
        f"const MODEL =\n  {_quoted(text)};\n"
        f"const FILES = () => ({{\n{files}}});\n"
        f"const MODULES = [{modules}];\n\n"
        f"// The descriptor runner.\n{placed}"
    )


def beside(model: Mapping[str, Any], target: str) -> tuple[str, ...]:
    """The modules of the runner that a page fetches beside model.js, on a target."""
    on_gpu = target != "wasm"
    names: tuple[str, ...] = () if on_gpu else ("worker.js",)
    if any("image" in tensor for tensor in model["inputs"]):
        names += ("pictures.js", "pictures-gpu.js") if on_gpu else ("pictures.js",)
    if model["targets"][target].get("loops"):
        names += ("loops-gpu.js",)
    return names


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
        "  options?: Pick<\n"
        "    LoadOptions,\n"
        "    'base' | 'fetch' | 'signal' | 'timeout' | 'progress' | 'variant'\n"
        "  >,\n"
        "): Promise<Kit>;\n\n"
        "/** The model from a kit, at once and in the calling thread. */\n"
        "export declare function instantiate(kit: Kit): Omit<Model, 'loop'>;\n\n"
        "/** What a GPUDevice must have to run the model: pass it to `adapter.requestDevice`. */\n"
        "export declare function requirements(\n"
        "  options?: Pick<LoadOptions, 'base' | 'fetch' | 'signal' | 'timeout'>,\n"
        "): Promise<Requirements>;\n\n"
        "/** Every file that a page may fetch, for a service worker. */\n"
        "export declare const files: readonly string[];\n"
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


__all__ = ["PACKAGE", "beside", "model_dts", "model_js", "range_text"]
