/**
 * The WebGPU engine: a program of dispatches, in the calling thread (a device cannot cross
 * threads). Kernels are compiled while the weights stream into their buffers.
 *
 * @typedef {import('../descriptor.js').Descriptor} Descriptor
 * @typedef {import('../descriptor.js').GpuTarget} GpuTarget
 * @typedef {import('../descriptor.js').Program} Program
 * @typedef {import('../descriptor.js').Storage} Storage
 * @typedef {import('../fetch.js').Files} Files
 * @typedef {import('../tensors.js').Elements} Elements
 * @typedef {import('../model.js').Engine} Engine
 * @typedef {import('../model.js').Job} Job
 * @typedef {import('../types.d.ts').LoadOptions} LoadOptions
 * @typedef {import('./device.js').Choice} Choice
 * @typedef {import('./device.js').Held} Held
 */
import { bytesOf, upper } from '../descriptor.js';
import { WebDNNError, say } from '../errors.js';
import { evaluate, product, roundUp, sizes } from '../int.js';
import * as doors from '../start.js';
import { elements } from '../tensors.js';
import { MODE_READ, OPTIONAL, USAGE, hold } from './device.js';
import { compile } from './kernels.js';
import { shower } from './show.js';
import { Steps } from './steps.js';

const { COPY_DST, COPY_SRC, MAP_READ, STORAGE } = USAGE;

/**
 * The engine, its weights in place.
 * @param {Descriptor} model
 * @param {Choice} choice
 * @param {Files} files
 * @param {LoadOptions} options
 */
export async function build(model, choice, files, options) {
  const held = hold(choice);
  try {
    const started = start(model, held, files, options, choice.target);
    const [engine] = await Promise.all([
      started,
      files.weights(model, async (offset, bytes) => (await started).load(offset, bytes)),
    ]);
    files.preparing();
    await engine.prepare();
    return engine;
  } catch (error) {
    const reported = await held.explain(error);
    held.dispose();
    throw reported;
  }
}

/**
 * The engine without its weights.
 * @param {Descriptor} model
 * @param {Held} held
 * @param {Files} files
 * @param {LoadOptions} options
 * @param {GpuTarget} target
 */
async function start(model, held, files, { variant }, { file, features }) {
  const { device, allocate, scoped } = held;
  const program = await files.program(model, file);
  const loops = program.steps.some((step) => 'while' in step) ? await doors.loops() : undefined;
  const largest = upper(model);

  /** @param {{ buffer: number }} tensor */
  const room = ({ buffer }) => program.buffers[buffer].max;
  const outside = [...program.inputs, ...program.outputs];
  const io = [...new Set(outside.map(({ buffer }) => buffer))].reduce(
    (sum, buffer) => sum + room({ buffer }),
    0,
  );
  const back = program.outputs.reduce((sum, tensor) => sum + roundUp(room(tensor), 8), 0);
  const activations = program.buffers.reduce((sum, { max }) => sum + max, -io);
  const weights = program.weights.reduce((sum, { bytes }) => sum + bytes, 0);
  const total = weights + activations + io + back;
  held.memory = { weights, activations, io: io + back, total };

  /** @type {Promise<unknown>} */
  let compiled = Promise.resolve();
  const made = scoped(() => {
    const buffers = program.buffers.map(({ max }) => allocate(max, STORAGE | COPY_SRC | COPY_DST));
    const chunks = program.weights.map(({ bytes }) => allocate(bytes, STORAGE | COPY_DST));
    const readback = allocate(back, MAP_READ | COPY_DST);
    const kernels = compile(
      device,
      program.kernels,
      (feature) =>
        device.features.has(feature) && !(variant === 'plain' && OPTIONAL.includes(feature)),
    );
    compiled = Promise.all(kernels.map(({ pipeline }) => pipeline.then(files.moved)));
    compiled.catch(() => {}); // awaited when the weights are there
    const steps = new Steps(held, program, kernels, buffers, chunks, loops);
    return { buffers, chunks, readback, kernels, steps };
  });
  const { buffers, chunks, readback, kernels, steps } = await made.catch(async (error) => {
    if (error.code === 'kernel') await compiled; // one that does not compile says more
    throw error;
  });
  const staging = program.inputs.map((tensor) => elements(tensor.dtype, lengthIn(tensor)));

  /** A tensor's elements at its largest. @param {Program['inputs'][number]} tensor */
  function lengthIn(tensor) {
    return evaluate(program.buffers[tensor.buffer].bytes, largest) / bytesOf(tensor.dtype, 1);
  }

  /** Dimensions and inputs of a run. @param {Job} job @param {GPUCommandEncoder} encoder */
  const put = (job, encoder) => {
    steps.configure(job.dims);
    job.inputs.forEach((data, i) => {
      const target = buffers[program.inputs[i].buffer];
      if ('usage' in data) copy(data, i, job, encoder);
      else device.queue.writeBuffer(target, 0, /** @type {Float32Array<ArrayBuffer>} */ (data));
    });
  };

  /** @param {GPUBuffer} data @param {number} i @param {Job} job @param {GPUCommandEncoder} encoder */
  function copy(data, i, job, encoder) {
    const { buffer, dtype } = program.inputs[i];
    const { shape, words = 1 } = model.inputs[i];
    const count = product(sizes(shape, job.dims)) * words;
    encoder.copyBufferToBuffer(data, 0, buffers[buffer], 0, bytesOf(dtype, count));
  }

  /** Throws if the GPU takes one of the job's buffers for no input. @param {Job} job */
  async function usable(job) {
    for (const [i, data] of job.inputs.entries()) {
      if (!('usage' in data)) continue;
      device.pushErrorScope('validation');
      /** @type {unknown} */
      let error;
      try {
        const encoder = device.createCommandEncoder();
        copy(data, i, job, encoder);
        device.queue.submit([encoder.finish()]);
      } catch (thrown) {
        error = thrown; // by a browser that does not know it as a buffer
      }
      error = (await device.popErrorScope().catch(() => null)) ?? error;
      if (!error) continue;
      throw new WebDNNError(
        'input',
        `input "${model.inputs[i].name}": the GPU refuses this GPUBuffer: ${say(error)}. It must ` +
          "be of the model's own device, and neither destroyed nor mapped while the run waits. " +
          'Models share a device where each is loaded with it: load({ device })',
        error,
      );
    }
  }

  const lasting = !!program.states?.length;
  /** Whether the page's buffers are looked at before the states could be spoilt. @param {Job} job */
  const careful = (job) => lasting && job.inputs.some((data) => 'usage' in data);

  /**
   * Does a job's GPU work; what the GPU refuses of the page's buffers is not the model's fault.
   * @template T
   * @param {Job} job @param {() => Promise<T>} work
   */
  async function onto(job, work) {
    if (careful(job)) await usable(job);
    try {
      return await scoped(work);
    } catch (error) {
      if (/** @type {WebDNNError} */ (error).code === 'kernel') await usable(job);
      throw error;
    }
  }

  const used = new Set([...features, ...kernels.flatMap(({ features }) => features)]);
  return {
    viewKind: /** @type {const} */ ('staging'),
    variant: [...used].sort().join('+') || 'plain',
    inputs: program.inputs,
    stored: program.stored,
    failed: held.failed,
    memory: held.memory,
    dispose: held.dispose,
    show: shower(held),
    cancel: () => steps.stop(),
    /** @param {number} offset @param {Uint8Array<ArrayBuffer>} bytes */
    load(offset, bytes) {
      program.weights.forEach((chunk, i) => {
        const first = Math.max(offset, chunk.offset);
        const last = Math.min(offset + bytes.length, chunk.offset + chunk.bytes);
        if (last <= first) return;
        let part = bytes.subarray(first - offset, last - offset);
        if (part.length % 4) {
          // writes are whole words
          const padded = new Uint8Array(roundUp(part.length, 4));
          padded.set(part);
          part = padded;
        }
        device.queue.writeBuffer(chunks[i], first - chunk.offset, part);
      });
    },
    async prepare() {
      await steps.compiled();
      await scoped(async () => {
        steps.configure(largest);
        device.queue.submit([steps.prepare(device.createCommandEncoder()).finish()]);
        await device.queue.onSubmittedWorkDone();
      });
    },
    /** All states are zero again. */
    reset: () =>
      scoped(() => {
        const encoder = device.createCommandEncoder();
        for (const { buffer } of program.states ?? []) encoder.clearBuffer(buffers[buffer]);
        device.queue.submit([encoder.finish()]);
      }),
    /** @param {'inputs' | 'outputs'} kind @param {number} i */
    view: (kind, i) => elements(program[kind][i].dtype, lengthIn(program[kind][i])),
    /** @param {number} i @param {number} length @param {boolean} idle */
    take: (i, length, idle) =>
      idle ? staging[i].subarray(0, length) : elements(program.inputs[i].dtype, length),
    /** Whether nothing of a run is read back. @param {Job} job */
    submits: (job) =>
      job.gpu && !job.hidden.includes(true) && !careful(job) && !steps.asks,
    /** @param {Job} job @returns {Promise<(Elements | GPUBuffer)[]>} */
    run: (job) =>
      onto(job, async () => {
        const start = performance.now();
        const first = device.createCommandEncoder();
        put(job, first);
        const ran = steps.run(first);
        const parts = program.outputs.map(({ buffer, dtype }, i) => ({
          buffer: buffers[buffer],
          first: 0,
          count: job.counts[i],
          dtype,
        }));
        /** @param {GPUCommandEncoder} encoder */
        const end = async (encoder) => {
          if (job.gpu) return keepOnDevice(device, encoder, readback, parts, job.hidden);
          const out = await readBack(device, encoder, readback, parts);
          steps.took(performance.now() - start);
          return out;
        };
        return ran instanceof Promise ? ran.then((rest) => scoped(() => end(rest))) : end(ran);
      }),
    /** @param {Job} job */
    profile: (job) =>
      onto(job, async () => {
        const first = device.createCommandEncoder();
        put(job, first);
        device.queue.submit([first.finish()]);
        return steps.profile();
      }),
    /**
     * @param {any} entry
     * @param {number} first
     * @param {number} count
     * @returns {Promise<Elements>}
     */
    read: ({ buffer, dtype }, first, count) =>
      scoped(async () => {
        const target = device.createBuffer({
          size: roundUp(Math.max(bytesOf(dtype, count), 8), 8),
          usage: MAP_READ | COPY_DST,
        });
        const part = { buffer: buffers[buffer], first, count, dtype };
        const [out] = await readBack(device, device.createCommandEncoder(), target, [part]);
        target.destroy();
        return out;
      }),
  };
}

/**
 * @typedef {{ buffer: GPUBuffer, first: number, count: number, dtype: Storage }} Part
 *   some elements of a buffer
 */

/**
 * Copies parts of buffers to this side.
 * @param {GPUDevice} device
 * @param {GPUCommandEncoder} encoder
 * @param {GPUBuffer} target  to be mapped
 * @param {Part[]} parts
 * @returns {Promise<Elements[]>}
 */
async function readBack(device, encoder, target, parts) {
  let end = 0;
  const ranges = parts.map(({ buffer, first, count, dtype }) => {
    const start = end;
    const bytes = bytesOf(dtype, count);
    if (count) encoder.copyBufferToBuffer(buffer, bytesOf(dtype, first), target, start, bytes);
    end = roundUp(end + bytes, 8);
    return [start, start + bytes];
  });
  device.queue.submit([encoder.finish()]);
  if (!end) return parts.map(({ dtype }) => elements(dtype, 0));
  await target.mapAsync(MODE_READ, 0, end);
  const mapped = target.getMappedRange(0, end);
  const out = parts.map(({ dtype }, i) =>
    elements(dtype, mapped.slice(ranges[i][0], ranges[i][1])),
  );
  target.unmap();
  return out;
}

/**
 * Copies of parts that stay on the device, but for the hidden, which tell the others' shapes.
 * @param {GPUDevice} device
 * @param {GPUCommandEncoder} encoder
 * @param {GPUBuffer} target  to be mapped
 * @param {Part[]} parts
 * @param {boolean[]} hidden
 * @returns {Promise<(Elements | GPUBuffer)[]>}
 */
async function keepOnDevice(device, encoder, target, parts, hidden) {
  const copies = parts.map(({ buffer, count, dtype }, i) => {
    if (hidden[i]) return undefined;
    const bytes = bytesOf(dtype, count);
    const copy = device.createBuffer({
      size: Math.max(bytes, 4),
      usage: STORAGE | COPY_SRC | COPY_DST,
    });
    if (bytes) encoder.copyBufferToBuffer(buffer, 0, copy, 0, bytes);
    return copy;
  });
  const counted = await readBack(device, encoder, target, parts.filter((_, i) => hidden[i]));
  return copies.map((copy) => copy ?? /** @type {Elements} */ (counted.shift()));
}
