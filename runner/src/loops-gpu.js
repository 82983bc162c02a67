/**
 * Loops whose end only the device finds: before each iteration, a word of a buffer says whether
 * there is one.
 *
 * To ask for it is a round trip, so several iterations are encoded ahead, each behind a gate: a
 * kernel that writes the grids of the iteration's dispatches, or zeros where there is none. Loops
 * with others in them, and those whose iterations take long, are asked for each. A branch, which
 * runs once or not at all, is one gate, and nothing is asked. A file of its own: few models have
 * such loops.
 *
 * @typedef {import('./webgpu/device.js').Held} Held
 * @typedef {import('./webgpu/steps.js').Part} Part
 * @typedef {{ grids: GPUBuffer, args: GPUBuffer, group: GPUBindGroup, flops: number }} Gated  flops:
 *   of an iteration
 * @typedef {(
 *   encoder: GPUCommandEncoder, first: number, last: number,
 * ) => GPUCommandEncoder | Promise<GPUCommandEncoder>} Encode  what follows goes to the other encoder
 */
import { MODE_READ, USAGE } from './webgpu/device.js';

const { COPY_DST, INDIRECT, MAP_READ, STORAGE } = USAGE;
const WORD = 4;
const GRID = 3; // words
const GROUP = 64; // of the gate's invocations
/** Iterations that are encoded ahead at first; twice as many each time. */
const AHEAD = 4;
/** Dispatches that are encoded ahead at most. */
const DISPATCHES = 1024;

const GATE = `
@group(0) @binding(0) var<storage, read> flag: array<u32>;
@group(0) @binding(1) var<storage, read> grids: array<u32>;
@group(0) @binding(2) var<storage, read_write> args: array<u32>;
@compute @workgroup_size(${GROUP})
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  if (id.x < arrayLength(&args)) { args[id.x] = select(0u, grids[id.x], flag[0] != 0u); }
}`;

export class Loops {
  #device;
  #scoped;
  #buffers;
  #answer;
  #gate;
  /** @type {Map<Part, Gated>} */ #gated = new Map();
  #stopped = false;

  /** @param {Held} held @param {Part[]} tree @param {GPUBuffer[]} buffers */
  constructor({ device, allocate, scoped }, tree, buffers) {
    this.#device = device;
    this.#scoped = scoped;
    this.#buffers = buffers;
    this.#answer = allocate(WORD, MAP_READ | COPY_DST);
    const group = device.createBindGroupLayout({
      entries: ['read-only-storage', 'read-only-storage', 'storage'].map((type, binding) => ({
        binding,
        visibility: 4, // GPUShaderStage.COMPUTE
        buffer: { type: /** @type {GPUBufferBindingType} */ (type) },
      })),
    });
    this.#gate = device.createComputePipelineAsync({
      label: 'gate',
      layout: device.createPipelineLayout({ bindGroupLayouts: [group] }),
      compute: { module: device.createShaderModule({ code: GATE }), entryPoint: 'main' },
    });
    this.#gate.catch(() => {}); // reported by `compiled`
    /** @param {Part[]} tree */
    const add = (tree) => {
      for (const part of tree) {
        const { first, last, flag, body } = part;
        if (flag === undefined || !body) continue;
        if (body.some((inner) => inner.body)) {
          add(body);
          continue;
        }
        const size = WORD * GRID * (last - first);
        if (!size) continue;
        const grids = allocate(size, STORAGE | COPY_DST);
        const args = allocate(size, STORAGE | INDIRECT);
        this.#gated.set(part, {
          grids,
          args,
          flops: 0,
          group: device.createBindGroup({
            layout: group,
            entries: [{ buffer: buffers[flag] }, { buffer: grids, size }, { buffer: args, size }].map(
              (resource, binding) => ({ binding, resource }),
            ),
          }),
        });
      }
    };
    add(tree);
  }

  /** Waits for the gate to be compiled. */
  compiled = () => this.#gate;

  /** No further iterations, of the run in progress. */
  stop() {
    this.#stopped = true;
  }

  /** Takes the grids and costs of all dispatches. @param {{ grid: number[], flops: number }[]} plan */
  configure(plan) {
    for (const [{ first, last }, gated] of this.#gated) {
      const steps = plan.slice(first, last);
      const grids = steps.flatMap(({ grid: [x, y = 1, z = 1] }) => [x, y, z]);
      this.#device.queue.writeBuffer(gated.grids, 0, new Uint32Array(grids));
      gated.flops = steps.reduce((sum, step) => sum + step.flops, 0);
    }
  }

  /**
   * Encodes and submits a tree; the encoder of what follows the last loop is returned open.
   * @param {Part[]} tree
   * @param {GPUCommandEncoder} encoder
   * @param {{
   *   encode: Encode, bind?: (pass: GPUComputePassEncoder, i: number) => void, flops?: number,
   * }} how  bind: what a dispatch needs; without it, each iteration is asked for. flops: that one
   *   submit may have
   */
  async run(tree, encoder, { encode, bind, flops = 0 }) {
    this.#stopped = false;
    const gate = await this.#gate;
    /** @param {Part} part */
    const ahead = (part) => {
      const gated = bind && this.#gated.get(part);
      if (!gated) return 0;
      const steps = DISPATCHES / (part.last - part.first + 1);
      return Math.floor(Math.min(steps, flops / Math.max(gated.flops, 1)));
    };
    /** @param {Part[]} tree */
    const walk = async (tree) => {
      for (const part of tree) {
        const { first, last, flag, body, once } = part;
        if (flag === undefined || !body) {
          encoder = await encode(encoder, first, last);
          continue;
        }
        const most = ahead(part);
        if (most < (once ? 1 : 2)) {
          while (await ask(flag)) await walk(body);
          continue;
        }
        const { group, args } = /** @type {Gated} */ (this.#gated.get(part));
        let times = once ? 1 : AHEAD;
        do {
          times = Math.min(times, most);
          const pass = encoder.beginComputePass();
          for (let k = 0; k < times; k++) {
            pass.setPipeline(gate);
            pass.setBindGroup(0, group);
            pass.dispatchWorkgroups(Math.ceil((GRID * (last - first)) / GROUP));
            for (let i = first; i < last; i++) {
              bind?.(pass, i);
              pass.dispatchWorkgroupsIndirect(args, WORD * GRID * (i - first));
            }
          }
          pass.end();
          times *= 2;
        } while (!once && (await ask(flag)));
      }
    };
    /** @param {number} flag */
    const ask = async (flag) => {
      const going = await this.#scoped(() => this.#ask(flag, encoder));
      encoder = this.#device.createCommandEncoder();
      return going;
    };
    await walk(tree);
    return encoder;
  }

  /**
   * Submits what is encoded, and reads whether there is a further iteration.
   * @param {number} flag
   * @param {GPUCommandEncoder} encoder
   */
  async #ask(flag, encoder) {
    const answer = this.#answer;
    encoder.copyBufferToBuffer(this.#buffers[flag], 0, answer, 0, WORD);
    this.#device.queue.submit([encoder.finish()]);
    await answer.mapAsync(MODE_READ, 0, WORD);
    const [going] = new Uint32Array(answer.getMappedRange(0, WORD).slice(0));
    answer.unmap();
    return going !== 0 && !this.#stopped;
  }
}
