"""Models of formats that have no front end: what each is, and the way in.

    way_in("model.tflite", head)  # "a TensorFlow Lite model. Convert it to ONNX first: …"

They are told apart by content, as all formats are; by name only where the content is encrypted or
says nothing. Commands are given as they can be pasted, for the very file.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

_INSTALL = "pip install tf2onnx tensorflow"


def way_in(model: str | os.PathLike[str] | bytes, head: bytes) -> str | None:
    """What a file or folder is and how WebDNN gets it, in words; None where it is not known.

    head: the beginning of a file, empty for a folder.
    """
    path = None if isinstance(model, bytes) else Path(model)
    name = "model" if path is None else str(path)
    if path is not None and path.is_dir():
        return _folder(path)
    file = "" if path is None else path.name
    if head[4:8] == b"TFL3":
        return (
            "is a TensorFlow Lite model. Convert it to ONNX first, or better the model that it was "
            f"made from:\n  {_INSTALL}\n  {_tf2onnx('--tflite', name)}"
        )
    if head.startswith(b"GGUF"):
        return (
            "holds the weights of a language model for llama.cpp (GGUF), without its computation. "
            f"{_TRANSFORMERS}"
        )
    if head[:4] in (b"ftrt", b"ptrt") or file.endswith((".engine", ".plan", ".trt")):
        return (
            "is a TensorRT engine: machine code for one kind of graphics card, from which no model "
            "can be had. Transpile the ONNX file that trtexec was given"
        )
    if re.match(rb"\x08[\x01-\x20]\x12", head) and (inner := _field(head, 2)) is not None:
        if re.match(rb"\x0a[^\x80-\xff]\x0a|\x0a[\x80-\xff]+[\x00-\x7f]\x0a", inner):
            return f"is a Core ML model. {_CORE_ML}"
        if re.match(rb"\x0a[\x80-\xff]*[\x00-\x7f][\x12\x22]", inner):
            folder = path.parent if path is not None else "FOLDER"
            return f"is the graph of a TensorFlow SavedModel. {_saved(str(folder))}"
    node = _field(head, 1) if head.startswith(b"\x0a") else None
    if node is not None and re.match(rb"\x0a[\x01-\x7f][\x21-\x7e]+\x12[\x01-\x7f][A-Z]\w", node):
        return (
            "is a frozen graph of TensorFlow (GraphDef). Convert it to ONNX first, with the names "
            f"of its inputs and outputs:\n  {_INSTALL}\n"
            f"  {_tf2onnx('--graphdef', name)} --inputs INPUT:0 --outputs OUTPUT:0"
        )
    return None


_TRANSFORMERS = (
    "Transpile the model that it was made from, exported to ONNX:\n"
    "  pip install 'optimum[onnxruntime]'\n"
    "  optimum-cli export onnx --model NAME_OR_FOLDER onnx"
)
_CORE_ML = (
    "Transpile the model that it was made from: of PyTorch the module, with webdnn.transpile("
    "module, 'build', example=…); of Keras its .keras or .h5 file; of TensorFlow the SavedModel, "
    "by tf2onnx"
)


def _saved(folder: str) -> str:
    return (
        f"Convert it to ONNX first:\n  {_INSTALL}\n  {_tf2onnx('--saved-model', folder)}\n"
        "A model of Keras goes in without that: model.save('model.keras')"
    )


def _tf2onnx(option: str, name: str) -> str:
    return f"python -m tf2onnx.convert {option} {_quoted(name)} --output model.onnx"


def _quoted(name: str) -> str:
    """A name as a shell takes it."""
    return name if re.fullmatch(r"[\w./:~+-]+", name) else "'" + name.replace("'", "'\\''") + "'"


def _folder(path: Path) -> str | None:
    """The same of a folder, by the files in it."""
    if (path / "saved_model.pb").is_file() or (path / "saved_model.pbtxt").is_file():
        return f"is a TensorFlow SavedModel. {_saved(str(path))}"
    if (path / "Manifest.json").is_file() and (path / "Data").is_dir():
        return f"is a Core ML package. {_CORE_ML}"
    inner = sorted(path.glob("*.onnx")) or sorted(path.glob("onnx/*.onnx"))
    if inner:
        names = ", ".join(str(file) for file in inner[:4]) + (", …" if len(inner) > 4 else "")
        return f"is a folder. Transpile a file in it: {names}"
    if (path / "model.js").is_file() and (path / "model.json").is_file():
        return "is what webdnn transpile wrote. Look at it with: webdnn serve " + _quoted(str(path))
    if of_transformers(path):
        return f"is the folder of a model of transformers. {exported(path)}"
    return None


def of_transformers(folder: Path) -> bool:
    """Whether a folder has the configuration of a model of Hugging Face's transformers."""
    try:
        config: Any = json.loads((folder / "config.json").read_bytes()[: 1 << 20])
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(config, dict) and "model_type" in config


def exported(folder: Path) -> str:
    """How the ONNX file of such a folder is made."""
    return (
        "Export it to ONNX:\n  pip install 'optimum[onnxruntime]'\n"
        f"  optimum-cli export onnx --model {_quoted(str(folder))} onnx"
    )


def _field(head: bytes, number: int) -> bytes | None:
    """The first content of a field of bytes in a protocol buffer message, as far as it is there."""
    at = 0

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while at < len(head) and shift < 64:
            byte = head[at]
            at += 1
            value |= (byte & 127) << shift
            if byte < 128:
                return value
            shift += 7
        return -1

    while at < len(head):
        key = varint()
        if key & 7 == 0:
            if varint() < 0:
                return None
        elif key & 7 == 2:
            size = varint()
            if size < 0:
                return None
            if key >> 3 == number:
                return head[at : at + size]
            at += size
        else:
            return None
    return None


__all__ = ["exported", "of_transformers", "way_in"]
