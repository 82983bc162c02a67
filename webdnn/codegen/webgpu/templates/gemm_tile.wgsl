// Sums of products by tiles in workgroup memory: BM x BN outputs per workgroup, TM x 8 per invocation.
//
// Contract: functions row_of, k_of, load_a (four neighbouring k of one row; zero beyond K), load_b
// (four neighbouring columns of one k), finish. Rows of a tile are padded by one vec4, so that
// neighbouring invocations read different banks.
$assert BK % 4 == 0 and BM % TM == 0 and BN % 8 == 0
$assert threads == BM // TM * (BN // 8) and threads <= 256
$assert (BM * (BK // 4 + 1) + BK * (BN // 4 + 1)) * 16 <= 16384
$assert BM * BK // 4 % threads == 0 and BK * BN // 4 % threads == 0
$let AQ = BK // 4
$let AS = BK // 4 + 1
$let BS = BN // 4 + 1
$let RM = BM // TM
$let NX = BN // 8
$let rows = range(TM)
$let a_loads = range(BM * AQ // threads)
$let b_loads = range(BK * BN // 4 // threads)
var<workgroup> tile_a: array<vec4<f32>, ${BM * AS}>;
var<workgroup> tile_b: array<vec4<f32>, ${BK * BS}>;

@compute @workgroup_size(${threads})
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) index: u32) {
  let local = i32(index);
  ${batch}
  let tx = local % ${NX};
  let ty = local / ${NX};
  let m0 = i32(wg.y) * ${BM};
  let panel0 = i32(wg.x) * ${NX};
  $for j in a_loads:
    let row${j} = row_of(min(m0 + local / ${AQ} + ${j * threads // AQ}, ${M} - 1));
  $for i in rows:
    var sum${i}_0 = vec4<f32>(0.0);
    var sum${i}_1 = vec4<f32>(0.0);
  for (var k0 = 0; k0 < ${K}; k0 += ${BK}) {
    let at = k_of(k0 + local % ${AQ} * 4);
    $for j in a_loads:
      tile_a[(local / ${AQ} + ${j * threads // AQ}) * ${AS} + local % ${AQ}] = load_a(row${j}, at);
    $for j in b_loads:
      {
        let e = local + ${j * threads};
        let k = e / 2 % ${BK};
        let panel = e / ${2 * BK};
        tile_b[k * ${BS} + panel * 2 + e % 2] = load_b(min(panel0 + panel, ${panels} - 1), min(k0 + k, ${K} - 1), e % 2);
      }
    workgroupBarrier();
    for (var q = 0; q < ${AQ}; q++) {
      $for i in rows:
        let a${i} = tile_a[(ty + ${i * RM}) * ${AS} + q];
      $for kk in range(4):
        let b${kk}_0 = tile_b[(q * 4 + ${kk}) * ${BS} + tx];
        let b${kk}_1 = tile_b[(q * 4 + ${kk}) * ${BS} + tx + ${NX}];
        $for i in rows:
          sum${i}_0 += a${i}.${"xyzw"[kk]} * b${kk}_0;
          sum${i}_1 += a${i}.${"xyzw"[kk]} * b${kk}_1;
    }
    workgroupBarrier();
  }
  let nq = panel0 * 2 + tx;
  $for i in rows:
    if (m0 + ty + ${i * RM} < ${M}) {
      if (nq < ${quads}) { finish(m0 + ty + ${i * RM}, nq, sum${i}_0); }
      if (nq + ${NX} < ${quads}) { finish(m0 + ty + ${i * RM}, nq + ${NX}, sum${i}_1); }
    }
}
