"""Protocol buffers as text, read without a schema: the `.prototxt` of a Caffe net.

    >>> net = parse('layer { name: "fc" inner_product_param { num_output: 10 } }')
    >>> net.child("layer").child("inner_product_param").integer("num_output")
    10

A message keeps every field in the order of the file, with the line of each value; what a field
must be is said by whoever asks for it, and an error then names file, line and field. So the fields
of a fork need no list here. The syntax is that of the Protocol Buffers text format specification
(protobuf.dev): both kinds of message brackets, lists, strings in pieces, comments, hexadecimal and
octal numbers. Limits: messages nest no deeper than 100, as in the original reader.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ...errors import ModelError

DEEPEST = 100
LARGEST = 2**31 - 1

_TOKEN = re.compile(
    r"""(?P<space>\s+|\#[^\n]*)
      | (?P<string>"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*')
      | (?P<number>0[xX][0-9a-fA-F]+(?![\w.]) | (?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?[fF]?(?![\w.]))
      | (?P<word>[A-Za-z_][\w.]*)
      | (?P<sign>[{}<>\[\]:;,\-+/])""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPE = re.compile(
    r"\\(?:x([0-9a-fA-F]{1,2})|([0-7]{1,3})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(.))", re.DOTALL
)
_LETTERS = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "f": "\f", "v": "\v"}
_CLOSING = {"{": "}", "<": ">"}


class Word(str):
    """A value without quotes: an enumerator, `true`, `inf`."""

    __slots__ = ()


@dataclass(eq=False)
class Message:
    """A message: the values of each field in order, with the line of each.

    Every accessor takes the last value of a field that is given several times, and raises
    ModelError where the value is not of the kind that is asked for. `read` collects the fields that
    were asked for, so that what nobody understands can be told.
    """

    file: str
    line: int = 1
    fields: dict[str, list[tuple[Any, int]]] = field(default_factory=dict)
    read: set[str] = field(default_factory=set)

    def __contains__(self, name: str) -> bool:
        self.read.add(name)
        return name in self.fields

    def values(self, name: str) -> list[tuple[Any, int]]:
        """(value, line) of each occurrence of a field."""
        self.read.add(name)
        return self.fields.get(name, [])

    def unread(self) -> list[tuple[str, int]]:
        """The fields (with their lines) that nobody has asked for."""
        return [(n, found[0][1]) for n, found in self.fields.items() if n not in self.read]

    def wrong(self, name: str, line: int, expected: str, found: Any) -> ModelError:
        """The error for a value that is not what its field needs."""
        shown = "a message { ... }" if isinstance(found, Message) else repr(_plain(found))
        return ModelError(f"{self.file}, line {line}: {name}: expected {expected}, found {shown}")

    def integers(self, name: str, low: int = -LARGEST - 1, high: int = LARGEST) -> list[int]:
        """Every value of a field of integers within low..high."""
        out = []
        for value, line in self.values(name):
            if isinstance(value, bool) or not isinstance(value, int):
                raise self.wrong(name, line, "an integer", value)
            if not low <= value <= high:
                raise self.wrong(name, line, f"an integer from {low} to {high}", value)
            out.append(value)
        return out

    def integer(
        self, name: str, default: int = 0, low: int = -LARGEST - 1, high: int = LARGEST
    ) -> int:
        """An integer within low..high."""
        return [default, *self.integers(name, low, high)][-1]

    def numbers(self, name: str) -> list[float]:
        """Every value of a field of numbers."""
        out = []
        for value, line in self.values(name):
            if isinstance(value, Word):
                value = _SPECIAL.get(value.lower(), value)
            if isinstance(value, str | Message):
                raise self.wrong(name, line, "a number", value)
            out.append(float(value))
        return out

    def number(self, name: str, default: float = 0.0) -> float:
        """A number."""
        return [default, *self.numbers(name)][-1]

    def flag(self, name: str, default: bool = False) -> bool:
        """true or false."""
        for value, line in self.values(name):
            if value in _FLAGS and not (isinstance(value, str) and not isinstance(value, Word)):
                default = _FLAGS[value]
            else:
                raise self.wrong(name, line, "true or false", value)
        return default

    def strings(self, name: str) -> list[str]:
        """Every value of a field of strings."""
        out = []
        for value, line in self.values(name):
            if not isinstance(value, str) or isinstance(value, Word):
                raise self.wrong(name, line, "a string in quotes", value)
            out.append(str(value))
        return out

    def string(self, name: str, default: str = "") -> str:
        """A string."""
        return [default, *self.strings(name)][-1]

    def choice(self, name: str, choices: Mapping[str, int] | Sequence[str], default: str) -> str:
        """One of the enumerators, given by its name or its number."""
        numbers = choices if isinstance(choices, Mapping) else {c: k for k, c in enumerate(choices)}
        for value, line in self.values(name):
            found = [c for c, k in numbers.items() if value == c or _is_number(value, k)]
            if not found:
                raise self.wrong(name, line, f"one of {', '.join(numbers)}", value)
            default = found[0]
        return default

    def children(self, name: str) -> list[Message]:
        """Every value of a field of messages."""
        out = []
        for value, line in self.values(name):
            if not isinstance(value, Message):
                raise self.wrong(name, line, "a message { ... }", value)
            out.append(value)
        return out

    def child(self, name: str) -> Message:
        """A message, empty where the field is absent; one in several parts is put together."""
        found = self.children(name)
        if len(found) == 1:
            return found[0]
        whole = Message(self.file, found[0].line if found else self.line)
        for part in found:
            for key, values in part.fields.items():
                whole.fields.setdefault(key, []).extend(values)
        return whole


_SPECIAL = {"inf": math.inf, "infinity": math.inf, "nan": math.nan}
_SPECIAL |= {"-" + name: -value for name, value in _SPECIAL.items()}
_FLAGS: dict[Any, bool] = {
    "true": True, "True": True, "t": True, 1: True,
    "false": False, "False": False, "f": False, 0: False,
}  # fmt: skip


def _is_number(value: Any, k: int) -> bool:
    return isinstance(value, int) and value == k


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, str) else value


def parse(text: str, file: str = "the prototxt") -> Message:
    """The message that the text is. Raises ModelError with line and column of a syntax error."""
    return _Reader(text.removeprefix("\ufeff"), file).message(None, 1, 0)


class _Reader:
    """The tokens of a text, one ahead."""

    def __init__(self, text: str, file: str) -> None:
        self.text, self.file = text, file
        self.at = self.end = 0
        self.kind = self.token = ""
        self.line, self.line_start = 1, 0  # of the token; where its line begins
        self.next()

    def next(self) -> None:
        """Step to the next token; kind "end" after the last."""
        text = self.text
        while True:
            self._count(self.end)
            self.at = self.end
            if self.at >= len(text):
                self.kind, self.token = "end", ""
                return
            match = _TOKEN.match(text, self.at)
            if match is None:
                raise self.error(self._unreadable())
            self.end = match.end()
            if match.lastgroup != "space":
                self.kind, self.token = match.lastgroup or "", match.group()
                return

    def _count(self, end: int) -> None:
        lines = self.text.count("\n", self.at, end)
        if lines:
            self.line += lines
            self.line_start = self.text.rindex("\n", self.at, end) + 1

    def _unreadable(self) -> str:
        rest = self.text[self.at :].split("\n", 1)[0]
        if rest[0] in "\"'":
            return f"a string that its line does not close: {rest[:40]}"
        if rest[0].isdigit() or rest[0] == ".":
            return f"{rest.split()[0][:40]!r} is not a number"
        return f"unexpected character {rest[0]!r}"

    def error(self, what: str) -> ModelError:
        """A syntax error at the current token."""
        column = self.at - self.line_start + 1
        return ModelError(f"{self.file}, line {self.line}, column {column}: {what}")

    def expected(self, what: str) -> ModelError:
        """The error for a token that does not belong here."""
        found = f"{self.token[:40]!r}" if self.kind != "end" else "the end of the file"
        return self.error(f"expected {what}, found {found}")

    def take(self, token: str) -> bool:
        """Whether this punctuation comes next; it is taken."""
        found = self.kind == "sign" and self.token == token
        if found:
            self.next()
        return found

    def message(self, closing: str | None, line: int, depth: int) -> Message:
        """The fields up to the closing bracket (None: the end of the file)."""
        if depth > DEEPEST:
            raise self.error(f"messages nest deeper than {DEEPEST}")
        out = Message(self.file, line)
        while True:
            if closing is None and self.kind == "end":
                return out
            if closing is not None and self.take(closing):
                return out
            if self.kind != "word":
                if self.take("["):
                    name = self._extension()
                else:
                    where = f" or {closing!r} of line {line}" if closing else ""
                    raise self.expected(f"the name of a field{where}")
            else:
                name = self.token
                self.next()
            colon = self.take(":")
            if not colon and not (self.kind == "sign" and self.token in "{<["):
                raise self.expected(f"':' or '{{' after {name!r}")
            found = out.fields.setdefault(name, [])
            if self.take("["):
                while not self.take("]"):
                    found.append(self.value(name, depth))
                    if not self.take(",") and not (self.kind == "sign" and self.token == "]"):
                        raise self.expected(f"',' or ']' in the list of {name!r}")
            else:
                found.append(self.value(name, depth))
            if not self.take(","):
                self.take(";")

    def _extension(self) -> str:
        """The name of an extension or of an Any: [a.b/c.d]."""
        name = ""
        while not self.take("]"):
            if self.kind not in ("word", "sign") or self.token in "{}<>[:;,":
                raise self.expected("']' after the name of an extension")
            name += self.token
            self.next()
        return f"[{name}]"

    def value(self, name: str, depth: int) -> tuple[Any, int]:
        """One value, with its line."""
        line = self.line
        if self.kind == "sign" and self.token in _CLOSING:
            closing = _CLOSING[self.token]
            self.next()
            return self.message(closing, line, depth + 1), line
        if self.kind == "string":
            pieces = []
            while self.kind == "string":
                pieces.append(_unescaped(self.token[1:-1]))
                self.next()
            return "".join(pieces), line
        negative = self.take("-")
        token, kind = self.token, self.kind
        if kind == "number":
            try:
                number = _number(token)
            except ValueError:
                raise self.error(f"{token[:40]!r} is not a number") from None
            self.next()
            return (-number if negative else number), line
        if kind == "word":
            if negative and token.lower() not in _SPECIAL:
                raise self.expected("a number after '-'")
            self.next()
            return Word("-" + token if negative else token), line
        raise self.expected(f"a value for {name!r}")


def _number(token: str) -> int | float:
    low = token.lower()
    if low.startswith("0x"):
        return int(low, 16)
    if low.isdigit():
        return int(low, 8) if len(low) > 1 and low[0] == "0" else int(low)
    return float(low.rstrip("f"))


def _unescaped(text: str) -> str:
    def one(match: re.Match[str]) -> str:
        hexa, octal, short, long, letter = match.groups()
        if letter is not None:
            return _LETTERS.get(letter, letter)
        code = int(octal, 8) if octal else int(hexa or short or long, 16)
        return chr(code) if code < 0x110000 else "\ufffd"

    return _ESCAPE.sub(one, text) if "\\" in text else text


__all__ = ["Message", "Word", "parse"]
