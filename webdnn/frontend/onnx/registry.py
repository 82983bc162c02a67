"""Which function says what an operator computes: one of ours, or one that a user registered.

    @webdnn.onnx.register("com.example::Scale")
    def scale(x, *, factor: float = 1.0):
        return ops.mul(x, factor)

Operators are identified by domain and name; "" is the domain that is also called ai.onnx. A
handler takes the node's inputs by position (an omitted optional one is None) and its attributes as
keywords with ONNX's names: numbers, strings, tuples of these, and Values for tensors. One that asks
for `opset` gets the version of the operator's domain, one that asks for `outputs` how many outputs
the node has. It returns a Value, or several in a tuple.

Limits: attributes of a registered function cannot be graphs, so it cannot be control flow.
"""

from __future__ import annotations

import inspect
import keyword
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from inspect import Parameter
from itertools import chain
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin

import onnx

from ...errors import WebDNNError
from ...graph import Value
from ..plugins import Own, add, as_value
from . import microsoft, operators, sequences

Key = tuple[str, str]  # domain, operator

# Our own, by domain and name: a file for each domain.
DOMAINS: Mapping[str, Mapping[str, Callable[..., Any]]] = {
    "": operators.OPERATORS | sequences.OPERATORS,
    "com.microsoft": microsoft.OPERATORS,
}
_REGISTERED: dict[Key, Own] = {}


def register(
    domain: str,
    operator: str | Callable[..., Any] | None = None,
    function: Callable[..., Any] | None = None,
    *,
    reference: Callable[..., Any] | None = None,
    replace: bool = False,
) -> Any:
    """Say what an operator computes: `register("com.example::Mish", fn)`, or as a decorator.

        @register("com.example", "Mish")
        def mish(x): ...

    domain: the operator as DOMAIN::OPERATOR, or its domain alone, followed by its name.
    function: (*inputs, **attributes) -> Value or tuple of Values, written with `webdnn.ops`; or an
    `ops.elementwise` function of scalars. It goes before the model's own definition and ours.
    reference: the same function of numpy arrays, with which `webdnn check` compares where
    onnxruntime lacks the operator. replace: whether it may replace a function registered before.

    Raises WebDNNError for what is no name of an operator, and where another function is registered.
    """
    if callable(operator):
        operator, function = None, operator
    if operator is None:
        domain, _, operator = domain.rpartition("::")
    if function is None:
        return lambda fn: register(domain, operator, fn, reference=reference, replace=replace)
    if not operator.isidentifier() or "::" in domain:
        raise WebDNNError(
            f"register({f'{domain}::{operator}'.removeprefix('::')!r}): expected DOMAIN::OPERATOR, "
            "as in com.example::Mish"
        )
    for what, given in (("function", function), ("reference", reference)):
        if given is not None and not callable(given):
            raise WebDNNError(
                f"register({full_name(domain, operator)!r}): expected a function as {what}, found "
                f"{type(given).__name__}"
            )
    key = normalised(domain), operator
    add(_REGISTERED, key, Own(function, reference), full_name(*key), replace)
    return function


def normalised(domain: str) -> str:
    """A domain, "" for ai.onnx."""
    return "" if domain == "ai.onnx" else domain


def full_name(domain: str, operator: str) -> str:
    """An operator as messages call it: Relu, com.example::Mish."""
    return f"{domain}::{operator}" if normalised(domain) else operator


def registered(node: Any) -> Own | None:
    """The function that a user registered for a node's operator."""
    return _REGISTERED.get((normalised(node.domain), node.op_type))


def registered_in(model: onnx.ModelProto) -> dict[str, Own]:
    """The registered functions by the operators of a model that they are for, save operators of
    ONNX and those that the model defines itself.
    """
    found: dict[str, Own] = {}
    defined = {(f.domain, f.name) for f in model.functions}
    for node in _nodes(model.graph.node, *(f.node for f in model.functions)):
        own = registered(node)
        if own and normalised(node.domain) and (node.domain, node.op_type) not in defined:
            found[full_name(node.domain, node.op_type)] = own
    return found


def _nodes(*bodies: Iterable[Any]) -> Iterator[Any]:
    """Nodes, and those of the graphs that are their attributes."""
    for node in chain(*bodies):
        yield node
        for a in node.attribute:
            yield from _nodes(*(g.node for g in (a.g, *a.graphs)))


# Attributes of which one value alone is taken: the operators' page does not list them.
FIXED: Mapping[str, int | float | str] = {
    "spatial": 1, "past_present_share_buffer": 0,
    "Attention.do_rotary": 0, "Attention.rotary_embedding_dim": 0, "QAttention.do_rotary": 0,
    "EmbedLayerNormalization.mask_index_type": 0, "RotaryEmbedding.scale": 1.0,
    "RotaryEmbedding.is_packed_batching": 0, "GroupQueryAttention.qk_output": 0,
    "GroupQueryAttention.kv_cache_bit_width": 0, "GroupQueryAttention.k_quant_type": "NONE",
    "GroupQueryAttention.v_quant_type": "NONE", "GroupQueryAttention.sliding_window_cache": 0,
}  # fmt: skip


def fixed(operator: str, attribute: str) -> int | float | str | None:
    """The one value that an attribute of an operator may have; None where it may have several."""
    return FIXED.get(f"{operator}.{attribute}", FIXED.get(attribute))


@dataclass(frozen=True)
class Handler:
    """A function that says what an operator computes, and what it takes."""

    function: Callable[..., Any]
    positional: tuple[Parameter, ...]
    keywords: Mapping[str, Parameter]
    many: bool  # takes any number of inputs
    anything: bool  # takes any attribute
    omissible: frozenset[str]  # inputs that have to stand there, by "" if they are omitted
    own: Own | None


def handler(node: Any) -> Handler | None:
    """The function for a node's operator: the user's, ours, or None."""
    own = registered(node)
    if own is not None:
        return _of_user(own)
    function = DOMAINS.get(normalised(node.domain), {}).get(node.op_type)
    return None if function is None else _ours(function)


@cache
def _ours(function: Callable[..., Any]) -> Handler:
    return _handler(function, inspect.signature(function, eval_str=True), None)


def _of_user(own: Own) -> Handler:
    try:
        signature = inspect.signature(own.function, eval_str=True)
    except NameError:  # an annotation that only a type checker can resolve
        signature = inspect.signature(own.function)
    except ValueError:  # a function of a library in C, which says nothing
        every = [("inputs", Parameter.VAR_POSITIONAL), ("attributes", Parameter.VAR_KEYWORD)]
        signature = inspect.Signature([Parameter(name, kind) for name, kind in every])
    return _handler(own.function, signature, own)


def _handler(
    function: Callable[..., Any], signature: inspect.Signature, own: Own | None
) -> Handler:
    parameters = signature.parameters.values()
    return Handler(
        function,
        tuple(p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)),
        {p.name: p for p in parameters if p.kind == p.KEYWORD_ONLY},
        any(p.kind == p.VAR_POSITIONAL for p in parameters),
        any(p.kind == p.VAR_KEYWORD for p in parameters),
        frozenset(p.name for p in parameters if NoneType in get_args(p.annotation)),
        own,
    )


# ---- calling a user's function -------------------------------------------------------------------


def call(
    taken: Handler,
    node: Any,
    inputs: Sequence[sequences.Held],
    attrs: Mapping[str, Any],
    opset: int,
) -> list[Value | None]:
    """What a user's function returns for a node, one value for each of its outputs.

    Raises WebDNNError, with the function and its place, if it does not take the node's inputs and
    attributes, raises an exception, or returns something else.
    """
    own = taken.own
    assert own is not None
    rest = {p.name: p for p in taken.positional[len(inputs) :] if p.kind != p.POSITIONAL_ONLY}
    keywords = {**taken.keywords, **rest}
    given = dict(attrs)
    for name, value in (("opset", opset), ("outputs", len(node.output))):
        if name in keywords:
            given.setdefault(name, value)
    if not taken.many and len(inputs) > len(taken.positional):
        raise WebDNNError(
            f"the node has {_count(len(inputs), 'input')}, but {own} takes "
            f"{len(taken.positional) or 'none'}"
        )
    for name in given:
        if name not in keywords and not taken.anything:
            raise WebDNNError(
                f"attribute {name!r} is not taken by {own}; its keywords are: "
                f"{', '.join(keywords) or '(none)'}"
            )
    missing = [
        p.name
        for p in (*taken.positional[len(inputs) :], *taken.keywords.values())
        if p.default is p.empty and p.name not in given
    ]
    if missing:
        raise WebDNNError(
            f"{own} needs {', '.join(missing)}, but the node has "
            f"{_count(len(inputs), 'input')} and {_listed('attribute', attrs)}"
        )
    given = {
        k: _typed(k, v, keywords[k].annotation if k in keywords else Any, own)
        for k, v in given.items()
    }
    try:
        found = own(*inputs, **given)
    except WebDNNError as error:
        error.say(f"{error}{own.where(error)}")
        raise
    except Exception as error:  # it is the user's code: whatever it raises is the user's to mend
        kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
        raise WebDNNError(f"{kind}{error}{own.where(error)}") from error
    results = list(found) if isinstance(found, (tuple, list)) else [found]
    wanted = len(node.output)
    if len(results) != wanted:
        raise WebDNNError(
            f"{own} returned {_count(len(results), 'result')}, but the node has "
            f"{_count(wanted, 'output')}. Where some are optional, take the keyword `outputs`, "
            "which says how many the node has"
        )
    try:
        return [
            None if value is None and not name else as_value(value)
            for name, value in zip(node.output, results, strict=True)
        ]
    except TypeError as error:
        raise WebDNNError(f"{own} returned {error}") from None


def _count(n: int, what: str) -> str:
    return f"{n or 'no'} {what}{'' if n == 1 else 's'}"


def _listed(what: str, names: Mapping[str, Any]) -> str:
    return f"the {what}s {', '.join(names)}" if names else f"no {what}s"


def _typed(name: str, value: Any, annotation: Any, own: Own) -> Any:
    """An attribute as the type that its parameter is annotated with, if that is a plain one."""
    union = get_origin(annotation) in (Union, UnionType)
    kinds = [k for k in (get_args(annotation) if union else (annotation,)) if k is not NoneType]
    if not all(k in (bool, int, float, str) for k in kinds) or type(value) in kinds:
        return value
    if type(value) is int and float in kinds:
        return float(value)
    if type(value) is int and value in (0, 1) and bool in kinds:
        return bool(value)
    raise WebDNNError(
        f"attribute {name!r} is {value!r}, but {own} takes {' or '.join(k.__name__ for k in kinds)}"
    )


# ---- what to write for an operator that is not known --------------------------------------------


def snippet(nodes: Sequence[Any]) -> str:
    """The function to write for the operator of these nodes; its body is left to the reader."""
    most, fewest = (of(len(n.input) for n in nodes) for of in (max, min))
    inputs = ["x"] if most == 1 else [f"x{k}" for k in range(most)]
    parameters = [x if k < fewest else f"{x}=None" for k, x in enumerate(inputs)]
    attributes = {a.name: _KINDS.get(a.type, "Value") for n in nodes for a in n.attribute}
    usable = all(a.isidentifier() and not keyword.iskeyword(a) for a in attributes)
    if not usable or attributes.keys() & set(inputs):
        parameters.append("**attributes")
    elif attributes:
        parameters.append("*")
        for name, kind in attributes.items():
            always = all(name in {a.name for a in n.attribute} for n in nodes)
            parameters.append(f"{name}: {kind}" if always else f"{name}: {kind} | None = None")
    outputs = max(len(n.output) for n in nodes)
    result = "a Value" if outputs == 1 else f"{outputs} Values in a tuple"
    first = nodes[0]
    return (
        f'@webdnn.onnx.register("{full_name(normalised(first.domain), first.op_type)}")\n'
        f"def {_function_name(first.op_type)}({', '.join(parameters)}):\n"
        f"    ...  # return {result}, by the functions of ops: ops.mul, ops.exp_, ops.softmax"
    )


def _function_name(operator: str) -> str:
    name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", re.sub(r"\W", "_", operator)).lower()
    return f"{name}_" if keyword.iskeyword(name) or name in ("ops", "webdnn") else name


_KINDS = {
    onnx.AttributeProto.FLOAT: "float",
    onnx.AttributeProto.INT: "int",
    onnx.AttributeProto.STRING: "str",
    onnx.AttributeProto.FLOATS: "tuple[float, ...]",
    onnx.AttributeProto.INTS: "tuple[int, ...]",
    onnx.AttributeProto.STRINGS: "tuple[str, ...]",
}

__all__ = [
    "DOMAINS",
    "Handler",
    "Key",
    "call",
    "fixed",
    "full_name",
    "handler",
    "normalised",
    "register",
    "registered",
    "registered_in",
    "snippet",
]
