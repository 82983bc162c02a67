"""Writes the tables in docs/frameworks: what each importer takes, read off its own registries.

    python -m tools.framework_tables           # all whose frameworks are installed
    python -m tools.framework_tables chainer

A page says where its table lies: what is between the lines `<!-- table -->` and `<!-- end -->` is
replaced. Tests of the importers hold the pages against this.
"""

from __future__ import annotations

import re
import sys
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path

FOLDER = Path(__file__).parent.parent / "docs" / "frameworks"
PLACE = re.compile(r"(?<=<!-- table -->\n).*?(?=<!-- end -->)", re.DOTALL)


def chainer() -> str:
    """chainer's functions and links: those with a tested configuration, and the others."""
    from tests.chainer_cases import CASES, F, L

    tested = {case.name.rpartition("-")[0] for case in CASES}
    tested |= {"erfinv", "erfcinv", "ndtri"}  # tested without chainer, which needs SciPy for them
    tested |= {name for name in dir(L) if re.match(r"(ResNet|VGG|GoogLeNet)", name)}
    taken, left = defaultdict(list), defaultdict(list)
    for name, function in vars(F).items():
        module = getattr(function, "__module__", "").split(".")
        if callable(function) and module[:2] == ["chainer", "functions"] and name[0] != "_":
            (taken if name in tested else left)[module[2]].append(name)
    for name, link in vars(L).items():
        module = getattr(link, "__module__", "").split(".")
        if isinstance(link, type) and module[:2] == ["chainer", "links"] and name[0] != "_":
            (taken if name in tested else left)["links"].append(name)
    lines = ["| `chainer.functions` | taken | not taken |", "| --- | --- | --- |"]
    for group in sorted({*taken, *left} - {"links"}):
        lines.append(f"| {group} | {_names(taken[group])} | {_names(left[group])} |")
    lines += ["", "| `chainer.links` | |", "| --- | --- |"]
    lines += [f"| taken | {_names(taken['links'])} |", f"| not taken | {_names(left['links'])} |"]
    return "\n".join(lines)


def caffe() -> str:
    """The types of layers, with what their functions say of themselves."""
    from webdnn.frontend.caffe.layers import LAYERS
    from webdnn.frontend.caffe.phase import DATA, DROPPED, V1_TYPES

    old = {name: enumerator for enumerator, (_, name) in V1_TYPES.items()}
    lines = ["| type | | version 1 |", "| --- | --- | --- |"]
    for name in sorted(LAYERS, key=str.lower):
        text = (LAYERS[name].__doc__ or "").split("\n\n")[0].replace("|", "\\|")
        lines.append(f"| {name} | {' '.join(text.split())} | {old.get(name, '')} |")
    lines += ["", f"These become inputs: {_names(list(DATA))}."]
    lines += ["", f"These are dropped: {_names(list(DROPPED))}."]
    return "\n".join(lines)


def keras() -> str:
    """Layers by their kind, what only trains, what is refused and why, and functions."""
    from webdnn.frontend.keras import attention as keras_attention
    from webdnn.frontend.keras import images as keras_images
    from webdnn.frontend.keras import layers as keras_layers
    from webdnn.frontend.keras import operations as keras_ops
    from webdnn.frontend.keras import recorded as keras_recorded
    from webdnn.frontend.keras import recurrent as keras_recurrent
    from webdnn.frontend.keras import spatial as keras_spatial
    from webdnn.frontend.tensorflow import functions as tensorflow

    kinds = {
        "convolution, pooling, cropping and padding": keras_spatial.LAYERS,
        "recurrent": keras_recurrent.LAYERS,
        "attention": keras_attention.LAYERS,
        "preprocessing": keras_images.LAYERS,
        "models of tf.keras": keras_recorded.LAYERS,
        "nothing happens at inference": dict.fromkeys(keras_layers.IDENTITIES),
    }
    elsewhere = {name for layers in kinds.values() for name in layers}
    aliases = keras_layers._ALIASES
    rest = [n for n in keras_layers.LAYERS if n not in elsewhere and n not in aliases]
    lines = ["| layers | |", "| --- | --- |", f"| general | {_names(rest)} |"]
    lines += [f"| {kind} | {_names(list(layers))} |" for kind, layers in kinds.items()]
    lines.append(f"| other names of these | {_names(list(aliases))} |")
    lines += ["", "| not taken | |", "| --- | --- |"]
    lines += [f"| {name} | {why} |" for name, why in sorted(keras_layers.REFUSED.items())]
    lines += [
        "",
        f"Operations of `keras.ops`, by their classes: {_names(list(keras_ops.OPERATIONS))}.",
    ]
    found = _names(list(tensorflow.FUNCTIONS))
    lines += ["", f"Functions of TensorFlow in models of tf.keras: {found}."]
    return "\n".join(lines)


def _names(names: list[str]) -> str:
    return ", ".join(sorted(names))


TABLES: Mapping[str, Callable[[], str]] = {"caffe": caffe, "chainer": chainer, "keras": keras}


def page(name: str) -> str:
    """The text of a framework's page with the table as it should be."""
    text = (FOLDER / f"{name}.md").read_text()
    return PLACE.sub(lambda _: f"\n{TABLES[name]()}\n\n", text)


def main() -> None:
    """Write the pages that are named, or all."""
    for name in sys.argv[1:] or TABLES:
        (FOLDER / f"{name}.md").write_text(page(name))


if __name__ == "__main__":
    main()
