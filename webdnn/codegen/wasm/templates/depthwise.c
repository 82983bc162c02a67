$# Y[b, y, x, c] = stores(sum over ky, kx of X[b, y*SY - PY + ky*DY, x*SX - PX + kx*DX, c] * W[ky, kx, c])
$#
$# Channels lie in the lanes; a work item is one output row, of a block of channels. Rows of a window that lie outside
$# the input are left out. Small undilated windows (`fixed`) make TX neighbouring outputs at a time, so that an input
$# vector is read once for all of them: straight from the rows where all columns lie inside, else through a table of
$# pointers, to zeros where a tap lies outside. The loop over ky stays a loop: engines move additions towards their use,
$# and one row's loads are as many as there are registers.
$# Other windows make one output at a time and leave out the taps that lie outside.
$assert channels_contiguous
const int C = ${C}, H = ${H}, W = ${W}, YS = ${YS}, XS = ${XS}, KX = ${KX}, KY = ${KY};
const int CB = ${CB}, blocks = (C + CB - 1) / CB;
const int x_step = ${x_step}, y_step = ${y_step}, wx_step = ${wx_step}, wy_step = ${wy_step};
$if fixed:
  $let columns = (TX - 1) * SX + KXN
  const float* taps[${KYN * columns}];
  float* const zeros = (float*)scratch;
  for (int c = 0; c < C; c++) zeros[c] = 0.0f;
for (int item = begin; item < end; item++) {
  const int block = DIV(item, YS), y = MOD(item, YS), top = y * ${SY} - ${PY};
  const int b = DIV(block, blocks), c_begin = MOD(block, blocks) * CB, c_end = vmin(c_begin + CB, C);
  const int ky_first = top < 0 ? (-top + ${DY} - 1) / ${DY} : 0;
  const int ky_last = top >= H ? 0 : vmin(KY, (H - 1 - top) / ${DY} + 1);
  const int rows = ky_last - ky_first;
  const float* const input = ${A} + ${a_base} + (top + ky_first * ${DY}) * y_step;
  const float* const weights = ${B} + ${w_base} + ky_first * wy_step;
  $if fixed:
    for (int x0 = 0; x0 < XS; x0 += ${TX}) {
      const int left = x0 * ${SX} - ${PX};
      const int inside = left >= 0 && left + ${columns} <= W && x0 + ${TX} <= XS;
      if (!inside || c_end % 4)
        for (int ky = 0; ky < rows; ky++)
          for (int i = 0; i < ${columns}; i++)
            taps[ky * ${columns} + i] = (unsigned)(left + i) < (unsigned)W
              ? input + ky * ${DY} * y_step + (left + i) * x_step : zeros;
      int c = c_begin;
      $for case in ("inside", "!inside"):
        if (${case})
          for (; c + 4 <= c_end; c += 4) {
            f4 ${", ".join(f"s{t} = S(0.0f)" for t in range(TX))};
            #pragma clang loop unroll(disable)
            for (int ky = 0; ky < rows; ky++) {
              const float* const w = weights + ky * wy_step + c;
              $if case == "inside":
                const float* row = input + ky * ${DY} * y_step + left * x_step + c;
              $else:
                const float* const* const at = taps + ky * ${columns};
              $for i in range(columns):
                const f4 v${i} = LD(${"row" if case == "inside" else f"at[{i}] + c"});
                ${"row += x_step;" if case == "inside" else ""}
              $for kx in range(KXN):
                { const f4 k = LD(w + ${kx} * wx_step);
                  ${" ".join(f"s{t} = MADD(v{t * SX + kx}, k, s{t});" for t in range(TX))} }
            }
            $for t in range(TX):
              ${f"if (x0 + {t} < XS) " if case != "inside" else ""}{ const int x = x0 + ${t}; const f4 acc = s${t};
                ${vector_stores} }
          }
      for (; c < c_end; c++)
        for (int t = 0; t < ${TX} && x0 + t < XS; t++) {
          const int x = x0 + t;
          float acc = 0.0f;
          for (int ky = 0; ky < rows; ky++)
            for (int kx = 0; kx < ${KXN}; kx++)
              acc = MADD(taps[ky * ${columns} + t * ${SX} + kx][c], weights[ky * wy_step + kx * wx_step + c], acc);
          ${scalar_stores}
        }
    }
  $else:
    for (int x = 0; x < XS; x++) {
      const int left = x * ${SX} - ${PX};
      const int kx_first = left < 0 ? (-left + ${DX} - 1) / ${DX} : 0;
      const int kx_last = left >= W ? 0 : vmin(KX, (W - 1 - left) / ${DX} + 1);
      const float* const window = input + left * x_step;
      int c = c_begin;
      for (; c + 8 <= c_end; c += 8) {
        f4 s0 = S(0.0f), s1 = S(0.0f);
        for (int ky = 0; ky < rows; ky++)
          for (int kx = kx_first; kx < kx_last; kx++) {
            const float* const p = window + ky * ${DY} * y_step + kx * ${DX} * x_step + c;
            const float* const w = weights + ky * wy_step + kx * wx_step + c;
            s0 = MADD(LD(p), LD(w), s0), s1 = MADD(LD(p + 4), LD(w + 4), s1);
          }
        { const f4 acc = s0;
          ${vector_stores} }
        c += 4;
        { const f4 acc = s1;
          ${vector_stores} }
        c -= 4;
      }
      for (; c < c_end; c++) {
        float acc = 0.0f;
        for (int ky = 0; ky < rows; ky++)
          for (int kx = kx_first; kx < kx_last; kx++)
            acc = MADD(window[ky * ${DY} * y_step + kx * ${DX} * x_step + c], weights[ky * wy_step + kx * wx_step + c], acc);
        ${scalar_stores}
      }
    }
}
