// Bilinear samples on a regular grid within each bin of a region, averaged, or the greatest of them or of their weighted corners.
// One workgroup a row of bins.
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) local: u32) {
  let item = ${item};
  if (item >= ${items}) { return; }
  let C = ${x0_3};
  let H = ${x0_1};
  let W = ${x0_2};
  let roi = item / ${height};
  let ph = f32(item % ${height});
  let at = roi * 4;
  let image = clamp(${read(2, "roi")}, 0, ${x0_0} - 1);
  let start = vec2<f32>(${read(1, "at")}, ${read(1, "at + 1")}) * ${scale} - ${shift};
  var size = vec2<f32>(${read(1, "at + 2")}, ${read(1, "at + 3")}) * ${scale} - ${shift} - start;
  $if not half_pixel:
    size = max(size, vec2<f32>(1.0));
  let bin = size / vec2<f32>(f32(${width}), f32(${height}));
  var grid = vec2<i32>(${sampling_width}, ${sampling_height});
  grid = select(grid, min(vec2<i32>(ceil(bin)), vec2<i32>(${most})), grid <= vec2<i32>(0));
  for (var i = i32(local); i < ${width} * C; i += 64) {
    let pw = f32(i / C);
    let c = i % C;
    var total = ${"from_bits(0xff800000u)" if mode == "max" else "0.0"};
    $if mode == "max_corner":
      var begun = false;
    for (var iy = 0; iy < grid.y; iy++) {
      for (var ix = 0; ix < grid.x; ix++) {
        let sample = vec2<f32>(f32(ix), f32(iy)) + 0.5;
        let p = start + vec2<f32>(pw, ph) * bin + sample * bin / vec2<f32>(grid);
        let inside = p.x >= -1.0 && p.y >= -1.0 && p.x <= f32(W) && p.y <= f32(H);
        let q = clamp(p, vec2<f32>(0.0), vec2<f32>(f32(W - 1), f32(H - 1)));
        let corner = vec2<i32>(q);
        let l = q - vec2<f32>(corner);
        let a = ((image * H + corner.y) * W + corner.x) * C + c;
        let right = select(0, C, corner.x < W - 1);
        let down = select(0, W * C, corner.y < H - 1);
        var v = vec4<f32>(${read(0, "a")}, ${read(0, "a + right")}, ${read(0, "a + down")}, ${read(0, "a + down + right")});
        v *= vec4<f32>((1.0 - l.y) * (1.0 - l.x), (1.0 - l.y) * l.x, l.y * (1.0 - l.x), l.y * l.x) * f32(inside);
        $if mode == "avg":
          total += v.x + v.y + v.z + v.w;
        $if mode == "max":
          total = select(total, max(total, v.x + v.y + v.z + v.w), inside);
        $if mode == "max_corner":
          let greatest = max(max(v.x, v.y), max(v.z, v.w));
          total = select(greatest, max(total, greatest), begun);
          begun = true;
      }
    }
    $if mode == "avg":
      total /= f32(max(grid.x * grid.y, 1));
    ${out0}[item * ${width} * C + i] = total;
  }
}
