$# Y[b, y, x, n] = stores(sum over ky, kx, c of X[b, y + ky - PY, x + kx - PX, c] * W[ky, kx, c, n]), by F(4x4, 3x3)
$#
$# A work item is a block of tiles (4x4 of the result) by a block of panels. The 6x6 of the input that a tile reads
$# are transformed once for all panels that one thread takes of a block: V[36][tiles][C]. Each of the 36 positions is then a
$# product with the transformed filters U[36][n / 8][c][n % 8], whose sums S[36][tiles][panels * 8] are transformed
$# to 4x4 of the result, tile by tile. Points and matrices: ops/winograd.py.
const int N = ${N}, C = ${C}, H = ${H}, W = ${W}, YS = ${YS}, XS = ${XS}, x_step = ${x_step}, y_step = ${y_step};
const int across = (XS + 3) / 4, each = (YS + 3) / 4 * across, tiles = ${B} * each;
const int panels = (N + 7) / 8, panel_size = C * 8, panel_blocks = (panels + ${NB} - 1) / ${NB};
const int columns = ${NB} * 8, v_size = ${TB} * C, s_size = ${TB} * columns;
float* const v_block = (float*)scratch;
float* const s_block = v_block + 36 * v_size;
float* const made = s_block + 36 * s_size;
float* const half = made + 16 * columns;
float* const zeros = half + 36 * 4;
const float** const taps = (const float**)(zeros + C);
for (int c = 0; c < C; c++) zeros[c] = 0.0f;
int transformed = -1;
const f4 r = S(0.70710678f), r2 = S(1.41421356f), r8 = S(2.82842712f), r32 = S(0.35355339f);
for (int item = begin; item < end; item++) {
  const int block = DIV(item, panel_blocks), first = block * ${TB}, count = vmin(${TB}, tiles - first);
  const int panel_begin = MOD(item, panel_blocks) * ${NB}, panel_end = vmin(panel_begin + ${NB}, panels);
  if (transformed != block) {
    transformed = block;
    for (int t = 0; t < count; t++) {
      const int b = DIV(first + t, each), tile = MOD(first + t, each);
      const int top = DIV(tile, across) * 4 - ${PY}, left = MOD(tile, across) * 4 - ${PX};
      const float* const input = ${A} + ${a_base};
      for (int i = 0; i < 6; i++)
        for (int j = 0; j < 6; j++)
          taps[i * 6 + j] = (unsigned)(top + i) < (unsigned)H && (unsigned)(left + j) < (unsigned)W
            ? input + (top + i) * y_step + (left + j) * x_step : zeros;
      float* const v = v_block + t * C;
      for (int c = 0; c < C; c += 4) {
        #pragma clang loop unroll(disable)
        for (int j = 0; j < 6; j++) {
          const f4 ${", ".join(f"d{i} = LD(taps[{6 * i} + j] + c)" for i in range(6))};
          ${input("half + j * 4", 24)}
        }
        #pragma clang loop unroll(disable)
        for (int i = 0; i < 6; i++) {
          const f4 ${", ".join(f"d{j} = LD(half + i * 24 + {4 * j})" for j in range(6))};
          ${input("v + i * 6 * v_size + c", "v_size")}
        }
      }
    }
  }
  for (int at = 0; at < 36; at++)
    for (int panel = panel_begin; panel < panel_end; panel++)
      for (int t = 0; t < count; t += 4) {
        const float* w = ${U} + (at * panels + panel) * panel_size;
        $for q in range(4):
          const float* const a_${q} = v_block + at * v_size + vmin(t + ${q}, count - 1) * C;
        const int length = C;
        ${tile("open")}
        ${tile("run")}
        float* const s = s_block + at * s_size + t * columns + (panel - panel_begin) * 8;
        $for q in range(4):
          ST(s + ${q} * columns, c${q}0), ST(s + ${q} * columns + 4, c${q}1);
      }
  for (int t = 0; t < count; t++) {
    const int b = DIV(first + t, each), tile = MOD(first + t, each);
    const int top = DIV(tile, across) * 4, left = MOD(tile, across) * 4;
    const int n_begin = panel_begin * 8, n_end = vmin(panel_end * 8, N);
    for (int k = 0; k < n_end - n_begin; k += 4) {
      const float* const s = s_block + t * columns + k;
      #pragma clang loop unroll(disable)
      for (int j = 0; j < 6; j++) {
        const f4 ${", ".join(f"d{i} = LD(s + ({6 * i} + j) * s_size)" for i in range(6))};
        ${output("half + j * 4", 24)}
      }
      #pragma clang loop unroll(disable)
      for (int i = 0; i < 4; i++) {
        const f4 ${", ".join(f"d{j} = LD(half + i * 24 + {4 * j})" for j in range(6))};
        ${output("made + i * 4 * columns + k", "columns")}
      }
    }
    for (int i = 0; i < vmin(4, YS - top); i++)
      for (int j = 0; j < vmin(4, XS - left); j++) {
        const int y = top + i, x = left + j;
        const float* const sums = made + (i * 4 + j) * columns - n_begin;
        int n = n_begin;
        #pragma clang loop unroll(disable)
        for (; n + 4 <= n_end; n += 4) {
          const f4 acc = LD(sums + n);
          ${vector_stores}
        }
        #pragma clang loop unroll(disable)
        for (; n < n_end; n++) {
          const float acc = sums[n];
          ${scalar_stores}
        }
      }
  }
}
