"""Arrays that tell a recorder what numpy does with them.

    Recorded = recorded_arrays(tell)
    x = np.arange(3.0).view(Recorded)
    x > 1  # tell("numpy.greater", {"dtype": "float64"}, [x, 1], result)

Chainer has no comparisons of Variables, so chains compare their arrays: `F.where(x.array > 0, x,
y)`. Such arithmetic is a part of the model like chainer's own functions. Recorded are numpy's
elementwise functions (`UFUNCS` of `functions` lists those that are known), casts, indexing,
reductions, and a few functions that move elements. What is not gives ordinary arrays, whose
origin is unknown. Recorded arrays cannot be written to, for that would not be seen.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

# (function, attributes, inputs, result) -> the result as the recorder keeps it
Tell = Callable[[str, dict[str, Any], Sequence[Any], Any], Any]

# numpy's functions that are methods of arrays, and the names of their attributes in chainer.
_METHODS = ("argmax", "argmin", "astype", "max", "mean", "min", "prod", "reshape", "sum",
            "transpose")  # fmt: skip
_SAME = {"amax": "max", "amin": "min"}


def plain(value: Any) -> Any:
    """A value without recorded arrays."""
    if isinstance(value, np.ndarray) and type(value) is not np.ndarray:
        return np.asarray(value)
    if isinstance(value, (list, tuple)) and type(value) in (list, tuple):
        return type(value)(plain(v) for v in value)
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    return value


def recorded_arrays(tell: Tell) -> type[np.ndarray]:
    """A class of arrays that tells about what is computed with them; view an array as one."""

    class Recorded(np.ndarray):
        """An array whose use by numpy is told."""

        def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
            given = plain(inputs)
            result = getattr(ufunc, method)(*given, **plain(kwargs))
            if method != "__call__" or ufunc.nout != 1 or kwargs:
                return result
            kind = np.result_type(result)
            dtype = np.result_type(*given) if kind == np.bool_ else kind
            return tell(f"numpy.{ufunc.__name__}", {"dtype": dtype}, inputs, result)

        def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
            name = _SAME.get(func.__name__, func.__name__)
            if name in _METHODS and isinstance(args[0], Recorded):
                return getattr(args[0], name)(*args[1:], **kwargs)
            result = func(*plain(args), **plain(kwargs))
            if name == "where" and len(args) == 3:
                dtype = np.result_type(*plain(args[1:]))
                return tell("numpy.where", {"dtype": dtype}, args, result)
            if name in ("concatenate", "stack") and set(kwargs) <= {"axis"}:
                axis = kwargs.get("axis", args[1] if len(args) > 1 else 0)
                return tell(f"numpy.{name}", {"axis": axis, "dtype": result.dtype}, args[0], result)
            if name == "fix" and len(args) == 1:
                return tell("fix", {}, args, result)
            return result

        def __getitem__(self, key: Any) -> Any:
            slices = key if isinstance(key, tuple) else (key,)
            return tell("GetItem", {"slices": slices}, [self], np.asarray(self)[plain(key)])

        def astype(self, dtype: Any, *args: Any, **kwargs: Any) -> Any:
            """A cast; the same array if it need not be copied."""
            if np.dtype(dtype) == self.dtype and kwargs.get("copy") is False:
                return self
            result = np.asarray(self).astype(dtype, *args, **kwargs)
            return tell("Cast", {"type": result.dtype}, [self], result)

        def reshape(self, *shape: Any, **kwargs: Any) -> Any:
            """A reshape."""
            result = np.asarray(self).reshape(*shape, **kwargs)
            to = shape[0] if len(shape) == 1 and not isinstance(shape[0], int) else shape
            return result if kwargs else tell("Reshape", {"shape": to}, [self], result)

        def transpose(self, *axes: Any) -> Any:
            """A transposition."""
            result = np.asarray(self).transpose(*axes)
            perm = axes[0] if len(axes) == 1 and not isinstance(axes[0], int) else axes or None
            return tell("Transpose", {"axes": perm}, [self], result)

        @property
        def T(self) -> Any:
            """The transpose."""
            return self.transpose()

    def reduction(name: str) -> Callable[..., Any]:
        index = name.startswith("arg")

        def reduce(self: Any, axis: Any = None, **kwargs: Any) -> Any:
            kwargs = {k: v for k, v in kwargs.items() if v is not None}
            result = getattr(np.asarray(self), name)(axis, **kwargs)
            if set(kwargs) - {"keepdims"} or (index and kwargs):
                return result
            axes = (axis,) if isinstance(axis, int) and not index else axis
            attrs = {"axis": axes} | ({} if index else {"keepdims": kwargs.get("keepdims", False)})
            function = {"argmax": "ArgMax", "argmin": "ArgMin"}.get(name, name.capitalize())
            return tell(function, attrs, [self], result)

        return reduce

    for name in ("argmax", "argmin", "max", "mean", "min", "prod", "sum"):
        setattr(Recorded, name, reduction(name))
    return Recorded


__all__ = ["plain", "recorded_arrays"]
