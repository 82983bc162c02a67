// gelu__64 gelu.Gelu1
@group(0) @binding(0) var<storage, read> b0: array<f32>;
@group(0) @binding(1) var<storage, read_write> b1: array<f32>;
@group(0) @binding(2) var<uniform> params: array<vec4<i32>, 1>;
fn erf_(x: f32) -> f32 {
  let a = min(abs(x), f32(4.0));
  let z = a * a;
  var p = f32(7.8891193e-5);
  p = p * z - f32(0.000802084105);
  p = p * z + f32(0.00518953521);
  p = p * z - f32(0.0268544443);
  p = p * z + f32(0.112836003);
  p = p * z - f32(0.376126260);
  p = p * z + f32(1.12837911);
  var q = f32(2.1686850e-5);
  q = q * a - f32(0.000441336364);
  q = q * a + f32(0.00420456193);
  q = q * a - f32(0.0252082571);
  q = q * a + f32(0.108418576);
  q = q * a + f32(0.633219898);
  q = q * a + f32(1.12957847);
  q = q * a - f32(0.000188040212);
  let r = select(f32(1.0) - exp(-q), a * p, a < f32(1.0));
  return select(select(r, -r, x < f32(0.0)), x, is_nan(x));
}
fn is_nan(x: f32) -> bool { return (bitcast<u32>(x) & u32(0x7fffffffu)) > u32(0x7f800000u); }

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) wg: vec3<u32>,
        @builtin(local_invocation_index) local: u32) {
  let id = i32(wg.x * 64u + local);
  if (id >= params[0].x) { return; }
  let t0 = b0[id];
  b1[id] = ((t0 * 0.5f) * (erf_((t0 * 0.7071067690849304f)) + 1.0f));
}
