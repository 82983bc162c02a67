"""Matrix products and convolutions as WGSL: the functions that the gemm templates call; tiles.

A convolution is a matrix product whose rows are pixels and whose k runs over (ky, kx, c). Four
neighbouring k of a row are one vec4 where they are one in memory. The table TILES says how a
product can be cut up, and how long that takes: `templates/gemm_tile.wgsl` shares tiles in workgroup
memory, `gemm_register.wgsl` splits k over a workgroup, for few outputs, and `gemm_row.wgsl` for one
row. `gemm_narrow.wgsl` is for few rows by narrow weights.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ...errors import WebDNNError
from ...expr import (
    Dim,
    Expr,
    as_dim,
    cast,
    cost,
    free,
    lift,
    logical_and,
    make,
    minimum,
    multiple_of,
    product,
    select,
    substitute,
    upper,
    var,
    walk,
)
from ...schedule.kernel import (
    Instance,
    Loop,
    Stage,
    Store,
)
from ..loops import Panels, along_depth, collapse, padded, panel_base, stored_panels
from ..template import render
from .dialect import (
    LANE,
    Grid,
    Printed,
    Wgsl,
    ceil_div,
    counter,
    digits,
    linear_grid,
    named_int,
    plus,
    quotient,
    template,
    times,
    vec_aligned,
    vector,
)
from .limits import LIMITS
from .loops import RowStages, with_subgroups


@dataclass(frozen=True)
class Tile:
    """One way to print a sum of products; the fields are the holes of its template."""

    template: str
    BM: int  # rows of a workgroup
    BN: int  # columns of a workgroup
    TM: int  # rows of an invocation
    TN: int = 8  # columns of an invocation
    BK: int = 0  # gemm_tile: the depth of a tile
    ahead: bool = False  # gemm_tile: whether tiles are loaded while those before are used
    PARTS: int = 1  # where nothing is tiled: invocations that share out k
    # Fitted to measurements on one H200: TFLOP/s when there is work for the whole device, ns for
    # one k of one invocation, and workgroups of a product, a convolution that a compute unit holds.
    rate: float = 0
    step: float = 0
    held: tuple[int, int] = (16, 16)
    last: float = 0.17  # of the part of the last round that idles, what it costs

    @property
    def threads(self) -> int:
        return self.BM // self.TM * (self.BN // self.TN) * self.PARTS

    def __str__(self) -> str:
        if self.template == "gemm_narrow":
            return f"narrow{self.BM}"
        k = f"x{self.BK}" if self.BK else f"k{self.PARTS}" if self.PARTS > 1 else ""
        return f"{self.BM}x{self.BN}{k}_{self.TM}x{self.TN}{'a' if self.ahead else ''}"


TILES = (
    Tile("gemm_tile", 128, 64, 8, BK=16, rate=28.3, step=94, held=(3, 1)),
    Tile("gemm_tile", 64, 64, 8, BK=16, ahead=True, rate=32.8, step=83, held=(4, 4), last=1),
    Tile("gemm_tile", 64, 64, 4, TN=4, BK=16, ahead=True, rate=29.8, step=59, held=(4, 2)),
    Tile("gemm_tile", 64, 32, 4, TN=4, BK=16, ahead=True, rate=25.1, step=36, held=(5, 6)),
    Tile("gemm_tile", 32, 64, 4, TN=4, BK=16, ahead=True, rate=26.2, step=44, held=(9, 6)),
    Tile("gemm_tile", 64, 32, 4, BK=16, rate=22.6, step=65, held=(10, 7)),
    Tile("gemm_tile", 32, 32, 4, TN=4, BK=32, ahead=True, rate=19.2, step=36, held=(12, 11)),
    Tile("gemm_tile", 32, 32, 2, TN=4, BK=32, ahead=True, rate=20.4, step=25, held=(7, 5)),
    Tile("gemm_tile", 128, 4, 4, TN=4, BK=16, rate=7.3, step=93),
    Tile("gemm_register", 32, 64, 4, rate=8.2, step=280),
    Tile("gemm_register", 256, 8, 4, rate=10.2, step=210),
    Tile("gemm_register", 32, 32, 8, PARTS=4, rate=15.1, step=224),
    Tile("gemm_register", 16, 32, 8, PARTS=8, rate=16.0, step=245),
    Tile("gemm_register", 16, 16, 4, PARTS=16, rate=13.9, step=224),
    Tile("gemm_register", 8, 16, 4, PARTS=32, rate=9.2, step=237),
    Tile("gemm_register", 4, 8, 4, PARTS=64, rate=3.4, step=32),
    Tile("gemm_register", 2, 8, 2, PARTS=128, rate=2.4, step=741),
    Tile("gemm_row", 1, 8, 1, PARTS=256, rate=1.4, step=533),
)

# Of products of few rows by narrow weights.
NARROW_ROWS = tuple(Tile("gemm_narrow", m, 8, m, PARTS=256 if m == 1 else 128) for m in (1, 2, 4))
AT_ONCE = 4  # vectors of weights that an invocation of gemm_narrow has on the way

# Compute units of the device that was measured. Smaller ones run more rounds of workgroups, of
# which the last matters less: then no choice is far from the best.
UNITS = 132

# How many slices the depth may be cut into, the least depth of one, and the bytes of all sums.
SLICES, SHALLOWEST, SUMS = (1, 2, 3, 4, 6, 8, 12, 16), 64, 2**25

HALF = var("half", 2)  # of a panel's 8 columns


def tile_time(
    tile: Tile, m: int, n: int, k: int, batch: int, slices: int = 1, slides: bool = False
) -> float:
    """Microseconds that a tile takes: the larger of the padded work and the serial steps of one
    invocation, or more where both matter; and of slices, storing their sums and adding them up.

    Storing an output is worth a part of a step. In the last round of workgroups a part of the
    device idles."""
    groups = -(-m // tile.BM) * -(-n // tile.BN) * batch * slices
    work = groups * tile.BM * tile.BN * k / slices
    more = 1 + 0.62 * tile.TM * tile.TN * slices / k
    full, serial = 2 * work / (tile.rate * 1e6), k / slices / tile.PARTS * tile.step / 1e3
    if tile.template == "gemm_tile":
        round_ = UNITS * tile.held[slides]
        if groups > round_:
            full *= 1 + tile.last * (-(-groups // round_) * round_ / groups - 1)
        else:
            full *= 1 + 0.41 * (-(-groups // UNITS) * UNITS / groups - 1)
    sums = 2.7 + 8 * slices * m * n * batch / 13.6e6 if slices > 1 else 0  # a launch; from caches
    return float(more * (full**3.7 + serial**3.7) ** (1 / 3.7) + sums)


def legal_tiles(m: int, slices: int) -> list[Tile]:
    """The tiles that a product of m rows may take: it fills half of their rows or more, and slices
    are for tiles in workgroup memory."""
    tiles = [t for t in TILES if slices == 1 or t.template == "gemm_tile"]
    return [t for t in tiles if m > t.BM // 2 and -(-m // t.BM) <= LIMITS.groups] or tiles


def legal_slices(m: int, n: int, k: int, batch: int) -> list[int]:
    """Into how many slices the depth of a product may be cut."""
    if n % 4 or m < 16:
        return [1]
    return [s for s in SLICES if s == 1 or (k >= s * SHALLOWEST and 4 * s * m * n * batch <= SUMS)]


def sliced_time(m: int, n: int, k: int, batch: int, slices: int, slides: bool) -> float:
    """Microseconds that a product takes by its best tile."""
    return min(tile_time(t, m, n, k, batch, slices, slides) for t in legal_tiles(m, slices))


def product_time(m: int, n: int, k: int, batch: int, slides: bool) -> float:
    """Microseconds that a product takes, cut as is best; `slides`: one that is a convolution."""
    return min(sliced_time(m, n, k, batch, s, slides) for s in legal_slices(m, n, k, batch))


def best_slices(kernel: Instance) -> int:
    """Into how many slices the depth of a product is best cut, at its largest sizes."""
    kernel = pointwise_as_matmul(kernel)
    m, n, k, batch = (upper(size) for size in sizes(kernel))
    slid = slides(kernel)
    legal = legal_slices(m, n, k, batch)
    return min(legal, key=lambda s: sliced_time(m, n, k, batch, s, slid))


def sizes(kernel: Instance) -> tuple[Dim, Dim, Dim, Dim]:
    """Rows, columns, depth and batch of a product."""
    v = kernel.vars
    rows, outer = (("b", "y", "x"), ("g",)) if slides(kernel) else (("m",), ("b0", "b1"))
    M, K, Z = (
        product([v[name].args[1] for name in names if name in v])
        for names in (rows, kernel.sums, outer)
    )
    return M, v["n"].args[1], K, Z


def narrow_panels(kernel: Instance) -> tuple[Panels, int] | None:
    """The weights of a product as `gemm_narrow` reads them, and how many times 16 bytes an
    invocation takes together. None where 16 bytes are no whole rows of a panel, or of several
    blocks."""
    _, _, K, _ = sizes(kernel)
    for run in (4, 2, 1):
        panels = stored_panels(kernel, 4 * run)
        if panels is None or panels.bits not in (4, 8, 16) or not isinstance(K, int):
            continue
        if panels.storage in ("i16", "u16") or (run > 1 and panels.bits > 8):
            continue
        each = 128 // panels.bits
        if K * 8 % (each * run) == 0 and multiple_of(panels.base, each):
            return panels, run
    return None


def print_gemm(kernel: Instance, tile: Tile | None = None) -> Printed:
    """A product's instance, by the best tile of TILES unless one is given."""
    kernel = pointwise_as_matmul(kernel)
    v = kernel.vars
    outer = ("slice", *(("g",) if slides(kernel) else ("b0", "b1")))
    spatial = [v[name] for name in (("b", "y", "x") if slides(kernel) else ("m",)) if name in v]
    deep = [v[name] for name in kernel.sums]
    M, N, K, Z = sizes(kernel)
    few = upper(M) <= NARROW_ROWS[-1].BM and not kernel.stages
    if tile is None and few and narrow_panels(kernel) is not None:
        tile = next(t for t in NARROW_ROWS if upper(M) <= t.BM)
    if tile is None:
        m, n, k, batch = (upper(size) for size in (M, N, K, Z))
        tile = min(
            legal_tiles(m, kernel.slices),
            key=lambda t: tile_time(t, m, n, k, batch, kernel.slices, slides(kernel)),
        )
    printed = GemmPrinter(kernel, tile, outer, spatial, deep).print(M, N, K, Z)
    if not kernel.stages:
        return printed
    fast = GemmPrinter(kernel, tile, outer, spatial, deep, subgroups=True).print(M, N, K, Z)
    return with_subgroups(printed, fast)


def slides(kernel: Instance) -> bool:
    """Whether a product's rows are pixels, and its depth a window that slides over them."""
    return "stride" in kernel.attrs


def coordinate(kernel: Instance, name: str) -> Expr:
    """The variable `name` of an instance, which may only occur in its holes."""
    if name in kernel.vars:
        return kernel.vars[name]
    for hole in kernel.holes.values():
        for v in free(hole):
            if v.args[0] == name:
                return v
    raise WebDNNError(f"kernel {kernel.name}: template {kernel.template} has no variable {name}")


def merged(axes: Sequence[Expr], stores: tuple[Store, ...], others: Sequence[Expr]) -> Loop:
    """The axes of stores, and of other expressions, merged where all walk them as one."""
    return collapse(Loop("", tuple(axes), (), (Stage("sum", tuple(others)),), stores, ()))


def pointwise_as_matmul(kernel: Instance) -> Instance:
    """A 1x1 convolution whose pixels lie in a row, as a matmul; any other kernel as it is."""
    v, attrs = kernel.vars, kernel.attrs
    if not slides(kernel) or attrs["groups"] != 1 or tuple(attrs["stride"]) != (1, 1):
        return kernel
    if any(as_dim(v[n].args[1]) != 1 for n in ("ky", "kx") if n in v):
        return kernel
    if any(
        v[out].args[1] != coordinate(kernel, at).args[1] for out, at in (("y", "iy"), ("x", "ix"))
    ):
        return kernel  # padded, at either end
    axes = [v[n] for n in ("b", "y", "x") if n in v]
    unit = {v["g"]: 0} if "g" in v else {}
    one = {**unit, **{v[n]: 0 for n in ("ky", "kx") if n in v}}
    a = substitute(
        kernel.holes["a"],
        {coordinate(kernel, "iy"): v["y"], coordinate(kernel, "ix"): v["x"], **unit},
    )
    stores = tuple(
        Store(s.slot, substitute(s.index, unit), substitute(s.value, unit)) for s in kernel.stores
    )
    loop = merged(axes, stores, [a])
    if len(loop.axes) != 1:
        return kernel
    return replace(
        kernel,
        vars={"m": loop.axes[0], "n": v["n"], "k": v["c"]},
        holes={"a": loop.stages[0].exprs[0], "b": substitute(kernel.holes["b"], one)},
        attrs={},
        stores=loop.stores,
        sums=("k",),
    )


class GemmPrinter:
    """Prints the functions that the gemm templates call, and the template around them."""

    def __init__(
        self,
        kernel: Instance,
        tile: Tile,
        outer: Sequence[str],
        spatial: Sequence[Expr],
        deep: Sequence[Expr],
        subgroups: bool = False,
    ) -> None:
        self.kernel, self.tile, self.deep = kernel, tile, deep
        self.outer = [kernel.vars[name] for name in outer if name in kernel.vars]
        self.K = product([s.args[1] for s in deep])
        N = kernel.vars["n"].args[1]
        self.nq = var("nq", ceil_div(N, 4))
        self.tail = not multiple_of(lift(N), 4)
        inner = deep[-1].args[1]
        self.quads = multiple_of(lift(inner), 4)  # no group of four k straddles a pixel
        self.spatial = list(spatial)
        loop = merged(spatial, kernel.stores, [])
        self.rows = list(loop.axes)
        self.writes = [
            Store(
                s.slot,
                *(
                    substitute(e, {kernel.vars["n"]: self.nq * 4 + LANE})
                    for e in (s.index, s.value)
                ),
            )
            for s in loop.stores
        ]
        # How many k are loaded at once: one if four do not lie together, unless a tile shares them.
        self.kv = 4
        self.panels: Panels | None = None
        self.run = 1
        found = narrow_panels(kernel) if tile.template == "gemm_narrow" else None
        if found is not None:
            self.panels, self.run = found
        # What load_b is asked for. By narrow weights no panel is beyond the last: less is held.
        panel, depth = var("panel", 2**28), var("k_", 2**31 - 1)
        if self.panels is not None:
            panel, depth = var("panel", ceil_div(N, 8)), var("k_", self.K)
        self.at = {panel: "panel", depth: "k", HALF: "half"}
        rows = 4 if self.panels is None else 16 // self.panels.bits * self.run
        if rows % 4:
            self.kv = 1
        elif tile.template != "gemm_tile":
            at = [e.args[1] for e in walk(self.hole_a(4)) if e.op == "load"]
            together = all(vec_aligned(index) for index in at if LANE in free(index))
            self.kv = 4 if self.quads and together else 1
        self.a = self.hole_a(self.kv)
        base = panel_base(kernel)
        read = [self.hole_b()]
        if self.panels is not None:
            base = self.panels.base * self.panels.bits // 32
            parts = (self.panels.zero, self.panels.scale)
            read = [self.columns(e) for e in parts if e is not None]
        self.base = base
        accesses = [
            (e.args[0], e.args[1])
            for e in walk(self.a, *read, *(e for s in self.writes for e in (s.index, s.value)))
            if e.op == "load"
        ]
        accesses += [(s.slot, s.index) for s in self.writes]
        self.row: RowStages | None = None
        if kernel.stages:
            self.row = RowStages(kernel, tile.threads, subgroups, 1)
            accesses += self.row.accesses
        self.d = Wgsl(kernel.name, kernel.slots, accesses)
        if self.tail:
            self.d.vec -= {s.slot for s in self.writes}
        if self.panels is not None:
            self.d.words.add(self.panels.slot)
        elif self.base is not None and kernel.holes["b"].args[0] not in self.d.vec:
            self.base = None  # panels are read straight as groups of four alone

    def hole_a(self, kv: int) -> Expr:
        """An element of A (four, over LANE, if kv is 4): zero in the padding and beyond K."""
        kernel, v = self.kernel, self.kernel.vars
        at = named_int("k")
        if not slides(kernel):
            k = self.deep[0]
            if kv == 1:
                a = substitute(kernel.holes["a"], {})
            elif self.quads:
                kq = var("kq", as_dim(lift(self.K) // 4))
                blocks = {  # of whole groups of four
                    e: kq // as_dim(e.args[1] // 4)
                    for e in walk(kernel.holes["a"])
                    if e.op == "floordiv" and e.args[0] is k and multiple_of(e.args[1], 4)
                }
                a = substitute(kernel.holes["a"], {k: kq * 4 + LANE, **blocks})
            else:
                a = substitute(kernel.holes["a"], {k: var("kb", self.K) + LANE})
            inside = lift(True)
        else:
            C, KX = v["c"].args[1], v["kx"].args[1] if "kx" in v else 1
            dy, dx = kernel.attrs["dilation"]
            oy, ox, c = named_int("oy"), named_int("ox"), v["c"]
            table: dict[Expr, Any] = {}
            if kv == 4 and self.quads:
                table[c] = var("cq", as_dim(lift(C) // 4)) * 4 + LANE
            elif kv == 4:
                k = var("kb", self.K) + LANE
                oy, ox = k // product([KX, C]) * dy, k // C % KX * dx
                table[c] = k % C
            iy, ix = coordinate(kernel, "iy"), coordinate(kernel, "ix")
            table[iy], y_inside = padded(iy.args[1], named_int("y0") + oy)
            table[ix], x_inside = padded(ix.args[1], named_int("x0") + ox)
            a = substitute(kernel.holes["a"], table)
            inside = logical_and(y_inside, x_inside)
        if kv == 4 and not multiple_of(lift(self.K), self.tile.BK or 4):
            inside = logical_and(inside, (at if self.quads else at + LANE) < lift(self.K))
        return select(inside, a, 0.0)

    def hole_b(self) -> Expr:
        """Four neighbouring columns of one row of B."""
        return self.columns(self.kernel.holes["b"])

    def columns(self, b: Expr) -> Expr:
        """A part of hole b, for four neighbouring columns of one row."""
        panel, depth, half = self.at
        at = {self.kernel.vars["n"]: panel * 8 + half * 4 + LANE}
        return substitute(b, {**at, **along_depth(self.kernel, depth)})

    def text(self, e: Dim) -> str:
        """A size as text."""
        return self.d.text(e)

    def print(self, M: Dim, N: Dim, K: Dim, Z: Dim) -> Printed:
        tile, d, kernel = self.tile, self.d, self.kernel
        slices = kernel.slices
        grid = (ceil_div(N, tile.BN), ceil_div(M, tile.BM), as_dim(lift(Z) * slices))
        private, batch, outer = self.batch()
        row: list[str] = []
        if self.row is not None:
            head, row = self.row.lines(d)
            private += head
        group = "wg"
        if any(upper(g) > LIMITS.groups for g in grid):
            group = "group"
            grid, unfolded = self.folded(grid)
            batch = f"{unfolded}\n{batch}"
        functions = "\n".join(
            [
                *private,
                self.row_of(),
                self.k_of(),
                self.load_a(outer),
                *([self.load_b(outer)] if self.panels is None else self.shared(outer)),
                self.finish(outer),
            ]
        )
        holes = {f: getattr(tile, f) for f in ("BM", "BN", "TM", "TN", "BK", "PARTS", "threads")}
        holes |= {"GROUP": group, "ROW": "\n".join(row)}
        holes |= {"WM": tile.BM // tile.TM, "WN": tile.BN // 8, "KV": self.kv, "batch": batch}
        holes["HALVES"] = 1 if upper(N) <= 4 else 2
        depth = self.text(K)
        holes |= {"M": self.text(M), "K": depth, "AHEAD": tile.ahead, "FROM": "0", "TO": depth}
        if slices > 1:
            share = self.text(as_dim(lift(ceil_div(K, slices * tile.BK)) * tile.BK))
            which = "i32(wg.z)" if Z == 1 else f"i32(wg.z) / {self.text(as_dim(Z))}"
            cut = f"let begin = {which} * {share};\nlet end = min(begin + {share}, {depth});"
            holes |= {"batch": f"{batch}\n{cut}", "FROM": "begin", "TO": "end"}
        if self.panels is not None:
            holes |= self.places(self.panels, K)
        holes |= {"panels": self.text(ceil_div(N, 8)), "quads": self.text(ceil_div(N, 4))}
        main = render(template(tile.template), holes)
        flops = times(M, N, Z, plus(times(2, K), sum(cost(s.value) for s in self.writes)))
        return d.printed(f"{kernel.name}__{tile}", main, functions, grid, flops)

    def places(self, panels: Panels, K: Dim) -> dict[str, Any]:
        """What `gemm_narrow` asks of weights: a place is 16 bytes, DEEP rows of a panel."""
        assert isinstance(K, int)
        places = K * 8 * panels.bits // 128 // self.run
        parts = next((p for p in (256, 128) if p <= min(places, self.tile.PARTS)), 64)
        ahead = max(1, min(AT_ONCE // self.run, places // parts))
        return {
            "bits": panels.bits,
            "DEEP": max(1, 16 // panels.bits),
            "SIGNED": int(panels.storage.startswith("i")),
            "SCALED": panels.scale is not None,
            "SHIFTED": panels.zero is not None,
            "AT_ONCE": 1 << ahead.bit_length() - 1,
            "RUN": self.run,
            "PARTS": parts,
            "PLACES": self.text(places),
            "WEIGHTS": f"b{panels.slot}",
        }

    def folded(self, grid: Grid) -> tuple[Grid, str]:
        """A grid of as many workgroups that fits WebGPU's axes, and the lines that find `wg`."""
        total = product(grid)
        folded, width = linear_grid(total)
        at = "group.x" if width is None else f"group.y * u32({self.text(width)}) + group.x"
        across, down = self.text(grid[0]), self.text(grid[1])
        lines = [
            f"let place = i32({at});",
            f"if (place >= {self.text(total)}) {{ return; }}",
            f"let wg = vec3<i32>(place % {across}, place / {across} % {down}, "
            f"place / {across} / {down});",
        ]
        return folded, "\n".join(lines)

    def batch(self) -> tuple[list[str], str, dict[Expr, str]]:
        """Private variables for the batch axes and the base of B, and the lines that set them."""
        d, names = self.d, {v: f"z{k}" for k, v in enumerate(self.outer)}
        base = None if self.base is None else self.base // 4
        known = [] if base is None else ["base_b"]
        private = [f"var<private> {name}: i32;" for name in (*names.values(), *known)]
        z = counter("z")
        scope, lines = {z: "i32(wg.z)"}, []
        for v, e in digits(z, self.outer).items():
            lines += [*d.block([e], scope), f"{names[v]} = {scope[e]};"]
        if base is not None:
            scope = dict(names)
            lines += [*d.block([base], scope), f"base_b = {scope[base]};"]
        return private, "\n".join(lines), names

    # The functions of the templates' contract.

    def function(self, head: str, roots: list[Expr], names: dict[Expr, str], form: str) -> str:
        """A function that ends in `form`, with the texts of `roots` in it."""
        names = dict(names)
        lines = self.d.block(roots, names)
        lines.append(form.format(*(names[r] for r in roots)))
        return "\n".join([head + " {", *("  " + line for line in lines), "}"])

    def row_of(self) -> str:
        """What load_a needs of a row: (image, top of the window, left of it, row number)."""
        head = "fn row_of(m: i32) -> vec4<i32>"
        if not slides(self.kernel):
            return head + " { return vec4<i32>(0, 0, 0, m); }"
        m = counter("m")
        v, attrs = self.kernel.vars, self.kernel.attrs
        (sy, sx), (top, left) = attrs["stride"], attrs["pad"]
        pixel = digits(m, self.spatial)
        b, y, x = (pixel.get(v[n], lift(0)) if n in v else lift(0) for n in ("b", "y", "x"))
        roots = [b, y * sy - top, x * sx - left]
        return self.function(head, roots, {m: "m"}, "return vec4<i32>({0}, {1}, {2}, m);")

    def k_of(self) -> str:
        """What load_a needs of k: (offset in y, in x, channel or group of four, k itself)."""
        head = "fn k_of(k: i32) -> vec4<i32>"
        v, k = self.kernel.vars, counter("k")
        if not slides(self.kernel) or (self.kv == 4 and not self.quads):
            last = lift(self.K) - (4 if self.quads and self.kv == 4 else 1)
            root = minimum(k, last)
            if self.quads and self.kv == 4:
                root = root // 4
            return self.function(head, [root], {k: "k"}, "return vec4<i32>(0, 0, {0}, k);")
        C, KX = v["c"].args[1], v["kx"].args[1] if "kx" in v else 1
        dy, dx = self.kernel.attrs["dilation"]
        pixel = quotient("floordiv", k, C)
        oy = quotient("floordiv", pixel, KX) * dy
        ox = quotient("mod", pixel, KX) * dx
        c = quotient("mod", k, C)
        if self.kv == 4:
            c = make("floordiv", (c, lift(4)), "i32")
        return self.function(head, [oy, ox, c], {k: "k"}, "return vec4<i32>({0}, {1}, {2}, k);")

    def load_a(self, outer: Mapping[Expr, str]) -> str:
        """One element of A, or four along k."""
        v = self.kernel.vars
        names = dict(outer)
        names[named_int("k")] = "at.w"
        for k, stage in enumerate(self.kernel.stages):
            names[make("acc", (1 + k, 0), stage.exprs[0].dtype)] = f"stage{k}"
        if not slides(self.kernel):
            names[v["m"]] = "row.w"
        else:
            names |= {
                named_int("y0"): "row.y",
                named_int("x0"): "row.z",
                named_int("oy"): "at.x",
                named_int("ox"): "at.y",
            }
            if "b" in v:
                names[v["b"]] = "row.x"
        a = self.d.lower(self.a)
        for leaf in free(a):
            if leaf.args[0] in ("kq", "kb", "cq") or leaf is self.deep[-1]:
                names[leaf] = "at.z"
        T = vector("f32", self.kv == 4)
        head = f"fn load_a(row: vec4<i32>, at: vec4<i32>) -> {T}"
        splat = self.kv == 4 and not self.d.wide(a)
        return self.function(head, [a], names, f"return {T + '({0})' if splat else '{0}'};")

    def load_b(self, outer: Mapping[Expr, str]) -> str:
        """Four columns of one row of a panel of B."""
        head = "fn load_b(panel: i32, k: i32, half: i32) -> vec4<f32>"
        if self.base is not None:
            index = f"base_b + (panel * {self.text(self.K)} + k) * 2 + half"
            element = self.d.element(self.kernel.holes["b"].args[0], index)
            return f"{head} {{ return {element}; }}"
        b = self.d.lower(self.hole_b())
        names = {**outer, **self.at}
        return self.function(head, [b], names, f"return {self.d.splat('{0}', b, True)};")

    def shared(self, outer: Mapping[Expr, str]) -> list[str]:
        """What rows of a panel share: the zeros and scales of four columns."""
        assert self.panels is not None
        out = []
        for name, e in (("zero_of", self.panels.zero), ("scale_of", self.panels.scale)):
            if e is None:
                continue
            four = self.d.lower(self.columns(e if e.dtype == "f32" else cast(e, "f32")))
            names = {**outer, **self.at}
            head = f"fn {name}(panel: i32, k: i32, half: i32) -> vec4<f32>"
            form = f"return {self.d.splat('{0}', four, True)};"
            out.append(self.function(head, [four], names, form))
        return out

    def finish(self, outer: Mapping[Expr, str]) -> str:
        """The stores of four finished sums."""
        d = self.d
        d.wide_acc = True
        d._width.clear()
        m = counter("m")
        names = {**outer, self.nq: "nq", make("acc", (0, 0), "f32"): "sum", m: "m"}
        lines: list[str] = []
        for k, (leaf, e) in enumerate(digits(m, self.rows).items()):
            lines += d.block([e], names)
            if e is m:
                names[leaf] = "m"
                continue
            lines.append(f"let i{k} = {names[e]};")
            names[leaf] = f"i{k}"
        mask = f"nq * 4 + $ < {self.text(self.kernel.vars['n'].args[1])}" if self.tail else None
        lines += d.stores(self.writes, names, mask)
        return "\n".join(
            ["fn finish(m: i32, nq: i32, sum: vec4<f32>) {", *("  " + x for x in lines), "}"]
        )
