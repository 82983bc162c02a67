$# A matmul or conv of whole numbers (`whole`): exact sums of integers, two products and an addition a lane.
$#
$# Factors fit into 16 bits and sums into 32, so a word holds two neighbours along the depth. The rows of a block are
$# made such words once for all panels, a panel once for all rows of a block, in the scratch memory; where the depth is odd
$# a row ends in a zero. A convolution's rows are gathered from its windows, zeros where a tap lies outside.
$# Where one row is left it takes four panels together, whose bytes are widened where they are used.
$let conv = kind == "conv"
const int N = ${N}, K = ${K}, M = ${M}, pairs = (K + 1) / 2, panel_size = K * 8;
const int panels = (N + 7) / 8, panel_blocks = (panels + ${NB} - 1) / ${NB};
const int row_blocks = (M + ${MB} - 1) / ${MB};
$if conv:
  const int C = ${C}, H = ${H}, W = ${W}, XS = ${XS}, KX = ${KX}, KY = ${KY};
  const int x_step = ${x_step}, y_step = ${y_step};
  const int run = ${merged} ? KX * C : C, runs = ${merged} ? 1 : KX, wide = ${merged} ? KX : 1;
int* const block = (int*)scratch;
int* const panel_of = block + ${MB} * pairs;
$if conv:
  int* const places = panel_of + pairs * 8;
int packed_rows = -1;
for (int item = begin; item < end; item++) {
  const int rows = DIV(item, panel_blocks), batch = DIV(rows, row_blocks);
  const int m_begin = MOD(rows, row_blocks) * ${MB}, m_end = vmin(m_begin + ${MB}, M);
  const int panel_begin = MOD(item, panel_blocks) * ${NB}, panel_end = vmin(panel_begin + ${NB}, panels);
  $if conv:
    const int b = DIV(batch, ${G}), g = MOD(batch, ${G});
    const float* const input = ${A} + ${a_base};
  $else:
    const int batch0 = DIV(batch, ${B1}), batch1 = MOD(batch, ${B1});
  $if weights:
    const signed char* const weights = ${weights};
    const int single = (m_end - m_begin) % 4 == 1;
  $else:
    const int k_begin = 0;
  if (packed_rows != rows) {
    packed_rows = rows;
    $if conv:
      for (int m = m_begin, y = DIV(m, XS), x = MOD(m, XS); m < m_end; m++) {
        short* row = (short*)(block + (m - m_begin) * pairs);
        if (K % 2) row[K] = 0;
        places[(m - m_begin) * 2] = y, places[(m - m_begin) * 2 + 1] = x;
        for (int ky = 0; ky < KY; ky++) {
          const int iy = y * ${SY} - ${PY} + ky * ${DY};
          for (int kx = 0; kx < KX; kx += wide) {
            const int ix = x * ${SX} - ${PX} + kx * ${DX};
            if ((unsigned)iy >= (unsigned)H || ix + wide <= 0 || ix >= W) {
              for (int c = 0; c < run; c++) row[c] = 0;
              row += run;
              continue;
            }
            const int before = ix < 0 ? -ix * C : 0, after = ix + wide > W ? (W - ix) * C : run;
            const float* const from = input + iy * y_step + ix * x_step;
            int c = 0;
            for (; c < before; c++) row[c] = 0;
            for (; c + 4 <= after; c += 4) ST(row + c, LD(from + c));
            for (; c < after; c++) row[c] = from[c];
            for (; c < run; c++) row[c] = 0;
            row += run;
          }
        }
        if (++x == XS) x = 0, y++;
      }
    $else:
      for (int m = m_begin; m < m_end; m++) {
        short* const row = (short*)(block + (m - m_begin) * pairs);
        if (K % 2) row[K] = 0;
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
  for (int panel = panel_begin; panel < panel_end; panel++)
    for (int m0 = m_begin; m0 < m_end${" - single" if weights else ""}; m0 += 4) {
      if (m0 == m_begin) {
        $if weights:
          const signed char* const from = weights + panel * panel_size;
          for (int k = 0; k < pairs; k++) {
            const c16 v = PAIRS(from + k * 16, k * 2 + 1 < K);
            ST(panel_of + k * 8, LOW(v)), ST(panel_of + k * 8 + 4, HIGH(v));
          }
        $else:
          for (int pair = 0; pair < pairs; pair++) {
            $for v in range(2):
              { int k = pair * 2;
                ${columns_of(v, "first")}
                k = vmin(k + 1, K - 1);
                ${columns_of(v, "second")}
                ST(panel_of + pair * 8 + ${v * 4}, (first & S(65535)) | (second << 16)); }
          }
      }
      const int* w = panel_of;
      $for r in range(4):
        const int* const a_${r} = block + (vmin(m0 + ${r}, m_end - 1) - m_begin) * pairs;
      $for r in range(4):
        i4 s${r}0 = S(0), s${r}1 = S(0);
      for (int k = 0; k < pairs; k++, w += 8) {
        const i4 w0 = LD(w), w1 = LD(w + 4);
        $for r in range(4):
          { const i4 a = S(a_${r}[k]);
            s${r}0 += DOT(a, w0), s${r}1 += DOT(a, w1); }
      }
      $for r in range(4):
        f4 c${r}0 = TO_F(s${r}0), c${r}1 = TO_F(s${r}1);
      ${tile("close", 4, 2)}
    }
  $if weights:
    if (single) {
      const int m0 = m_end - 1;
      const int* const a = block + (m0 - m_begin) * pairs;
      int panel = panel_begin;
      $for count in (4, 1):
        for (; panel + ${count} <= panel_end; panel += ${count}) {
          const signed char* w = weights + panel * panel_size;
          $for v in range(count):
            i4 s${2 * v} = S(0), s${2 * v + 1} = S(0);
          for (int k = 0; k < K / 2; k++, w += 16) {
            const i4 x = S(a[k]);
            $for v in range(count):
              { const c16 v = PAIRS(w + ${v} * panel_size, 1);
                s${2 * v} += DOT(x, LOW(v)), s${2 * v + 1} += DOT(x, HIGH(v)); }
          }
          if (K % 2) {
            const i4 x = S(a[K / 2]);
            $for v in range(count):
              { const c16 v = PAIRS(w + ${v} * panel_size, 0);
                s${2 * v} += DOT(x, LOW(v)), s${2 * v + 1} += DOT(x, HIGH(v)); }
          }
          $for v in range(2 * count):
            f4 c0${v} = TO_F(s${v});
          ${tile("close", 1, 2 * count)}
        }
    }
}
