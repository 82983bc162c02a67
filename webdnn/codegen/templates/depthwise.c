$# Y[b, y, x, c] = stores(sum over ky, kx of X[b, y*SY - PY + ky*DY, x*SX - PX + kx*DX, c] * W[ky, kx, c])
$#
$# Channels lie in the lanes. A work item is one output row; ${TX} neighbouring outputs are made together, so
$# that an input vector is read once for all of them. The outputs whose taps lie inside in x run without
$# checks, the others one at a time; taps above and below are left out for the whole row.
$assert channels_contiguous
const int C = ${C}, H = ${H}, W = ${W}, YS = ${YS}, XS = ${XS}, KX = ${KX}, KY = ${KY};
const int x_step = ${x_step}, y_step = ${y_step}, wx_step = ${wx_step}, wy_step = ${wy_step};
// outputs x_first <= x < x_last have all their taps inside
const int x_first = vmin((${PX} + ${SX} - 1) / ${SX}, XS);
const int reach = W - 1 + ${PX} - (KX - 1) * ${DX};
const int x_last = vmax(x_first, reach < 0 ? 0 : vmin(reach / ${SX} + 1, XS));
for (int item = begin; item < end; item++) {
  const int b = DIV(item, YS), y = MOD(item, YS), top = y * ${SY} - ${PY};
  const int ky_first = top < 0 ? (-top + ${DY} - 1) / ${DY} : 0;
  const int ky_last = top >= H ? 0 : vmin(KY, (H - 1 - top) / ${DY} + 1);
  const float* const input = ${A} + ${a_base} + top * y_step - ${PX} * x_step;
  const float* const weights = ${B} + ${w_base};
  int x0 = 0;
  while (x0 < XS) {
    const int inside = x0 >= x_first && x0 < x_last;
    if (inside && x0 + ${TX} <= x_last) {
      int c = 0;
      for (; c + 4 <= C; c += 4) {
        f4 ${", ".join(f"s{t} = S(0.0f)" for t in range(TX))};
        for (int ky = ky_first; ky < ky_last; ky++) {
          const float* const p = input + ky * ${DY} * y_step + x0 * ${SX} * x_step + c;
          const float* const w = weights + ky * wy_step + c;
          $if fixed:
            $for i in range((TX - 1) * fixed_stride + fixed):
              const f4 v${i} = LD(p + ${i} * x_step);
            $for k in range(fixed):
              { const f4 k${k} = LD(w + ${k} * wx_step);
                ${" ".join(f"s{t} = MADD(v{t * fixed_stride + k}, k{k}, s{t});" for t in range(TX))} }
          $else:
            for (int kx = 0; kx < KX; kx++) {
              const f4 k = LD(w + kx * wx_step);
              $for t in range(TX):
                s${t} = MADD(LD(p + (kx * ${DX} + ${t} * ${SX}) * x_step), k, s${t});
            }
        }
        $for t in range(TX):
          { const int x = x0 + ${t}; const f4 acc = s${t};
            ${vector_stores} }
      }
      for (; c < C; c++)
        for (int x = x0; x < x0 + ${TX}; x++) {
          float acc = 0.0f;
          for (int ky = ky_first; ky < ky_last; ky++)
            for (int kx = 0; kx < KX; kx++)
              acc = MADD(input[ky * ${DY} * y_step + (x * ${SX} + kx * ${DX}) * x_step + c],
                         weights[ky * wy_step + kx * wx_step + c], acc);
          ${scalar_stores}
        }
      x0 += ${TX};
    } else {
      const int x = x0, left = x * ${SX} - ${PX};
      const int kx_first = left < 0 ? (-left + ${DX} - 1) / ${DX} : 0;
      const int kx_last = left >= W ? 0 : vmin(KX, (W - 1 - left) / ${DX} + 1);
      int c = 0;
      for (; c + 4 <= C; c += 4) {
        f4 acc = S(0.0f);
        for (int ky = ky_first; ky < ky_last; ky++)
          for (int kx = kx_first; kx < kx_last; kx++)
            acc = MADD(LD(input + ky * ${DY} * y_step + (x * ${SX} + kx * ${DX}) * x_step + c),
                       LD(weights + ky * wy_step + kx * wx_step + c), acc);
        ${vector_stores}
      }
      for (; c < C; c++) {
        float acc = 0.0f;
        for (int ky = ky_first; ky < ky_last; ky++)
          for (int kx = kx_first; kx < kx_last; kx++)
            acc = MADD(input[ky * ${DY} * y_step + (x * ${SX} + kx * ${DX}) * x_step + c],
                       weights[ky * wy_step + kx * wx_step + c], acc);
        ${scalar_stores}
      }
      x0++;
    }
  }
}
