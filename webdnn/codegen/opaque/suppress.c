$# Non-maximum suppression: of the boxes of each row, in the order given (-1 ends it), those that overlap none of the
$# boxes taken before them by more than the threshold. Boxes are [N, L, P, 4] with L classes or one for all; `offset`
$# is added to widths and heights; each box that is taken multiplies a threshold above 0.5 by `eta`.
typedef struct { float x0, y0, x1, y1, area; } Box;
Box* const taken = (Box*)scratch;
for (int row = begin; row < end; row++) {
  const int image = row / ${classes}, group = ${x0_1} == 1 ? 0 : row % ${classes};
  const int base = (image * ${x0_1} + group) * ${x0_2};
  float threshold = ${read(2, 0)};
  int count = 0;
  for (int k = 0; k < ${x1_1} && count < ${limit}; k++) {
    const int at = ${read(1, f"row * {x1_1} + k")};
    if (at < 0) break;
    const int p = (base + CLAMP(at, ${x0_2})) * 4;
    Box b = {${read(0, "p")}, ${read(0, "p + 1")}, ${read(0, "p + 2")}, ${read(0, "p + 3")}, 0};
    b.area = b.x1 < b.x0 || b.y1 < b.y0 ? 0 : (b.x1 - b.x0 + ${offset}) * (b.y1 - b.y0 + ${offset});
    int keep = 1;
    for (int j = 0; j < count && keep; j++) {
      const Box t = taken[j];
      const float x0 = t.x0 > b.x0 ? t.x0 : b.x0, x1 = t.x1 < b.x1 ? t.x1 : b.x1;
      const float y0 = t.y0 > b.y0 ? t.y0 : b.y0, y1 = t.y1 < b.y1 ? t.y1 : b.y1;
      const float w = x1 - x0 + ${offset}, h = y1 - y0 + ${offset};
      if (x1 < x0 || y1 < y0 || !(w > 0 && h > 0)) continue;
      const float common = w * h;
      keep = !(common / (t.area + b.area - common) > threshold);
    }
    if (!keep) continue;
    $if eta < 1:
      if (threshold > 0.5f) threshold *= ${factor};
    taken[count] = b;
    ${out0}[row * ${limit} + count++] = at;
  }
  for (; count < ${limit}; count++) ${out0}[row * ${limit} + count] = -1;
}
