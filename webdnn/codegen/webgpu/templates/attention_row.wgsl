// Attention for few queries: a workgroup computes one, and goes through the keys 512 at a time.
//
// Four invocations share a key, so that neighbours read neighbouring memory; then each sums four columns of the
// values over a share of the keys, AT ONCE of them in flight.
//
// Contract: functions load_q(m, dq), load_k(t, dq), load_v(t, nq): four neighbours; score(m, t, product); finish.
$let DQ = D // 4
$let EQ = E // 4
$let SHARES = 256 // EQ
$let AT_ONCE = 8
$assert EQ <= 64
var<workgroup> queries: array<vec4<f32>, ${DQ}>;
var<workgroup> products: array<f32, 2048>; // four parts for each key
var<workgroup> weights: array<f32, 512>;
var<workgroup> partial: array<f32, 256>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) index: u32) {
  let local = i32(index);
  ${batch}
  let m = i32(wg.x);
  let column = local % ${EQ};
  let share = local / ${EQ};
  for (var i = local; i < ${DQ}; i += 256) { queries[i] = load_q(m, i); }
  workgroupBarrier();
  let lowest = from_bits(4286578688u);
  var most = lowest;
  var total = 0.0;
  var sum = vec4<f32>(0.0);
  for (var t0 = 0; t0 < ${T}; t0 += 512) {
    let keys = min(512, ${T} - t0);
    for (var i = local; i < keys * 4; i += 256) {
      let part = i % 4;
      var product = 0.0;
      $for d in range(0, DQ, 4):
        $if d + 4 <= DQ:
          product += dot(queries[${d} + part], load_k(t0 + i / 4, ${d} + part));
        $else:
          if (part < ${DQ - d}) { product += dot(queries[${d} + part], load_k(t0 + i / 4, ${d} + part)); }
      products[i] = product;
    }
    workgroupBarrier();
    var high = lowest;
    for (var t = local; t < keys; t += 256) {
      let product = products[t * 4] + products[t * 4 + 1] + products[t * 4 + 2] + products[t * 4 + 3];
      let s = score(m, t0 + t, product);
      weights[t] = s;
      high = max(high, s);
    }
    partial[local] = high;
    workgroupBarrier();
    for (var half = 128; half > 0; half >>= 1u) {
      if (local < half) { partial[local] = max(partial[local], partial[local + half]); }
      workgroupBarrier();
    }
    let next = max(most, partial[0]);
    let shrink = select(exp(most - next), 1.0, most == next);
    let base = select(next, 0.0, next == lowest); // a query with no key so far weighs nothing
    most = next;
    total *= shrink;
    for (var t = local; t < 512; t += 256) {
      let p = select(0.0, exp(weights[t] - base), t < keys);
      weights[t] = p;
      total += p;
    }
    workgroupBarrier();
    sum *= shrink;
    if (share < ${SHARES}) {
      for (var t = share; t < keys; t += ${SHARES * AT_ONCE}) {
        $for i in range(AT_ONCE):
          let v${i} = load_v(t0 + min(t + ${i * SHARES}, keys - 1), column);
        $for i in range(AT_ONCE):
          sum += select(0.0, weights[min(t + ${i * SHARES}, 511)], t + ${i * SHARES} < keys) * v${i};
      }
    }
    workgroupBarrier();
  }
  partial[local] = total;
  $for c in range(4):
    products[local * 4 + ${c}] = sum.${"xyzw"[c]};
  workgroupBarrier();
  for (var half = 128; half > 0; half >>= 1u) {
    if (local < half) { partial[local] += partial[local + half]; }
    workgroupBarrier();
  }
  if (local < ${EQ}) {
    var all = vec4<f32>(0.0);
    for (var i = local * 4; i < ${SHARES * EQ * 4}; i += ${EQ * 4}) {
      all += vec4<f32>(products[i], products[i + 1], products[i + 2], products[i + 3]);
    }
    finish(m, local, all / partial[0]);
  }
}
