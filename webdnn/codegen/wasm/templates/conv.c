$# Y[b, y, x, g, n] = stores(sum over ky, kx, c of X[b, y*SY - PY + ky*DY, x*SX - PX + kx*DX, g, c] * W)
$#
$# Implicit GEMM: m counts the positions y * XS + x; a few of them are a tile's rows. Where all taps of a tile
$# lie inside the input, its rows are read in runs: KX * C contiguous numbers a row of taps if neighbours in
$# x are C apart and undilated, else C. At the border each tap gets its own pointers, to zeros if outside.
$# W is packed [g][n / 8][ky][kx][c][n % 8]; where it is computed, a panel is made once for all rows of a block.
const int N = ${N}, C = ${C}, H = ${H}, W = ${W}, XS = ${XS}, M = ${YS} * XS, KX = ${KX}, KY = ${KY};
const int x_step = ${x_step}, y_step = ${y_step}, K = KY * KX * C, panel_size = K * 8;
const int panels = (N + 7) / 8, panel_blocks = (panels + ${NB} - 1) / ${NB};
const int row_blocks = (M + ${MB} - 1) / ${MB};
const int run = ${merged} ? KX * C : C, runs = ${merged} ? 1 : KX;
typedef struct { int at, y, x, inside, y_out, x_out; } Position;
Position* const positions = (Position*)scratch;
float* const zeros = (float*)(positions + ${MB});
for (int c = 0; c < C; c++) zeros[c] = 0.0f;
$if dot:
  float* const columns = zeros + C;
  const float* transposed = 0;
$if unpacked:
  float* const panel_of = zeros + C;
for (int item = begin; item < end; item++) {
  const int rows = DIV(item, panel_blocks), outer = DIV(rows, row_blocks);
  const int m_begin = MOD(rows, row_blocks) * ${MB}, m_end = vmin(m_begin + ${MB}, M);
  const int panel_begin = MOD(item, panel_blocks) * ${NB}, panel_end = vmin(panel_begin + ${NB}, panels);
  const int b = DIV(outer, ${G}), g = MOD(outer, ${G});
  $if plain:
    const float* const weights = ${weights};
  $else:
    const float* const weights = 0;
    const int k_begin = 0;
  const float* const input = ${A} + ${a_base};
  for (int m = m_begin, y = DIV(m, XS), x = MOD(m, XS); m < m_end; m++) {
    Position* const p = positions + (m - m_begin);
    p->y = y * ${SY} - ${PY}, p->x = x * ${SX} - ${PX};
    p->y_out = y, p->x_out = x;
    p->at = p->y * y_step + p->x * x_step;
    p->inside = p->y >= 0 && p->x >= 0 && p->y + (KY - 1) * ${DY} < H && p->x + (KX - 1) * ${DX} < W;
    if (++x == XS) x = 0, y++;
  }
  $if dot:
    ${transpose}
  for (int panel = panel_begin; panel < panel_end; panel++)
    for (int m0 = m_begin; m0 < m_end; m0 += ${rows}) {
      const float* w = ${"columns" if dot else "panel_of" if unpacked else "weights + panel * panel_size"};
      $if unpacked:
        if (m0 == m_begin)
          for (int k = 0; k < K; k++) {
            ${columns_of(0)}
            ${columns_of(1)}
            ST(panel_of + k * 8, w0), ST(panel_of + k * 8 + 4, w1);
          }
      $for r in range(rows):
        const Position* const q_${r} = positions + (vmin(m0 + ${r}, m_end - 1) - m_begin);
      ${tile("open")}
      if (${" & ".join(f"q_{r}->inside" for r in range(rows))}) {
        $for r in range(rows):
          const float* row_${r} = input + q_${r}->at;
        const int length = run;
        for (int ky = 0; ky < KY; ky++) {
          for (int i = 0; i < runs; i++) {
            $for r in range(rows):
              const float* const a_${r} = row_${r} + i * ${DX} * x_step;
            ${tile("run")}
          }
          $for r in range(rows):
            row_${r} += ${DY} * y_step;
        }
      } else {
        const int length = C;
        for (int ky = 0; ky < KY; ky++)
          for (int kx = 0; kx < KX; kx++) {
            const int dy = ky * ${DY}, dx = kx * ${DX}, d = dy * y_step + dx * x_step;
            $for r in range(rows):
              const float* const a_${r} = (unsigned)(q_${r}->y + dy) < (unsigned)H
                && (unsigned)(q_${r}->x + dx) < (unsigned)W ? input + (q_${r}->at + d) : zeros;
            ${tile("run")}
          }
      }
      ${tile("close")}
    }
}
