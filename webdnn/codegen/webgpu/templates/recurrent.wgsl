// A recurrent cell over a sequence: one workgroup per element of the batch runs all its time steps.
//
// An invocation owns four neighbouring hidden units, whose states stay in its registers; the whole state lies in
// workgroup memory, where all read it. PARTS invocations share a product's depth, the first of them owns the units.
// Where there are more units than invocations, each owns OWN groups of four. Every phase sums some of the gates over
// one vector: a gru that resets the state before the product needs two.
//
// Contract: function load_r(q, i): four recurrent weights towards units 4q, i vectors into their panel.
$assert threads <= 256 and (PARTS == 1 or OWN == 1) and groups * PARTS <= threads * OWN
var<workgroup> h: array<f32, ${H}>;
$if len(phases) > 1:
  var<workgroup> reset: array<f32, ${H}>;
$if PARTS > 1:
  var<workgroup> partial: array<vec4<f32>, ${groups * (PARTS - 1) * max(len(gates) for gates, source in phases)}>;

@compute @workgroup_size(${threads})
fn main(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) index: u32) {
  let n = ${n};
  if (n >= ${N}) { return; }
  let part = i32(index) / 2 % ${PARTS};
  $for o in range(OWN):
    let q${o} = i32(index) / ${2 * PARTS} * 2 + i32(index) % 2 + ${o * threads};
    let live${o} = q${o} * 4 < ${H} && part == 0;
    let row${o} = min(q${o}, ${groups - 1});
    $for s in range(states):
      var ${"hc"[s]}${o} = vec4<f32>(0.0);
    if (live${o}) {
      ${first(o)}
      ${spread("h", o, f"h{o}")}
    }
  workgroupBarrier();
  for (var step = 0; step < ${T}; step++) {
    let t = ${f"{T} - 1 - step" if reverse else "step"};
    $for o in range(OWN):
      $for g in range(G):
        var s${o}_${g} = vec4<f32>(0.0);
    $for gates, source in phases:
      for (var k = part; k < ${H}; k += ${PARTS}) {
        let a = ${source}[k];
        $for o in range(OWN):
          $for g in gates:
            s${o}_${g} += a * load_r(row${o}, (k * ${len(gates)} + ${g - gates[0]}) * 2 + ${gates[0] * 2 * H});
      }
      $let some = len(gates)
      $if PARTS > 1:
        if (part > 0 && q0 < ${groups}) {
          $for g in gates:
            partial[((part - 1) * ${groups} + q0) * ${some} + ${g - gates[0]}] = s0_${g};
        }
      workgroupBarrier();
      $for o in range(OWN):
        if (live${o}) {
          $if PARTS > 1:
            for (var i = 0; i < ${PARTS - 1}; i++) {
              $for g in gates:
                s0_${g} += partial[(i * ${groups} + q0) * ${some} + ${g - gates[0]}];
            }
          ${finish(o) if gates[-1] == G - 1 else resets(o)}
        }
      workgroupBarrier();
  }
}
