$# The indices of the K first of the N elements of each row, in order: keys are unsigned, their order ascending,
$# and of equal keys the lower index goes first. A heap holds the first K so far, its root the last of these. With
$# `above`, only what is greater than input 1 takes part, and -1 follows where that is too little.
unsigned* const keys = (unsigned*)scratch;
int* const at = (int*)(scratch + 4 * ${k});
#define AFTER(i, j) (keys[i] > keys[j] || (keys[i] == keys[j] && at[i] > at[j]))
for (int row = begin; row < end; row++) {
  int size = 0;
  for (int i = 0; i < ${x0_1}; i++) {
    $if kind == "f32":
      const float x = ${read(0, f"row * {x0_1} + i")} + 0.0f;
      const int bits = BITS_I(x);
      $if above:
        if (!(x > ${read(1, 0)})) continue;
      unsigned key = x != x ? 0xffffffffu : (unsigned)(bits ^ (bits >> 31 | (int)0x80000000));
    $elif kind == "i32":
      unsigned key = (unsigned)${read(0, f"row * {x0_1} + i")} ^ 0x80000000u;
    $else:
      unsigned key = ${read(0, f"row * {x0_1} + i")};
    $if largest:
      key = ~key;
    int hole = 0;
    if (size < ${k}) {
      for (hole = size++; hole > 0; ) {
        const int parent = (hole - 1) / 2;
        if (keys[parent] > key) break;  // equal keys: this index is the higher one
        keys[hole] = keys[parent], at[hole] = at[parent];
        hole = parent;
      }
    } else {
      if (size == 0 || key >= keys[0]) continue;
      for (int child; (child = 2 * hole + 1) < size; hole = child) {
        if (child + 1 < size && AFTER(child + 1, child)) child++;
        if (keys[child] <= key) break;  // equal keys: this index is the higher one
        keys[hole] = keys[child], at[hole] = at[child];
      }
    }
    keys[hole] = key, at[hole] = i;
  }
  $if above:
    for (int i = size; i < ${k}; i++) ${out0}[row * ${k} + i] = -1;
  // The root is the last in order: it leaves, and the hole that it leaves takes the last of the heap.
  while (size > 0) {
    ${out0}[row * ${k} + --size] = at[0];
    const unsigned key = keys[size];
    const int index = at[size];
    int hole = 0;
    for (int child; (child = 2 * hole + 1) < size; hole = child) {
      if (child + 1 < size && AFTER(child + 1, child)) child++;
      if (keys[child] < key || (keys[child] == key && at[child] < index)) break;
      keys[hole] = keys[child], at[hole] = at[child];
    }
    keys[hole] = key, at[hole] = index;
  }
}
#undef AFTER
