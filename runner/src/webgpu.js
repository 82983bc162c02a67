/**
 * The WebGPU backend: a program of dispatches, in the calling thread (a device cannot cross
 * threads).
 *
 * Pipelines are compiled asynchronously, all at once, while the weights stream into their buffers.
 * Bind groups and the uniform buffer of all steps' parameters are made once; parameters and grids
 * are computed anew only when dimensions change. A run encodes its dispatches into as few submits
 * as its estimated time allows: one long submit trips the watchdogs of operating systems.
 *
 * @typedef {import('./descriptor.js').Descriptor} Descriptor
 * @typedef {import('./descriptor.js').Program} Program
 * @typedef {import('./descriptor.js').Step} Step
 * @typedef {import('./descriptor.js').Storage} Storage
 * @typedef {import('./fetch.js').Files} Files
 * @typedef {import('./tensors.js').Elements} Elements
 * @typedef {import('./model.js').Job} Job
 * @typedef {import('./types.d.ts').LoadOptions} LoadOptions
 * @typedef {import('./wasm.js').Refusal} Refusal
 * @typedef {{ device: GPUDevice, own: boolean, reason: string }} Choice
 */
import { upper } from './descriptor.js';
import { WebDNNError, say } from './errors.js';
import { evaluate } from './int.js';
import { outOfMemory } from './instance.js';
import { elements } from './tensors.js';

/** Features that kernels have variants for, and what `profile` wants. */
export const OPTIONAL = ['subgroups', 'shader-f16', 'timestamp-query'];
/**
 * Longest work of one submit, in seconds; a device is taken to be this fast until a run has shown
 * it.
 */
const SUBMIT_SECONDS = 0.2;
const FIRST_FLOPS_PER_SECOND = 2.5e10;
/** Queries that one set may hold. */
const QUERIES = 4096;
/**
 * GPUBufferUsage, GPUMapMode.READ and GPUShaderStage.COMPUTE, as the specification numbers them.
 */
const [MAP_READ, COPY_SRC, COPY_DST, UNIFORM, STORAGE, QUERY_RESOLVE, MODE_READ, COMPUTE] = [
  1, 4, 8, 64, 128, 512, 1, 4,
];

/** @param {number} ms */
const sleep = (ms) =>
  new Promise((resolve) => {
    setTimeout(resolve, ms);
  });

/** @param {number} n @param {number} to */
const round = (n, to) => Math.ceil(n / to) * to;

/**
 * What the descriptor wants and `found` (an adapter or a device) lacks.
 * @param {Descriptor} model
 * @param {GPUAdapter | GPUDevice} found
 * @param {string} who
 * @returns {Refusal | undefined}
 */
function lacks(model, found, who) {
  const { features, limits } = /** @type {import('./descriptor.js').GpuTarget} */ (
    model.targets.webgpu
  );
  const missing = features.filter((feature) => !found.features.has(feature));
  if (missing.length)
    return { code: 'features', reason: `${who} lacks the features ${missing.join(', ')}` };
  const has = /** @type {Record<string, number>} */ (/** @type {unknown} */ (found.limits));
  const low = Object.entries(limits).filter(([name, value]) => !(has[name] >= value));
  if (!low.length) return undefined;
  const list = low.map(
    ([name, value]) => `${name}: expected at least ${value}, found ${has[name]}`,
  );
  return { code: 'limits', reason: `${who} is too small: ${list.join('; ')}` };
}

/**
 * A device for this model, or why there is none.
 * @param {Descriptor} model
 * @param {LoadOptions} options
 * @returns {Promise<Choice | Refusal>}
 */
export async function settle(model, options) {
  const target = model.targets.webgpu;
  if (!target)
    return {
      code: 'not-in-descriptor',
      reason:
        'the descriptor was written without the webgpu target (webdnn transpile --target webgpu)',
    };
  if (options.device) {
    const device = /** @type {GPUDevice} */ (options.device);
    return (
      lacks(model, device, 'the given device') ?? {
        device,
        own: false,
        reason: "the page's device",
      }
    );
  }
  const gpu = globalThis.navigator?.gpu;
  if (!gpu) {
    return globalThis.isSecureContext === false
      ? {
          code: 'insecure-origin',
          reason:
            'WebGPU is only there on https:// and localhost; this page is ' +
            globalThis.location?.origin,
        }
      : { code: 'no-webgpu', reason: 'this browser has no WebGPU' };
  }
  // A browser that has just started answers null for its first half second.
  let adapter = null;
  for (const wait of [0, 100, 200, 400]) {
    if (wait) await sleep(wait);
    adapter = await gpu.requestAdapter({ powerPreference: 'high-performance' }).catch(() => null);
    if (adapter) break;
  }
  if (!adapter)
    return {
      code: 'no-adapter',
      reason: 'this browser has WebGPU, but found no graphics adapter that it may use',
    };
  const { vendor = '', architecture = '', isFallbackAdapter = false } = adapter.info ?? {};
  if (!options.backend && (isFallbackAdapter || architecture === 'swiftshader')) {
    return {
      code: 'fallback-adapter',
      reason:
        `the graphics adapter is software (${vendor} ${architecture}), so WebAssembly is faster; ` +
        "{backend: 'webgpu'} uses it",
    };
  }
  const lacking = lacks(model, adapter, 'the graphics adapter');
  if (lacking) return lacking;
  const wanted = options.variant === 'plain' ? ['timestamp-query'] : OPTIONAL;
  const features = [
    ...target.features,
    ...wanted.filter((name) => /** @type {GPUAdapter} */ (adapter).features.has(name)),
  ];
  try {
    const device = await adapter.requestDevice({
      requiredFeatures: /** @type {GPUFeatureName[]} */ ([...new Set(features)]),
      requiredLimits: target.limits,
    });
    return {
      device,
      own: true,
      reason: `graphics adapter ${[vendor, architecture].filter(Boolean).join(' ') || 'present'}`,
    };
  } catch (error) {
    return {
      code: 'no-adapter',
      reason: `the graphics adapter gave no device: ${say(error)}`,
    };
  }
}

/** Gives back what `settle` found. @param {Choice | Refusal} settled */
export function release(settled) {
  if ('device' in settled && settled.own) settled.device.destroy();
}

/**
 * The best text of a kernel for these features: of its variants, named `feature+feature`, the most
 * demanding that fits.
 * @param {import('./descriptor.js').Kernel} kernel
 * @param {(feature: string) => boolean} has
 */
function pick(kernel, has) {
  let best = { code: kernel.code, features: /** @type {string[]} */ ([]) };
  for (const [name, code] of Object.entries(kernel.variants ?? {})) {
    const features = name.split('+');
    if (features.every(has) && features.length > best.features.length) best = { code, features };
  }
  return best;
}

/**
 * The kind of each binding, as the text declares it: '' uniform, 'read', 'read_write'.
 * @param {string} code
 */
function declared(code) {
  /** @type {string[]} */
  const kinds = [];
  for (const [, index, space, mode = 'read'] of code.matchAll(
    /@binding\((\d+)\)[^;]*?\bvar\s*<\s*(storage|uniform)\s*(?:,\s*(\w+))?/g,
  )) {
    kinds[+index] = space === 'uniform' ? '' : mode;
  }
  return kinds;
}

/**
 * The engine, its weights in place.
 * @param {Descriptor} model
 * @param {Choice} choice
 * @param {Files} files
 * @param {LoadOptions} options
 */
export async function build(model, { device, own }, files, options) {
  /** @type {{ destroy(): void }[]} */
  const resources = [];
  let disposed = false;
  const dispose = () => {
    disposed = true;
    for (const resource of resources) resource.destroy();
    if (own) device.destroy();
  };
  /** @type {WebDNNError | undefined} */
  let loss;
  const failed = device.lost.then(({ reason, message }) => {
    const why = disposed ? 'disposed' : reason || 'unknown reason';
    const text = `the GPU device was lost (${why}): ${message} Load the model again.`;
    return (loss = new WebDNNError('device-lost', text));
  });
  /**
   * The error to report; that the device is gone comes out a moment after the calls that it broke.
   * @param {unknown} error
   */
  const explain = async (error) => {
    await Promise.race([device.lost, sleep(100)]);
    if (loss || error instanceof WebDNNError) return loss ?? error;
    const text = `the GPU refused the model's work: ${say(error)}`;
    return new WebDNNError('kernel', `${text}. This is a bug of the transpiler.`, error);
  };
  try {
    const started = start();
    const [engine] = await Promise.all([
      started,
      files.weights(model, async (offset, bytes) => (await started).load(offset, bytes)),
    ]);
    await engine.compiled;
    await engine.prepare();
    return engine;
  } catch (error) {
    const reported = await explain(error);
    dispose();
    throw reported;
  }

  async function start() {
    const bytes = await files.file(model, /** @type {any} */ (model.targets.webgpu).file);
    /** @type {Program} */
    const program = JSON.parse(new TextDecoder().decode(bytes));
    const largest = upper(model);
    /** @param {number} size @param {number} usage */
    const allocate = (size, usage) => {
      const buffer = device.createBuffer({ size: round(Math.max(size, 1), 16), usage });
      resources.push(buffer);
      return buffer;
    };

    device.pushErrorScope('out-of-memory');
    device.pushErrorScope('validation');
    const buffers = program.buffers.map(({ max }) => allocate(max, STORAGE | COPY_SRC | COPY_DST));
    const chunks = program.weights.map((chunk) => allocate(chunk.bytes, STORAGE | COPY_DST));

    // Kernels: equal binding lists share a layout.
    /** @type {Set<string>} */
    const used = new Set();
    /**
     * @type {Map<string, {
     *   group: GPUBindGroupLayout, pipeline: GPUPipelineLayout, uniform: boolean,
     * }>}
     */
    const layouts = new Map();
    const has = (/** @type {string} */ feature) =>
      device.features.has(feature) && !(options.variant === 'plain' && OPTIONAL.includes(feature));
    const kernels = program.kernels.map((kernel) => {
      const { code, features } = pick(kernel, has);
      features.forEach((feature) => used.add(feature));
      const kinds = declared(code);
      const key = `${kinds}`;
      let layout = layouts.get(key);
      if (!layout) {
        const group = device.createBindGroupLayout({
          entries: kinds.map((kind, binding) => ({
            binding,
            visibility: COMPUTE,
            buffer: {
              type: kind === '' ? 'uniform' : kind === 'read' ? 'read-only-storage' : 'storage',
            },
          })),
        });
        layout = {
          group,
          pipeline: device.createPipelineLayout({ bindGroupLayouts: [group] }),
          uniform: kinds.includes(''),
        };
        layouts.set(key, layout);
      }
      const module = device.createShaderModule({ code, label: kernel.name });
      const pipeline = device
        .createComputePipelineAsync({
          label: kernel.name,
          layout: layout.pipeline,
          compute: { module, entryPoint: 'main' },
        })
        .catch(async (error) => {
          const { messages } = await module.getCompilationInfo();
          const lines = messages.map(({ lineNum, message }) => `line ${lineNum}: ${message}`);
          const what = `${kernel.name}${kernel.origin ? ` (${kernel.origin})` : ''}`;
          const details = [error.message, ...lines].join('; ');
          const text = `the kernel ${what} did not compile: ${details}`;
          throw (
            loss ?? new WebDNNError('kernel', `${text}. This is a bug of the transpiler.`, error)
          );
        });
      return { ...kernel, layout, pipeline };
    });
    /** @type {GPUComputePipeline[]} */
    let pipelines = [];
    const compiled = Promise.all(kernels.map(({ pipeline }) => pipeline)).then((all) => {
      pipelines = all;
    });
    compiled.catch(() => {}); // awaited when the weights are there

    // Steps: the parameters of all of them lie in one uniform buffer, each at an aligned place.
    const align = device.limits.minUniformBufferOffsetAlignment;
    let parameters = 0;
    /** @param {Step} step */
    const place = (step) => {
      const bytes = kernels[step.kernel].layout.uniform
        ? round(Math.max(1, step.params.length) * 4, 16)
        : 0;
      const at = parameters;
      parameters += round(bytes, align);
      return { ...step, at, bytes };
    };
    const prologue = program.prepare.map(place);
    const body = program.steps.map(place);
    const all = [...prologue, ...body];
    const uniforms = allocate(parameters, UNIFORM | COPY_DST);
    const groups = all.map(({ kernel, bindings, at, bytes: size }) =>
      device.createBindGroup({
        layout: kernels[kernel].layout.group,
        entries: [
          ...bindings.map((binding) =>
            'b' in binding
              ? { buffer: buffers[binding.b] }
              : {
                  buffer: chunks[binding.w],
                  offset: binding.offset,
                  size: round(binding.bytes, 4),
                },
          ),
          ...(size ? [{ buffer: uniforms, offset: at, size }] : []),
        ].map((resource, binding) => ({ binding, resource })),
      }),
    );
    const staging = program.inputs.map(({ dtype, buffer }) =>
      elements(dtype, round(program.buffers[buffer].max, 4) / 4),
    );
    const readback = allocate(
      program.outputs.reduce((sum, { buffer }) => sum + round(program.buffers[buffer].max, 8), 0),
      MAP_READ | COPY_DST,
    );
    const invalid = await device.popErrorScope();
    const noMemory = await device.popErrorScope();
    if (noMemory) {
      const held = [...program.inputs, ...program.outputs].reduce(
        (sum, { buffer }) => sum + program.buffers[buffer].max,
        0,
      );
      const total = program.buffers.reduce((sum, { max }) => sum + max, model.weights.bytes);
      throw outOfMemory(model.weights.bytes, held, total, 'the GPU', noMemory.message);
    }
    if (invalid) {
      await compiled; // a kernel that does not compile says more
      throw new Error(invalid.message);
    }

    /** @type {{ grid: number[], flops: number }[]} */
    let plan = [];
    let planned = '';
    /** Parameters, grids and costs for these dimensions. @param {Record<string, number>} dims */
    const configure = (dims) => {
      const key = JSON.stringify(dims);
      if (key === planned) return;
      planned = key;
      const data = new Int32Array(parameters / 4);
      plan = all.map(({ params, grid, flops, at }) => {
        data.set(
          params.map((value) => evaluate(value, dims)),
          at / 4,
        );
        return {
          grid: grid.map((size) => evaluate(size, dims)),
          flops: evaluate(flops ?? 0, dims),
        };
      });
      device.queue.writeBuffer(uniforms, 0, data);
    };

    /** @param {GPUComputePassEncoder} pass @param {number} i */
    const dispatch = (pass, i) => {
      const [x, y = 1, z = 1] = plan[i].grid;
      pass.setPipeline(pipelines[all[i].kernel]);
      pass.setBindGroup(0, groups[i]);
      pass.dispatchWorkgroups(x, y, z);
    };
    let flopsPerSubmit = FIRST_FLOPS_PER_SECOND * SUBMIT_SECONDS;
    /**
     * Encodes and submits steps first..last-1; the encoder of the rest is returned open.
     * @param {GPUCommandEncoder} encoder
     * @param {number} first
     * @param {number} last
     */
    const encode = (encoder, first, last) => {
      let flops = 0;
      /** @type {GPUComputePassEncoder | undefined} */
      let pass;
      for (let i = first; i < last; i++) {
        if (plan[i].grid.includes(0)) continue;
        if (pass && flops + plan[i].flops > flopsPerSubmit) {
          pass.end();
          device.queue.submit([encoder.finish()]);
          encoder = device.createCommandEncoder();
          pass = undefined;
          flops = 0;
        }
        pass ??= encoder.beginComputePass();
        dispatch(pass, i);
        flops += plan[i].flops;
      }
      pass?.end();
      return encoder;
    };
    /** @param {Job} job @param {GPUCommandEncoder} encoder */
    const put = (job, encoder) => {
      configure(job.dims);
      job.inputs.forEach((data, i) => {
        const buffer = buffers[program.inputs[i].buffer];
        if ('usage' in data)
          encoder.copyBufferToBuffer(data, 0, buffer, 0, 4 * elementsOf(i, job.dims));
        else device.queue.writeBuffer(buffer, 0, /** @type {Float32Array<ArrayBuffer>} */ (data));
      });
    };
    /** @param {number} i @param {Record<string, number>} dims */
    const elementsOf = (i, dims) =>
      model.inputs[i].shape.reduce((/** @type {number} */ n, size) => n * evaluate(size, dims), 1);

    /**
     * Does GPU work under an error scope.
     * @template T
     * @param {() => T | Promise<T>} work
     * @returns {Promise<T>}
     */
    const scoped = async (work) => {
      if (loss) throw loss;
      device.pushErrorScope('validation');
      /** @type {Promise<T>} */
      let result;
      try {
        result = Promise.resolve(work());
      } catch (error) {
        result = Promise.reject(error);
      }
      const [value, error] = await Promise.allSettled([result, device.popErrorScope()]);
      if (error.status === 'fulfilled' && error.value) throw await explain(error.value.message);
      if (value.status === 'rejected') throw await explain(value.reason);
      if (loss) throw loss;
      return value.value;
    };

    /**
     * Copies parts of buffers to this side.
     * @param {GPUCommandEncoder} encoder
     * @param {GPUBuffer} target
     * @param {{ buffer: GPUBuffer, from: number, count: number, dtype: Storage }[]} parts
     */
    const fetchBack = async (encoder, target, parts) => {
      let end = 0;
      const at = parts.map(({ buffer, from, count }) => {
        const start = end;
        if (count) encoder.copyBufferToBuffer(buffer, from, target, start, 4 * count);
        end = round(end + 4 * count, 8);
        return start;
      });
      device.queue.submit([encoder.finish()]);
      if (!end) return parts.map(({ dtype }) => elements(dtype, 0));
      await target.mapAsync(MODE_READ, 0, end);
      const range = target.getMappedRange(0, end);
      const out = parts.map(({ count, dtype }, i) =>
        elements(dtype, range.slice(at[i], at[i] + 4 * count)),
      );
      target.unmap();
      return out;
    };

    return {
      viewKind: /** @type {const} */ ('staging'),
      variant: [...used].sort().join('+') || 'plain',
      stored: program.stored,
      failed,
      compiled,
      dispose,
      cancel() {},
      /** @param {number} offset @param {Uint8Array<ArrayBuffer>} bytes */
      load(offset, bytes) {
        program.weights.forEach((chunk, i) => {
          const first = Math.max(offset, chunk.offset);
          const last = Math.min(offset + bytes.length, chunk.offset + chunk.bytes);
          if (last <= first) return;
          let part = bytes.subarray(first - offset, last - offset);
          if (part.length % 4) {
            // writes are whole words
            const padded = new Uint8Array(round(part.length, 4));
            padded.set(part);
            part = padded;
          }
          device.queue.writeBuffer(chunks[i], first - chunk.offset, part);
        });
      },
      prepare: () =>
        scoped(async () => {
          configure(largest);
          device.queue.submit([encode(device.createCommandEncoder(), 0, prologue.length).finish()]);
          await device.queue.onSubmittedWorkDone();
        }),
      /** All states are zero again. */
      reset: () =>
        scoped(() => {
          const encoder = device.createCommandEncoder();
          for (const { buffer } of program.states ?? []) encoder.clearBuffer(buffers[buffer]);
          device.queue.submit([encoder.finish()]);
        }),
      /** @param {'inputs' | 'outputs'} kind @param {number} i */
      view: (kind, i) =>
        elements(program[kind][i].dtype, program.buffers[program[kind][i].buffer].max / 4),
      /** @param {number} i @param {number} length @param {boolean} idle */
      take: (i, length, idle) =>
        idle ? staging[i].subarray(0, length) : elements(program.inputs[i].dtype, length),
      /** @param {Job} job @returns {Promise<(Elements | GPUBuffer)[]>} */
      run: (job) =>
        scoped(async () => {
          const start = performance.now();
          const first = device.createCommandEncoder();
          put(job, first);
          const encoder = encode(first, prologue.length, all.length);
          const parts = program.outputs.map(({ buffer, dtype }, i) => ({
            buffer: buffers[buffer],
            from: 0,
            count: job.counts[i],
            dtype,
          }));
          if (job.gpu) {
            const out = parts.map(({ buffer, count }, i) => {
              if (job.hidden[i]) return undefined;
              const copy = device.createBuffer({
                size: Math.max(4 * count, 4),
                usage: STORAGE | COPY_SRC | COPY_DST,
              });
              if (count) encoder.copyBufferToBuffer(buffer, 0, copy, 0, 4 * count);
              return copy;
            });
            // What only counts is fetched, and tells the shapes of the others.
            const hidden = parts.filter((_, i) => job.hidden[i]);
            if (!hidden.length) device.queue.submit([encoder.finish()]);
            const counted = hidden.length ? await fetchBack(encoder, readback, hidden) : [];
            return out.map((copy) => copy ?? /** @type {Elements} */ (counted.shift()));
          }
          const out = await fetchBack(encoder, readback, parts);
          const flops = plan.slice(prologue.length).reduce((sum, step) => sum + step.flops, 0);
          const perSecond = flops / ((performance.now() - start) / 1000);
          if (flops) flopsPerSubmit = Math.min(Math.max(perSecond, 1e9), 1e14) * SUBMIT_SECONDS;
          return out;
        }),
      /** @param {Job} job */
      profile: (job) =>
        scoped(async () => {
          const first = device.createCommandEncoder();
          put(job, first);
          device.queue.submit([first.finish()]);
          const times = device.features.has('timestamp-query') ? await timestamps() : await waits();
          return body.map(({ kernel }, i) => ({
            name: kernels[kernel].name,
            origin: kernels[kernel].origin ?? '',
            ms: times[i],
          }));
        }),
      /**
       * @param {any} entry
       * @param {number} from
       * @param {number} count
       * @returns {Promise<Elements>}
       */
      read: (entry, from, count) =>
        scoped(async () => {
          const target = device.createBuffer({
            size: round(Math.max(4 * count, 8), 8),
            usage: MAP_READ | COPY_DST,
          });
          const [out] = await fetchBack(device.createCommandEncoder(), target, [
            { buffer: buffers[entry.buffer], from: 4 * from, count, dtype: entry.dtype },
          ]);
          target.destroy();
          return out;
        }),
    };

    /** Milliseconds of each step by the device's clock: a pass for each. */
    async function timestamps() {
      /** @type {number[]} */
      const times = [];
      for (let from = prologue.length; from < all.length; from += QUERIES / 2) {
        const count = Math.min(QUERIES / 2, all.length - from);
        const querySet = device.createQuerySet({ type: 'timestamp', count: 2 * count });
        const resolved = device.createBuffer({ size: 16 * count, usage: QUERY_RESOLVE | COPY_SRC });
        const target = device.createBuffer({ size: 16 * count, usage: MAP_READ | COPY_DST });
        const encoder = device.createCommandEncoder();
        for (let i = 0; i < count; i++) {
          const pass = encoder.beginComputePass({
            timestampWrites: {
              querySet,
              beginningOfPassWriteIndex: 2 * i,
              endOfPassWriteIndex: 2 * i + 1,
            },
          });
          if (!plan[from + i].grid.includes(0)) dispatch(pass, from + i);
          pass.end();
        }
        encoder.resolveQuerySet(querySet, 0, 2 * count, resolved, 0);
        encoder.copyBufferToBuffer(resolved, 0, target, 0, 16 * count);
        device.queue.submit([encoder.finish()]);
        await target.mapAsync(MODE_READ);
        const ticks = new BigInt64Array(target.getMappedRange());
        for (let i = 0; i < count; i++)
          times.push(Math.max(0, Number(ticks[2 * i + 1] - ticks[2 * i]) / 1e6));
        for (const resource of [querySet, resolved, target]) resource.destroy();
      }
      return times;
    }

    /** The same by our clock, where the device shows none: each step is waited for. */
    async function waits() {
      /** @type {number[]} */
      const times = [];
      await device.queue.onSubmittedWorkDone();
      for (let i = prologue.length; i < all.length; i++) {
        const start = performance.now();
        device.queue.submit([encode(device.createCommandEncoder(), i, i + 1).finish()]);
        await device.queue.onSubmittedWorkDone();
        times.push(performance.now() - start);
      }
      return times;
    }
  }
}
