// Non-maximum suppression: of the boxes of each row, in the order given (-1 ends it), those that overlap none of the
// boxes taken before them by more than the threshold. Boxes are [N, L, P, 4] with L classes or one for all; `offset`
// is added to widths and heights; each box that is taken multiplies a threshold above 0.5 by `eta`.
//
// One workgroup a row. Each invocation holds one candidate of a stretch and its greatest overlap with what was taken:
// with all from before the stretch, then with each that is taken from it, which is the first that is still alive.
const NONE = 0x7fffffff;
var<workgroup> first: atomic<i32>;
var<workgroup> chosen: i32;
var<workgroup> winner: vec4<f32>;

fn box(row: i32, at: i32) -> vec4<f32> {
  let image = row / ${classes};
  let group = select(row % ${classes}, 0, ${x0_1} == 1);
  let p = ((image * ${x0_1} + group) * ${x0_2} + clamp(at, 0, ${x0_2} - 1)) * 4;
  return vec4<f32>(${read(0, "p")}, ${read(0, "p + 1")}, ${read(0, "p + 2")}, ${read(0, "p + 3")});
}

fn area(b: vec4<f32>) -> f32 {
  let size = b.zw - b.xy;
  return select((size.x + ${offset}) * (size.y + ${offset}), 0.0, size.x < 0.0 || size.y < 0.0);
}

fn overlap(a: vec4<f32>, b: vec4<f32>) -> f32 {
  let size = min(a.zw, b.zw) - max(a.xy, b.xy);
  let grown = size + vec2<f32>(${offset});
  if (size.x < 0.0 || size.y < 0.0 || !(grown.x > 0.0 && grown.y > 0.0)) { return -1.0; }
  let inner = grown.x * grown.y;
  return inner / (area(a) + area(b) - inner);
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) local: u32) {
  let row = ${item};
  if (row >= ${items}) { return; }
  let t = i32(local);
  var threshold = ${read(2, 0)};
  var count = 0;
  var going = true;
  for (var base = 0; going && base < ${x1_1}; base += 256) {
    let k = base + t;
    var at = -1;
    if (k < ${x1_1}) { at = ${read(1, f"row * {x1_1} + k")}; }
    let mine = box(row, at);
    var most = -2.0;
    if (at >= 0) {
      for (var j = 0; j < count; j++) {
        most = max(most, overlap(mine, box(row, ${out0}[row * ${limit} + j])));
      }
    }
    var next = base;
    while (going) {
      if (t == 0) { atomicStore(&first, NONE); }
      workgroupBarrier();
      if (k >= next && at >= 0 && !(most > threshold)) { atomicMin(&first, k); }
      workgroupBarrier();
      if (t == 0) { chosen = atomicLoad(&first); }
      let k_chosen = workgroupUniformLoad(&chosen);
      if (k_chosen == NONE) { break; }
      if (k == k_chosen) {
        winner = mine;
        ${out0}[row * ${limit} + count] = at;
      }
      let b = workgroupUniformLoad(&winner);
      count++;
      $if eta < 1:
        if (threshold > 0.5) { threshold *= ${factor}; }
      going = count < ${limit};
      if (k > k_chosen && at >= 0) { most = max(most, overlap(mine, b)); }
      next = k_chosen + 1;
    }
    storageBarrier();
  }
  for (var j = count + t; j < ${limit}; j += 256) { ${out0}[row * ${limit} + j] = -1; }
}
