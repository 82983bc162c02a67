// The ceiling that one core sets: relaxed-SIMD fused multiply-adds in twelve independent chains,
// enough to hide the latency of any processor with two FMA units. One call of `peak(n)` does
// n × 12 × 4 lanes × 2 operations; the sum is returned so that nothing is optimised away.
#include <wasm_simd128.h>

__attribute__((export_name("peak"))) float peak(int rounds, float x) {
  v128_t sum[12], b = wasm_f32x4_splat(x), c = wasm_f32x4_splat(x * 0.5f);
  for (int i = 0; i < 12; i++) sum[i] = wasm_f32x4_splat((float)i);
  for (int round = 0; round < rounds; round++) {
#pragma clang loop unroll(full)
    for (int i = 0; i < 12; i++) sum[i] = wasm_f32x4_relaxed_madd(b, c, sum[i]);
    b = wasm_f32x4_add(b, c);
  }
  for (int i = 1; i < 12; i++) sum[0] = wasm_f32x4_add(sum[0], sum[i]);
  return wasm_f32x4_extract_lane(sum[0], 0) + wasm_f32x4_extract_lane(sum[0], 1) +
         wasm_f32x4_extract_lane(sum[0], 2) + wasm_f32x4_extract_lane(sum[0], 3);
}
