"""Labels: files of every form, how they meet an output, and what is wrong with others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from webdnn.errors import WebDNNError
from webdnn.expr import dim
from webdnn.graph import placeholder
from webdnn.picture.labels import labels_of, read_labels


def outputs(**shapes: tuple[Any, ...]) -> dict[str, Any]:
    return {name: placeholder(name, shape, "f32") for name, shape in shapes.items()}


@pytest.mark.parametrize(
    "text",
    [
        "cat\ndog\nbird\n",
        "\ufeffcat\r\ndog \r\nbird\r\n\r\n\n",
        '["cat", "dog", "bird"]',
        '{"0": "cat", "1": "dog", "2": "bird"}',
        '{"2": ["n3", "bird"], "0": ["n1", "cat"], "1": ["n2", "dog"]}',
        '\n {"dog": 1, "cat": 0, "bird": 2}',
    ],
)
def test_files_of_every_form(text: str, tmp_path: Path) -> None:
    (tmp_path / "labels").write_bytes(text.encode())
    assert read_labels(tmp_path / "labels") == ["cat", "dog", "bird"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"cat\n\ndog\n", "line 2: expected a label, found a blank line"),
        (b"", "expected labels, one a line; found none"),
        (b"caf\xe9\n", "expected text in UTF-8, found byte 0xe9 at 3"),
        (b'{"0": "cat", "2": "dog"}', "expected each of the classes 0..1 once, found no 1"),
        (b'{"0": 1.5}', "expected a text for class 0, found 1.5"),
        (b'["cat", 3]', "expected a text for class 1, found 3"),
        (b'{"cat"', "expected JSON"),
        (b"[" * 100_000, "expected"),
    ],
)
def test_what_is_no_file_of_labels(data: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "labels").write_bytes(data)
    try:
        labels = read_labels(tmp_path / "labels")
    except WebDNNError as error:
        assert message in str(error) and str(tmp_path) in str(error)
    else:  # a text that begins with a bracket may be a label
        assert data.startswith(b"[[") and len(labels) == 1


def test_other_values() -> None:
    with pytest.raises(WebDNNError, match="no such file"):
        read_labels("nowhere.txt")
    with pytest.raises(WebDNNError, match="expected texts, found 3"):
        read_labels(["a", 3])
    with pytest.raises(WebDNNError, match="found int"):
        read_labels(3)


def test_labels_find_their_output() -> None:
    n = dim("n", 1, 4)
    assert labels_of({}, None) == ({}, [])
    for shape in [(1, 3), (3,), (n, 3), (1, 3, 1, 1), (1, 1, 1, 3), (1, 3, 20, 20), (1, 20, 20, 3)]:
        assert labels_of(outputs(y=shape), ["a", "b", "c"]) == ({"y": ["a", "b", "c"]}, [])
    both = outputs(boxes=(1, 4), classes=(1, 3))
    assert labels_of(both, ["a", "b", "c"])[0] == {"classes": ["a", "b", "c"]}
    _, notes = labels_of(both, {"classes": ["a", "crane", "crane"]})
    assert notes == ["labels of 'classes': 1 occur more than once: 'crane'"]


@pytest.mark.parametrize(
    ("shapes", "given", "message"),
    [
        ({"y": (1, 4)}, ["a", "b", "c"],
         "labels of 'y': expected 4 for f32[1,4], found 3; does the model's class 0 mean"),
        ({"y": (1, 1000)}, ["a", "b"], "expected 1000 for f32[1,1000], found 2"),
        ({"a": (1, 2), "b": (1, 2)}, ["x", "y"], "fit several of the outputs 'a' [1,2], 'b' [1,2]"),
        ({"a": (1, 2), "b": (1, 3)}, ["x"], "fit none of the outputs 'a' [1,2], 'b' [1,3]"),
        ({"a": (1, 2)}, {"z": ["x", "y"]}, "labels of 'z': the model's outputs are 'a' [1,2]"),
        ({"a": (dim("n", 1, 9), 5)}, ["x"] * 9, "expected 5"),
    ],
)  # fmt: skip
def test_labels_that_do_not_fit(shapes: Any, given: Any, message: str) -> None:
    with pytest.raises(WebDNNError) as error:
        labels_of(outputs(**shapes), given)
    assert message in str(error.value)
