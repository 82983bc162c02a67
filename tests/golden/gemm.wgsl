// matmul_add__4x8k64_4x8 gemm.Gemm1
@group(0) @binding(0) var<storage, read> b0: array<f32>;
@group(0) @binding(1) var<storage, read_write> b1: array<f32>;
@group(0) @binding(2) var<storage, read> b2: array<f32>;
@group(0) @binding(3) var<storage, read> b3: array<vec4<f32>>;
@group(0) @binding(4) var<uniform> params: array<vec4<i32>, 1>;
fn gather0(i: vec4<i32>) -> vec4<f32> { return vec4<f32>(b0[i.x], b0[i.y], b0[i.z], b0[i.w]); }
var<private> base_b: i32;
fn row_of(m: i32) -> vec4<i32> { return vec4<i32>(0, 0, 0, m); }
fn k_of(k: i32) -> vec4<i32> {
  return vec4<i32>(0, 0, min(k, 6), k);
}
fn load_a(row: vec4<i32>, at: vec4<i32>) -> f32 {
  return b2[(at.z + (row.w * 7))];
}
fn load_b(panel: i32, k: i32, half: i32) -> vec4<f32> { return b3[base_b + (panel * 7 + k) * 2 + half]; }
fn finish(m: i32, nq: i32, sum: vec4<f32>) {
  let t0 = (nq * 4);
  let v0 = (sum + gather0(min((vec4<i32>(0, 1, 2, 3) + vec4<i32>(t0)), vec4<i32>(params[0].y))));
  let at0 = ((m * params[0].x) + t0);
  if (nq * 4 + 0 < params[0].x) { b1[at0 + 0] = v0.x; }
  if (nq * 4 + 1 < params[0].x) { b1[at0 + 1] = v0.y; }
  if (nq * 4 + 2 < params[0].x) { b1[at0 + 2] = v0.z; }
  if (nq * 4 + 3 < params[0].x) { b1[at0 + 3] = v0.w; }
}
var<workgroup> partial: array<vec4<f32>, 256>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) index: u32) {
  let local = i32(index);
  base_b = 0;
  let panel = i32(wg.x) * 1 + local % 1;
  let m0 = (i32(wg.y) * 1 + local / 1 % 1) * 4;
  let part = local / 1;
  let held = min(panel, 2 - 1);
  let row0 = row_of(min(m0 + 0, 5 - 1));
  var sum0_0 = vec4<f32>(0.0);
  var sum0_1 = vec4<f32>(0.0);
  let row1 = row_of(min(m0 + 1, 5 - 1));
  var sum1_0 = vec4<f32>(0.0);
  var sum1_1 = vec4<f32>(0.0);
  let row2 = row_of(min(m0 + 2, 5 - 1));
  var sum2_0 = vec4<f32>(0.0);
  var sum2_1 = vec4<f32>(0.0);
  let row3 = row_of(min(m0 + 3, 5 - 1));
  var sum3_0 = vec4<f32>(0.0);
  var sum3_1 = vec4<f32>(0.0);
  for (var k = part * 1; k < 7; k += 64) {
    let at = k_of(k);
    let a0 = load_a(row0, at);
    let a1 = load_a(row1, at);
    let a2 = load_a(row2, at);
    let a3 = load_a(row3, at);
    let b0_0 = load_b(held, k + 0, 0);
    let b0_1 = load_b(held, k + 0, 1);
    sum0_0 += a0 * b0_0;
    sum0_1 += a0 * b0_1;
    sum1_0 += a1 * b0_0;
    sum1_1 += a1 * b0_1;
    sum2_0 += a2 * b0_0;
    sum2_1 += a2 * b0_1;
    sum3_0 += a3 * b0_0;
    sum3_1 += a3 * b0_1;
  }
  partial[local + 0] = sum0_0;
  partial[local + 64] = sum0_1;
  partial[local + 128] = sum1_0;
  partial[local + 192] = sum1_1;
  workgroupBarrier();
  if (part < 8) {
    var fold0 = partial[local + 0];
    var fold1 = partial[local + 64];
    var fold2 = partial[local + 128];
    var fold3 = partial[local + 192];
    for (var p = 8; p < 64; p += 8) {
      fold0 += partial[local + p + 0];
      fold1 += partial[local + p + 64];
      fold2 += partial[local + p + 128];
      fold3 += partial[local + p + 192];
    }
    partial[local + 0] = fold0;
    partial[local + 64] = fold1;
    partial[local + 128] = fold2;
    partial[local + 192] = fold3;
  }
  workgroupBarrier();
  if (local < 4) {
    let which = local / 1;
    let tile = local % 1;
    var sum = partial[which * 64 + tile];
    for (var p = 1; p < 8; p++) {
      sum += partial[which * 64 + p * 1 + tile];
    }
    let m = (i32(wg.y) * 1 + tile / 1) * 4 + 0 + which / 2;
    let nq = (i32(wg.x) * 1 + tile % 1) * 2 + which % 2;
    if (m < 5 && nq < 3) { finish(m, nq, sum); }
  }
  workgroupBarrier();
  partial[local + 0] = sum2_0;
  partial[local + 64] = sum2_1;
  partial[local + 128] = sum3_0;
  partial[local + 192] = sum3_1;
  workgroupBarrier();
  if (part < 8) {
    var fold0 = partial[local + 0];
    var fold1 = partial[local + 64];
    var fold2 = partial[local + 128];
    var fold3 = partial[local + 192];
    for (var p = 8; p < 64; p += 8) {
      fold0 += partial[local + p + 0];
      fold1 += partial[local + p + 64];
      fold2 += partial[local + p + 128];
      fold3 += partial[local + p + 192];
    }
    partial[local + 0] = fold0;
    partial[local + 64] = fold1;
    partial[local + 128] = fold2;
    partial[local + 192] = fold3;
  }
  workgroupBarrier();
  if (local < 4) {
    let which = local / 1;
    let tile = local % 1;
    var sum = partial[which * 64 + tile];
    for (var p = 1; p < 8; p++) {
      sum += partial[which * 64 + p * 1 + tile];
    }
    let m = (i32(wg.y) * 1 + tile / 1) * 4 + 2 + which / 2;
    let nq = (i32(wg.x) * 1 + tile % 1) * 2 + which % 2;
    if (m < 5 && nq < 3) { finish(m, nq, sum); }
  }
}
