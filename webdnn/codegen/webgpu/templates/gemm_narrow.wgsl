// Products of few rows by weights of 16, 8 or 4 bits, which are read as they lie in memory, 16 bytes at a time, and are
// numbers in registers alone. A workgroup owns a panel of 8 columns; its invocations share out the depth, and add up in
// workgroup memory. Integers become the last bits of a float's mantissa, where all that is left is exact.
//
// 16 bytes hold DEEP rows of the panel, a place RUN times as many, whose rows share scales; an invocation has AT_ONCE
// places on their way together.
// Contract: functions row_of, k_of, load_a (KV neighbouring k of one row: 4 or 1), finish; with SCALED scale_of, with
// SHIFTED zero_of: of four columns, for the rows of a place that begin at k.
$assert KV == 1 or KV == 4 and DEEP * RUN % 4 == 0
$assert PARTS in (64, 128, 256) and bits in (4, 8, 16)
$let rows = range(TM)
$let TOGETHER = min(TM, 256 // PARTS, PARTS // 32)
$for i in rows:
  var<private> row${i}: vec4<i32>;
  $for h in range(2):
    var<private> sum${i}_${h}: vec4<f32>;
var<workgroup> partial: array<vec4<f32>, ${PARTS * 2 * TOGETHER}>;
$if bits == 8:
  fn parts(x: u32) -> vec4<f32> {
    let y = ${"x ^ 0x80808080u" if SIGNED else "x"};
    let u = (vec4<u32>(vec2<u32>(y), vec2<u32>(y >> 16u)) & vec4<u32>(0xffu, 0xff00u, 0xffu, 0xff00u)) | vec4<u32>(0x4b000000u);
    return bitcast<vec4<f32>>(u) * vec4<f32>(1.0, 0.00390625, 1.0, 0.00390625) - vec4<f32>(${8388608 + 128 * SIGNED}.0, ${32768 + 128 * SIGNED}.0, ${8388608 + 128 * SIGNED}.0, ${32768 + 128 * SIGNED}.0);
  }
$elif bits == 4:
  fn parts(y: u32) -> vec4<f32> {
    let u = (vec4<u32>(y) & vec4<u32>(0xfu, 0xf0u, 0xf00u, 0xf000u)) | vec4<u32>(0x4b000000u);
    return bitcast<vec4<f32>>(u) * vec4<f32>(1.0, 0.0625, 0.00390625, 0.000244140625) - vec4<f32>(${8388608 + 8 * SIGNED}.0, ${524288 + 8 * SIGNED}.0, ${32768 + 8 * SIGNED}.0, ${2048 + 8 * SIGNED}.0);
  }

fn add(panel: i32, place: i32, ${", ".join(f"w{j}: vec4<u32>" for j in range(RUN))}) {
  let k = place * ${DEEP * RUN};
  $for i in rows:
    $for h in range(2):
      var t${i}_${h} = vec4<f32>(0.0);
  $for h in range(2):
    $if SHIFTED:
      let zero${h} = zero_of(panel, k, ${h});
  $for r in range(DEEP * RUN):
    $if r % KV == 0:
      let at${r} = k_of(k + ${r});
      $for i in rows:
        let a${i}_${r} = load_a(row${i}, at${r});
    $let w = f"w{r // DEEP}"
    $if bits == 16:
      let b${r}_0 = vec4<f32>(unpack2x16float(${w}.x), unpack2x16float(${w}.y));
      let b${r}_1 = vec4<f32>(unpack2x16float(${w}.z), unpack2x16float(${w}.w));
    $elif bits == 8:
      let b${r}_0 = parts(${w}.${"xz"[r % 2]})${" - zero0" if SHIFTED else ""};
      let b${r}_1 = parts(${w}.${"yw"[r % 2]})${" - zero1" if SHIFTED else ""};
    $else:
      let x${r} = ${w}.${"xyzw"[r % 4]}${" ^ 0x88888888u" if SIGNED else ""};
      let b${r}_0 = parts(x${r})${" - zero0" if SHIFTED else ""};
      let b${r}_1 = parts(x${r} >> 16u)${" - zero1" if SHIFTED else ""};
    $for i in rows:
      $for h in range(2):
        t${i}_${h} += a${i}_${r - r % KV}${"." + "xyzw"[r % 4] if KV == 4 else ""} * b${r}_${h};
  $for h in range(2):
    $if SCALED:
      let scale${h} = scale_of(panel, k, ${h});
    $for i in rows:
      sum${i}_${h} += t${i}_${h}${f" * scale{h}" if SCALED else ""};
}

@compute @workgroup_size(${PARTS})
fn main(@builtin(workgroup_id) ${GROUP}: vec3<u32>, @builtin(local_invocation_index) index: u32) {
  let local = i32(index);
  ${batch}
  let panel = i32(wg.x);
  let m0 = i32(wg.y) * ${TM};
  let first = base_b + panel * ${PLACES} * ${RUN};
  $for i in rows:
    row${i} = row_of(min(m0 + ${i}, ${M} - 1));
  var place = local;
  $if AT_ONCE > 1:
    for (; place < ${PLACES} - ${(AT_ONCE - 1) * PARTS}; place += ${AT_ONCE * PARTS}) {
      $for u in range(AT_ONCE):
        $for j in range(RUN):
          let w${u}_${j} = ${WEIGHTS}[first + (place + ${u * PARTS}) * ${RUN} + ${j}];
      $for u in range(AT_ONCE):
        add(panel, place + ${u * PARTS}, ${", ".join(f"w{u}_{j}" for j in range(RUN))});
    }
  for (; place < ${PLACES}; place += ${PARTS}) {
    add(panel, place, ${", ".join(f"{WEIGHTS}[first + place * {RUN} + {j}]" for j in range(RUN))});
  }
  $for round in range(-(-TM // TOGETHER)):
    $let these = range(TOGETHER * round, min(TOGETHER * (round + 1), TM))
    $let sums = len(these) * 2
    $for i in these:
      $for h in range(2):
        partial[local + ${((i - TOGETHER * round) * 2 + h) * PARTS}] = sum${i}_${h};
    workgroupBarrier();
    if (local < ${16 * sums}) {
      let start = local / 16 * ${PARTS} + local % 16;
      var sum = partial[start];
      for (var p = 16; p < ${PARTS}; p += 16) {
        sum += partial[start + p];
      }
      partial[start] = sum;
    }
    workgroupBarrier();
    if (local < ${2 * len(these)}) {
      let start = local * ${PARTS};
      var sum = partial[start];
      for (var p = 1; p < 16; p++) {
        sum += partial[start + p];
      }
      let m = m0 + ${TOGETHER * round} + local / 2;
      let nq = panel * 2 + local % 2;
      if (m < ${M} && nq < ${quads}) { finish(m, nq, sum); }
    }
    $if TOGETHER * (round + 1) < TM:
      workgroupBarrier();
}
