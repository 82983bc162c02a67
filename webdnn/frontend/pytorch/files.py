"""What PyTorch writes into files, and reading the one kind that holds a program: .pt2.

    >>> kind("weights.pt", b"PK")  # doctest: +SKIP
    'pickle'

torch.load and torch.export.load run code that a file contains: pickles, names of functions and
formulas that are evaluated. So other files than .pt2 are never read, and a .pt2 file is vetted
first: all that it consists of must be tensors, calls of operators and plain arithmetic.
"""

from __future__ import annotations

import io
import json
import pickletools
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ...errors import ModelError, UnsupportedError, WebDNNError
from ..foreign import exported, of_transformers

# The beginning of files that torch.save wrote before version 1.6: its magic number, pickled.
OLD_MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."

RUNS = "reading it would run the code in it. Where you know its source, do so in Python"
TRANSPILE = "webdnn.transpile(module.eval(), 'build', example=torch.zeros(1, 3, 224, 224))"


def kind(model: Any, head: bytes) -> str | None:
    """program, script, pickle or weights; None for a file that is not PyTorch's."""
    if head.startswith(OLD_MAGIC):
        return "pickle"
    if head[8:10] == b'{"' and 2 < int.from_bytes(head[:8], "little") < 2**27:
        return "weights"  # safetensors: the length of a JSON header, and the header
    if not head.startswith(b"PK\x03\x04"):
        return None
    inner = [name.partition("/")[2] for name in _zip_names(model, head)]
    if any(
        n in ("archive_format", "models/model.json") or n.startswith("data/weights/weight_")
        for n in inner
    ) or "serialized_exported_program.json" in _zip_names(model, head):
        return "program"
    if any(n.startswith("code/") for n in inner):
        return "script"
    if "data.pkl" in inner or any(re.fullmatch(r"data/\d+", n) for n in inner):
        return "pickle"
    return None


def _zip_names(model: Any, head: bytes) -> list[str]:
    """The names in an archive; those at its beginning if its end is missing."""
    try:
        with zipfile.ZipFile(io.BytesIO(model) if isinstance(model, bytes) else model) as archive:
            return archive.namelist()
    except Exception:  # whatever zipfile meets in a damaged directory
        found, at = [], head.find(b"PK\x03\x04")
        while at >= 0:
            size = int.from_bytes(head[at + 26 : at + 28], "little")
            found.append(head[at + 30 : at + 30 + size].decode("utf-8", "replace"))
            at = head.find(b"PK\x03\x04", at + 30)
        return found


def is_state(model: Any) -> bool:
    """Whether this is a state dict: names and tensors, without the computation."""
    return (
        isinstance(model, Mapping)
        and bool(model)
        and all(type(v).__module__.partition(".")[0] == "torch" for v in model.values())
    )


def read(model: Any, packages: Callable[[], Any]) -> Any:
    """The exported program in a .pt2 file; nothing in the file is run. `packages` gives torch.

    Raises ModelError for a damaged or dangerous file, UnsupportedError for the other kinds.
    """
    name = "the model" if isinstance(model, bytes) else str(model)
    with io.BytesIO(model) if isinstance(model, bytes) else Path(model).open("rb") as stream:
        return _program(stream, kind(model, stream.read(65536)), name, packages)


def _program(stream: Any, what: str | None, name: str, packages: Callable[[], Any]) -> Any:
    """The exported program in an open file that `kind` calls `what`."""
    match what:
        case "script":
            raise UnsupportedError(
                f"{name} is a TorchScript file: {RUNS}. Best is the module from which it was made; "
                "else its ONNX file, which webdnn transpile takes:\n"
                f"  module = torch.jit.load({name!r})\n"
                "  example = torch.zeros(1, 3, 224, 224)\n"
                "  torch.onnx.export(module.eval(), (example,), 'model.onnx', dynamo=False)"
            )
        case "pickle":
            raise UnsupportedError(f"{name} {_saved(stream, name)}")
        case "weights":
            folder = Path(name).parent
            if of_transformers(folder):
                raise UnsupportedError(
                    f"{name} holds the weights of a model of transformers (safetensors), without "
                    f"the computation. {exported(folder)}"
                )
            raise UnsupportedError(
                f"{name} holds weights alone (safetensors); the computation is the Python of a "
                f"module. Make the module, then:\n"
                f"  module.load_state_dict(safetensors.torch.load_file({name!r}))\n  {TRANSPILE}"
            )
    torch = packages()
    try:
        with zipfile.ZipFile(stream) as archive:
            _vet(archive, name, torch)
    except (WebDNNError, MemoryError):
        raise
    except Exception as error:  # whatever zipfile and its decoders meet
        raise ModelError(f"{name}: the .pt2 file is damaged or truncated ({error})") from None
    stream.seek(0)
    try:
        return torch.export.load(stream)
    except Exception as error:  # torch raises whatever its readers meet
        raise ModelError(
            f"{name}: torch {torch.__version__} cannot read this .pt2 file: {str(error)[:300]}"
        ) from error


def _saved(stream: Any, name: str) -> str:
    """What torch.save wrote into a file, and how it comes into a module; nothing of it is run."""
    classes, words = _pickled(stream)
    loaded = f"torch.load({name!r}, weights_only=True)"
    if "_modules" in words:
        of = f" of {classes[0]}" if classes else ""
        return (
            f"is a whole module{of} that torch.save pickled: {RUNS}:\n"
            f"  module = torch.load({name!r}, weights_only=False)\n  {TRANSPILE}"
        )
    key = next((w for w in ("model_state_dict", "state_dict") if w in words), None)
    what = f"is a checkpoint, with a state dict as its {key!r}" if key else "is a state dict"
    return (
        f"{what}, which torch.save wrote: weights alone; the computation is the Python of a "
        "module. Make the module, then:\n"
        f"  module.load_state_dict({loaded}{f'[{key!r}]' if key else ''})\n  {TRANSPILE}"
    )


def _pickled(stream: Any) -> tuple[list[str], set[str]]:
    """The classes that a file of torch.save names, but for those of any tensor, and its words."""
    classes: list[str] = []
    words: set[str] = set()
    try:
        stream.seek(0)
        if stream.read(len(OLD_MAGIC)) == OLD_MAGIC:
            parts = 3  # the protocol's version, the system, the object
        else:
            with zipfile.ZipFile(stream) as archive:
                inner = next(n for n in archive.namelist() if n.rpartition("/")[2] == "data.pkl")
                with archive.open(inner) as file:
                    stream, parts = io.BytesIO(file.read(2**24)), 1
        for _ in range(parts):
            for opcode, argument, _ in pickletools.genops(stream):
                if opcode.name == "GLOBAL":
                    place, _, what = str(argument).partition(" ")
                    if place not in _OF_TENSORS and not place.startswith("numpy"):
                        classes.append(f"{place}.{what}")
                elif isinstance(argument, str):
                    words.add(argument)
    except Exception:  # damaged: what was found until there must do
        pass
    return classes, words


_OF_TENSORS = {
    "__builtin__", "_codecs", "builtins", "collections", "copyreg", "torch", "torch._tensor",
    "torch._utils", "torch.nn.parameter", "torch.serialization", "torch.storage",
}  # fmt: skip


# What the parts of a program that torch evaluates as Python may consist of.
_TARGET = re.compile(
    r"torch\.ops\.\w+(\.\w+)*|_operator\.[a-z_]+|math\.[a-z]+|torch\._?sym_\w+|torch\.\w+_mode"
)
# Arithmetic over names, numbers and constructors (`Max(Symbol('s0', positive=True), 1)`).
_EXPRESSION = re.compile(
    r"(\s|\d+(\.\d+)?|'\w+'|(?!\w*__)[A-Z]\w*|(?!\w*__)[a-z]\w*(?!\s*\(|\w)|[()+\-*/%,<>=&|~!])*"
)


def _vet(archive: zipfile.ZipFile, name: str, torch: Any) -> None:
    """Raises for whatever in a .pt2 file would run code, or grow, when torch reads it."""
    infos = archive.infolist()
    stored, unpacked = (
        sum(i.compress_size for i in infos),
        sum(i.file_size for i in infos),
    )
    if unpacked > 4 * stored + 2**20:
        raise ModelError(
            f"{name}: {stored} bytes that unpack to {unpacked}: not as torch.export.save writes"
        )
    broken = archive.testzip()
    if broken is not None:
        raise ModelError(f"{name}: the .pt2 file is damaged: {broken} has a wrong checksum")

    def refuse(what: str) -> ModelError:
        return ModelError(
            f"{name} contains {what}, which would run code when it is read. If you know its "
            "source, load it with torch.export.load and pass the program to webdnn.transpile"
        )

    for info in infos:
        inner = info.filename
        if "aotinductor" in inner or inner.endswith((".so", ".pyd", ".dll", ".py")):
            raise refuse(f"machine code or scripts ({inner})")
        if inner.endswith(".pt") and info.file_size:
            try:
                torch.load(io.BytesIO(archive.read(inner)), weights_only=True)
            except Exception:
                raise refuse(f"pickled objects ({inner})") from None
        if inner.endswith(".json"):
            try:
                document = json.loads(archive.read(inner))
            except (ValueError, RecursionError):
                raise ModelError(f"{name}: the .pt2 file is damaged: {inner}") from None
            for key, value in _entries(document):
                if key == "use_pickle" and value:
                    raise refuse(f"pickled objects ({inner})")
                if key == "target" and not (isinstance(value, str) and _TARGET.fullmatch(value)):
                    raise refuse(f"a call of {str(value)[:80]!r}")
                if key == "expr_str" and not _EXPRESSION.fullmatch(str(value)):
                    raise refuse(f"the expression {str(value)[:80]!r}")


def _entries(document: Any) -> Iterator[tuple[str, Any]]:
    """Every key and value of a JSON document, at any depth."""
    rest = [document]
    while rest:
        here = rest.pop()
        if isinstance(here, dict):
            yield from here.items()
            rest += here.values()
        elif isinstance(here, list):
            rest += here
