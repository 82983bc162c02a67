// The maximum or the mean of each channel over the whole pixels that a bin of a region touches (Caffe's rounding).
// One workgroup a row of bins.
fn away(x: f32) -> i32 {
  let t = trunc(x);
  return i32(t) + select(0, select(1, -1, x < 0.0), abs(x - t) >= 0.5);
}

// a / b correctly rounded, where WGSL promises less: for integers of few bits the remainder is exact in two parts.
fn ratio(a: f32, b: f32) -> f32 {
  let q = a / b;
  let high = bitcast<f32>(bitcast<u32>(q) & 0xfffff000u);
  return q + ((a - high * b) - (q - high) * b) / b;
}

fn edge(bin: f32, start: i32, size: i32) -> i32 { return clamp(i32(bin) + start, 0, size); }

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) local: u32) {
  let item = ${item};
  if (item >= ${items}) { return; }
  let C = ${x0_3};
  let at = item / ${height} * 5;
  let ph = item % ${height};
  let image = clamp(i32(${read(1, "at")}), 0, ${x0_0} - 1);
  let x0 = away(${read(1, "at + 1")} * ${scale});
  let y0 = away(${read(1, "at + 2")} * ${scale});
  let x1 = away(${read(1, "at + 3")} * ${scale});
  let y1 = away(${read(1, "at + 4")} * ${scale});
  let bin_h = ratio(f32(max(y1 - y0 + 1, 1)), f32(${height}));
  let bin_w = ratio(f32(max(x1 - x0 + 1, 1)), f32(${width}));
  let top = edge(floor(f32(ph) * bin_h), y0, ${x0_1});
  let bottom = edge(ceil(f32(ph + 1) * bin_h), y0, ${x0_1});
  for (var i = i32(local); i < ${width} * C; i += 64) {
    let pw = i / C;
    let left = edge(floor(f32(pw) * bin_w), x0, ${x0_2});
    let right = edge(ceil(f32(pw + 1) * bin_w), x0, ${x0_2});
    $if mode == "max":
      var best = select(-0x1.fffffep+127f, ${"from_bits(0xff800000u)" if lowest else "0.0"}, bottom <= top || right <= left);
    $else:
      var best = 0.0;
    for (var y = top; y < bottom; y++) {
      for (var x = left; x < right; x++) {
        let from_ = ((image * ${x0_1} + y) * ${x0_2} + x) * C + i % C;
        best = ${f"max(best, {read(0, 'from_')})" if mode == "max" else f"best + {read(0, 'from_')}"};
      }
    }
    $if mode == "avg":
      best /= f32(max((bottom - top) * max(right - left, 0), 1));
    ${out0}[item * ${width} * C + i] = best;
  }
}
