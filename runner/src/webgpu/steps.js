/**
 * The steps of a program on a device: dispatches, encoded into as few submits as their estimated
 * time allows, because one long submit trips the watchdogs of operating systems.
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
 * @typedef {Dispatch & { at: number, bytes: number }} Placed  where its parameters are
 */
import { bytesOf } from '../descriptor.js';
import { WebDNNError } from '../errors.js';
import { evaluate, roundUp } from '../int.js';
import { MODE_READ, USAGE } from './device.js';

const { COPY_DST, COPY_SRC, MAP_READ, QUERY_RESOLVE, UNIFORM } = USAGE;

/**
 * Longest work of one submit, in seconds; a device is taken to be this fast until a run has shown
 * it.
 */
const SUBMIT_SECONDS = 0.2;
const FIRST_FLOPS_PER_SECOND = 2.5e10;
/** Queries that one set may hold; a step takes two, of 8 bytes each. */
const QUERIES = 4096;

/** @param {string} at  its place @param {string} kind */
const unsupported = (at, kind) =>
  new WebDNNError(
    'descriptor',
    `${at}: this runner has no steps of the kind "${kind}" on WebGPU. Load the model with ` +
      "{backend: 'wasm'}; where it was not transpiled for that, do so with --target wasm.",
  );

/**
 * The dispatches of a tree of steps, in order.
 * @param {readonly Step[]} steps
 * @param {string} at  the tree's place in the descriptor
 * @returns {Dispatch[]}
 */
export const dispatches = (steps, at) =>
  steps.map((step, i) => {
    if ('kernel' in step) return step;
    if ('repeat' in step) throw unsupported(`${at}[${i}]`, 'repeat');
    if ('choose' in step) throw unsupported(`${at}[${i}]`, 'choose');
    /** @type {never} */
    const none = step;
    return none;
  });

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

  /**
   * @param {Held} held
   * @param {Program} program
   * @param {string} from  the program's file
   * @param {Compiled[]} kernels
   * @param {GPUBuffer[]} buffers
   * @param {GPUBuffer[]} chunks  of the weights
   */
  constructor({ device, allocate }, program, from, kernels, buffers, chunks) {
    this.#device = device;
    this.#kernels = kernels;
    const prologue = dispatches(program.prepare, `${from}: prepare`);
    const body = dispatches(program.steps, `${from}: steps`);
    this.#first = prologue.length;
    // The parameters of all steps lie in one buffer, each at an aligned place.
    const align = device.limits.minUniformBufferOffsetAlignment;
    this.#all = [...prologue, ...body].map((step) => {
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
  }

  /** The steps that prepare weights, once. @param {GPUCommandEncoder} encoder */
  prepare = (encoder) => this.#encode(encoder, 0, this.#first);
  /** The steps of a run. @param {GPUCommandEncoder} encoder */
  run = (encoder) => this.#encode(encoder, this.#first, this.#all.length);

  /**
   * Encodes and submits steps first..last-1; the encoder of the rest is returned open.
   * @param {GPUCommandEncoder} encoder
   * @param {number} first
   * @param {number} last
   */
  #encode(encoder, first, last) {
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
  }

  /** @param {GPUComputePassEncoder} pass @param {number} i */
  #dispatch(pass, i) {
    const [x, y = 1, z = 1] = this.#plan[i].grid;
    pass.setPipeline(this.#pipelines[this.#all[i].kernel]);
    pass.setBindGroup(0, this.#groups[i]);
    pass.dispatchWorkgroups(x, y, z);
  }

  /** Learns from a run how much work a submit may hold. @param {number} ms  that it took */
  took(ms) {
    const flops = this.#plan.slice(this.#first).reduce((sum, step) => sum + step.flops, 0);
    const perSecond = flops / (ms / 1000);
    if (flops) this.#flopsPerSubmit = Math.min(Math.max(perSecond, 1e9), 1e14) * SUBMIT_SECONDS;
  }

  /** Runs once, and times each step. @returns {Promise<import('../types.d.ts').StepTime[]>} */
  async profile() {
    const timed = this.#device.features.has('timestamp-query');
    const times = await (timed ? this.#timestamps() : this.#waits());
    return this.#all.slice(this.#first).map(({ kernel }, i) => {
      const { name, origin } = this.#kernels[kernel];
      return { name, origin, ms: times[i] };
    });
  }

  /** By the device's clock: a pass for each. */
  async #timestamps() {
    const device = this.#device;
    /** @type {number[]} */
    const times = [];
    for (let from = this.#first; from < this.#all.length; from += QUERIES / 2) {
      const count = Math.min(QUERIES / 2, this.#all.length - from);
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
        if (!this.#plan[from + i].grid.includes(0)) this.#dispatch(pass, from + i);
        pass.end();
      }
      encoder.resolveQuerySet(querySet, 0, 2 * count, resolved, 0);
      encoder.copyBufferToBuffer(resolved, 0, target, 0, size);
      device.queue.submit([encoder.finish()]);
      await target.mapAsync(MODE_READ);
      const ticks = new BigInt64Array(target.getMappedRange());
      for (let i = 0; i < count; i++)
        times.push(Math.max(0, Number(ticks[2 * i + 1] - ticks[2 * i]) / 1e6));
      for (const resource of [querySet, resolved, target]) resource.destroy();
    }
    return times;
  }

  /** By our clock, where the device shows none: each step is waited for. */
  async #waits() {
    const { queue } = this.#device;
    /** @type {number[]} */
    const times = [];
    await queue.onSubmittedWorkDone();
    for (let i = this.#first; i < this.#all.length; i++) {
      const start = performance.now();
      queue.submit([this.#encode(this.#device.createCommandEncoder(), i, i + 1).finish()]);
      await queue.onSubmittedWorkDone();
      times.push(performance.now() - start);
    }
    return times;
  }
}
