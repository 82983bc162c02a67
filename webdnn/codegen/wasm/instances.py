"""Prints kernels of templates, `templates/NAME.c`: what each template sees is prepared here.

`tile.c` is the register tile that matmul and conv share, `columns.c` what it reads for few columns;
`few.c` is for few rows by narrow weights.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from ...expr import Dim, Expr, cast, coefficient, cost, free, product, substitute, var, walk
from ...schedule.kernel import Instance
from ..dialect import invariant
from ..loops import along_depth, panel_base, points, stored_panels
from ..template import render, render_own
from .lanes import Lanes, Printed, grain, larger, smaller


@cache
def template(name: str) -> str:
    return files("webdnn.codegen.wasm").joinpath("templates", name).read_text()


class _InstancePrinter(Lanes):
    """What the templates see: sizes as parameters, and the holes as text in terms of their
    variables."""

    accs = "acc"

    def __init__(self, kernel: Instance) -> None:
        super().__init__(kernel.slots)
        self.kernel = kernel
        loads = [x for e in kernel.holes.values() for x in walk(e)]
        self.vars = {v.args[0]: v for v in loads if v.op == "var"} | dict(kernel.vars)
        for name, v in self.vars.items():
            self.names[v] = (
                "0"
                if v.args[1] == 1
                else name.replace("b", "batch")
                if name[1:].isdigit()
                else name
            )

    def number(self, value: Dim) -> str:
        """A parameter of its own, also where another one happens to be equal."""
        self.params.values.append(value)
        return self.param(len(self.params.values) - 1)

    def extent(self, name: str) -> Any:
        """The size of a variable; 1 for one that the kernel lacks."""
        v = self.vars.get(name)
        return 1 if v is None else v.args[1]

    def plain(self, e: Dim, **where: Any) -> str:
        """An i32 expression, in one piece, with some variables replaced."""
        if isinstance(e, int):
            return str(e)
        return self.index(
            substitute(e, {self.vars[k]: x for k, x in where.items() if k in self.vars})
        )

    def stores(self, lane: str | None) -> str:
        """The epilogue: what is stored for `acc`, a vector along variable `lane` or one scalar."""
        if lane and self.extent(lane) == 1:
            return "__builtin_unreachable();"

        def body() -> None:
            for s in self.kernel.stores:
                self.store(s)

        return self.aside(lane, body)

    def assign(self, row: str, index: str, e: Expr, lane: str | None) -> str:
        """row[index] = e, a vector along `lane` or a scalar."""
        return self.aside(
            lane,
            lambda: self.line(
                f"ST({row} + {index}, {self.splat(e)});"
                if lane
                else f"{row}[{index}] = {self.value(e)};"
            ),
        )

    def name(self, e: Expr) -> None:
        """Computes `e` here; what follows in this scope uses the result."""
        self._named(self._key(e), self.value(e), self.scope, self.ctype(e))

    def aside(self, lane: str | None, body: Callable[[], object]) -> str:
        """The lines that `body` prints, a vector along `lane` or scalars."""
        return self.vector(self.vars[lane] if lane else None, body)

    def vector(self, lane: Expr | None, body: Callable[[], object]) -> str:
        """The lines that `body` prints, a vector along a variable or scalars."""
        self.lane, self.vector_accs = lane, lane is not None
        with self.apart() as lines:
            body()
        self.lane, self.vector_accs = None, False
        return "\n".join(lines)

    def leaf(self, e: Expr) -> str:
        if e.op != "acc":
            return super().leaf(e)
        return self.accs.format(*e.args)

    @property
    def heavy(self) -> bool:
        """Whether the epilogue is too much text to be repeated for each register."""
        return sum(cost(s.value) for s in self.kernel.stores) > 20

    def read(self, hole: str) -> Expr:
        """A hole that must be one load."""
        e = self.kernel.holes[hole]
        if e.op != "load":
            raise ValueError(
                f"{self.kernel.name}: hole {hole} of {self.kernel.template} must be a load,"
                f" found {e}"
            )
        return e

    def step(self, index: Expr, name: str) -> Dim:
        """The distance of neighbours along a variable."""
        d = coefficient(index, self.vars[name])
        if d is None or (isinstance(d, Expr) and not invariant(d)):
            raise ValueError(f"{self.kernel.name}: index {index} is not affine in {name}")
        return d

    def weights(self) -> dict[str, Any]:
        """How the second operand of a product is read: `plain` panels by a pointer that moves on,
        anything else is computed first, or where it is used."""
        base = panel_base(self.kernel)
        b = self.kernel.holes["b"]
        panel, j, k = var("panel", 2**27), var("j", 4), var("k_", 2**31 - 1)
        depth = along_depth(self.kernel, k)

        def pointed(v: int) -> str:
            """The same of panels in memory, where w points to."""
            return f"const f4 w{v} = LD(w + {v // 2} * panel_size + {v % 2 * 4});"

        def columns(v: int) -> str:
            """Four columns of the row k_begin + k of B, beginning at vector v of the panel."""
            e = substitute(b, {self.vars["n"]: (panel + v // 2) * 8 + v % 2 * 4 + j, **depth})
            self.names |= {panel: "panel", k: "(k_begin + k)", j: "0"}
            return self.vector(j, lambda: self.line(f"const f4 w{v} = {self.splat(e)};"))

        def element() -> str:
            """Element k, n of the first panel of B, as text."""
            if base is not None:
                return "weights[k * 8 + n]"
            e = substitute(b, {self.vars["n"]: var("n", 8), **depth})
            self.names |= {k: "k", var("n", 8): "n"}
            with self.apart() as lines:
                value = self.value(e)
            return f"({{ {' '.join(lines)} {value}; }})"

        return {
            "plain": base is not None,
            "weights": "0" if base is None else f"b{b.args[0]} + {self.plain(base)}",
            **self.scales(b, {self.vars["n"]: panel * 8 + j, **depth}, panel, k, j),
            "columns_of": columns,
            "pointed": pointed,
            "element_of": element,
        }

    def scales(
        self, b: Expr, where: dict[Expr, Any], panel: Expr, k: Expr, j: Expr
    ) -> dict[str, Any]:
        """`block`: how many rows of B share the scale of a column, as text; "" where B is no such
        product. `factor`: B without the scale, or that; `narrow`: where B is bytes in memory."""
        kb = var("kb", 2**27)

        def factor(which: int, v: int, name: str) -> str:
            """Four columns from vector v on; `which`: 0, without the scale; 1, the scale."""
            e = substitute(
                b.args[which], {**where, self.vars["n"]: (panel + v // 2) * 8 + v % 2 * 4 + j}
            )
            e = substitute(e, shared)
            self.names |= {panel: "panel", k: "(k_begin + k)", j: "0", kb: "kb"}
            return self.vector(j, lambda: self.line(f"const f4 {name} = {self.splat(e)};"))

        if b.op != "mul":
            return {"block": "", "narrow": "", "factor": factor}
        scale = substitute(b.args[1], where)
        inside = [e for e in walk(scale) if e.op == "shr" and e.args[0] is k]
        shared = dict.fromkeys(inside, kb)
        if len(shared) > 1 or k in free(substitute(scale, shared)):
            return {"block": "", "narrow": "", "factor": factor}
        narrow = self.bytes(b.args[0].args[0]) if b.args[0].op == "cast" else ""
        block = f"{1 << inside[0].args[1].args[0]}" if inside else "K"
        return {"block": block, "narrow": narrow and f"({narrow})", "factor": factor}

    def direct(self, env: dict[str, Any]) -> dict[str, Any]:
        """What `few.c` needs: the `direct` address of weights of 4 or 8 bits; "" where it cannot
        read them."""
        panels, k = stored_panels(self.kernel, 4), self.extent("k")
        if panels is None or panels.bits not in (4, 8) or not isinstance(k, int):
            return {"direct": ""}
        if k % (16 // panels.bits) or (panels.scale is not None and not env["block"]):
            return {"direct": ""}
        each = 32 // panels.bits if self.slots[panels.slot].dtype == "u32" else 1
        where, kb = along_depth(self.kernel, var("k_", 2**31 - 1)), var("kb", 2**27)
        panel, j = var("panel", 2**27), var("j", 4)

        def zero(v: int, name: str) -> str:
            """The zero points of four columns from vector v on, as they lie in a lane."""
            assert panels.zero is not None
            n = (panel + v // 2) * 8 + v % 2 * 4 + j
            e = substitute(panels.zero, {**where, self.vars["n"]: n})
            blocks = [x for x in walk(e) if x.op == "shr" and x.args[0] in where.values()]
            e = cast(substitute(e, dict.fromkeys(blocks, kb)), "f32")
            self.names |= {panel: "panel", j: "0", kb: "kb"}
            shift = (32 if panels.storage[0] == "i" else 24) - panels.bits
            text = f"const f4 {name} = {{}} * S(0x1p{shift}f);"
            return self.vector(j, lambda: self.line(text.format(self.splat(e))))

        parts = {
            "direct": f"(const char*)(b{panels.slot} + {self.plain(panels.base // each)})",
            "bits": panels.bits,
            "most": 4 if panels.bits == 8 else 2,  # rows, beyond which registers do not suffice
            "signed": panels.storage.startswith("i"),
            "scaled": panels.scale is not None,
            "zero": panels.zero is not None and zero,
        }
        parts["block"] = env["block"] or "K"
        few = {**env, **parts}
        return parts | {"few": lambda rows: render(template("few.c"), few | {"rows": rows})}

    def bytes(self, b: Expr) -> str:
        """Where a product's second operand begins, if it is panels of i8 in memory; else ""."""
        base = panel_base(self.kernel, b)
        plain = base is not None and self.slots[b.args[0]].dtype == "i8"
        return f"b{b.args[0]} + {self.plain(base)}" if plain and base is not None else ""

    def tiles(self, env: dict[str, Any]) -> None:
        """Adds what `tile.c` and the places that use it need."""
        few = self.extent("n") in (1, 2, 3)  # never four columns side by side
        env.update(
            vector_stores="" if few else self.stores("n"),
            scalar_stores=self.stores(None),
            heavy=self.heavy,
        )
        n = self.extent("n")
        env["dot"] = dot = isinstance(n, int) and n <= 4
        shape = ((8, 4, 4, 2)[n - 1], n) if dot else (4, 2)
        env["rows"], env["transpose"] = shape[0], render(template("columns.c"), env)
        env["unpacked"] = not env["plain"] and not dot

        def tile(
            part: str, rows: int = shape[0], vectors: int = shape[1], own: bool = False
        ) -> str:
            """A part of the tile; `own`: it computes the columns itself."""
            more = {"part": part, "rows": rows, "vectors": vectors, "computed": own}
            return render(template("tile.c"), {**env, **more})

        env["tile"] = tile

    def printed(
        self,
        env: Mapping[str, Any],
        items: Dim,
        each: float,
        row: Dim,
        scratch: Dim = 0,
        text: str = "",
    ) -> Printed:
        """The template rendered, or another `text` for it; `each` ns for each of the `row` units of
        a work item."""
        k = self.kernel
        name = f"{text or k.template}.c"
        body = render_own(k.folder / name, env) if k.folder else render(template(name), env)
        return Printed(
            k.name,
            body,
            k.slots,
            tuple(self.params.values),
            items,
            grain(each, row),
            scratch,
            k.origin,
        )


# Of convolutions by Winograd's way: tiles by channels whose inputs are transformed at a time, and
# tiles by channels by panels that a work item multiplies.
WINOGRAD_BLOCK, WINOGRAD_ITEM = 8192, 8192


def _whole(kernel: Instance) -> bool:
    """Whether a product is one of integers, and of more columns than the lanes hold."""
    n = kernel.vars["n"].args[1]
    return kernel.attrs.get("whole", False) and not (isinstance(n, int) and n <= 4)


def _blocks(m: Dim, panels: Dim, k: Dim) -> tuple[Dim, Dim]:
    """Rows and panels of one work item: some 10 µs of a core, rows before panels."""
    rows = smaller(64, (m + 3) // 4 * 4)
    count = ITEM_FLOPS // larger(1, 16 * rows * k)
    return rows, smaller(larger(4, (count + 3) // 4 * 4) if m == 1 else larger(1, count), panels)


ITEM_FLOPS = 400_000  # of a product or a convolution
DEPTHWISE_ITEMS = 16  # work items that a picture is cut into, at least
PACKED_BYTES = 1 << 17  # of the rows that a block packs: half of a small second cache


def _integers(
    kernel: Instance, p: _InstancePrinter, m: Dim, k: int, more: Any, batch: Dim
) -> Printed:
    """A product of whole numbers, m rows of a depth k for each `batch`."""
    n, pairs = p.extent("n"), (k + 1) // 2
    panels = (n + 7) // 8
    rows, block = _blocks(m, panels, k)
    rows = smaller(rows, max(16, PACKED_BYTES // (4 * pairs) // 4 * 4))
    b = kernel.holes["b"]
    integer = b.args[0] if b.op == "cast" and b.args[0].dtype == "i32" else cast(b, "i32")
    panel, j, at = var("panel", 2**27), var("j", 4), var("k_", 2**31 - 1)

    def columns(v: int, name: str) -> str:
        """Four columns of row k of B as integers, beginning at vector v of the panel."""
        where = {p.vars["n"]: panel * 8 + v % 2 * 4 + j, **along_depth(kernel, at)}
        e = substitute(integer, where)
        p.names |= {panel: "panel", at: "k", j: "0"}
        return p.vector(j, lambda: p.line(f"const i4 {name} = {p.splat(e)};"))

    env: dict[str, Any] = {
        **p.weights(),
        "kind": kernel.template,
        "M": p.number(m),
        "N": p.number(n),
        "K": p.number(k),
        "MB": p.number(rows),
        "NB": p.number(block),
        "weights": p.bytes(integer),
        "columns_of": columns,
        **more,
    }
    p.tiles(env)
    items = batch * ((m + (rows - 1)) // rows) * ((panels + (block - 1)) // block)
    scratch = (rows * (pairs + 2) + pairs * 8) * 4
    return p.printed(env, items, 16 / 60, rows * block * k, scratch, "integers")


def _matmul(kernel: Instance) -> Printed:
    p = _InstancePrinter(kernel)
    m, n, k = (p.extent(x) for x in "mnk")
    panels = (n + 7) // 8
    rows, block = _blocks(m, panels, k)
    a = kernel.holes["a"]
    reads = [x for x in walk(a) if x.op == "load"]
    contiguous = all(coefficient(x.args[1], p.vars["k"]) in (0, 1) for x in reads)
    if _whole(kernel):
        more = {
            "contiguous": contiguous,
            "coordinates": "",
            "pack": lambda lane: p.assign("row", "k", a, lane),
            "B1": p.number(p.extent("b1")),
        }
        return _integers(kernel, p, m, k, more, p.extent("b0") * p.extent("b1"))
    packed = a.op != "load" or coefficient(a.args[1], p.vars["k"]) != 1
    env: dict[str, Any] = {
        "M": p.number(m),
        "N": p.number(n),
        "K": p.number(k),
        "B1": p.number(p.extent("b1")),
        "MB": p.number(rows),
        "NB": p.number(block),
        **p.weights(),
        "contiguous": contiguous,
        "packed": packed,
        "coordinates": "",
        "a_row": "block + (m - m_begin) * K"
        if packed
        else f"b{a.args[0]} + {p.plain(a.args[1], k=0)}",
        "pack": lambda lane: p.assign("row", "k", a, lane),
    }
    p.tiles(env)
    env |= {"direct": ""} if env["dot"] else p.direct(env)
    items = (
        p.extent("b0")
        * p.extent("b1")
        * ((m + (rows - 1)) // rows)
        * ((panels + (block - 1)) // block)
    )
    scratch = (rows * packed + (8 if env["unpacked"] else 4)) * k * 4
    return p.printed(env, items, 16 / 40, rows * block * k, scratch)


def _window(p: _InstancePrinter, a: Expr) -> dict[str, Any]:
    """What conv and depthwise have in common."""
    attrs = p.kernel.attrs
    (sy, sx), (dy, dx), (top, left) = attrs["stride"], attrs["dilation"], attrs["pad"]
    return {
        **{
            name: p.number(p.extent(v))
            for name, v in (
                ("H", "iy"),
                ("W", "ix"),
                ("C", "c"),
                ("YS", "y"),
                ("XS", "x"),
                ("KY", "ky"),
                ("KX", "kx"),
            )
        },
        "SY": sy,
        "SX": sx,
        "DY": dy,
        "DX": dx,
        "PY": p.number(top),
        "PX": p.number(left),
        "A": f"b{a.args[0]}",
        "a_base": p.plain(a.args[1], iy=0, ix=0, c=0),
        "x_step": p.number(p.step(a.args[1], "ix")),
        "y_step": p.number(p.step(a.args[1], "iy")),
    }


def _conv(kernel: Instance) -> Printed:
    p = _InstancePrinter(kernel)
    a = p.read("a")
    m, n, k = (
        p.extent("y") * p.extent("x"),
        p.extent("n"),
        p.extent("ky") * p.extent("kx") * p.extent("c"),
    )
    if p.step(a.args[1], "c") != 1 and p.extent("c") != 1:
        raise ValueError(f"{kernel.name}: conv reads channels that are not neighbours: {a}")
    panels = (n + 7) // 8
    rows, block = _blocks(m, panels, k)
    env = _window(p, a)
    merged = kernel.attrs["dilation"][1] == 1 and p.step(a.args[1], "ix") == p.extent("c")
    env["merged"] = int(merged)
    if _whole(kernel):
        env["G"] = p.number(p.extent("g"))
        places = "places[(m - m_begin) * 2], x = places[(m - m_begin) * 2 + 1];"
        env["coordinates"] = f"const int y = {places}"
        return _integers(kernel, p, m, k, env, p.extent("b") * p.extent("g"))
    env |= {
        "N": p.number(n),
        "MB": p.number(rows),
        "NB": p.number(block),
        "G": p.number(p.extent("g")),
        **p.weights(),
        "coordinates": "const Position* const at = positions + (m - m_begin);\n"
        "const int y = at->y_out, x = at->x_out;",
    }
    p.tiles(env)
    items = (
        p.extent("b")
        * p.extent("g")
        * ((m + (rows - 1)) // rows)
        * ((panels + (block - 1)) // block)
    )
    scratch = rows * 24 + p.extent("c") * 4 + k * (32 if env["unpacked"] else 16)
    return p.printed(env, items, 16 / 35, rows * block * k, scratch)


def _winograd_input(to: str, apart: Any) -> str:
    """Six vectors d0 ... d5 -> their values at the points, stored `apart` elements apart."""
    return f"""
    {{ float* const to = {to}; const int apart = {apart};
      const f4 even = d4 - S(2.0f) * d2, odd = r * (d3 - S(2.0f) * d1);
      const f4 even2 = d4 - S(0.5f) * d2, odd2 = r2 * (d3 - S(0.5f) * d1);
      ST(to, d0 - S(2.5f) * d2 + d4);
      ST(to + apart, even + odd), ST(to + 2 * apart, even - odd);
      ST(to + 3 * apart, even2 + odd2), ST(to + 4 * apart, even2 - odd2);
      ST(to + 5 * apart, d1 - S(2.5f) * d3 + d5); }}"""


def _winograd_output(to: str, apart: Any) -> str:
    """Six vectors d0 ... d5, one for each point, -> 4 sums, stored `apart` elements apart."""
    return f"""
    {{ float* const to = {to}; const int apart = {apart};
      const f4 even = d1 + d2, odd = d1 - d2, even2 = d3 + d4, odd2 = d3 - d4;
      ST(to, d0 + even + even2), ST(to + apart, MADD(r2, odd2, r * odd));
      ST(to + 2 * apart, MADD(S(2.0f), even2, S(0.5f) * even));
      ST(to + 3 * apart, MADD(r8, odd2, r32 * odd) + d5); }}"""


def _winograd(kernel: Instance) -> Printed:
    p = _InstancePrinter(kernel)
    a, u = p.read("a"), p.read("u")
    b, n, c, y, x = (p.extent(v) for v in "bncyx")
    if p.step(a.args[1], "c") != 1:
        raise ValueError(f"{kernel.name}: winograd reads channels that are not neighbours: {a}")
    tiles, panels = b * ((y + 3) // 4) * ((x + 3) // 4), (n + 7) // 8
    most = smaller(64, larger(4, WINOGRAD_BLOCK // c // 4 * 4))
    blocks = (tiles + (most - 1)) // most
    # From 4 to `most` anyway, which is said for the bounds of sizes that stay open.
    rows = larger(4, smaller(most, ((tiles + (blocks - 1)) // blocks + 3) // 4 * 4))
    count = smaller(larger(1, WINOGRAD_ITEM // (rows * c)), panels)
    env = _window(p, a)
    env |= {
        "B": p.number(b),
        "N": p.number(n),
        "TB": p.number(rows),
        "NB": p.number(count),
        "U": f"b{u.args[0]} + {p.plain(u.args[1], n=0, c=0)}",
        "input": _winograd_input,
        "output": _winograd_output,
        "vector_stores": p.stores("n"),
        "scalar_stores": p.stores(None),
        "pointed": lambda v: f"const f4 w{v} = LD(w + {4 * v});",
        "dot": False,
    }
    parts = {"rows": 4, "vectors": 2, "computed": False, "heavy": False}
    env["tile"] = lambda part: render(template("tile.c"), {**env, **parts, "part": part})
    items = ((tiles + (rows - 1)) // rows) * ((panels + (count - 1)) // count)
    columns = smaller(rows * count, larger(most, WINOGRAD_ITEM // c))
    scratch = 36 * (rows * c + 8 * columns) + 16 * 8 * count + 36 * 5 + c
    return p.printed(env, items, 16 * 36 / 35, rows * count * c, scratch * 4)


def _depthwise(kernel: Instance) -> Printed:
    p = _InstancePrinter(kernel)
    a, w = p.read("a"), p.read("w")
    env = _window(p, a)
    ky, kx = p.extent("ky"), p.extent("kx")
    c, y = p.extent("c"), p.extent("y")
    # Few rows are cut into blocks of channels too, in whole lines of the cache: reading less than
    # all channels of a pixel is slower where they do not stay in the cache.
    parts = (y + (DEPTHWISE_ITEMS - 1)) // y
    block = larger(64, (c + (16 * parts - 1)) // (16 * parts) * 16)
    fixed = (
        isinstance(ky, int)
        and isinstance(kx, int)
        and ky * kx <= 25
        and env["SX"] <= 2
        and env["DX"] == 1
    )
    env |= {
        "channels_contiguous": p.step(a.args[1], "c") == 1 and p.step(w.args[1], "c") == 1,
        "B": f"b{w.args[0]}",
        "w_base": p.plain(w.args[1], ky=0, kx=0, c=0),
        "wx_step": p.number(p.step(w.args[1], "kx")),
        "wy_step": p.number(p.step(w.args[1], "ky")),
        "CB": p.number(block),
        "TX": 4,
        "fixed": fixed,
        "KYN": ky,
        "KXN": kx,
        "vector_stores": p.stores("c"),
        "scalar_stores": p.stores(None),
    }
    items = p.extent("b") * ((c + (block - 1)) // block) * y
    return p.printed(env, items, 2 / 20, p.extent("x") * smaller(block, c) * kx * ky, c * 4)


def _recurrent(kernel: Instance) -> Printed:
    p = _InstancePrinter(kernel)
    p.accs = "acc{}_{}"
    h, gates = p.extent("j"), p.extent("g")
    holes = kernel.holes
    phases = [(range(gates), "h")]
    if "reset" in holes:
        phases = [(range(gates - 1), "h"), (range(gates - 1, gates), "reset")]

    def stores(lane: str | None) -> str:
        def body() -> None:
            for s in reversed(kernel.stores):  # h is computed from c
                p.name(s.value)
                p.store(s)

        return p.aside(lane, body)

    env = {
        "H": p.number(h),
        "T": p.number(p.extent("t")),
        "G": gates,
        "R": f"b{p.read('r').args[0]}",
        "states": len(kernel.stores),
        "out": [f"b{s.slot}" for s in kernel.stores],
        "reverse": kernel.attrs["reverse"],
        "phases": phases,
        "chains": lambda gates: (0, 4, 2, 1, 1)[len(gates)],
        "first": lambda name: p.assign(f"first_{name}", "j", holes[name], None),
        "resets": lambda lane: p.assign("reset", "j", holes["reset"], lane),
        "stores": stores,
    }
    return p.printed(env, p.extent("n"), 2 / 20, p.extent("t") * h * h * gates, 16 * h)


TEMPLATES: Mapping[str, Callable[[Instance], Printed]] = {
    "matmul": _matmul,
    "conv": _conv,
    "winograd": _winograd,
    "depthwise": _depthwise,
    "recurrent": _recurrent,
}


def _general(kernel: Instance) -> Printed:
    """A template of another folder, with what docs/extending.md promises to its text."""
    p = _InstancePrinter(kernel)
    p.accs = "acc{1}"
    inner = kernel.attrs.get("inner", ())
    outer = [v for v in points(kernel) if v.args[0] not in inner]

    def hole(name: str, lane: str | None = None) -> str:
        e = kernel.holes[name]
        text = p.aside(lane, lambda: p.line(f"{p.splat(e) if lane else p.value(e)};"))
        return f"({{ {text.replace(chr(10), ' ')} }})"

    declared, rest = [], "item"
    for k, v in reversed([*enumerate(outer)]):
        size = p.number(v.args[1])
        at = f"MOD({rest}, {size})" if k else rest
        rest = f"DIV({rest}, {size})"
        if p.names[v] != "0":
            declared.append(f"const int {p.names[v]} = {at};")
    env: dict[str, Any] = {
        "attrs": kernel.attrs,
        "size": lambda name: p.number(kernel.vars[name].args[1]),
        "point": "\n".join(declared),
        "hole": hole,
        "stores": lambda lane=None: p.stores(lane),
    }
    items, row = (
        product([p.extent(v) for v in names])
        for names in ([v.args[0] for v in outer], [*inner, *kernel.sums])
    )
    work = sum(cost(e) + 1 for e in (*kernel.holes.values(), *(s.value for s in kernel.stores)))
    return p.printed(env, items, work * 0.4, row)


def print_instance(kernel: Instance) -> Printed:
    """The C of a template's kernel."""
    return _general(kernel) if kernel.folder else TEMPLATES[kernel.template](kernel)
