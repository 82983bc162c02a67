/**
 * The steps of a program on a device: dispatches, encoded into as few submits as their estimated
 * time allows, because one long submit trips the watchdogs of operating systems. Those of loops are
 * handed to `loops-gpu.js`.
 *
 * Bind groups, and one uniform buffer for the parameters of all steps, are made once; parameters
 * and grids are computed anew only when dimensions change.
 *
 * @typedef {import('../descriptor.js').Program} Program
 * @typedef {import('../descriptor.js').Step} Step
 * @typedef {import('../descriptor.js').Dispatch} Dispatch
 * @typedef {import('../int.js').Dims} Dims
 * @typedef {import('./device.js').Held} Held
 * @typedef {import('./kernels.js').Compiled} Compiled
 * @typedef {{
 *   first: number, last: number, flag?: number, body?: Part[], once?: boolean,
 * }} Part  dispatches first, first + 1 ... last - 1, once or as long as buffer `flag` says; once:
 *   which is one time at most
 * @typedef {Dispatch & { at: number, bytes: number }} Placed  where its parameters are
 */
import { bytesOf } from '../descriptor.js';
import { evaluate, roundUp } from '../int.js';
import { MODE_READ, USAGE } from './device.js';

const { COPY_DST, COPY_SRC, MAP_READ, QUERY_RESOLVE, STORAGE, UNIFORM } = USAGE;

/**
 * Longest work of one submit, in seconds; a device is taken to be this fast until a run has shown
 * it.
 */
const SUBMIT_SECONDS = 0.2;
const FIRST_FLOPS_PER_SECOND = 2.5e10;
/** Queries that one set may hold; a step takes two, of 8 bytes each. */
const QUERIES = 4096;
/** How often `profile` looks at what a pass costs, and trivial dispatches in one. */
const [TRIALS, MANY] = [4, 32];
const TRIVIAL = `@group(0) @binding(0) var<storage, read_write> x: u32;
@compute @workgroup_size(1) fn main() { x += 1; }`;

/**
 * The dispatches of a tree of steps, in order, and the tree over them.
 * @param {readonly Step[]} steps
 * @param {Dispatch[]} all  to which they are added
 * @returns {Part[]}
 */
function parts(steps, all) {
  /** @type {Part[]} */
  const out = [];
  for (const step of steps) {
    const first = all.length;
    const before = out.at(-1);
    if ('while' in step) {
      const body = parts(step.body, all);
      out.push({ first, last: all.length, flag: step.while, body, once: step.once });
    } else {
      all.push(step);
      if (before && !before.body) before.last++;
      else out.push({ first, last: first + 1 });
    }
  }
  return out;
}

export class Steps {
  #device;
  #kernels;
  /** @type {Placed[]} */ #all;
  #first;
  #uniforms;
  #bytes = 0;
  /** @type {GPUBindGroup[]} */ #groups;
  /** @type {GPUComputePipeline[]} */ #pipelines = [];
  /** @type {{ grid: number[], flops: number }[]} */ #plan = [];
  #planned = '';
  #flopsPerSubmit = FIRST_FLOPS_PER_SECOND * SUBMIT_SECONDS;
  /** Work that was encoded in the run in progress. */
  #encoded = 0;
  /** @type {Part[]} */ #tree;
  /** @type {import('../loops-gpu.js').Loops | undefined} */ #loops;

  /**
   * @param {Held} held
   * @param {Program} program
   * @param {Compiled[]} kernels
   * @param {GPUBuffer[]} buffers
   * @param {GPUBuffer[]} chunks  of the weights
   * @param {typeof import('../loops-gpu.js')} [loops]  where the program has any
   */
  constructor(held, program, kernels, buffers, chunks, loops) {
    const { device, allocate } = held;
    this.#device = device;
    this.#kernels = kernels;
    const all = [...program.prepare];
    this.#first = all.length;
    this.#tree = parts(program.steps, all);
    this.#loops = loops && new loops.Loops(held, this.#tree, buffers);
    // The parameters of all steps lie in one buffer, each at an aligned place.
    const align = device.limits.minUniformBufferOffsetAlignment;
    this.#all = all.map((step) => {
      const { length } = step.params;
      const bytes = kernels[step.kernel].uniform
        ? roundUp(bytesOf('i32', Math.max(1, length)), 16)
        : 0;
      const at = this.#bytes;
      this.#bytes += roundUp(bytes, align);
      return { ...step, at, bytes };
    });
    this.#uniforms = allocate(this.#bytes, UNIFORM | COPY_DST);
    this.#groups = this.#all.map(({ kernel, bindings, at, bytes: size }) =>
      device.createBindGroup({
        layout: kernels[kernel].group,
        entries: [
          ...bindings.map((binding) =>
            'b' in binding
              ? { buffer: buffers[binding.b] }
              : {
                  buffer: chunks[binding.w],
                  offset: binding.offset,
                  size: roundUp(binding.bytes, 4),
                },
          ),
          ...(size ? [{ buffer: this.#uniforms, offset: at, size }] : []),
        ].map((resource, binding) => ({ binding, resource })),
      }),
    );
  }

  /** Waits for the kernels to be compiled; needed before anything is encoded. */
  async compiled() {
    this.#pipelines = await Promise.all(this.#kernels.map(({ pipeline }) => pipeline));
    await this.#loops?.compiled();
  }

  /** Whether a run takes its time to encode: it asks the device how often loops go on. */
  get asks() {
    return this.#loops !== undefined;
  }

  /** Ends the loops of the run in progress. */
  stop() {
    this.#loops?.stop();
  }

  /** Parameters, grids and costs for these dimensions. @param {Dims} dims */
  configure(dims) {
    const key = JSON.stringify(dims);
    if (key === this.#planned) return;
    this.#planned = key;
    const data = new Int32Array(new ArrayBuffer(this.#bytes));
    this.#plan = this.#all.map(({ params, grid, flops = 0, at }) => {
      data.set(
        params.map((value) => evaluate(value, dims)),
        at / data.BYTES_PER_ELEMENT,
      );
      return { grid: grid.map((size) => evaluate(size, dims)), flops: evaluate(flops, dims) };
    });
    this.#device.queue.writeBuffer(this.#uniforms, 0, data);
    this.#loops?.configure(this.#plan);
  }

  /** The steps that prepare weights, once. @param {GPUCommandEncoder} encoder */
  prepare = (encoder) => this.#encode(encoder, 0, this.#first);
  /**
   * The steps of a run: at once, or where it `asks`, when the last loop is over.
   * @param {GPUCommandEncoder} encoder
   */
  run(encoder) {
    this.#encoded = 0;
    return this.#loops
      ? this.#loops.run(this.#tree, encoder, {
          encode: this.#encode,
          bind: this.#bind,
          flops: this.#flopsPerSubmit,
        })
      : this.#encode(encoder, this.#first, this.#all.length);
  }

  /**
   * Encodes and submits steps first..last-1; the encoder of the rest is returned open.
   * @param {GPUCommandEncoder} encoder
   * @param {number} first
   * @param {number} last
   */
  #encode = (encoder, first, last) => {
    let flops = 0;
    /** @type {GPUComputePassEncoder | undefined} */
    let pass;
    for (let i = first; i < last; i++) {
      const { grid, flops: cost } = this.#plan[i];
      if (grid.includes(0)) continue;
      if (pass && flops + cost > this.#flopsPerSubmit) {
        pass.end();
        this.#device.queue.submit([encoder.finish()]);
        encoder = this.#device.createCommandEncoder();
        pass = undefined;
        flops = 0;
      }
      pass ??= encoder.beginComputePass();
      this.#dispatch(pass, i);
      flops += cost;
    }
    pass?.end();
    return encoder;
  };

  /** @param {GPUComputePassEncoder} pass @param {number} i */
  #bind = (pass, i) => {
    pass.setPipeline(this.#pipelines[this.#all[i].kernel]);
    pass.setBindGroup(0, this.#groups[i]);
    this.#encoded += this.#plan[i].flops;
  };

  /** @param {GPUComputePassEncoder} pass @param {number} i */
  #dispatch(pass, i) {
    const [x, y = 1, z = 1] = this.#plan[i].grid;
    this.#bind(pass, i);
    pass.dispatchWorkgroups(x, y, z);
  }

  /** Learns from a run how much work a submit may hold. @param {number} ms  that it took */
  took(ms) {
    const perSecond = this.#encoded / (ms / 1000);
    if (this.#encoded) this.#flopsPerSubmit = Math.min(Math.max(perSecond, 1e9), 1e14) * SUBMIT_SECONDS;
  }

  /** Runs once, and times each step. @returns {Promise<import('../types.d.ts').StepTime[]>} */
  async profile() {
    const timed = this.#device.features.has('timestamp-query') && !this.#loops;
    const times = await (timed ? this.#timestamps() : this.#waits());
    return this.#all.slice(this.#first).map(({ kernel }, i) => {
      const { name, origin } = this.#kernels[kernel];
      return { name, origin, ms: times[i], flops: this.#plan[this.#first + i].flops };
    });
  }

  /**
   * By the device's clock: a pass for each step, less what a pass costs that a dispatch among others
   * does not. Passes of one and of many trivial dispatches, right before, tell how much that is.
   */
  async #timestamps() {
    const device = this.#device;
    const module = device.createShaderModule({ code: TRIVIAL });
    const trivial = await device.createComputePipelineAsync({ layout: 'auto', compute: { module } });
    const buffer = device.createBuffer({ size: 4, usage: STORAGE });
    const entries = [{ binding: 0, resource: { buffer } }];
    const group = device.createBindGroup({ layout: trivial.getBindGroupLayout(0), entries });
    /** @type {number[]} */
    const times = [];
    const most = QUERIES / 2 - 2 * TRIALS;
    for (let from = this.#first; from < this.#all.length; from += most) {
      const count = Math.min(most, this.#all.length - from) + 2 * TRIALS;
      const querySet = device.createQuerySet({ type: 'timestamp', count: 2 * count });
      const size = 16 * count;
      const resolved = device.createBuffer({ size, usage: QUERY_RESOLVE | COPY_SRC });
      const target = device.createBuffer({ size, usage: MAP_READ | COPY_DST });
      const encoder = device.createCommandEncoder();
      for (let i = 0; i < count; i++) {
        const pass = encoder.beginComputePass({
          timestampWrites: {
            querySet,
            beginningOfPassWriteIndex: 2 * i,
            endOfPassWriteIndex: 2 * i + 1,
          },
        });
        const step = from + i - 2 * TRIALS;
        if (i < 2 * TRIALS) {
          pass.setPipeline(trivial);
          pass.setBindGroup(0, group);
          for (let n = i % 2 ? MANY : 1; n > 0; n--) pass.dispatchWorkgroups(1);
        } else if (!this.#plan[step].grid.includes(0)) this.#dispatch(pass, step);
        pass.end();
      }
      encoder.resolveQuerySet(querySet, 0, 2 * count, resolved, 0);
      encoder.copyBufferToBuffer(resolved, 0, target, 0, size);
      device.queue.submit([encoder.finish()]);
      await target.mapAsync(MODE_READ);
      const ticks = new BigInt64Array(target.getMappedRange());
      const each = Array.from({ length: count }, (_, i) => Number(ticks[2 * i + 1] - ticks[2 * i]) / 1e6);
      const trials = each.splice(0, 2 * TRIALS);
      const [one, many] = [0, 1].map((odd) => Math.min(...trials.filter((_, i) => i % 2 === odd)));
      const cost = Math.max(0, one - (many - one) / (MANY - 1));
      times.push(...each.map((ms) => Math.max(0, ms - cost)));
      for (const resource of [querySet, resolved, target]) resource.destroy();
    }
    buffer.destroy();
    return times;
  }

  /** By our clock, where the device shows none or a run asks it: each step is waited for. */
  async #waits() {
    const { queue } = this.#device;
    /** @type {number[]} */
    const times = this.#all.slice(this.#first).map(() => 0);
    await queue.onSubmittedWorkDone();
    /** @param {GPUCommandEncoder} encoder @param {number} first @param {number} last */
    const each = async (encoder, first, last) => {
      for (let i = first; i < last; i++) {
        const start = performance.now();
        queue.submit([this.#encode(this.#device.createCommandEncoder(), i, i + 1).finish()]);
        await queue.onSubmittedWorkDone();
        times[i - this.#first] += performance.now() - start;
      }
      return encoder;
    };
    const encoder = this.#device.createCommandEncoder();
    if (this.#loops) await this.#loops.run(this.#tree, encoder, { encode: each });
    else await each(encoder, this.#first, this.#all.length);
    return times;
  }
}
