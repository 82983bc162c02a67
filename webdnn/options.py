"""What the words of the command line mean, and the options that several commands share.

    parse_dims(["h=64..512"])                       {"h": (64, 512)}
    pictures_of("--input", ["image:rgb", "a=b.npy"])  ({"image": "rgb"}, ["a=b.npy"])

A word that means nothing is a usage error of click's, or a WebDNNError that says what was expected.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import click

from webdnn.errors import DimensionError, WebDNNError
from webdnn.picture.image import CHANNELS, named
from webdnn.picture.output import KINDS
from webdnn.picture.output import named as named_output

TARGETS = ("webgpu", "wasm")
PRECISIONS = ("f32", "f16")
ENGINES = ("chromium", "firefox", "webkit")
VARIANTS = ("plain", "relaxed", "plain-threads", "relaxed-threads")

Dims = dict[str, "int | tuple[int, ...] | str"]

_DIM = re.compile(r"([^=]+)=(?:(\d+)(?:\.\.(\d+)(?::(\d+))?)?|(.*[A-Za-z_].*))")


def parse_dims(texts: Sequence[str], option: str = "--dim") -> Dims:
    """Sizes of dimensions by name, as `frontend.dims` takes them; several with commas.

    `h=256` → {"h": 256}, `h=64..512` → {"h": (64, 512)}, `h=64..512:8` → {"h": (64, 512, 8)},
    `total=past+s` → {"total": "past+s"}.
    """
    from webdnn.frontend.dims import Sizes

    dims: Dims = {}
    for text in filter(None, ",".join(texts).split(",")):
        match = _DIM.fullmatch(text)
        if match is None:
            raise DimensionError(
                f"{option} {text}: expected NAME=SIZE, NAME=LOW..HIGH, NAME=LOW..HIGH:STEP or a "
                "formula over other names, as in h=256, h=64..512, h=64..512:8 or total=past+s"
            )
        name, *sizes, formula = match.groups()
        if name in dims:
            raise DimensionError(f"{option} {text}: {name} is given twice")
        numbers = tuple(int(size) for size in sizes if size is not None)
        dims[name] = formula or (numbers if len(numbers) > 1 else numbers[0])
        try:
            Sizes({name: dims[name]})
        except DimensionError as error:
            if formula:
                error.say(f"--dim {text}: expected a formula with +, -, *, // and % of other names")
            raise
    return dims


class Once(click.Command):
    """A command that refuses an option given twice, where click would forget the first."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Raises a usage error for one that has a single value; what follows is click's."""
        words = list(args)
        rest = super().parse_args(ctx, args)
        for option, times in Counter(self.make_parser(ctx).parse_args(words)[2]).items():
            alone = isinstance(option, click.Option) and not option.multiple and not option.is_flag
            if times > 1 and alone:
                several = (
                    " (several are one list with commas)" if "," in (option.metavar or "") else ""
                )
                raise click.UsageError(
                    f"{option.opts[0]} is given {times} times: expected one{several}", ctx
                )
        return rest


class Commands(click.Group):
    """A group of such commands."""

    command_class = Once


class Words(click.ParamType):  # type: ignore[type-arg] # click before 8.4 has no generic one
    """A comma-separated choice of known words."""

    def __init__(self, known: Sequence[str]) -> None:
        self.known = known
        self.name = "words"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, ...]:
        """Splits at commas; an unknown word is a usage error that lists the known ones."""
        if isinstance(value, tuple):
            return value
        words = tuple(word for word in str(value).split(",") if word)
        if not words:
            self.fail(f"expected {', '.join(self.known)}, or several with commas.", param, ctx)
        for word in words:
            if word not in self.known:
                self.fail(f"{word!r} is not one of {', '.join(self.known)}.", param, ctx)
        return words


@dataclass(frozen=True)
class Source:
    """The model that a command is about: its file, that of its weights, sizes of dimensions."""

    model: Path
    weights: Path | None
    dims: Dims


_FILE = re.compile(r".*\.[A-Za-z][^/\\]*")  # a name with a suffix, which sizes have not


def source_of(words: Sequence[str], dims: Sequence[str]) -> Source:
    """`--dim h=1 w=2 MODEL` and `MODEL WEIGHTS --dim h=1 w=2`: further sizes come as bare words.

    Of two files, the one that is text is the model, which its weights follow.
    """
    sizes = [w for w in words if "=" in w and not _FILE.fullmatch(w) and not Path(w).exists()]
    files = [Path(word) for word in words if word not in sizes]
    if not 1 <= len(files) <= 2:
        found = ", ".join(map(str, files)) or "none"
        raise click.UsageError(f"expected one MODEL, or MODEL and WEIGHTS, found {found}")
    if len(files) == 2 and _is_text(files[1]) and not _is_text(files[0]):
        files.reverse()
    model, *rest = files
    return Source(model, rest[0] if rest else None, parse_dims([*dims, *sizes]))


def _is_text(file: Path) -> bool:
    if not file.is_file():
        return False
    with file.open("rb") as opened:
        head = opened.read(1024)
    return b"\0" not in head and head.decode("utf-8", "ignore").isprintable() | (b"\n" in head)


# `image:rbg`, `rbg,scale=1`, `image=rgb`; with a slash behind the colon or in front it is a path.
_READING = re.compile(
    rf"(?!\.*[/\\])(?:.*:[^/\\:=,]*(?:,.*)?|\w+(?:,\s*\w+=.*)+|.*=(?:{'|'.join(KINDS)})(?:,.*)?)",
    re.DOTALL,
)


def _no_reading(option: str, text: str) -> WebDNNError:
    kinds, size = (CHANNELS, "resize=224,") if option == "--input" else (KINDS, "")
    folder = f", or for a folder of that name ./{text}" if option == "--output" else ""
    return WebDNNError(
        f"{option} {text}: expected NAME:{'|'.join(kinds)}[,OPTION=VALUE…], as in "
        f"image:rgb,{size}mean=0.5,std=0.5{folder}"
    )


def pictures_of(option: str, texts: Sequence[str]) -> tuple[dict[str | None, str], list[str]]:
    """`--input NAME:rgb,…`, or `--output`, by name; and its others, which are files."""
    pictures: dict[str | None, str] = {}
    files = []
    for text in texts:
        found = named(text) if option == "--input" else named_output(text)
        if found is None:
            if _READING.fullmatch(text) and not Path(text.rpartition("=")[2]).exists():
                raise _no_reading(option, text)
            files.append(text)
        elif found[0] in pictures:
            raise WebDNNError(f"{option} {text}: this {option[2:]} is given twice")
        else:
            pictures[found[0]] = found[1]
    return pictures, files


def each_input(texts: Sequence[str]) -> list[dict[str, Path]]:
    """`--input NAME=FILE` for each run: an input that is given again belongs to the next one."""
    runs: list[dict[str, Path]] = []
    for name, file in (named_file("--input", text) for text in texts):
        run = next((run for run in runs if name not in run), None)
        if run is None:
            runs.append(run := {})
        run[name] = file
    if any(run.keys() != runs[0].keys() for run in runs):
        raise WebDNNError(
            "--input: for several runs, every input that is given is given as often: "
            + ", ".join(f"{name} {sum(name in run for run in runs)} times" for name in runs[0])
        )
    return runs


def only_pictures(option: str, texts: Sequence[str]) -> dict[str | None, str]:
    """`--input`, or `--output`, where it has the one meaning of pictures."""
    pictures, others = pictures_of(option, texts)
    if others:
        raise _no_reading(option, others[0])
    return pictures


def label_files(texts: Sequence[str]) -> Path | dict[str, Path] | None:
    """`--labels FILE`, or several `--labels OUTPUT=FILE`."""
    if not texts:
        return None
    if len(texts) == 1 and ("=" not in texts[0] or Path(texts[0]).exists()):
        return Path(texts[0])
    files = {}
    for text in texts:
        name, equals, file = text.rpartition("=")
        if not equals:
            raise WebDNNError(f"--labels {text}: of several, expected each as OUTPUT=FILE")
        if name in files:
            raise WebDNNError(f"--labels {text}: output {name!r} is given labels twice")
        files[name] = Path(file)
    return files


def parse_fixed(texts: Sequence[str]) -> dict[str, Any]:
    """`--set NAME=VALUE` by name."""
    from webdnn.frontend.fixed import parse_fixed

    return parse_fixed(texts)


def run_plugins(files: Sequence[Path]) -> None:
    """`--plugin FILE`: runs each file, in order; what it prints is no part of the result."""
    from webdnn.frontend.plugins import run_plugin

    with redirect_stdout(sys.stderr):
        for file in files:
            run_plugin(file)


def parse_size(text: str) -> dict[str, int]:
    """`--size h=128,w=96` by name. Raises DimensionError for ranges and formulas."""
    sizes = parse_dims([text], "--size")
    if not sizes or not all(isinstance(size, int) for size in sizes.values()):
        raise DimensionError(f"--size {text}: expected sizes, not ranges: NAME=SIZE, as h=128,w=96")
    return cast("dict[str, int]", sizes)


def named_file(option: str, text: str) -> tuple[str, Path]:
    # The name may hold "=" or ":"; the file, being the last part, decides.
    name, separator, file = text.rpartition("=")
    if not separator:
        pictures = ", or NAME:rgb,…" if option == "--input" else ""
        raise WebDNNError(f"{option} {text}: expected NAME=FILE.npy{pictures}")
    return name, Path(file)


_dim = click.option(
    "--dim",
    "dims",
    multiple=True,
    metavar="NAME=SIZE|LOW..HIGH[:STEP]|FORMULA …",
    help="Fix a symbolic dimension (h=256), give its range (h=64..512, or h=64..512:32 for "
    "multiples of 32), or say how it follows from others (total=past+s).",
)
_set = click.option(
    "--set",
    "fixed",
    multiple=True,
    metavar="NAME=VALUE",
    help="Make an input a constant, which the page does not give: a number, true, a list as [1,2], "
    "or an .npy file.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
model_argument = click.argument("words", nargs=-1, required=True, metavar="MODEL [WEIGHTS]")
_weights = click.option(
    "--weights",
    default="f32",
    show_default=True,
    metavar="f16|int8|int4[:N]",
    help="What weights become in the download and in memory; N of them share a scale.",
)
_keep = click.option(
    "--keep",
    multiple=True,
    metavar="PATTERN[=f16|…]",
    help="These layers' weights stay float32, or become something else, as in --keep 'head*'.",
)
_precision = click.option(
    "--precision",
    default="f32",
    show_default=True,
    type=click.Choice(PRECISIONS),
    help="What WebGPU computes in; f16: half precision where the page's device has shader-f16.",
)
images_option = click.option(
    "--input",
    "inputs",
    multiple=True,
    metavar="NAME:rgb,…",
    help="This input takes pictures: what becomes of them, as in image:rgb,resize=224.",
)
outputs_option = click.option(
    "--output",
    "outputs",
    multiple=True,
    metavar="NAME:rgb,…",
    help="This output is a picture, as for transpile.",
)
_plugins = click.option(
    "--plugin",
    "plugins",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Run this Python file first: it says what operators of one's own compute "
    "(webdnn.onnx.register, webdnn.keras.register).",
)
_limits = click.option(
    "--limits",
    default=1.0,
    type=click.FloatRange(min=1),
    metavar="N",
    show_default=True,
    help="Allow the file N times as much memory and work as usual: it is trusted.",
)


def model_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of every command that reads a model, in the order of their help."""
    for option in (_plugins, _limits, _set, _dim, _precision, _keep, _weights):
        command = option(command)
    return command
