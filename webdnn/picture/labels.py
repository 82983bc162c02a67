"""Names of an output's classes, attached to the descriptor: the page shows them with `model.top`.

>>> read_labels(["cat", "dog"])
['cat', 'dog']

A file has one label a line, UTF-8; or it is JSON: `["cat", "dog"]`, `{"0": "cat", "1": "dog"}`,
Keras's `{"0": ["n02123045", "tabby"]}`, or `{"cat": 0, "dog": 1}`. It is recognised by its content.
Labels may repeat (ImageNet has two cranes), but a blank line among them is an error: it would shift
what follows.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import DimensionError, WebDNNError
from ..graph import Value, dim_text, type_text

LARGEST = 2**24  # bytes of a file of labels: more is some other file


def read_labels(source: Any) -> list[str]:
    """The labels in the order of their classes: of a file, or as they are given.

    Raises WebDNNError for what cannot be a list of labels, naming file and line.
    """
    if isinstance(source, (str, os.PathLike)):
        return _read_file(Path(source))
    if isinstance(source, Sequence) and not isinstance(source, bytes):
        wrong = next((label for label in source if not isinstance(label, str)), None)
        if wrong is not None:
            raise WebDNNError(f"labels: expected texts, found {wrong!r}")
        return list(source)
    raise WebDNNError(
        f"labels: expected a list of texts or the path of a file, found {type(source).__name__}"
    )


def _read_file(path: Path) -> list[str]:
    try:
        if path.stat().st_size > LARGEST:
            raise WebDNNError(
                f"{path}: expected a file of labels, found {path.stat().st_size} bytes"
            )
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise WebDNNError(f"{path}: no such file; expected the labels, one a line") from None
    except OSError as error:
        raise WebDNNError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise WebDNNError(
            f"{path}: expected text in UTF-8, found byte {error.object[error.start]:#04x} "
            f"at {error.start}"
        ) from None
    if text.lstrip()[:1] in ("[", "{"):
        try:
            return _from_json(json.loads(text), path)
        except (ValueError, RecursionError):
            if text.lstrip()[0] == "{":
                raise WebDNNError(f"{path}: expected JSON, as it begins with {{") from None
    lines = [line.strip() for line in text.splitlines()]
    while lines and not lines[-1]:
        lines.pop()
    for number, line in enumerate(lines, 1):
        if not line:
            raise WebDNNError(
                f"{path}, line {number}: expected a label, found a blank line. Classes are "
                "numbered by their lines; give one without a name any text"
            )
    if not lines:
        raise WebDNNError(f"{path}: expected labels, one a line; found none")
    return lines


def _from_json(found: Any, path: Path) -> list[str]:
    if isinstance(found, dict):
        if found and all(isinstance(v, int) for v in found.values()):
            found = {str(index): label for label, index in found.items()}
        missing = next((k for k in range(len(found)) if str(k) not in found), None)
        if missing is not None:
            raise WebDNNError(
                f"{path}: expected each of the classes 0..{len(found) - 1} once, found no {missing}"
            )
        found = [found[str(k)] for k in range(len(found))]
    labels = [label[-1] if isinstance(label, list) and label else label for label in found]
    wrong = next((k for k, label in enumerate(labels) if not isinstance(label, str)), None)
    if wrong is not None:
        raise WebDNNError(f"{path}: expected a text for class {wrong}, found {labels[wrong]!r}")
    if not labels:
        raise WebDNNError(f"{path}: expected labels, found none")
    return labels


def class_axis(value: Value) -> int:
    """The axis of an output along which its classes lie: the one that is not 1 if there is one
    such, else the last; of four axes with an open or large image the second."""
    wide = [axis for axis, d in enumerate(value.shape) if d != 1]
    return wide[0] if len(wide) == 1 else value.rank - 1


def labels_of(outputs: Mapping[str, Value], given: Any) -> tuple[dict[str, list[str]], list[str]]:
    """Labels by output, and notes for the user.

    given: None, the labels of one output (a list or a file), or a mapping from outputs to these.
    Raises DimensionError where their number is not that of the output's classes.
    """
    if given is None:
        return {}, []
    listed = ", ".join(f"{name!r} {type_text(v)[len(v.dtype) :]}" for name, v in outputs.items())
    if not isinstance(given, Mapping):
        labels = read_labels(given)
        fits = [name for name, v in outputs.items() if len(labels) in _sizes(v)]
        if len(outputs) > 1 and len(fits) != 1:
            raise DimensionError(
                f"labels: found {len(labels)}, which fit {'several' if fits else 'none'} of the "
                f"outputs {listed}; say which: --labels NAME=FILE"
            )
        given = {(fits or list(outputs))[0]: labels}
    out: dict[str, list[str]] = {}
    notes = []
    for name, source in given.items():
        value = outputs.get(name)
        if value is None:
            raise WebDNNError(f"labels of {name!r}: the model's outputs are {listed}")
        labels = read_labels(source)
        if len(labels) not in _sizes(value):
            expected = value.shape[class_axis(value)] if value.rank else 1
            raise DimensionError(
                f"labels of {name!r}: expected {dim_text(expected)} for {type_text(value)}, "
                f"found {len(labels)}" + _hint(labels, expected)
            )
        out[name] = labels
        twice = [label for label, n in Counter(labels).items() if n > 1]
        if twice:
            shown = ", ".join(map(repr, twice[:3])) + (" …" if twice[3:] else "")
            notes.append(f"labels of {name!r}: {len(twice)} occur more than once: {shown}")
    return out, notes


def _sizes(value: Value) -> list[Any]:
    """The sizes that may be the number of classes: of the class axis, or of channels before an
    image."""
    if not value.rank:
        return []
    out = [value.shape[class_axis(value)]]
    if value.rank in (3, 4):
        out.append(value.shape[value.rank - 3])
    return [d for d in out if isinstance(d, int)]


def _hint(labels: list[str], expected: Any) -> str:
    if len(labels) == expected - 1 if isinstance(expected, int) else False:
        return "; does the model's class 0 mean 'background'?"
    return ""


__all__ = ["labels_of", "read_labels"]
