$# C[b0, b1, m, n] = stores(sum over k of A[b0, b1, m, k] * B[b0, b1, n / 8, k, n % 8])
$#
$# A work item is a block of rows by a block of panels (8 columns). Within it a panel stays in the nearest
$# cache while the rows pass by a few at a time, straight from A, or from the scratch memory where A had to be
$# computed or gathered first. Rows that are missing to the last tile repeat the last row; where only one row is
$# left it takes four panels together.
$# Weights that are computed are made once for all rows of a block, in the scratch memory; for one row where they are used,
$# and for a few where `direct` says where they lie.
$assert contiguous or packed
const int N = ${N}, K = ${K}, panel_size = K * 8, length = K;
const int panels = (N + 7) / 8, panel_blocks = (panels + ${NB} - 1) / ${NB};
const int row_blocks = (${M} + ${MB} - 1) / ${MB};
$if packed:
  float* const block = (float*)scratch;
  int packed_rows = -1;
$if dot:
  float* const columns = (float*)scratch + ${f"{MB} * K" if packed else 0};
  const float* transposed = 0;
$if unpacked:
  float* const panel_of = (float*)scratch + ${f"{MB} * K" if packed else 0};
for (int item = begin; item < end; item++) {
  const int rows = DIV(item, panel_blocks), batch = DIV(rows, row_blocks);
  const int m_begin = MOD(rows, row_blocks) * ${MB}, m_end = vmin(m_begin + ${MB}, ${M});
  const int panel_begin = MOD(item, panel_blocks) * ${NB}, panel_end = vmin(panel_begin + ${NB}, panels);
  const int batch0 = DIV(batch, ${B1}), batch1 = MOD(batch, ${B1});
  $if direct:
    const int single = m_end - m_begin <= ${most} ? m_end - m_begin : (m_end - m_begin) % 4 == 1;
  $else:
    const int single = ${"0" if dot else "(m_end - m_begin) % 4 == 1"};
  $if plain:
    const float* const weights = ${weights};
  $else:
    const float* const weights = 0;
    const int k_begin = 0;
  $if packed:
    if (packed_rows != rows) {
      packed_rows = rows;
      for (int m = m_begin; m < m_end; m++) {
        float* const row = block + (m - m_begin) * K;
        int k = 0;
        $if contiguous:
          for (; k + 4 <= K; k += 4) {
            ${pack("k")}
          }
        for (; k < K; k++) {
          ${pack(None)}
        }
      }
    }
  $if dot:
    ${transpose}
  for (int panel = panel_begin; panel < panel_end; panel++)
    for (int m0 = m_begin; m0 < m_end - single; m0 += ${rows}) {
      const float* w = ${"columns" if dot else "panel_of" if unpacked else "weights + panel * panel_size"};
      $if unpacked:
        if (m0 == m_begin)
          for (int k = 0; k < K; k++) {
            ${columns_of(0)}
            ${columns_of(1)}
            ST(panel_of + k * 8, w0), ST(panel_of + k * 8 + 4, w1);
          }
      $for r in range(rows):
        const float* a_${r}; { const int m = vmin(m0 + ${r}, m_end - 1); a_${r} = ${a_row}; }
      ${tile("open")}
      ${tile("run")}
      ${tile("close")}
    }
  $if direct:
    const int m0 = m_end - single;
    if (single == 1) {
      ${few(1)}
    } else if (single == 2) {
      ${few(2)}
    }
    $if most > 2:
      else if (single) {
        ${few(4)}
      }
  $elif not dot:
    if (single) {
      const int m0 = m_end - 1, m = m0;
      const float* const a_0 = ${a_row};
      int panel = panel_begin;
      $for count in (4, 1) if plain or narrow else (2, 1):
        for (; panel + ${count} <= panel_end; panel += ${count}) {
          const float* w = weights + panel * panel_size;
          ${tile("open", 1, 2 * count)}
          $if block:
            for (int kb = 0; kb * ${block} < K; kb++) {
              f4 ${", ".join(f"d{v} = S(0.0f)" for v in range(2 * count))};
              for (int k = kb * ${block}; k < vmin((kb + 1) * ${block}, K); k++) {
                const f4 a = S(a_0[k]);
                $if narrow:
                  $for v in range(count):
                    { const s8 x = WIDE(${narrow} + (panel + ${v}) * panel_size + k * 8);
                      d${2 * v} = MADD(a, TO_F(LEFT(x)), d${2 * v}), d${2 * v + 1} = MADD(a, TO_F(RIGHT(x)), d${2 * v + 1}); }
                $else:
                  $for v in range(2 * count):
                    { ${factor(0, v, "x")}
                      d${v} = MADD(a, x, d${v}); }
              }
              $for v in range(2 * count):
                { ${factor(1, v, "x")}
                  c0${v} = MADD(d${v}, x, c0${v}); }
            }
          $else:
            ${tile("run", 1, 2 * count, not plain)}
          ${tile("close", 1, 2 * count)}
        }
    }
}
