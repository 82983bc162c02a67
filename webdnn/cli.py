"""The command line: `webdnn transpile | check | serve | bench | inspect`.

    webdnn transpile style.onnx -o public/models/style --dim h=64..512 w=64..512
    webdnn check style.onnx --dim h=128 w=128 --target wasm
    webdnn serve public

Results go to standard output, as tables or with `--json` as one JSON document; progress and errors
go to standard error. Exit status: 0 done and right, 1 `check` found a wrong or an empty result, 2
an error, printed as one message without a traceback (WEBDNN_DEBUG=1 shows the traceback too).
"""

from __future__ import annotations

import dataclasses
import io
import json
import math
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import click
from rich.markup import escape

import webdnn
from webdnn.errors import WebDNNError
from webdnn.inspect.describe import describe
from webdnn.inspect.tables import (
    out,
    print_notices,
    show_check,
    show_descriptor,
    show_inspection,
    show_timings,
)
from webdnn.inspect.terminal import Terminal, progress
from webdnn.options import (
    ENGINES,
    TARGETS,
    VARIANTS,
    Commands,
    Words,
    each_input,
    images_option,
    json_option,
    label_files,
    model_argument,
    model_options,
    named_file,
    only_pictures,
    outputs_option,
    parse_fixed,
    parse_size,
    pictures_of,
    run_plugins,
    source_of,
)

err = Terminal(stderr=True)


def emit(document: object) -> None:
    """One JSON document on standard output, in ASCII: other characters are escaped.

    NaN and infinity, which JSON lacks, become null.
    """

    def plain(value: object) -> object:
        match value:
            case float() if not math.isfinite(value):
                return None
            case dict():
                return {str(k): plain(v) for k, v in value.items()}
            case list() | tuple():
                return [plain(v) for v in value]
            case Path():
                return str(value)
        return value

    print(json.dumps(plain(document), indent=2, allow_nan=False))


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(webdnn.__version__, prog_name="webdnn")
def cli() -> None:
    """Compiles trained neural networks into static files that run in a web page."""


@cli.command(name="transpile")
@model_argument
@click.option(
    "-o",
    "--output",
    "outputs",
    multiple=True,
    required=True,
    metavar="DIR",
    help="The folder; and --output NAME:rgb,… for an output that is a picture.",
)
@click.option(
    "--target",
    default=",".join(TARGETS),
    type=Words(TARGETS),
    metavar="webgpu,wasm",
    show_default=True,
)
@model_options
@images_option
@click.option(
    "--labels",
    multiple=True,
    metavar="[OUTPUT=]FILE",
    help="Names of the classes of an output, one a line.",
)
@click.option("--name", help="The descriptor's name [default: the model file's, or DIR's].")
@click.option(
    "--keep-versions",
    default=1,
    show_default=True,
    type=click.IntRange(0),
    metavar="N",
    help="Leave the files of so many earlier versions in DIR, for pages that are open.",
)
@click.option(
    "--preload",
    multiple=True,
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="PAGE",
    help="Keep the lines in PAGE that ask for the model's files before any script does; repeat for "
    "more pages.",
)
@click.option(
    "--debug",
    is_flag=True,
    help="Also compute the positions that load({debug: true}) compares with their axes.",
)
@click.option(
    "--dump",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Write every stage as text: graphs, kernels, memory plan.",
)
@json_option
def transpile_command(
    words: tuple[str, ...],
    outputs: tuple[str, ...],
    target: tuple[str, ...],
    weights: str,
    keep: tuple[str, ...],
    precision: str,
    dims: tuple[str, ...],
    fixed: tuple[str, ...],
    limits: float,
    plugins: tuple[Path, ...],
    inputs: tuple[str, ...],
    labels: tuple[str, ...],
    name: str | None,
    keep_versions: int,
    preload: tuple[Path, ...],
    debug: bool,
    dump: Path | None,
    as_json: bool,
) -> None:
    """Compile MODEL into a graph descriptor in DIR.

    MODEL is a file of ONNX, Keras (.keras, .h5, TensorFlow.js layers), Caffe (.prototxt, with a
    .caffemodel) or PyTorch (.pt2), recognised by its content. Modules of PyTorch and chains of
    Chainer are transpiled from Python: webdnn.transpile.

    The folder is written as a whole or not at all: whatever goes wrong, an older descriptor in DIR
    stays as it is.
    """
    drawn, folders = pictures_of("--output", outputs)
    if len(folders) != 1:
        found = ", ".join(folders) or (
            f"none, but {', '.join(outputs)}, a picture; a folder called so is ./{outputs[0]}"
        )
        raise WebDNNError(f"-o: expected one folder to write to, found {found}")
    output = Path(folders[0])
    source = source_of(words, dims)
    run_plugins(plugins)
    begin = time.monotonic()
    with progress(err, f"Transpiling {source.model.name}", as_json) as tell:
        report = webdnn.transpile(
            source.model,
            output,
            weights_file=source.weights,
            weights=weights,
            keep=keep,
            precision=precision,
            inputs=only_pictures("--input", inputs),
            outputs=drawn,
            labels=label_files(labels),
            targets=target,
            dims=source.dims,
            fixed=parse_fixed(fixed),
            limits=limits,
            name=name,
            keep_versions=keep_versions,
            preload=preload,
            debug=debug,
            dump=dump,
            progress=tell,
        )
    summary = describe(output)
    summary |= {
        "seconds": time.monotonic() - begin,
        "notices": list(report.notices),
        "batch": list(report.imported.batch),
    }
    if as_json:
        emit(summary)
        return
    show_descriptor(summary)
    print_notices(report.notices)
    out.print(
        f"Wrote [bold]{escape(str(output))}[/] in {summary['seconds']:.1f} s. "
        f"Look at it: webdnn serve {escape(str(output))}",
        highlight=False,
        soft_wrap=True,
    )


@cli.command(name="check")
@model_argument
@click.option(
    "--target",
    type=Words(TARGETS),
    metavar="wasm,webgpu",
    help="Targets [default: all that the browser runs].",
)
@click.option(
    "--variant",
    type=Words(VARIANTS),
    metavar="plain,…",
    help=f"Of {', '.join(VARIANTS)} [default: all that the browser runs].",
)
@click.option("--browser", default="chromium", type=click.Choice(ENGINES), show_default=True)
@model_options
@click.option(
    "--size",
    "sizes",
    multiple=True,
    metavar="h=128,w=96",
    help="Run the symbolic dimensions at these sizes; repeat for more "
    "[default: their minimum, and the middle of their range].",
)
@click.option(
    "--input",
    "inputs",
    multiple=True,
    metavar="NAME=FILE|NAME:rgb,…",
    help="An input's value (.npy, or a picture) [default: random], again for a further run; or "
    "how it takes pictures.",
)
@outputs_option
@click.option(
    "--expected",
    multiple=True,
    metavar="NAME=FILE.npy",
    help="An output as recorded for these inputs, where the model's framework cannot be had.",
)
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0),
              help="Of the random inputs.")  # fmt: skip
@click.option("--layers", is_flag=True, help="Also compare every inner value that is still stored.")
@click.option(
    "--descriptor",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    metavar="DIR",
    help="Check this descriptor, made from MODEL, instead of a fresh one.",
)
@click.option(
    "--save",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Write inputs, expected and actual outputs as .npy files.",
)
@click.option("--timeout", default=600.0, show_default=True,
              type=click.FloatRange(0, min_open=True), help="Seconds for each run.")  # fmt: skip
@json_option
def check_command(
    words: tuple[str, ...],
    target: tuple[str, ...] | None,
    variant: tuple[str, ...] | None,
    browser: str,
    weights: str,
    keep: tuple[str, ...],
    precision: str,
    dims: tuple[str, ...],
    fixed: tuple[str, ...],
    limits: float,
    plugins: tuple[Path, ...],
    sizes: tuple[str, ...],
    inputs: tuple[str, ...],
    outputs: tuple[str, ...],
    expected: tuple[str, ...],
    seed: int,
    layers: bool,
    descriptor: Path | None,
    save: Path | None,
    timeout: float,
    as_json: bool,
) -> None:
    """Run MODEL's descriptor in a browser and compare it with MODEL in its own framework.

    That is onnxruntime for ONNX, Keras for Keras, OpenCV for Caffe, PyTorch for .pt2 files.

    Runs every target and wasm variant that the browser has, on the same inputs. An output is right
    within 1e-4 (wasm) or 1e-3 (webgpu) of the reference's largest magnitude; a comparison that
    could not fail, because the reference is constant, counts as a failure. Exit status 1 says that
    something is wrong, 2 that it could not be checked.
    """
    from webdnn.browser.check import check

    source = source_of(words, dims)
    run_plugins(plugins)
    images, files = pictures_of("--input", inputs)
    with progress(err, f"Checking {source.model.name}", as_json) as tell:
        report = check(
            source.model,
            weights_file=source.weights,
            weights=weights,
            keep=keep,
            precision=precision,
            images=images,
            outputs=only_pictures("--output", outputs),
            targets=cast(Any, target),
            variants=variant,
            browser=cast(Any, browser),
            dims=source.dims,
            fixed=parse_fixed(fixed),
            limits=limits,
            sizes=[parse_size(text) for text in sizes] or None,
            inputs=each_input(files),
            expected=dict(named_file("--expected", text) for text in expected),
            seed=seed,
            layers=layers,
            descriptor=descriptor,
            save=save,
            timeout=timeout,
            progress=tell,
        )
    if as_json:
        emit({**dataclasses.asdict(report), "right": report.right})
    else:
        show_check(report)
    if not report.right:
        raise SystemExit(1)


@cli.command(name="serve")
@click.argument("folder", type=click.Path(path_type=Path), metavar="DIR")
@click.option("--port", default=8080, show_default=True, type=click.IntRange(0, 65535),
              help="0 takes any free one.")  # fmt: skip
@click.option("--host", default="127.0.0.1", show_default=True,
              help="The address to listen on (0.0.0.0: all), or a tunnel's name.")  # fmt: skip
@click.option("--no-isolation", is_flag=True, help="Leave out the headers that give pages threads.")
def serve_command(folder: Path, port: int, host: str, no_isolation: bool) -> None:
    """Serve DIR to this machine's browsers, with the headers that threads need.

    With --host also to others. Nothing outside of DIR is served, not even by a link, and no file or
    folder whose name begins with a dot.
    """
    from webdnn.browser.serve import serve

    def announce(url: str) -> None:
        threads = "without isolation: one thread" if no_isolation else "isolated: threads"
        out.print(
            f"Serving {escape(str(folder))} on [bold]{url}[/] ({threads}). Ctrl-C ends it.",
            soft_wrap=True,
        )

    serve(folder, isolation=not no_isolation, host=host, port=port, announce=announce)


@cli.command(name="bench")
@click.argument("folder", type=click.Path(path_type=Path), metavar="DIR")
@click.option("--target", type=Words(TARGETS), metavar="wasm,webgpu",
              help="Targets [default: all in the descriptor].")  # fmt: skip
@click.option("--variant", type=click.Choice(VARIANTS), help="wasm variant [default: the best].")
@click.option("--threads", metavar="N,…", help="On wasm [default: 1,2, as the variant allows].")
@click.option("--browser", default="chromium", type=click.Choice(ENGINES), show_default=True)
@click.option("--size", metavar="h=128,w=96", help="Symbolic dimensions [default: the smallest].")
@click.option("--reps", default=20, show_default=True, type=click.IntRange(1))
@click.option("--profile", is_flag=True, help="Also the time of each kernel.")
@click.option("--gpu", is_flag=True, help="WebGPU on the graphics card, in Chromium.")
@json_option
def bench_command(
    folder: Path,
    target: tuple[str, ...] | None,
    variant: str | None,
    threads: str | None,
    browser: str,
    size: str | None,
    reps: int,
    profile: bool,
    gpu: bool,
    as_json: bool,
) -> None:
    """Time the descriptor in DIR in a browser: load, first run, warm runs."""
    from webdnn.browser.bench import bench

    counts = [int(c) for c in (threads or "").split(",") if c.isdecimal() and 0 < int(c) <= 64]
    if threads is not None and len(counts) != len(threads.split(",")):
        raise WebDNNError(f"--threads {threads}: expected numbers from 1 to 64, as in 1,2")
    with progress(err, f"Timing {folder.name}", as_json) as tell:
        timings = bench(
            folder,
            targets=cast(Any, target),
            variant=variant,
            threads=counts or None,
            browser=cast(Any, browser),
            sizes=parse_size(size) if size else None,
            reps=reps,
            profile=profile,
            gpu=gpu,
            progress=tell,
        )
    if as_json:
        emit([{**dataclasses.asdict(t), "minimum": t.minimum, "median": t.median} for t in timings])
        return
    show_timings(timings, folder.name, browser)


@cli.command(name="inspect")
@model_argument
@click.option("--target", default=",".join(TARGETS), type=Words(TARGETS), metavar="webgpu,wasm",
              show_default=True)  # fmt: skip
@model_options
@images_option
@outputs_option
@json_option
def inspect_command(
    words: tuple[str, ...],
    target: tuple[str, ...],
    weights: str,
    keep: tuple[str, ...],
    precision: str,
    dims: tuple[str, ...],
    fixed: tuple[str, ...],
    limits: float,
    plugins: tuple[Path, ...],
    inputs: tuple[str, ...],
    outputs: tuple[str, ...],
    as_json: bool,
) -> None:
    """Show what MODEL is made of and what it becomes.

    Operators, parameters, kernels with their floating-point operations, what was fused, memory and
    download size; at the largest sizes where dimensions are symbolic.
    """
    from webdnn.inspect.summary import inspect

    source = source_of(words, dims)
    run_plugins(plugins)
    with progress(err, f"Inspecting {source.model.name}", as_json) as tell:
        seen = inspect(
            source.model,
            source.dims,
            limits=limits,
            weights_file=source.weights,
            weights=weights,
            keep=keep,
            precision=precision,
            images=only_pictures("--input", inputs),
            outputs=only_pictures("--output", outputs),
            fixed=parse_fixed(fixed),
            targets=target,
            progress=tell,
        )
    if as_json:
        emit(dataclasses.asdict(seen))
        return
    show_inspection(seen)


def main(arguments: Sequence[str] | None = None) -> None:
    """The console script: runs one command and exits with its status."""
    as_json = "--json" in (sys.argv if arguments is None else arguments)
    try:
        cli.main(
            args=None if arguments is None else list(arguments),
            prog_name="webdnn",
            standalone_mode=False,
        )
    except click.exceptions.Exit as exit_:
        sys.exit(exit_.exit_code)
    except click.ClickException as usage:
        text = io.StringIO()
        usage.show(text)
        err.print(text.getvalue(), markup=False, highlight=False, soft_wrap=True, end="")
        sys.exit(2)
    except (click.Abort, KeyboardInterrupt):
        err.print("interrupted")
        sys.exit(130)
    except (WebDNNError, OSError) as error:
        # An OSError here is a file that cannot be read or written: the user's to mend.
        if os.environ.get("WEBDNN_DEBUG", "0") != "0":
            err.print_exception()
        message = str(error)
        if as_json:
            emit({"error": {"kind": type(error).__name__, "message": message}})
        err.print(f"[bold red]error:[/] {escape(message)}", highlight=False, soft_wrap=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
