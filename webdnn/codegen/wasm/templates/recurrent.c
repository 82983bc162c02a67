$# A recurrent cell over a sequence: a work item is one element of the batch with all its time steps.
$#
$# R lies in panels [block][phase][k][gate][8], a block being 8 hidden units: the innermost loop reads memory from front
$# to back and keeps the sums of all gates of a block in registers. The state before a step is the row of the result
$# that the last step stored. Each phase sums some of the gates over one vector: a gru that resets the state before
$# the product needs two. A sum of few gates is split into `chains` sums, so that additions need not wait.
const int H = ${H}, T = ${T}, blocks = (H + 7) / 8;
float* const first_h = (float*)scratch;
float* const first_c = first_h + H;
$if len(phases) > 1:
  float* const reset = first_c + H;
  float* const kept = reset + H;
$for gates, source in phases:
  $assert len(gates) * 2 * chains(gates) <= 12
for (int n = begin; n < end; n++) {
  for (int j = 0; j < H; j++) {
    ${first("h")}
    $if states > 1:
      ${first("c")}
  }
  const float *h = first_h, *c = first_c;
  for (int step = 0; step < T; step++) {
    const int t = ${"T - 1 - step" if reverse else "step"};
    $for gates, source in phases:
      $let U = chains(gates)
      $let some = len(gates)
      $let sums = [(g, v, u) for g in gates for v in range(2) for u in range(U)]
      for (int block = 0; block < blocks; block++) {
        const float* w = ${R} + block * (H * ${8 * G})${f" + H * {8 * gates[0]}" if gates[0] else ""};
        f4 ${", ".join(f"c{g}{v}{u} = S(0.0f)" for g, v, u in sums)};
        int k = 0;
        for (; k + ${U} <= H; k += ${U}) {
          $for u in range(U):
            { const f4 a = S(${source}[k + ${u}]);
              $for g, v, u in [s for s in sums if s[2] == u]:
                c${g}${v}${u} = MADD(a, LD(w + ${(u * some + g - gates[0]) * 8 + v * 4}), c${g}${v}${u});
            }
          w += ${U * some * 8};
        }
        $if U > 1:
          for (; k < H; k++) {
            const f4 a = S(${source}[k]);
            $for g, v, u in [s for s in sums if s[2] == 0]:
              c${g}${v}0 = MADD(a, LD(w + ${(g - gates[0]) * 8 + v * 4}), c${g}${v}0);
            w += ${some * 8};
          }
        float sums[${G * 8}];
        $for g, v, u in [s for s in sums if s[2] == 0]:
          ST(sums + ${g * 8 + v * 4}, ${" + ".join(f"c{g}{v}{i}" for i in range(U))});
        int i = 0;
        const int count = vmin(H - block * 8, 8);
        $let last = gates[-1] == G - 1
        $for lanes, type in ((4, "f4"), (1, "float")):
          $let at = "LD({} + {})" if lanes == 4 else "{}[{}]"
          for (; i + ${lanes} <= count; i += ${lanes}) {
            const int j = block * 8 + i;
            $if last:
              $for g in range(G):
                const ${type} acc0_${g} = ${at.format("sums", f"{8 * g} + i") if g in gates else at.format("kept", "j")};
            $else:
              $for g in gates:
                const ${type} acc0_${g} = ${at.format("sums", f"{8 * g} + i")};
            $for s in range(states):
              const ${type} acc1_${s} = ${at.format("hc"[s], "j")};
            $if last:
              ${stores("j" if lanes == 4 else None)}
            $else:
              ${"ST(kept + j, acc0_0);" if lanes == 4 else "kept[j] = acc0_0;"}
              ${resets("j" if lanes == 4 else None)}
          }
      }
    h = ${out[0]} + (n * T + t) * H;
    $if states > 1:
      c = ${out[1]} + (n * T + t) * H;
  }
}
