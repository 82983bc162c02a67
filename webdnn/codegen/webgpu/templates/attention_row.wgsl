// Attention for few queries: a workgroup computes one, or a slice of its keys, KEYS of them at a time.
//
// Four invocations share a key, so that neighbours read neighbouring memory; then each sums four columns of the
// values over a share of the keys, AT ONCE of them in flight.
//
// Contract: functions load_q(m, dq), load_k(t, dq), load_v(t, nq): four neighbours; score(m, t, product); finish.
// Of a slice also conclude(m, most, total). KEEPS are those of "kv" for which keep_k, keep_v store what was loaded.
$let DQ = D // 4
$let EQ = E // 4
$let SHARES = 256 // EQ
$let AT_ONCE = 4 if SLICED else 8
$let KEYS = 256 if SLICED else 512
$assert EQ <= 64
var<workgroup> queries: array<vec4<f32>, ${DQ}>;
var<workgroup> products: array<f32, ${KEYS * 4}>; // four parts for each key
var<workgroup> weights: array<f32, ${KEYS}>;
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
  for (var t0 = ${FROM}; t0 < ${TO}; t0 += ${KEYS}) {
    let keys = min(${KEYS}, ${TO} - t0);
    $if SLICED:
      $for i in range(AT_ONCE):
        let early${i} = load_v(t0 + min(share + ${i * SHARES}, keys - 1), column);
    for (var i = local; i < keys * 4; i += 256) {
      let part = i % 4;
      var product = 0.0;
      $for d in range(0, DQ - 3, 4):
        let k${d} = load_k(t0 + i / 4, ${d} + part);
      $for d in range(0, DQ - 3, 4):
        product += dot(queries[${d} + part], k${d});
      $if "k" in KEEPS:
        $for d in range(0, DQ - 3, 4):
          keep_k(t0 + i / 4, ${d} + part, k${d});
      $if DQ % 4 > 0:
        if (part < ${DQ % 4}) {
          let rest = load_k(t0 + i / 4, ${DQ // 4 * 4} + part);
          product += dot(queries[${DQ // 4 * 4} + part], rest);
          $if "k" in KEEPS:
            keep_k(t0 + i / 4, ${DQ // 4 * 4} + part, rest);
        }
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
    for (var t = local; t < ${KEYS}; t += 256) {
      let p = select(0.0, exp(weights[t] - base), t < keys);
      weights[t] = p;
      total += p;
    }
    workgroupBarrier();
    sum *= shrink;
    if (share < ${SHARES}) {
      for (var t = share; t < keys; t += ${SHARES * AT_ONCE}) {
        $for i in range(AT_ONCE):
          $if SLICED:
            var v${i} = early${i};
            if (t != share) { v${i} = load_v(t0 + min(t + ${i * SHARES}, keys - 1), column); }
          $else:
            let v${i} = load_v(t0 + min(t + ${i * SHARES}, keys - 1), column);
        $for i in range(AT_ONCE):
          sum += select(0.0, weights[min(t + ${i * SHARES}, ${KEYS - 1})], t + ${i * SHARES} < keys) * v${i};
        $if "v" in KEEPS:
          $for i in range(AT_ONCE):
            if (t + ${i * SHARES} < keys) { keep_v(t0 + t + ${i * SHARES}, column, v${i}); }
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
    $if SLICED:
      finish(m, local, all);
      if (local == 0) { conclude(m, most, partial[0]); }
    $else:
      finish(m, local, all / partial[0]);
  }
}
