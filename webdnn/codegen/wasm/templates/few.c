$# At most `most` rows, `rows` of them (1, 2 or 4, the last one repeated) from m0 on, by weights of 8 or 4 bits in panels.
$#
$# 16 bytes are 2 or 4 rows of a panel. A byte becomes the highest of a lane (of what has no sign, the one below), where it is
$# the number times a power of two, `unit`; of 4 bits, even and odd columns are apart until a block ends. Then its scale is
$# taken, once for all its rows. Nothing is rounded but products and sums.
$let top = 3 if signed else 2
$let each = 16 // bits
$let unit = f"S(0x1p-{8 * top + 8 - bits}f)"
$for r in range(rows):
  const float* a_${r}; { const int m = vmin(m0 + ${r}, m_end - 1); a_${r} = ${a_row}; }
$# The compiler would make shuffles of two vectors of these; engines have one instruction for known places of one.
$for s in range(each):
  $for h in range(2 if bits == 8 else 1):
    $let at = [4 * s + j if bits == 4 else 8 * s + 4 * h + j for j in range(4)]
    c16 at${s}_${h} = {${", ".join(str(at[j]) if b == top else "-1" for j in range(4) for b in range(4))}};
    __asm__("" : "+r"(at${s}_${h}));
int panel = panel_begin;
$for count in (4 // rows, 1) if rows < 4 else (1,):
  for (; panel + ${count} <= panel_end; panel += ${count}) {
    ${tile("open", rows, 2 * count)}
    for (int kb = 0; kb * ${block} < K; kb++) {
      $for r in range(rows):
        f4 ${", ".join(f"d{r}{v} = S(0.0f)" for v in range(2 * count))};
      $if zero:
        $for v in range(2 * count):
          ${zero(v, f"z{v}")}
        $for v in range(count):
          $if bits == 4:
            const f4 z${v}_0 = __builtin_shufflevector(z${2 * v}, z${2 * v + 1}, 0, 2, 4, 6), z${v}_1 = __builtin_shufflevector(z${2 * v}, z${2 * v + 1}, 1, 3, 5, 7);
          $else:
            const f4 z${v}_0 = z${2 * v}, z${v}_1 = z${2 * v + 1};
      for (int k = kb * ${block}; k < vmin((kb + 1) * ${block}, K); k += ${each}) {
        $for r in range(rows):
          const f4 ${", ".join(f"a_{r}_{s} = S(a_{r}[k + {s}])" for s in range(each))};
        $for v in range(count):
          {
            const c16 x = *(const c16 __attribute__((aligned(1)))*)(${direct} + (panel + ${v}) * K * ${bits} + k * ${bits});
            $if bits == 4:
              const c16 x_0 = (c16)(((i4)x << 4) & S((int)0xf0f0f0f0)), x_1 = (c16)((i4)x & S((int)0xf0f0f0f0));
            $for s in range(each):
              $for h in range(2):
                { const f4 w = TO_F((i4)__builtin_wasm_swizzle_i8x16(${f"x_{h}" if bits == 4 else "x"}, at${s}_${0 if bits == 4 else h}))${f' - z{v}_{h}' if zero else ''};
                  ${" ".join(f"d{r}{2 * v + h} = MADD(a_{r}_{s}, w, d{r}{2 * v + h});" for r in range(rows))} }
          }
      }
      $for v in range(count):
        $for h in range(2):
          {
            ${factor(1, 2 * v + h, "x") if scaled else "const f4 x = S(1.0f);"}
            $for r in range(rows):
              $let part = f"d{r}{2 * v}, d{r}{2 * v + 1}"
              $let sum = f"__builtin_shufflevector({part}, {'2, 6, 3, 7' if h else '0, 4, 1, 5'})" if bits == 4 else f"d{r}{2 * v + h}"
              c${r}${2 * v + h} = MADD(${sum} * ${unit}, x, c${r}${2 * v + h});
          }
    }
    ${tile("close", rows, 2 * count)}
  }
