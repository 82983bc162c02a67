// A transform of Winograd's: L x Lᵀ, where x are the values of a tile and L a matrix.
//
// Contract: `point` sets the private variables that say which tile and channel; functions load(i, j), an element of
// x; put(p, q, value), which stores an element of the result where there is one.
$let rows = range(len(matrix))
$let columns = range(POINTS)
$let terms = lambda row, name: ["%r * %s" % (f, name % k) if f != 1 else name % k for k, f in enumerate(row) if f]
$let sum_of = lambda row, name: " + ".join(terms(row, name)).replace("+ -", "- ")
@compute @workgroup_size(${GROUP})
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) local: u32) {
  let id = ${group} * ${GROUP} + i32(local);
  if (id >= ${items}) { return; }
  ${point}
  $for j in columns:
    $for i in columns:
      let x${i}_${j} = load(${i}, ${j});
    $for p in rows:
      let t${p}_${j} = ${sum_of(matrix[p], "x%%d_%d" % j)};
  $for p in rows:
    $for q in rows:
      put(${p}, ${q}, ${sum_of(matrix[q], "t%d_%%d" % p)});
}
