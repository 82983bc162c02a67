$# Bilinear samples on a regular grid within each bin of a region, averaged, or the greatest of them or of their weighted corners.
const int C = ${x0_3}, H = ${x0_1}, W = ${x0_2};
for (int item = begin; item < end; item++) {
  const int roi = item / ${height}, ph = item % ${height}, at = roi * 4;
  const int image = CLAMP(${read(2, "roi")}, ${x0_0});
  const float x0 = ${read(1, "at")} * ${scale} - ${shift}, y0 = ${read(1, "at + 1")} * ${scale} - ${shift};
  float roi_w = ${read(1, "at + 2")} * ${scale} - ${shift} - x0, roi_h = ${read(1, "at + 3")} * ${scale} - ${shift} - y0;
  $if not half_pixel:
    roi_w = roi_w > 1 ? roi_w : 1;
    roi_h = roi_h > 1 ? roi_h : 1;
  const float bin_w = roi_w / ${width}, bin_h = roi_h / ${height};
  const int grid_w = ${sampling_width} > 0 ? ${sampling_width} : vmin(TO_I(__builtin_ceilf(bin_w)), ${most});
  const int grid_h = ${sampling_height} > 0 ? ${sampling_height} : vmin(TO_I(__builtin_ceilf(bin_h)), ${most});
  const float count = vmax(grid_w * grid_h, 1);
  for (int pw = 0; pw < ${width}; pw++) {
    float* restrict const out = ${out0} + (item * ${width} + pw) * C;
    int begun = 0;
    for (int c = 0; c < C; c++) out[c] = ${"-INF" if mode == "max" else "0"};
    for (int iy = 0; iy < grid_h; iy++)
      for (int ix = 0; ix < grid_w; ix++) {
        float y = y0 + ph * bin_h + (iy + 0.5f) * bin_h / grid_h, x = x0 + pw * bin_w + (ix + 0.5f) * bin_w / grid_w;
        const int inside = y >= -1 && y <= H && x >= -1 && x <= W;
        y = vmin(vmax(y, 0.0f), (float)(H - 1)), x = vmin(vmax(x, 0.0f), (float)(W - 1));
        const int top = TO_I(y), left = TO_I(x);
        const float ly = y - top, lx = x - left, in = inside;
        const float w0 = (1 - ly) * (1 - lx) * in, w1 = (1 - ly) * lx * in, w2 = ly * (1 - lx) * in, w3 = ly * lx * in;
        const int a = ((image * H + top) * W + left) * C, right = left < W - 1 ? C : 0, down = top < H - 1 ? W * C : 0;
        $let corners = [read(0, f"a{step} + c") for step in ("", " + right", " + down", " + down + right")]
        $if mode == "avg":
          for (int c = 0; c < C; c++) out[c] += ${" + ".join(f"w{k} * {v}" for k, v in enumerate(corners))};
        $if mode == "max":
          for (int c = 0; inside && c < C; c++) {
            const float v = ${" + ".join(f"w{k} * {v}" for k, v in enumerate(corners))};
            out[c] = v > out[c] ? v : out[c];
          }
        $if mode == "max_corner":
          for (int c = 0; c < C; c++) {
            const float v = vmax(vmax(w0 * ${corners[0]}, w1 * ${corners[1]}), vmax(w2 * ${corners[2]}, w3 * ${corners[3]}));
            out[c] = !begun || v > out[c] ? v : out[c];
          }
          begun = 1;
      }
    $if mode == "avg":
      for (int c = 0; c < C; c++) out[c] /= count;
  }
}
