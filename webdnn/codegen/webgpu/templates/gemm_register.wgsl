// Sums of products in registers alone: TM x 8 outputs per invocation, WM x WN invocations side by side,
// and PARTS of them that share out k and add up in workgroup memory: first FOLD sums of some of these each.
//
// Contract: functions row_of, k_of, load_a (KV neighbouring k of one row: 4 or 1), load_b (four
// neighbouring columns of one k), finish. HALVES is 1 if no panel has more than four columns.
$assert KV in (1, 4)
$assert threads == WM * WN * PARTS and threads <= 256
$assert PARTS == 1 or PARTS >= 4
$let rows = range(TM)
$let TILES = WM * WN
$let FOLD = 16 if PARTS > 128 else 8 if PARTS >= 64 else 4 if PARTS >= 16 else PARTS
$if PARTS > 1:
  var<workgroup> partial: array<vec4<f32>, ${threads * min(TM, 2) * 2}>;

@compute @workgroup_size(${threads})
fn main(@builtin(workgroup_id) ${GROUP}: vec3<u32>, @builtin(local_invocation_index) index: u32) {
  let local = i32(index);
  ${batch}
  let panel = i32(wg.x) * ${WN} + local % ${WN};
  let m0 = (i32(wg.y) * ${WM} + local / ${WN} % ${WM}) * ${TM};
  let part = local / ${WN * WM};
  let held = min(panel, ${panels} - 1);
  $for i in rows:
    let row${i} = row_of(min(m0 + ${i}, ${M} - 1));
    var sum${i}_0 = vec4<f32>(0.0);
    var sum${i}_1 = vec4<f32>(0.0);
  for (var k = part * ${KV}; k < ${K}; k += ${PARTS * KV}) {
    let at = k_of(k);
    $for i in rows:
      let a${i} = load_a(row${i}, at);
    $for kk in range(KV):
      let b${kk}_0 = load_b(held, k + ${kk}, 0);
      $if HALVES > 1:
        let b${kk}_1 = load_b(held, k + ${kk}, 1);
      $for i in rows:
        sum${i}_0 += a${i}${"." + "xyzw"[kk] if KV == 4 else ""} * b${kk}_0;
        $if HALVES > 1:
          sum${i}_1 += a${i}${"." + "xyzw"[kk] if KV == 4 else ""} * b${kk}_1;
  }
  $if PARTS > 1:
    $for round in range((TM + 1) // 2):
      $let these = range(2 * round, min(2 * round + 2, TM))
      $for i in these:
        partial[local + ${(i - 2 * round) * 2 * threads}] = sum${i}_0;
        partial[local + ${(i - 2 * round) * 2 * threads + threads}] = sum${i}_1;
      workgroupBarrier();
      $if FOLD < PARTS:
        if (part < ${FOLD}) {
          $for which in range(len(these) * 2):
            var fold${which} = partial[local + ${which * threads}];
          for (var p = ${FOLD * TILES}; p < ${PARTS * TILES}; p += ${FOLD * TILES}) {
            $for which in range(len(these) * 2):
              fold${which} += partial[local + p + ${which * threads}];
          }
          $for which in range(len(these) * 2):
            partial[local + ${which * threads}] = fold${which};
        }
        workgroupBarrier();
      if (local < ${len(these) * 2 * TILES}) {
        let which = local / ${TILES};
        let tile = local % ${TILES};
        var sum = partial[which * ${threads} + tile];
        for (var p = 1; p < ${FOLD}; p++) {
          sum += partial[which * ${threads} + p * ${TILES} + tile];
        }
        let m = (i32(wg.y) * ${WM} + tile / ${WN}) * ${TM} + ${2 * round} + which / 2;
        let nq = (i32(wg.x) * ${WN} + tile % ${WN}) * 2 + which % 2;
        if (m < ${M} && nq < ${quads}) { finish(m, nq, sum); }
      }
      $if 2 * round + 2 < TM:
        workgroupBarrier();
  $else:
    $for i in rows:
      if (m0 + ${i} < ${M}) {
        if (panel * 2 < ${quads}) { finish(m0 + ${i}, panel * 2, sum${i}_0); }
        if (panel * 2 + 1 < ${quads}) { finish(m0 + ${i}, panel * 2 + 1, sum${i}_1); }
      }
}
