"""Operations of keras.ops."""

from __future__ import annotations

from typing import Any

OPERATIONS: dict[str, Any] = {}

__all__ = ["OPERATIONS"]
