// Attention for many queries: a workgroup computes 16 of them, and goes through the keys 64 at a time.
//
// An invocation holds the scores of TM queries with 4 keys, and as many rows of the result: fewer where there are too
// few workgroups for a device, which then have more invocations. Scores become weights in workgroup memory; what was
// summed before a larger score came is scaled down. The next keys and values are loaded while these are used.
//
// Contract: functions load_q(m, dq), load_k(t, dq), load_v(t, nq): four neighbours; score(m, t, product); finish.
$let DQ = D // 4
$let EQ = E // 4
$let QS = DQ + 1
$let tight = DQ > 20
$let STEP = 1 if DQ > 24 or DQ % 2 > 0 else 2 if tight or DQ % 4 > 0 else 4
$let KS = STEP + 1
$let DEEP = (16 if EQ <= 16 else 8) // (2 if tight else 1)
$let threads = 256 // TM
$let RM = 16 // TM
$let PARTS = threads // 16
$let rows = range(TM)
$let cols = range(-(-EQ // 16))
$let k_loads = range(-(-64 * STEP // threads))
$let v_loads = range(-(-DEEP * EQ // threads))
$assert EQ <= 32 and TM in (2, 4)
$assert (16 * QS + max(64 * KS, DEEP * EQ) + 16 * 17) * 16 + threads * 4 + 64 <= 16384
var<workgroup> queries: array<vec4<f32>, ${16 * QS}>;
var<workgroup> tile: array<vec4<f32>, ${max(64 * KS, DEEP * EQ)}>; // of keys, then of values
var<workgroup> weights: array<vec4<f32>, ${16 * 17}>;
var<workgroup> partial: array<f32, ${threads}>;
var<workgroup> scale: array<f32, 16>;

@compute @workgroup_size(${threads})
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) index: u32) {
  let local = i32(index);
  ${batch}
  let tx = local % 16;
  let ty = local / 16;
  let row = local / ${PARTS};
  let part = local % ${PARTS};
  let m0 = i32(wg.x) * 16;
  for (var i = local; i < ${16 * DQ}; i += ${threads}) {
    queries[i / ${DQ} * ${QS} + i % ${DQ}] = load_q(min(m0 + i / ${DQ}, ${M} - 1), i % ${DQ});
  }
  let lowest = from_bits(4286578688u);
  var most = lowest;
  var total = 0.0;
  $for i in rows:
    $for j in cols:
      var sum${i}_${j} = vec4<f32>(0.0);
  $for j in k_loads:
    let slot${j} = min((local + ${threads * j}) / ${STEP}, 63);
    let key${j} = slot${j} % 16 * 4 + slot${j} / 16;
    var next_k${j} = load_k(min(key${j}, ${T} - 1), local % ${STEP});
  for (var t0 = 0; t0 < ${T}; t0 += 64) {
    $for i in rows:
      var s${i} = vec4<f32>(0.0);
    for (var d0 = 0; d0 < ${DQ}; d0 += ${STEP}) {
      $for j in k_loads:
        tile[slot${j} * ${KS} + local % ${STEP}] = next_k${j};
      workgroupBarrier();
      let last = d0 + ${STEP} >= ${DQ};
      let d1 = select(d0 + ${STEP}, 0, last);
      let t1 = select(t0, t0 + 64, last);
      $for j in k_loads:
        next_k${j} = load_k(min(t1 + key${j}, ${T} - 1), d1 + local % ${STEP});
      for (var d = 0; d < ${STEP}; d++) {
        $for i in rows:
          let q${i} = queries[(ty + ${i * RM}) * ${QS} + d0 + d];
        $for j in range(4):
          let k${j} = tile[(tx + ${j * 16}) * ${KS} + d];
        $for i in rows:
          s${i} += vec4<f32>(dot(q${i}, k0), dot(q${i}, k1), dot(q${i}, k2), dot(q${i}, k3));
      }
      workgroupBarrier();
    }
    $for j in v_loads:
      let deep${j} = (local + ${threads * j}) / ${EQ};
      let quad${j} = (local + ${threads * j}) % ${EQ};
      var next_v${j} = load_v(min(t0 + deep${j}, ${T} - 1), quad${j});
    let t = t0 + tx * 4;
    $for i in rows:
      let query${i} = min(m0 + ty + ${i * RM}, ${M} - 1);
      $for j in range(4):
        s${i}.${"xyzw"[j]} = select(lowest, score(query${i}, min(t + ${j}, ${T} - 1), s${i}.${"xyzw"[j]}), t + ${j} < ${T});
      weights[(ty + ${i * RM}) * 17 + tx] = s${i};
    workgroupBarrier();
    var high = lowest;
    $for j in range(16 // PARTS):
      let w${j} = weights[row * 17 + part + ${j * PARTS}];
      high = max(high, max(max(w${j}.x, w${j}.y), max(w${j}.z, w${j}.w)));
    partial[local] = high;
    workgroupBarrier();
    var next = most;
    for (var i = 0; i < ${PARTS}; i++) { next = max(next, partial[row * ${PARTS} + i]); }
    let shrink = select(exp(most - next), 1.0, most == next);
    let base = select(next, 0.0, next == lowest); // a query with no key so far weighs nothing
    most = next;
    total *= shrink;
    $for j in range(16 // PARTS):
      let p${j} = exp(w${j} - base);
      weights[row * 17 + part + ${j * PARTS}] = p${j};
      total += p${j}.x + p${j}.y + p${j}.z + p${j}.w;
    if (part == 0) { scale[row] = shrink; }
    for (var v0 = 0; v0 < 64; v0 += ${DEEP}) {
      $for j in v_loads:
        let value${j} = select(vec4<f32>(0.0), next_v${j}, t0 + v0 + deep${j} < ${T});
        $if (j + 1) * threads > DEEP * EQ:
          if (local < ${DEEP * EQ - j * threads}) { tile[local + ${threads * j}] = value${j}; }
        $else:
          tile[local + ${threads * j}] = value${j};
      workgroupBarrier();
      $for j in v_loads:
        next_v${j} = load_v(min(t0 + v0 + ${DEEP} + deep${j}, ${T} - 1), quad${j});
      if (v0 == 0) {
        $for i in rows:
          let f${i} = scale[ty + ${i * RM}];
          $for j in cols:
            sum${i}_${j} *= f${i};
      }
      for (var k = 0; k < ${DEEP // 4}; k++) {
        $for i in rows:
          let a${i} = weights[(ty + ${i * RM}) * 17 + v0 / 4 + k];
        $for kk in range(4):
          $for j in cols:
            let b${kk}_${j} = tile[min((k * 4 + ${kk}) * ${EQ} + tx + ${j * 16}, ${DEEP * EQ - 1})];
          $for i in rows:
            $for j in cols:
              sum${i}_${j} += a${i}.${"xyzw"[kk]} * b${kk}_${j};
      }
      workgroupBarrier();
    }
  }
  partial[local] = total;
  workgroupBarrier();
  $for i in rows:
    var all${i} = 0.0;
    for (var p = 0; p < ${PARTS}; p++) { all${i} += partial[(ty + ${i * RM}) * ${PARTS} + p]; }
    if (m0 + ty + ${i * RM} < ${M}) {
      $for j in cols:
        if (tx + ${j * 16} < ${EQ}) { finish(m0 + ty + ${i * RM}, tx + ${j * 16}, sum${i}_${j} / all${i}); }
    }
}
