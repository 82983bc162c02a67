// Sums of products by tiles in workgroup memory: BM x BN outputs per workgroup, TM x TN per invocation.
//
// Contract: functions row_of, k_of, load_a (four neighbouring k of one row; zero beyond K), load_b
// (four neighbouring columns of one k), finish; FROM and TO, the depth that is summed over. Rows of a
// tile are padded by one vec4, so that neighbouring invocations read different banks. With AHEAD the
// next tiles are on their way into registers while the products of these are taken.
$assert BK % 4 == 0 and BM % TM == 0 and BN % TN == 0 and TN in (4, 8)
$assert threads == BM // TM * (BN // TN) and threads <= 256
$assert (BM * (BK // 4 + 1) + BK * (BN // 4 + 1)) * 16 <= 16384
$assert BM * BK // 4 % threads == 0 and threads % (BK // 4) == 0
$let AQ = BK // 4
$let AS = BK // 4 + 1
$let BS = BN // 4 + 1
$let RM = BM // TM
$let NX = BN // TN
$let H = min(BN // 4, 2)
$let rows = range(TM)
$let cols = range(TN // 4)
$let a_loads = range(BM * AQ // threads)
$let b_loads = range(-(-(BK * BN // 4) // threads))
$let b_rest = BK * BN // 4 - (len(b_loads) - 1) * threads
var<workgroup> tile_a: array<vec4<f32>, ${BM * AS}>;
var<workgroup> tile_b: array<vec4<f32>, ${BK * BS}>;

@compute @workgroup_size(${threads})
fn main(@builtin(workgroup_id) ${GROUP}: vec3<u32>, @builtin(local_invocation_index) index: u32) {
  let local = i32(index);
  ${batch}
  let tx = local % ${NX};
  let ty = local / ${NX};
  let m0 = i32(wg.y) * ${BM};
  let first = i32(wg.x) * ${BN // 4};
  $for j in a_loads:
    let row${j} = row_of(min(m0 + local / ${AQ} + ${j * threads // AQ}, ${M} - 1));
  $for j in b_loads:
    let deep${j} = (local + ${j * threads}) / ${H} % ${BK};
    let quad${j} = (local + ${j * threads}) / ${H * BK} * ${H} + local % ${H};
    let panel${j} = min((first + quad${j}) / 2, ${panels} - 1);
  $for i in rows:
    $for j in cols:
      var sum${i}_${j} = vec4<f32>(0.0);
  $if AHEAD:
    var at = k_of(${FROM} + local % ${AQ} * 4);
    $for j in a_loads:
      var next_a${j} = load_a(row${j}, at);
    $for j in b_loads:
      var next_b${j} = load_b(panel${j}, min(${FROM} + deep${j}, ${K} - 1), (first + quad${j}) % 2);
  for (var k0 = ${FROM}; k0 < ${TO}; k0 += ${BK}) {
    $if AHEAD:
      $for j in a_loads:
        tile_a[(local / ${AQ} + ${j * threads // AQ}) * ${AS} + local % ${AQ}] = next_a${j};
    $else:
      let at = k_of(k0 + local % ${AQ} * 4);
      $for j in a_loads:
        tile_a[(local / ${AQ} + ${j * threads // AQ}) * ${AS} + local % ${AQ}] = load_a(row${j}, at);
    $for j in b_loads:
      $let partial = j == len(b_loads) - 1 and b_rest < threads
      $let b = "next_b%d" % j if AHEAD else "load_b(panel%d, min(k0 + deep%d, %s - 1), (first + quad%d) %% 2)" % (j, j, K, j)
      $if partial:
        if (local < ${b_rest}) { tile_b[deep${j} * ${BS} + quad${j}] = ${b}; }
      $else:
        tile_b[deep${j} * ${BS} + quad${j}] = ${b};
    workgroupBarrier();
    $if AHEAD:
      let k1 = select(k0, k0 + ${BK}, k0 + ${BK} < ${TO});
      at = k_of(k1 + local % ${AQ} * 4);
      $for j in a_loads:
        next_a${j} = load_a(row${j}, at);
      $for j in b_loads:
        next_b${j} = load_b(panel${j}, min(k1 + deep${j}, ${K} - 1), (first + quad${j}) % 2);
    for (var q = 0; q < ${AQ}; q++) {
      $for i in rows:
        let a${i} = tile_a[(ty + ${i * RM}) * ${AS} + q];
      $for kk in range(4):
        $for j in cols:
          let b${kk}_${j} = tile_b[(q * 4 + ${kk}) * ${BS} + tx + ${j * NX}];
        $for i in rows:
          $for j in cols:
            sum${i}_${j} += a${i}.${"xyzw"[kk]} * b${kk}_${j};
    }
    workgroupBarrier();
  }
  $for i in rows:
    if (m0 + ty + ${i * RM} < ${M}) {
      $for j in cols:
        if (first + tx + ${j * NX} < ${quads}) { finish(m0 + ty + ${i * RM}, first + tx + ${j * NX}, sum${i}_${j}); }
    }
}
