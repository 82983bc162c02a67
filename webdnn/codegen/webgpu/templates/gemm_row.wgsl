// Products of one row: a workgroup computes a panel of 8 columns, and goes through 1024 k at a time.
//
// Neighbouring invocations read neighbouring memory: half of a panel's row each, of every 128th k. Columns are on their
// way while the row is read, which all share in workgroup memory. ROW, if any, are lines that load_a needs first, of
// a row by all invocations.
//
// Contract: functions row_of, k_of, load_a (KV neighbouring k of one row: 4 or 1), load_b (four
// neighbouring columns of one k), finish.
$assert KV in (1, 4)
$assert BM == 1 and BN == 8 and threads == 256
$let loads = range(8)
var<workgroup> row_a: array<f32, 1024>;
var<workgroup> partial: array<vec4<f32>, 256>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) ${GROUP}: vec3<u32>, @builtin(local_invocation_index) index: u32) {
  let local = i32(index);
  ${batch}
  let panel = i32(wg.x);
  let row = row_of(i32(wg.y));
  let half = local % 2;
  let deep = local / 2;
  $for j in loads:
    var next${j} = load_b(panel, min(deep + ${128 * j}, ${K} - 1), half);
  $if ROW:
    ${ROW}
  var sum = vec4<f32>(0.0);
  for (var k0 = 0; k0 < ${K}; k0 += 1024) {
    $if KV == 4:
      let k = k0 + local * 4;
      if (k < ${K}) {
        let a = load_a(row, k_of(k));
        $for c in range(4):
          row_a[local * 4 + ${c}] = a.${"xyzw"[c]};
      }
    $else:
      for (var k = local; k < min(1024, ${K} - k0); k += 256) { row_a[k] = load_a(row, k_of(k0 + k)); }
    workgroupBarrier();
    $for j in loads:
      if (k0 + deep + ${128 * j} < ${K}) { sum += row_a[deep + ${128 * j}] * next${j}; }
    if (k0 + 1024 < ${K}) {
      $for j in loads:
        next${j} = load_b(panel, min(k0 + 1024 + deep + ${128 * j}, ${K} - 1), half);
    }
    workgroupBarrier();
  }
  partial[local] = sum;
  workgroupBarrier();
  if (local < 32) {
    $for p in range(32, 256, 32):
      sum += partial[local + ${p}];
    partial[local] = sum;
  }
  workgroupBarrier();
  if (local < 2) {
    $for p in range(2, 32, 2):
      sum += partial[local + ${p}];
    if (panel * 2 + half < ${quads}) { finish(i32(wg.y), panel * 2 + half, sum); }
  }
}
