$# The maximum or the mean of each channel over the whole pixels that a bin of a region touches (Caffe's rounding).
#define ROUND(x) ({ const float r_ = (x), t_ = __builtin_truncf(r_); \
  TO_I(__builtin_fabsf(r_ - t_) >= 0.5f ? t_ + __builtin_copysignf(1, r_) : t_); })
const int C = ${x0_3};
for (int item = begin; item < end; item++) {
  const int roi = item / ${height}, ph = item % ${height};
  const int at = roi * 5;
  const int image = CLAMP(TO_I(${read(1, "at")}), ${x0_0});
  const int x0 = ROUND(${read(1, "at + 1")} * ${scale}), y0 = ROUND(${read(1, "at + 2")} * ${scale});
  const int x1 = ROUND(${read(1, "at + 3")} * ${scale}), y1 = ROUND(${read(1, "at + 4")} * ${scale});
  const float bin_h = (float)(y1 >= y0 ? y1 - y0 + 1 : 1) / ${height}, bin_w = (float)(x1 >= x0 ? x1 - x0 + 1 : 1) / ${width};
  const int top = vmin(vmax(TO_I(__builtin_floorf(ph * bin_h)) + y0, 0), ${x0_1});
  const int bottom = vmin(vmax(TO_I(__builtin_ceilf((ph + 1) * bin_h)) + y0, 0), ${x0_1});
  for (int pw = 0; pw < ${width}; pw++) {
    const int left = vmin(vmax(TO_I(__builtin_floorf(pw * bin_w)) + x0, 0), ${x0_2});
    const int right = vmin(vmax(TO_I(__builtin_ceilf((pw + 1) * bin_w)) + x0, 0), ${x0_2});
    float* restrict const out = ${out0} + (item * ${width} + pw) * C;
    const int empty = bottom <= top || right <= left;
    $if mode == "max":
      for (int c = 0; c < C; c++) out[c] = empty ? ${"-INF" if lowest else "0"} : -INF;
    $else:
      const float area = empty ? 1 : (bottom - top) * (right - left);
      for (int c = 0; c < C; c++) out[c] = 0;
    for (int y = top; y < bottom; y++)
      for (int x = left; x < right; x++) {
        const int from = ((image * ${x0_1} + y) * ${x0_2} + x) * C;
        for (int c = 0; c < C; c++) {
          const float v = ${read(0, "from + c")};
          out[c] = ${"v > out[c] ? v : out[c]" if mode == "max" else "out[c] + v"};
        }
      }
    $if mode == "avg":
      for (int c = 0; c < C; c++) out[c] /= area;
  }
}
#undef ROUND
