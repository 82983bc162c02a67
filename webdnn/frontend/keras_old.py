"""What Keras 1 wrote, in today's words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..graph import Value


def modern(class_name: str, config: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """The class and the configuration of a Keras 1 layer as Keras 2 would write them."""
    return class_name, config


def weights_as_now(
    class_name: str,
    config: Mapping[str, Any],
    weights: list[Value],
    version: int,
    backend: str | None,
) -> list[Value]:
    """A layer's weights in today's layout."""
    return weights


__all__ = ["modern", "weights_as_now"]
