/**
 * A wasm module of a descriptor at work: its memory, and the engine that runs it in the calling
 * thread.
 *
 *     memory: [static data | arena: weights, inputs, outputs, states, temporaries | stacks | scratch]
 *
 * Synchronous, and built on WebAssembly and typed arrays alone, so that it also works in worklets,
 * which have no URL, fetch, performance or timers. Memory is made with initial = maximum: no view
 * detaches.
 *
 * @typedef {import('../descriptor.js').Descriptor} Descriptor
 * @typedef {import('../descriptor.js').WasmTarget} WasmTarget
 * @typedef {import('../tensors.js').Elements} Elements
 * @typedef {import('../model.js').Engine} Engine
 * @typedef {import('../model.js').Job} Job
 * @typedef {{ arena: number, stacks: number, scratch: number, pages: number }} Layout  addresses
 * @typedef {{
 *   arena(): number, scratch(): number, cancel(): number, step_count(): number,
 *   setup(threads: number, scratch: number, ...dims: number[]): void,
 *   prepare(thread: number): void, run(thread: number): number,
 *   run_steps(thread: number, first: number, last: number): number, late?(): number, step?(): number,
 *   __stack_pointer: WebAssembly.Global,
 * }} Exports
 */
import { bytesOf, upper } from '../descriptor.js';
import { blame, ours, outOfMemory, say } from '../errors.js';
import { evaluate, roundUp } from '../int.js';
import { elements, view } from '../tensors.js';

const PAGE = 65536;
const STACK = 65536;

/** @param {WebAssembly.Module} module @param {WebAssembly.Memory} memory @returns {Exports} */
const instantiate = (module, memory) =>
  /** @type {any} */ (new WebAssembly.Instance(module, { env: { memory } }).exports);

/**
 * Lays out the memory. Where the static data ends only the module knows, and it wants a memory
 * before it can be asked: a small one is tried first.
 * @param {Descriptor} model @param {WebAssembly.Module} module @param {boolean} shared
 * @param {number} threads
 * @param {number} stacks  threads, and one more if the page has its own
 * @returns {Layout}
 */
export function plan(model, module, shared, threads, stacks) {
  const wasm = /** @type {WasmTarget} */ (model.targets.wasm);
  for (let pages = 16; ; pages *= 4) {
    try {
      const probe = instantiate(
        module,
        new WebAssembly.Memory({ initial: pages, maximum: pages, shared }),
      );
      const arena = probe.arena();
      const stack = roundUp(arena + wasm.memory.bytes, 64);
      const scratch = stack + stacks * STACK;
      return {
        arena,
        stacks: stack,
        scratch,
        pages: Math.ceil((scratch + threads * probe.scratch()) / PAGE),
      };
    } catch (error) {
      if (!(error instanceof WebAssembly.LinkError) || pages > 2 ** 14) throw kernelError(error);
    }
  }
}

/** @param {unknown} error @param {{ name: string }} [step]  that failed, if it is known */
export const kernelError = (error, step) => {
  const { what, whose } = step
    ? blame(step)
    : {
        what: "the model's WebAssembly module",
        whose: 'This is a bug of the transpiler; `webdnn check MODEL` helps to find the kernel.',
      };
  return ours(error, 'kernel', `${what} failed: ${say(error)}. ${whose}`);
};

/**
 * The step at work; undefined of those that prepare weights, and in modules that do not tell.
 * @param {Descriptor} model @param {Exports} exports
 */
export const working = (model, exports) => model.targets.wasm?.steps?.[exports.step?.() ?? -1];

/** What the model takes of so many pages. @param {Descriptor} model @param {number} pages */
export const footprint = (model, pages) => {
  const { inputs, outputs, memory } = /** @type {WasmTarget} */ (model.targets.wasm);
  const weights = model.weights.bytes;
  const io = [...inputs, ...outputs].reduce(
    (sum, { dtype, elements }) => sum + bytesOf(dtype, evaluate(elements, upper(model))),
    0,
  );
  const activations = Math.max(0, memory.bytes - weights - io);
  return { weights, activations, io, total: pages * PAGE };
};

/** @param {Descriptor} model @param {Layout} layout @param {boolean} shared */
export function allocate(model, layout, shared) {
  try {
    return new WebAssembly.Memory({ initial: layout.pages, maximum: layout.pages, shared });
  } catch (error) {
    throw outOfMemory(footprint(model, layout.pages), 'WebAssembly', error);
  }
}

/**
 * The module on the memory, with a stack of its own.
 * @param {WebAssembly.Module} module
 * @param {WebAssembly.Memory} memory
 * @param {Layout} layout
 * @param {number} stack
 */
export function attach(module, memory, layout, stack) {
  let exports;
  try {
    exports = instantiate(module, memory);
  } catch (error) {
    throw kernelError(error);
  }
  exports.__stack_pointer.value = layout.stacks + (stack + 1) * STACK;
  return exports;
}

/**
 * A model's memory, as inputs, outputs and weights.
 * @param {Descriptor} model
 * @param {WebAssembly.Memory} memory
 * @param {Layout} layout
 */
export function access(model, memory, layout) {
  const wasm = /** @type {WasmTarget} */ (model.targets.wasm);
  const largest = upper(model);
  const self = {
    inputs: wasm.inputs,
    /** @param {'inputs' | 'outputs'} kind @param {number} i */
    view(kind, i, length = evaluate(wasm[kind][i].elements, largest)) {
      return view(wasm[kind][i].dtype, memory.buffer, layout.arena + wasm[kind][i].offset, length);
    },
    /** @param {number} i @param {number} length @param {boolean} idle */
    take: (i, length, idle) =>
      idle ? self.view('inputs', i, length) : elements(wasm.inputs[i].dtype, length),
    /** @param {number} offset @param {Uint8Array} bytes */
    load(offset, bytes) {
      new Uint8Array(memory.buffer, layout.arena + wasm.memory.weights + offset, bytes.length).set(
        bytes,
      );
    },
    /** @param {Job} job */
    put(job) {
      job.inputs.forEach((data, i) => {
        const array = /** @type {Elements} */ (data);
        if (array.buffer !== memory.buffer) self.view('inputs', i, array.length).set(array);
      });
    },
    /** All states are zero again. */
    reset() {
      for (const { offset, bytes } of wasm.states ?? [])
        new Uint8Array(memory.buffer, layout.arena + offset, bytes).fill(0);
    },
    /** Copies of the outputs, never on shared memory. @param {Job} job @returns {Elements[]} */
    results: (job) =>
      job.counts.map((count, i) => {
        const out = elements(wasm.outputs[i].dtype, count);
        out.set(self.view('outputs', i, count));
        return out;
      }),
    /** @param {any} entry @param {number} first @param {number} count */
    read({ dtype, offset }, first, count) {
      const out = elements(dtype, count);
      const at = layout.arena + offset + bytesOf(dtype, first);
      out.set(view(dtype, memory.buffer, at, count));
      return out;
    },
  };
  return self;
}

/**
 * Sets the run-time sizes, if they changed.
 * @param {Descriptor} model
 * @param {Exports} exports
 * @param {Layout} layout
 * @param {number} threads
 */
export function configurator(model, exports, layout, threads) {
  let last = '';
  /** @param {Record<string, number>} dims */
  return (dims) => {
    const sizes = model.dims.map(({ name }) => dims[name]);
    const key = `[${sizes}]`;
    if (key !== last) exports.setup(threads, layout.scratch, ...sizes);
    last = key;
  };
}

/** All steps one by one: milliseconds of each. @param {Exports} exports @param {number} thread */
export function timeSteps(exports, thread) {
  return Array.from({ length: exports.step_count() }, (_, step) => {
    const start = performance.now();
    exports.run_steps(thread, step, step + 1);
    return performance.now() - start;
  });
}

/** @param {Descriptor} model @param {number[]} times */
export const named = (model, times) =>
  times.map((ms, i) => {
    const { name = `step ${i}`, origin = '' } = model.targets.wasm?.steps?.[i] ?? {};
    return { name, origin, ms };
  });

/**
 * The engine of one thread on memory of its own.
 * @param {Descriptor} model @param {WebAssembly.Module} module
 */
export function local(model, module) {
  const layout = plan(model, module, false, 1, 1);
  const memory = allocate(model, layout, false);
  const exports = attach(module, memory, layout, 0);
  const port = access(model, memory, layout);
  const configure = configurator(model, exports, layout, 1);
  /** What `call` returns; a trap comes out as an error of the kernel. @template T @param {() => T} call */
  const guard = (call) => {
    try {
      return call();
    } catch (error) {
      const trap = error instanceof WebAssembly.RuntimeError;
      throw kernelError(error, trap ? working(model, exports) : undefined);
    }
  };
  return {
    ...port,
    viewKind: /** @type {const} */ ('direct'),
    memory: footprint(model, layout.pages),
    stored: model.targets.wasm?.stored,
    prepare: () =>
      guard(() => {
        configure(upper(model));
        exports.prepare(0);
      }),
    /** @param {Job} job */
    runSync: (job) =>
      guard(() => {
        configure(job.dims);
        port.put(job);
        exports.run(0);
        return port.results(job);
      }),
    /** @param {Job} job */
    profile: (job) =>
      guard(() => {
        configure(job.dims);
        port.put(job);
        return named(model, timeSteps(exports, 0));
      }),
    cancel() {},
    dispose() {},
  };
}

/**
 * The synchronous engine behind the asynchronous interface.
 * @param {ReturnType<typeof local>} engine
 */
export const inPlace = (engine) => ({
  ...engine,
  /** @param {Job} job */
  run: async (job) => engine.runSync(job),
  /** @param {Job} job */
  profile: async (job) => engine.profile(job),
  /** @param {any} entry @param {number} first @param {number} count */
  read: async (entry, first, count) => engine.read(entry, first, count),
});
