"""Attributes that several operators have, written once.

    @attributes_of(_window)
    def Conv(x, w, b=None, *, group=1, **window): ...

Conv then takes the keywords of `_window` besides its own: its signature, which `registry` reads,
lists them with their defaults, and whatever else a node has is refused.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Literal, TypeVar, get_args, get_origin

from ...errors import ModelError

Operator = TypeVar("Operator", bound=Callable[..., Any])


def check_word(name: str, value: Any, annotation: Any) -> None:
    """Raises ModelError for an attribute that is none of the words that its annotation lists."""
    for kind in (annotation, *get_args(annotation)):  # Literal["a", "b"] | None
        words = get_args(kind) if get_origin(kind) is Literal else (value,)
        if value not in words:
            raise ModelError(
                f"attribute {name!r} is {value!r}; expected {', '.join(filter(None, words))}"
            )


def attributes_of(common: Callable[..., Any]) -> Callable[[Operator], Operator]:
    """A function whose `**keywords` are those that `common` has and it has not itself."""
    shared = inspect.signature(common, eval_str=True).parameters.values()

    def decorate(function: Operator) -> Operator:
        own = inspect.signature(function, eval_str=True)
        kept = [p for p in own.parameters.values() if p.kind != p.VAR_KEYWORD]
        more = [p for p in shared if p.kind == p.KEYWORD_ONLY and p.name not in own.parameters]
        function.__signature__ = own.replace(parameters=[*kept, *more])  # type: ignore[attr-defined]
        return function

    return decorate


__all__ = ["attributes_of", "check_word"]
