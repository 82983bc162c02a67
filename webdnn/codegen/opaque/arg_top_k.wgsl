// The indices of the K first of the N elements of each row, in order: keys are unsigned, their order ascending, and
// of equal keys the lower index goes first. One workgroup a row: it finds the K-th pair of key and index digit by
// digit, collects the pairs up to it, and sorts these by a bitonic network, as if they were followed by infinities.
// With `above`, only what is greater than input 1 takes part, and -1 follows where that is too little.
$let N = x0_1
$let K = k
var<workgroup> digits: array<atomic<u32>, 256>;
var<workgroup> collected: atomic<u32>;
var<workgroup> prefix: vec2<u32>;  // of the K-th pair, as far as it is known
var<workgroup> wanted: u32;        // how many of those with this prefix are among the first K
$if local:
  var<workgroup> pairs: array<vec2<u32>, ${1 << max(0, attrs["most"] - 1).bit_length()}>;

fn key(at: i32) -> u32 {
  $if kind == "f32":
    let x = ${read(0, "at")};
    $if above:
      if (!(x > ${read(1, 0)})) { return 0xffffffffu; }
    let bits = bitcast<u32>(x);
    let magnitude = bits & 0x7fffffffu;
    var key = select(bits | 0x80000000u, ~bits, bits > 0x80000000u);
    key = select(key, 0x80000000u, magnitude == 0u);
    key = select(key, 0xffffffffu, magnitude > 0x7f800000u);
  $elif kind == "i32":
    let key = bitcast<u32>(${read(0, "at")}) ^ 0x80000000u;
  $else:
    let key = ${read(0, "at")};
  return ${"~key" if largest else "key"};
}

fn before(a: vec2<u32>, b: vec2<u32>) -> bool { return a.x < b.x || (a.x == b.x && a.y < b.y); }

$if local:
  fn exchange(row: i32, a: i32, b: i32) {
    let x = pairs[a];
    let y = pairs[b];
    if (before(y, x)) {
      pairs[a] = y;
      pairs[b] = x;
    }
  }
$else:
  fn exchange(row: i32, a: i32, b: i32) {
    let x = ${out0}[row * ${K} + a];
    let y = ${out0}[row * ${K} + b];
    if (before(vec2<u32>(key(row * ${N} + y), u32(y)), vec2<u32>(key(row * ${N} + x), u32(x)))) {
      ${out0}[row * ${K} + a] = y;
      ${out0}[row * ${K} + b] = x;
    }
  }
$let barrier = "workgroupBarrier();" if local else "storageBarrier();"

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) local: u32) {
  let row = ${item};
  if (row >= ${items} || ${K} == 0) { return; }
  let t = i32(local);
  if (t == 0) {
    prefix = vec2<u32>(select(0u, 0xffffffffu, ${K} == ${N}));
    wanted = u32(${K});
  }
  var known = vec2<u32>(0u);  // the bits of the prefix
  for (var digit = select(7, -1, ${K} == ${N}); digit >= 0; digit--) {
    let shift = u32(digit % 4) * 8u;
    let which = digit / 4;  // 1: of the key, 0: of the index
    if (which == 0 && ((u32(${N}) - 1u) >> shift) == 0u) { continue; }
    atomicStore(&digits[local], 0u);
    workgroupBarrier();
    let head = prefix;
    for (var i = t; i < ${N}; i += 256) {
      let pair = vec2<u32>(key(row * ${N} + i), u32(i));
      if (all((pair & known) == head)) {
        atomicAdd(&digits[(select(pair.y, pair.x, which == 1) >> shift) & 255u], 1u);
      }
    }
    workgroupBarrier();
    if (t == 0) {
      var d = 0u;
      var sum = 0u;
      var next = atomicLoad(&digits[0]);
      while (d < 255u && sum + next < wanted) {
        sum += next;
        d++;
        next = atomicLoad(&digits[d]);
      }
      wanted -= sum;
      if (which == 1) { prefix.x |= d << shift; } else { prefix.y |= d << shift; }
    }
    if (which == 1) { known.x |= 255u << shift; } else { known.y |= 255u << shift; }
    workgroupBarrier();
  }
  if (t == 0) { atomicStore(&collected, 0u); }
  workgroupBarrier();
  let last = prefix;
  for (var i = t; i < ${N}; i += 256) {
    let pair = vec2<u32>(key(row * ${N} + i), u32(i));
    if (!before(last, pair)) {
      let at = i32(atomicAdd(&collected, 1u));
      $if local:
        pairs[at] = pair;
      $else:
        ${out0}[row * ${K} + at] = i;
    }
  }
  ${barrier}
  for (var size = 1; size < ${K}; size *= 2) {
    // Sorted runs of this size become twice as long: the second is read backwards first.
    for (var p = t; p < ${K}; p += 256) {
      let b = p / size * size * 2 + 2 * size - 1 - p % size;
      if (b < ${K}) { exchange(row, p / size * size * 2 + p % size, b); }
    }
    ${barrier}
    for (var stride = size / 2; stride > 0; stride /= 2) {
      for (var p = t; p < ${K}; p += 256) {
        let a = p / stride * stride * 2 + p % stride;
        if (a + stride < ${K}) { exchange(row, a, a + stride); }
      }
      ${barrier}
    }
  }
  $if local and above:
    for (var i = t; i < ${K}; i += 256) {
      ${out0}[row * ${K} + i] = select(i32(pairs[i].y), -1, pairs[i].x == 0xffffffffu);
    }
  $elif local:
    for (var i = t; i < ${K}; i += 256) { ${out0}[row * ${K} + i] = i32(pairs[i].y); }
  $elif above:
    for (var i = t; i < ${K}; i += 256) {
      if (key(row * ${N} + ${out0}[row * ${K} + i]) == 0xffffffffu) { ${out0}[row * ${K} + i] = -1; }
    }
}
