// Where the 1st, 2nd ... K-th true element of each row of N is; N where there are fewer. One workgroup a row, whose
// invocations count a stretch each, and then know where theirs begin.
var<workgroup> counts: array<i32, 256>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) local: u32) {
  let row = ${item};
  if (row >= ${items}) { return; }
  let t = i32(local);
  let each = (${x0_1} + 255) / 256;
  let start = t * each;
  let end = min(start + each, ${x0_1});
  var count = 0;
  for (var i = start; i < end; i++) { count += ${read(0, f"row * {x0_1} + i")}; }
  counts[t] = count;
  workgroupBarrier();
  var at = 0;
  var total = 0;
  for (var j = 0; j < 256; j++) {
    if (j == t) { at = total; }
    total += counts[j];
  }
  for (var i = start; i < end && at < ${k}; i++) {
    if (${read(0, f"row * {x0_1} + i")} != 0) {
      ${out0}[row * ${k} + at] = i;
      at++;
    }
  }
  for (var j = total + t; j < ${k}; j += 256) { ${out0}[row * ${k} + j] = ${x0_1}; }
}
