/**
 * The GPU device: which one, or why none; what was made on it, and what goes wrong there.
 *
 * @typedef {import('../descriptor.js').Descriptor} Descriptor
 * @typedef {import('../errors.js').Refusal} Refusal
 * @typedef {import('../types.d.ts').LoadOptions} LoadOptions
 * @typedef {import('../descriptor.js').GpuTarget} GpuTarget
 * @typedef {import('../types.d.ts').Precision} Precision
 * @typedef {{ target: GpuTarget, precision: Precision }} Program  one of a descriptor's
 * @typedef {{ device: GPUDevice, own: boolean, reason: string, passed?: Refusal } & Program} Choice
 *   passed: why it is not the program in half precision
 * @typedef {ReturnType<typeof hold>} Held
 */
import { WebDNNError, outOfMemory, say } from '../errors.js';
import { roundUp } from '../int.js';
import { typeName } from '../tensors.js';

/** Features that kernels have variants for, and what `profile` wants. */
export const OPTIONAL = ['subgroups', 'shader-f16', 'timestamp-query'];

/** GPUBufferUsage, as the specification numbers it. */
export const USAGE = {
  MAP_READ: 1,
  COPY_SRC: 4,
  COPY_DST: 8,
  UNIFORM: 64,
  STORAGE: 128,
  INDIRECT: 256,
  QUERY_RESOLVE: 512,
};

/** GPUMapMode.READ */
export const MODE_READ = 1;

/** What valid work meets. @param {string} at  the kernel, if it is one @param {unknown} error */
export const driverError = (at, error) =>
  new WebDNNError(
    'driver',
    `the graphics driver failed at valid work${at}: ${say(error)}. A newer driver or another ` +
      "browser may do it; {backend: 'wasm'} does without.",
    error,
  );

/** @param {number} ms */
const sleep = (ms) =>
  new Promise((resolve) => {
    setTimeout(resolve, ms);
  });

/**
 * What a program wants and `found` (an adapter or a device) lacks.
 * @param {GpuTarget} target
 * @param {GPUAdapter | GPUDevice} found
 * @param {string} who
 * @returns {Refusal | undefined}
 */
function lacks({ features, limits }, found, who) {
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
 * The descriptor's programs for WebGPU, best first, as far as they are asked for.
 * @param {Descriptor} model
 * @param {LoadOptions} options
 * @returns {Program[]}
 */
function programs({ targets }, { precision, variant }) {
  /** @type {[Precision, GpuTarget | undefined][]} */
  const all = [
    ['f16', variant === 'plain' ? undefined : targets['webgpu-f16']],
    ['f32', targets.webgpu],
  ];
  return all.flatMap(([name, target]) =>
    target && (precision ?? name) === name ? { target, precision: name } : [],
  );
}

/**
 * The best of these that can run on an adapter or a device, or why none can.
 * @param {Program[]} all
 * @param {GPUAdapter | GPUDevice} found
 * @param {string} who
 * @returns {Program & { passed?: Refusal } | Refusal}
 */
function fitting(all, found, who) {
  /** @type {Refusal | undefined} */
  let passed;
  for (const one of all) {
    const lacking = lacks(one.target, found, who);
    if (!lacking) return { ...one, passed };
    passed = lacking;
  }
  return /** @type {Refusal} */ (passed);
}

/** How long a browser may take to find its adapter before wasm is built meanwhile: milliseconds. */
const SLOW = 1000;
/**
 * Where a page remembers whether there is an adapter, for every model's own copy of the runner:
 * browsers write a line to the console each time that they find none.
 */
const FOUND = Symbol.for('webdnn: an adapter was found');

/**
 * Asks once: a browser that has just started gives its adapter at the first question, too.
 * @param {GPU} gpu
 * @param {() => void} slow
 * @returns {Promise<GPUAdapter | null>}
 */
async function find(gpu, slow) {
  const timer = setTimeout(slow, SLOW);
  try {
    return await gpu.requestAdapter({ powerPreference: 'high-performance' });
  } catch {
    return null; // as one that crashed
  } finally {
    clearTimeout(timer);
  }
}

/**
 * A device for this model, or why there is none.
 * @param {Descriptor} model
 * @param {LoadOptions} options
 * @param {() => void} [slow]  called when the adapter may be found later
 * @returns {Promise<Choice | Refusal>}
 */
export async function settle(model, options, slow = () => {}) {
  const all = programs(model, options);
  if (!all.length)
    return {
      code: 'not-in-descriptor',
      reason: model.targets.webgpu
        ? 'the descriptor was written in float32 alone (webdnn transpile --precision f16)'
        : 'the descriptor was written without the webgpu target (webdnn transpile --target webgpu)',
    };
  if (options.device) {
    const device = /** @type {GPUDevice} */ (options.device);
    const found = fitting(all, device, 'the given device');
    return 'code' in found ? found : { ...found, device, own: false, reason: "the page's device" };
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
  const page = /** @type {GPU & { [FOUND]?: boolean }} */ (gpu);
  const adapter = page[FOUND] === false ? null : await find(gpu, slow);
  page[FOUND] ||= !!adapter; // a graphics card that crashed may be there again
  if (!adapter)
    return {
      code: 'no-adapter',
      reason: 'this browser has WebGPU, but found no graphics adapter that it may use',
    };
  const { vendor = '', architecture = '', isFallbackAdapter = false } = adapter.info ?? {};
  const asked = options.backend ?? options.precision === 'f16';
  if (!asked && (isFallbackAdapter || architecture === 'swiftshader')) {
    return {
      code: 'fallback-adapter',
      reason:
        `the graphics adapter is software (${vendor} ${architecture}), so WebAssembly is faster; ` +
        "{backend: 'webgpu'} uses it",
    };
  }
  const found = fitting(all, adapter, 'the graphics adapter');
  if ('code' in found) return found;
  const { target } = found;
  const wanted = options.variant === 'plain' ? ['timestamp-query'] : OPTIONAL;
  const features = [
    ...target.features,
    ...wanted.filter((name) => adapter.features.has(name)),
  ];
  try {
    const device = await adapter.requestDevice({
      requiredFeatures: /** @type {GPUFeatureName[]} */ ([...new Set(features)]),
      requiredLimits: target.limits,
    });
    return {
      ...found,
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

const FILTERS = /** @type {const} */ (['validation', 'out-of-memory', 'internal']);

/** A device with what is made on it. @param {Choice} choice */
export function hold({ device, own }) {
  /** @type {{ destroy(): void }[]} */
  const resources = [];
  let disposed = false;
  /** @type {WebDNNError | undefined} */
  let loss;
  const failed = device.lost.then(({ reason, message }) => {
    const why = disposed ? 'disposed' : reason || 'unknown reason';
    const text =
      `the GPU device was lost (${why}): ${message} Load the model again` +
      (own ? '.' : ', on another device.');
    return (loss = new WebDNNError('device-lost', text));
  });
  /**
   * The error to report; that the device is gone comes out a moment after the calls that it broke.
   * @param {any} error
   */
  const explain = async (error) => {
    // A mapping that is broken off is most likely so by a loss; Firefox may take its time to say so.
    const brokenOff = error?.name === 'AbortError';
    await Promise.race([device.lost, sleep(brokenOff ? 1000 : 100)]);
    if (loss || error instanceof WebDNNError) return loss ?? error;
    const kind = typeName(error);
    if (error instanceof RangeError || kind === 'GPUOutOfMemoryError')
      return outOfMemory(held.memory, 'the GPU', error);
    return kind === 'GPUInternalError' || brokenOff || error?.name === 'OperationError'
      ? driverError('', error)
      : new WebDNNError(
          'kernel',
          `the GPU refused the model's work: ${say(error)}. This is a bug of the transpiler.`,
          error,
        );
  };
  const held = {
    device,
    /** What the model takes, once that is known. */
    memory: { weights: 0, activations: 0, io: 0, total: 0 },
    /** Resolves with the error when the device is lost. */
    failed,
    explain,
    /** @param {number} size  bytes @param {number} usage */
    allocate(size, usage) {
      const buffer = device.createBuffer({ size: roundUp(Math.max(size, 1), 16), usage });
      resources.push(buffer);
      return buffer;
    },
    /**
     * Does GPU work under error scopes.
     * @template T
     * @param {() => T | Promise<T>} work
     * @returns {Promise<T>}
     */
    async scoped(work) {
      if (loss) throw loss;
      for (const filter of FILTERS) device.pushErrorScope(filter);
      /** @type {Promise<T>} */
      let result;
      try {
        result = Promise.resolve(work());
      } catch (error) {
        result = Promise.reject(error);
      }
      const errors = FILTERS.map(() => device.popErrorScope().catch(() => null));
      const [value] = await Promise.allSettled([result]);
      const error = (await Promise.all(errors)).find(Boolean);
      if (error) throw await explain(error);
      if (value.status === 'rejected') throw await explain(value.reason);
      if (loss) throw loss;
      return value.value;
    },
    dispose() {
      disposed = true;
      for (const resource of resources) resource.destroy();
      if (own) device.destroy();
    },
  };
  return held;
}
