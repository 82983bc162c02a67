"""What `import webdnn` offers: `transpile`, its first step `imported`, and the report of both."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from .limits import limited
from .picture.image import ImageInput
from .picture.output import ImageOutput

TARGETS = ("webgpu", "wasm")
PRECISIONS = ("f32", "f16")
# What exporters call a graph, or a file, that has no name.
UNNAMED = ("", "graph", "main", "main_graph", "model", "torch_jit", "torch-jit-export")
# Where classes are not the user's own: a model of these is named by its graph or its folder.
FRAMEWORKS = ("builtins", "chainer", "keras", "onnx", "tensorflow", "torch")

# A size by the dimension's name, as `frontend.dims` says.
Dims = Mapping[str, "int | tuple[int, ...] | str"]


@dataclass(repr=False)
class Report:
    """What `transpile` did: where the descriptor is, what was decided, and model.json's content."""

    imported: Any  # frontend.Imported: the graph as it was imported, and what the model held
    output: Path = Path()
    descriptor: dict[str, Any] = field(default_factory=dict)
    programs: dict[str, Any] = field(default_factory=dict)  # target -> kernel.Program
    pictures: dict[str, Any] = field(default_factory=dict)  # image input -> image.Picture
    drawings: dict[str, Any] = field(default_factory=dict)  # image output -> output.Drawing
    labels: dict[str, list[str]] = field(default_factory=dict)  # output -> names of its classes

    @property
    def notices(self) -> list[str]:
        """What was decided on the way, in words for the user."""
        return list(self.imported.notes)

    def __repr__(self) -> str:
        """What a prompt or a notebook shows: the signature and notes, not every kernel."""
        from .errors import printable
        from .inspect.describe import kind_text, shape_text

        lines = [f"Report({str(self.output)!r})" if self.descriptor else "Report()"]
        for kind in ("inputs", "outputs") if self.descriptor else ():
            for entry in self.descriptor[kind]:
                if not entry.get("hidden"):
                    shape = shape_text(entry["shape"])
                    lines.append(f"{kind[:-1]} {entry['name']}: {kind_text(entry)} [{shape}]")
        return printable("\n  ".join([*lines, *(f"note: {note}" for note in self.notices)]))


@limited
def imported(
    model: Any,
    *,
    weights_file: str | Path | None = None,
    example: Any = None,
    inputs: str | ImageInput | Mapping[Any, str | ImageInput] | None = None,
    outputs: str | ImageOutput | Mapping[Any, str | ImageOutput] | None = None,
    labels: Any = None,
    dims: Dims | None = None,
    fixed: Mapping[str, Any] | None = None,
    limits: float = 1,
) -> Report:
    """The first step of `transpile`, whose parameters these are: nothing is compiled or written."""
    from .frontend import load
    from .frontend.dims import Sides
    from .picture.image import compile_images, read_specs
    from .picture.labels import labels_of
    from .picture.output import compile_outputs
    from .picture.output import read_specs as read_outputs

    drawn = read_outputs(outputs)
    specs = read_specs(inputs)
    sides = {name: Sides(spec.size, spec.multiple) for name, spec in specs.items()}
    found = load(model, dims, weights=weights_file, example=example, sides=sides, fixed=fixed)
    graph, pictures = compile_images(found.graph, specs)
    shown = {name: v for name, v in graph.outputs.items() if name not in graph.alarms}
    names, notes = labels_of(shown, labels)
    graph, drawings = compile_outputs(graph, drawn)
    found = replace(found, graph=graph, notes=[*found.notes, *notes])
    return Report(found, pictures=pictures, drawings=drawings, labels=names)


def _name(model: Any, graph: str, output: Path) -> str:
    """A name for a model that was given none: of its file, class or graph, or of its folder."""
    if isinstance(model, (str, Path)):
        graph = Path(model).stem
    elif type(model).__module__.partition(".")[0] not in FRAMEWORKS:
        return type(model).__name__
    return output.resolve().name if graph in UNNAMED else graph


@limited
def transpile(
    model: Any,
    output: str | Path,
    *,
    weights_file: str | Path | None = None,
    example: Any = None,
    inputs: str | ImageInput | Mapping[Any, str | ImageInput] | None = None,
    outputs: str | ImageOutput | Mapping[Any, str | ImageOutput] | None = None,
    labels: Any = None,
    targets: Sequence[str] = TARGETS,
    dims: Dims | None = None,
    fixed: Mapping[str, Any] | None = None,
    weights: str = "f32",
    keep: str | Sequence[str] = (),
    precision: str = "f32",
    name: str | None = None,
    dump: str | Path | None = None,
    keep_values: bool = False,
    debug: bool = False,
    keep_versions: int = 1,
    preload: str | Path | Sequence[str | Path] = (),
    limits: float = 1,
    progress: Callable[[str, int, int], None] | None = None,
) -> Report:
    """Transpile a model into a graph descriptor at the folder `output`.

    model: path of a model file, its bytes, or a framework's own object: see `webdnn.frontend`.
    weights_file: path of the weights where the model's file holds only its architecture.
    example: inputs of a model that is traced: an array or a tuple of them.
    inputs: the inputs that take pictures, by name, each as docs/preprocessing.md says
    ("rgb,resize=224,mean=0.5,std=0.5") or an ImageInput; one alone for a model of one input.
    outputs: the outputs that are pictures, by name, each as docs/preprocessing.md says ("rgb",
    "mask,colors=#000,#f80") or an ImageOutput; one alone for a model of one output.
    labels: the names of the classes of an output: a list, or the path of a file with one a line;
    for several outputs a mapping from their names.
    targets: any of "webgpu" and "wasm".
    dims: the sizes of dimensions that the model leaves open, by name: a number, (lowest, highest)
    or (lowest, highest, step) for all between, or a formula over others, as "past + s".
    fixed: the values of inputs that become constants, by name: a number, lists, an array or the
    path of an .npy file. The page does not give these.
    weights: what weights become in the download and in memory: "f32" (as they are), "f16", "int8",
    "int4", "int4:64" (64 to a scale) or "int4:64,asymmetric"; docs/weights.md has what that costs.
    keep: patterns of layers whose weights stay as they are then, as "head*", or become something
    else, as "head*=f16".
    precision: what WebGPU computes in: "f32", or "f16", half precision where a page's device has
    shader-f16 and "f32" where it has not; docs/weights.md has what that is and costs.
    name: the model's name in the descriptor; default: that of the file, of the object's class, or,
    where that says nothing ("model.onnx"), of the folder.
    dump: a folder for the graph after each pass, kernels and memory plan.
    keep_versions: how many of the versions that `output` holds keep their files there, for pages
    that are open while a new version is deployed (docs/deploying.md).
    preload: a page, or several, in which the lines between two comments are kept that ask for the
    model's files before any script does (docs/deploying.md).
    keep_values: keep every stored value readable after a run (for `webdnn check --layers`).
    debug: also compute the positions that `load({debug: true})` compares with their axes.
    limits: how many times as much memory and work as usual the model may cost; docs/cli.md has the
    numbers ("Files from strangers").
    progress: called with (stage, done, total); `webdnn.transpile` without one shows a bar, and a
    table of the result, in a terminal or notebook.

    Raises WebDNNError (or a subclass) with one clear message for whatever is wrong with the model,
    the dimensions or the output folder; then nothing has been written.
    """
    from .codegen import TARGETS as known
    from .codegen.webgpu import HALF
    from .descriptor.preload import check_page, write_lines
    from .descriptor.write import check_output, write
    from .errors import WebDNNError, printable
    from .inspect.dump import dump as dump_program
    from .inspect.dump import kernel_table, sources
    from .inspect.report import report_html
    from .ops.doubles import single
    from .passes import run
    from .passes.checks import checked
    from .passes.quantise import described, kept_forms, quantise, weight_form
    from .schedule.lower import lower

    targets = (targets,) if isinstance(targets, str) else targets
    unknown = [t for t in targets if t not in TARGETS]
    if unknown or not targets:
        raise WebDNNError(
            f"unknown target {', '.join(unknown) or '(none)'}; the targets are {', '.join(TARGETS)}"
        )
    if precision not in PRECISIONS:
        raise WebDNNError(f"--precision {precision}: expected one of {', '.join(PRECISIONS)}")
    if precision == "f16" and "webgpu" not in targets:
        raise WebDNNError(
            "--precision f16 is of WebGPU, which --target leaves out: leave this out, too, or add "
            "webgpu there"
        )
    if not (name is None or (isinstance(name, str) and name)):
        raise WebDNNError(f"--name: expected a text that is not empty, found {name!r}")
    if not (isinstance(keep_versions, int) and keep_versions >= 0):
        raise WebDNNError(f"keep_versions: expected a number from 0 on, found {keep_versions!r}")
    if dump is not None and Path(dump).resolve().is_relative_to(Path(output).resolve()):
        raise WebDNNError(
            f"--dump {dump}: expected a folder outside of {output}, where a descriptor is alone"
        )
    every = [*targets, *([HALF.name] if precision == "f16" else [])]
    form, kept = weight_form(weights), kept_forms(keep)
    check_output(Path(output))  # before the work; and again when it is written
    pages = [preload] if isinstance(preload, (str, Path)) else preload
    for page in pages:
        check_page(Path(page), Path(output), every)
    tell = progress or (lambda stage, done, total: None)
    tell("import", 0, 1)
    read = imported(
        model,
        weights_file=weights_file,
        example=example,
        inputs=inputs,
        outputs=outputs,
        labels=labels,
        dims=dims,
        fixed=fixed,
    )
    tell("import", 1, 1)
    graph = read.imported.graph
    if name is None:
        name = _name(model, graph.name, Path(output))
    level = int(os.environ.get("WEBDNN_DEBUG") or 0)
    folder = Path(dump) if dump is not None else None
    written: list[str] = []
    if folder is not None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise WebDNNError(
                f"cannot write to {folder}: {error.strerror}; choose another folder to dump to"
            ) from error

    def save(stage: str, g: Any) -> None:
        if folder is not None:
            written.append(stage)
            (folder / f"{len(written):02}_{stage}.txt").write_text(f"{g}\n")

    save("import", graph)
    floats = graph.results
    graph, notes = quantise(graph, form, kept)
    narrower = graph.results != floats
    if precision == "f16" and form.name == "f32":
        notes = [
            *notes,
            "in half precision, too, weights are downloaded and kept as float32: --weights f16 "
            "halves them",
        ]
    read.imported = replace(read.imported, notes=[*read.imported.notes, *notes])
    graph, checks = checked(graph, debug, read.imported.labels)
    narrow = single(graph)
    graphs = {t: graph if "f64" in known[t].reads else narrow for t in every}
    done = {id(g): run(g, dump=save) for g in {id(g): g for g in graphs.values()}.values()}
    programs = {}
    for k, target in enumerate(every):
        tell("fuse", k, len(every))
        programs[target] = lower(done[id(graphs[target])], known[target], keep_values)
        if folder is not None:
            dump_program(programs[target], known[target], folder)
        if level >= 2:
            table = kernel_table(programs[target])
            print(f"kernels for {target}:\n{printable(table)}", file=sys.stderr)
        if level >= 4:
            texts = sources(programs[target], known[target]).values()
            print(printable("\n".join(texts)), file=sys.stderr)
    tell("fuse", len(every), len(every))
    document = write(
        {known[target]: program for target, program in programs.items()},
        Path(output),
        name,
        images={name: picture.signature() for name, picture in read.pictures.items()},
        drawings={name: drawing.signature() for name, drawing in read.drawings.items()},
        labels=read.labels,
        form=described(form, kept) if narrower else "",
        keep=keep_values,
        checks=checks,
        keep_versions=keep_versions,
        report=lambda document: report_html(document, programs),
        progress=tell,
    )
    for page in pages:
        write_lines(Path(page), Path(output), document)
    read.output, read.descriptor, read.programs = Path(output), document, programs
    return read


__all__ = ["TARGETS", "Report", "imported", "transpile"]
