// max_sub_exp_sum_div__64 softmax_last.Softmax1
@group(0) @binding(0) var<storage, read> b0: array<f32>;
@group(0) @binding(1) var<storage, read_write> b1: array<f32>;
@group(0) @binding(2) var<uniform> params: array<vec4<i32>, 1>;
fn exp_(x: f32) -> f32 {
  var r = exp(clamp(x, f32(-104.0), f32(89.0)));
  r = select(r, from_bits(u32(0x7f800000u)), x > f32(88.7228394));
  r = select(r, f32(0.0), x < f32(-104.0));
  return select(r, x, is_nan(x));
}
fn from_bits(bits: u32) -> f32 { return bitcast<f32>(bits); }
fn is_nan(x: f32) -> bool { return (bitcast<u32>(x) & u32(0x7fffffffu)) > u32(0x7f800000u); }
fn max_(a: f32, b: f32) -> f32 { return select(max(a, b), a + b, is_nan(a) | is_nan(b)); }

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wg: vec3<u32>,
        @builtin(local_invocation_index) local: u32) {
  let id = i32(wg.x * 64u + local);
  if (id >= params[0].x) { return; }
  var a0_0 = f32(from_bits(4286578688u));
  for (var r0 = 0; r0 < params[0].y; r0++) {
    a0_0 = max_(a0_0, b0[((id * params[0].y) + r0)]);
  }
  var a1_0 = f32(0.0f);
  for (var r0 = 0; r0 < params[0].y; r0++) {
    a1_0 = a1_0 + exp_((b0[((id * params[0].y) + r0)] - a0_0));
  }
  for (var r0 = 0; r0 < params[0].y; r0++) {
    b1[((id * params[0].y) + r0)] = (exp_((b0[((id * params[0].y) + r0)] - a0_0)) / a1_0);
  }
}
