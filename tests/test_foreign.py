"""Models of formats that have no front end: the message names the way in."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from webdnn import frontend
from webdnn.errors import UnsupportedError


def _proto(number: int, content: bytes) -> bytes:
    """A field of bytes of a protocol buffer message."""
    assert len(content) < 128
    return bytes([number << 3 | 2, len(content)]) + content


# As TensorFlow and Core ML write them: version, then the first of the message's parts.
_SAVED = b"\x08\x01" + _proto(2, _proto(1, _proto(4, b"serve")))
_GRAPH = _proto(1, _proto(1, b"input/x") + _proto(2, b"Placeholder"))
_CORE = b"\x08\x04" + _proto(2, _proto(1, _proto(1, b"image")))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\x1c\x00\x00\x00TFL3" + bytes(99), r"tf2onnx\.convert --tflite '?.* --output model"),
        (b"GGUF\x03" + bytes(99), "GGUF.*without its computation.*\n.*\n.*optimum-cli export onnx"),
        (b"ftrt" + bytes(99), "TensorRT engine.*Transpile the ONNX file that trtexec was given"),
        (_SAVED, r"SavedModel\. Convert it.*\n.*\n.*tf2onnx\.convert --saved-model /.*"),
        (_GRAPH, r"GraphDef.*\n.*\n.*--graphdef '.* --output model\.onnx --inputs INPUT:0"),
        (_CORE, "Core ML model.*the model that it was made from"),
    ],
)
def test_models_without_a_front_end_are_told_the_way_in(
    data: bytes, message: str, tmp_path: Path
) -> None:
    file = tmp_path / "it's any.name"  # by content; and quoted for a shell
    file.write_bytes(data)
    with pytest.raises(UnsupportedError, match=message) as raised:
        frontend.load(file)
    assert str(raised.value).startswith(f"{file} ")
    with pytest.raises(UnsupportedError, match=r"^the model (is|holds) "):
        frontend.load(data)


def test_folders_are_told_the_way_in(tmp_path: Path) -> None:
    (tmp_path / "saved_model.pb").write_bytes(_SAVED)
    for model in (tmp_path, tmp_path / "saved_model.pb"):
        with pytest.raises(UnsupportedError, match=f"--saved-model {tmp_path} --output model"):
            frontend.load(model)
    (tmp_path / "saved_model.pb").unlink()
    (tmp_path / "onnx").mkdir()
    (tmp_path / "onnx" / "model.onnx").write_bytes(b"")
    with pytest.raises(UnsupportedError, match=r"Transpile a file in it: \S+/onnx/model\.onnx"):
        frontend.load(tmp_path)


def test_a_name_is_quoted_for_the_shell(tmp_path: Path) -> None:
    file = tmp_path / "it's any.name"
    file.write_bytes(b"\x1c\x00\x00\x00TFL3" + bytes(99))
    with pytest.raises(UnsupportedError) as raised:
        frontend.load(file)
    command = shlex.split(str(raised.value).splitlines()[-1])
    assert command[command.index("--tflite") + 1] == str(file)
