/**
 * A loaded model: what a page holds. Runs are queued in order; inputs are taken when `run` is
 * called.
 *
 * The engines (wasm/, webgpu/) see a `Job`: settled dimensions and stored
 * elements.
 *
 * @typedef {import('./types.d.ts').Backend} Backend
 * @typedef {import('./types.d.ts').RunOptions} RunOptions
 * @typedef {import('./types.d.ts').StepTime} StepTime
 * @typedef {import('./tensors.js').Elements} Elements
 * @typedef {import('./tensors.js').Numbers} Numbers
 * @typedef {import('./descriptor.js').Descriptor} Descriptor
 * @typedef {import('./descriptor.js').Layout} Layout
 * @typedef {import('./descriptor.js').Storage} Storage
 * @typedef {Record<string, unknown>} Inputs
 * @typedef {{
 *   dims: Record<string, number>, inputs: (Elements | GPUBuffer)[], counts: number[], gpu: boolean,
 *   hidden: boolean[],
 * }} Job  `counts`: elements of each output; `gpu`: outputs stay on the device, but for the `hidden`
 * @typedef {{
 *   viewKind: 'direct' | 'direct-shared' | 'staging',
 *   memory: import('./types.d.ts').Memory,
 *   inputs: readonly { dtype: Storage }[],
 *   stored?: Record<string, Layout>,
 *   take(input: number, length: number, idle: boolean): Elements,
 *   view(kind: 'inputs' | 'outputs', i: number): Elements,
 *   runSync?(job: Job): Elements[],
 *   run(job: Job): Promise<(Elements | GPUBuffer)[]>,
 *   submits?(job: Job): boolean,
 *   profile(job: Job): Promise<StepTime[]>,
 *   reset(): void | Promise<void>,
 *   read(entry: Layout, first: number, count: number): Promise<Elements>,
 *   cancel(): void,
 *   dispose(): void,
 *   show?(context: any, data: GPUBuffer, width: number, height: number, opaque: boolean): Promise<void>,
 *   failed?: Promise<WebDNNError>,
 *   paint?(signature: import('./descriptor.js').Signature, value: unknown,
 *     dims: readonly import('./descriptor.js').Dimension[], uploaded: boolean): unknown,
 * }} Engine  `take` gives the array to fill for an input; a direct
 *   engine's `view` is its memory, a staging one's a new array; `submits` says that all of a run is
 *   with the device when `run` returns its promise, so that the next one may follow; `paint` reads a picture on the device,
 *   if it can be read there (`uploaded`: also if its pixels must be taken there first)
 * @typedef {{
 *   job: Job | Promise<Inputs> | 'reset', options: RunOptions, profile: boolean, aborted: boolean,
 *   resolve(value: any): void, reject(error: unknown): void,
 * }} Pending
 */
import { STORAGE, bytesOf } from './descriptor.js';
import { WebDNNError, ours, say } from './errors.js';
import { evaluate, product, reach, show, sizes } from './int.js';
import { RUN, options as checked } from './options.js';
import { Pictures } from './picture/image.js';
import { draw } from './picture/draw.js';
import { top } from './picture/labels.js';
import { decode, isBlob, isTensor } from './picture/source.js';
import { bind, corner, fill, gather, isGpuBuffer, publish } from './tensors.js';

/** @param {import('./descriptor.js').Signature[]} signature */
const info = (signature) =>
  signature.map(({ shape, ...rest }) => ({
    ...rest,
    shape: shape.map((size) => (typeof size === 'number' ? size : show(size))),
  }));

/** An input's numbers as they are now. @param {any} value */
const copied = (value) =>
  ArrayBuffer.isView(value)
    ? /** @type {Float32Array} */ (value).slice()
    : ArrayBuffer.isView(value?.data)
      ? { ...value, data: value.data.slice() }
      : value;

export const disposed = () =>
  new WebDNNError('disposed', 'the model was disposed; load it again to run it');

/** Milliseconds after a recovery in which another loss is the end: the work may be what kills it. */
const SECOND_LOSS = 10_000;
/** Runs that a device is given before the first of them is known to have met no error. */
const FLYING = 8;
/**
 * Where outputs on the GPU that not every input takes as they lie say how they lie, for every model's own
 * copy of the runner: words of two, rows as long as the longest.
 */
const LIES = Symbol.for('webdnn: how the elements lie');
const TWO_WORDS = 'two words for each element';
/** In the place of an engine that has ended. */
const GONE = /** @type {any} */ ({ dispose() {}, cancel() {} });

/**
 * Throws where positions lie beyond their axis; of none at all the least is above the greatest.
 * @param {{ of: string, size: import('./descriptor.js').Int }} check
 * @param {number} least @param {number} greatest @param {Record<string, number>} dims
 */
function within({ of, size }, least, greatest, dims) {
  const end = evaluate(size, dims);
  const found = least < -end ? least : greatest;
  if (least > greatest || (found >= -end && found < end)) return;
  throw new WebDNNError(
    'range',
    `${of}: position ${found} is beyond its axis, which has ${end} elements: expected ` +
      `${-end} to ${end - 1}. Look at the inputs that it comes from`,
  );
}

export class Model {
  /** @type {Descriptor} */ #descriptor;
  /** @type {Engine} */ #engine;
  /** @type {Pending[]} */ #queue = [];
  /** @type {Pending | undefined} */ #running;
  /** Runs that the device has, beside the one that is waited for. @type {Set<Pending>} */
  #flying = new Set();
  /** What was asked beside the queue. @type {Set<(error: WebDNNError) => void>} */
  #asked = new Set();
  /** @type {WebDNNError | undefined} */ #ended;
  /** @type {Map<string, Elements>} */ #views = new Map();
  /** @type {Record<string, number> | undefined} */ #last;
  #pictures;
  #aside;
  /** @type {(error: WebDNNError) => void} */ #lose = () => {};
  /** @type {Promise<WebDNNError>} */
  lost = new Promise((resolve) => {
    this.#lose = resolve;
  });
  #again;
  #checks;
  /** @type {Promise<void> | undefined} */ #recovering;
  #recovered = -Infinity;
  /** States are gone, and nobody was told. @type {WebDNNError | undefined} */ #forgot;

  /**
   * @param {Descriptor} descriptor
   * @param {Engine} engine
   * @param {Backend} backend
   * @param {() => Promise<Engine>} [again]  an engine in the place of one that has failed
   * @param {import('./descriptor.js').Check[]} [checks]  what each run is held against
   * @param {Pictures} [pictures]  read in the calling thread
   * @param {import('./picture/aside.js').Aside} [aside]  where the page need not wait for them
   */
  constructor(descriptor, engine, backend, again, checks = [], pictures = new Pictures(), aside = undefined) {
    this.#pictures = pictures;
    this.#aside = aside;
    this.#checks = checks;
    this.#descriptor = descriptor;
    this.#engine = engine;
    this.#again = again;
    this.name = descriptor.name;
    this.backend = backend;
    this.inputs = info(descriptor.inputs);
    this.outputs = info(descriptor.outputs.filter(({ hidden }) => !hidden));
    this.states = info(descriptor.states ?? []);
    this.dims = Object.fromEntries(
      descriptor.dims.map(({ name, min, max, step = 1 }) => [name, { min, max, step }]),
    );
    this.viewKind = engine.viewKind;
    this.memory = engine.memory;
    this.#watch(engine);
  }

  /** @param {Engine} engine */
  #watch(engine) {
    engine.failed?.then((error) => {
      if (this.#ended) return;
      if (this.#again && performance.now() - this.#recovered > SECOND_LOSS)
        this.#recovering = this.#recover(this.#again, error);
      else this.#end(error);
    });
  }

  /** @param {() => Promise<Engine>} again @param {WebDNNError} loss */
  async #recover(again, loss) {
    this.#engine.dispose();
    try {
      const engine = await again();
      if (this.#ended) return engine.dispose();
      this.#engine = engine;
    } catch (error) {
      const text = `${loss.message} It could not be recovered: ${say(error)}`;
      if (!this.#ended) this.#end(new WebDNNError('device-lost', text, error));
      return;
    }
    this.#recovered = performance.now();
    this.#recovering = undefined;
    const names = this.states.map(({ name }) => name).join(', ');
    const forgot = new WebDNNError(
      'device-lost',
      `the GPU device was lost. The model recovered, but its states (${names}) are zero: begin anew`,
    );
    /** Whether it can still be done. @param {Pending} pending */
    const goes = (pending) => {
      const { job, resolve, reject } = pending;
      if (job === 'reset') resolve(undefined);
      else if (names) reject(forgot);
      else if (!(job instanceof Promise) && job.inputs.some(isGpuBuffer)) reject(loss);
      else return true;
      pending.aborted = true;
      return false;
    };
    if (names && !this.#flying.size && !this.#running && !this.#queue.length)
      this.#forgot = forgot;
    for (const pending of [...this.#flying, this.#running]) if (pending) goes(pending);
    this.#queue = this.#queue.filter(goes);
    this.#watch(this.#engine);
  }

  /**
   * A run, and once more where the device was lost under it.
   * @template T
   * @param {Pending} pending @param {() => Promise<T>} work
   */
  async #tried(pending, work) {
    const engine = this.#engine;
    try {
      return await work();
    } catch (error) {
      if (!this.#again || /** @type {WebDNNError} */ (error).code !== 'device-lost') throw error;
      await engine.failed;
      await this.#recovering;
      if (this.#ended || pending.aborted) throw error;
      return work();
    }
  }

  /**
   * @param {Record<string, unknown>} inputs
   * @param {RunOptions} [options]
   * @returns {Promise<any>}
   */
  run(inputs, options = {}) {
    return this.#enqueue(inputs, options, false);
  }

  /** @param {Record<string, unknown>} inputs @returns {Promise<StepTime[]>} */
  profile(inputs) {
    return this.#enqueue(inputs, {}, true);
  }

  /** @param {Record<string, unknown>} inputs @returns {any} */
  runSync(inputs) {
    if (this.#ended) throw this.#ended;
    if (!this.#engine.runSync) {
      throw new WebDNNError(
        'option',
        'runSync needs a model of the wasm backend in the calling thread: load it with ' +
          `{backend: 'wasm', worker: false} (found ${this.backend.name}, ${this.backend.reason})`,
      );
    }
    const job = this.#job(inputs, {}, this.#idle);
    this.#last = job.dims;
    return this.#publish(
      job,
      this.#guard(() => /** @type {any} */ (this.#engine).runSync(job)),
    );
  }

  /**
   * @param {Record<string, any>} outputs
   * @param {number} [k]
   * @param {string} [name]
   */
  top(outputs, k = 5, name) {
    return top(this.#descriptor.outputs, outputs, k, name);
  }

  /**
   * @param {any} canvas @param {Record<string, any>} outputs @param {string} [name]
   * @returns {Promise<void>}
   */
  async draw(canvas, outputs, name) {
    await this.#held(async () => {
      try {
        await draw(this.#descriptor.outputs, canvas, outputs, name, this.#engine.show);
      } catch (error) {
        throw ours(error, 'option', `draw: ${say(error)}`); // a browser's, of outputs that are not
      }
    });
  }

  /**
   * What is asked beside the queue; it ends with the model, too.
   * @template T
   * @param {() => T | Promise<T>} work @returns {Promise<T>}
   */
  #held(work) {
    return new Promise((resolve, reject) => {
      if (this.#ended) throw this.#ended;
      this.#asked.add(reject);
      (async () => work())().then(resolve, reject).finally(() => this.#asked.delete(reject));
    });
  }

  /** @param {string} name @returns {any} */
  view(name) {
    if (this.#ended) throw this.#ended;
    const found = this.#views.get(name);
    if (found) return found;
    for (const kind of /** @type {const} */ (['inputs', 'outputs'])) {
      const i = this.#descriptor[kind].findIndex((spec) => spec.name === name);
      if (i < 0) continue;
      const array = this.#engine.view(kind, i);
      this.#views.set(name, array);
      return array;
    }
    throw new WebDNNError(
      'input',
      `the model has no input or output "${name}"; it has ${[...this.inputs, ...this.outputs]
        .map((spec) => `"${spec.name}"`)
        .join(', ')}`,
    );
  }

  /** @returns {Promise<void>} */
  async reset() {
    if (this.#ended) throw this.#ended;
    this.#forgot = undefined;
    if (this.#engine.runSync && !this.#running && !this.#queue.length) {
      this.#engine.reset(); // at once: a runSync may follow
      return;
    }
    await new Promise((resolve, reject) => {
      const rest = { options: {}, profile: false, aborted: false };
      this.#queue.push({ job: 'reset', ...rest, resolve, reject });
      this.#next();
    });
  }

  /** @returns {Promise<any>} */
  stored() {
    return this.#held(() => this.#stored());
  }

  async #stored() {
    const dims = this.#last;
    const engine = this.#engine;
    if (!dims || !engine.stored) {
      throw new WebDNNError(
        'option',
        dims
          ? 'the descriptor lists no stored values'
          : 'stored() shows the values of the last run: call run first',
      );
    }
    /** @type {Record<string, unknown>} */
    const found = {};
    for (const [name, entry] of Object.entries(engine.stored)) {
      const shape = sizes(entry.shape, dims);
      const strides = sizes(entry.strides, dims);
      const start = evaluate(entry.start, dims);
      const [low, high] = reach(shape, strides, start);
      const raw = await engine.read(entry, low, product(shape) ? high - low + 1 : 0);
      const { dtype } = STORAGE[entry.dtype];
      found[name] = { dtype, shape, data: gather(raw, shape, strides, start - low) };
    }
    return found;
  }

  dispose() {
    if (this.#ended?.code === 'disposed') return;
    this.#end(disposed());
  }

  /** @param {WebDNNError} error */
  #end(error) {
    this.#ended = error;
    if (error.code !== 'disposed') this.#lose(error);
    const pending = [...this.#flying, ...(this.#running ? [this.#running] : []), ...this.#queue];
    this.#flying.clear();
    this.#queue = [];
    this.#running = undefined;
    this.#views.clear();
    for (const { reject } of pending) reject(error);
    for (const reject of this.#asked) reject(error);
    this.#aside?.dispose();
    this.#engine.dispose();
    this.#engine = GONE; // with its memory, however long the page keeps this object
  }

  /**
   * A trapped kernel leaves its memory and its partners in an unknown state.
   * @template T
   * @param {() => T} call
   * @returns {T}
   */
  #guard(call) {
    try {
      return call();
    } catch (error) {
      if (error instanceof WebDNNError && error.code === 'kernel') this.#end(error);
      throw error;
    }
  }

  /**
   * The inputs with pictures as pixels.
   * @param {Inputs} inputs
   * @returns {Inputs}
   */
  #pixels(inputs) {
    const { inputs: signature, dims } = this.#descriptor;
    let out = inputs;
    for (const spec of signature) {
      const value = spec.image && inputs?.[spec.name];
      if (value === undefined || isTensor(value)) continue;
      out = { ...out, [spec.name]: this.#pictures.read(spec, value, dims) };
    }
    return out;
  }

  /** The inputs with such pictures on the device as can be read there. @param {Inputs} inputs */
  #painted(inputs) {
    const { paint } = this.#engine;
    const { inputs: signature, dims } = this.#descriptor;
    let out = inputs;
    if (paint && !this.#recovering)
      for (const spec of signature) {
        const value = spec.image && inputs?.[spec.name];
        if (value === undefined || isTensor(value)) continue;
        const drawn = paint(spec, value, dims, !this.#aside);
        if (drawn) out = { ...out, [spec.name]: drawn };
      }
    return out;
  }

  /**
   * The inputs once their pictures are read, taken now; undefined where none is read elsewhere, or
   * is a file.
   * @param {Inputs} inputs
   * @returns {Promise<Inputs> | undefined}
   */
  #apart(inputs) {
    const { inputs: signature, dims } = this.#descriptor;
    const apart = signature.filter(({ name, image }) => {
      const value = image && inputs?.[name];
      return value !== undefined && !isTensor(value) && (this.#aside || isBlob(value));
    });
    if (!apart.length) return;
    const rest = Object.fromEntries(
      Object.entries(inputs).filter(([key]) => !apart.some(({ name }) => name === key)),
    );
    const taken = Object.entries(this.#pixels(rest)).map(([name, value]) => [name, copied(value)]);
    const reading = Promise.all(
      apart.map(async (spec) => {
        const value = inputs[spec.name];
        if (this.#aside) return [spec.name, await this.#aside.read(spec, value, dims)];
        const picture = await decode(spec.name, /** @type {Blob} */ (value));
        const drawn = this.#painted({ [spec.name]: picture })[spec.name];
        const pixels =
          drawn === picture ? copied(this.#pictures.read(spec, picture, dims)) : drawn;
        picture.close();
        return [spec.name, pixels];
      }),
    ).then((pictures) => Object.fromEntries([...taken, ...pictures]));
    reading.catch(() => {}); // reported when the run's turn comes, if it does
    return reading;
  }

  /** Whether no run has inputs that it may still need. */
  get #idle() {
    return !this.#running && !this.#queue.length && !this.#flying.size;
  }

  /** @param {Inputs} inputs @param {RunOptions} options @param {boolean} idle @returns {Job} */
  #job(inputs, options, idle) {
    if (this.#ended) throw this.#ended;
    const { inputs: signature, outputs, dims: dimensions } = this.#descriptor;
    const onGpu = this.backend.name === 'webgpu';
    if (
      options.outputs !== undefined &&
      options.outputs !== 'cpu' &&
      !(options.outputs === 'gpu' && onGpu)
    ) {
      const expected = onGpu ? "'cpu' or 'gpu'" : "'cpu' (the model runs on wasm)";
      throw new WebDNNError('option', `outputs: expected ${expected}, found '${options.outputs}'`);
    }
    const { dims, bound } = bind(
      signature,
      dimensions,
      this.#pixels(inputs),
      (i) => this.#views.get(signature[i].name),
      (i, count) => bytesOf(this.#engine.inputs[i].dtype, count * (signature[i].words ?? 1)),
    );
    return {
      dims,
      inputs: bound.map(({ data, length }, i) => {
        const { name, words = 1 } = signature[i];
        if (isGpuBuffer(data)) {
          if (this.#checks.some(({ input }) => input === name))
            throw new WebDNNError(
              'option',
              `input "${name}": {debug: true} looks at its positions, so give it as an array`,
            );
          if (!onGpu)
            throw new WebDNNError(
              'dtype',
              `input "${name}": a GPUBuffer needs the webgpu backend; this model runs on wasm`,
            );
          const lies = /** @type {any} */ (data)[LIES];
          if (lies && !(words > 1 && lies === TWO_WORDS))
            throw new WebDNNError(
              'input',
              `input "${name}": the GPUBuffer is an output that has ${lies}, which this input has not. Run ` +
                "that model with {outputs: 'cpu'} and hand over its array",
            );
          if (!(data.usage & 4))
            throw new WebDNNError('input', `input "${name}": the GPUBuffer's usage lacks COPY_SRC`);
          return data;
        }
        const target = this.#engine.take(i, length * words, idle);
        fill(target, data, signature[i]);
        for (const check of this.#checks) {
          if (check.input !== name) continue;
          const [least, greatest] = /** @type {Int32Array} */ (target).subarray(0, length).reduce(
            ([low, high], at) => [Math.min(low, at), Math.max(high, at)],
            [Infinity, -Infinity],
          );
          within(check, least, greatest, dims);
        }
        return target;
      }),
      counts: outputs.map(
        ({ shape, largest, words = 1 }) => product(sizes(largest ?? shape, dims)) * words,
      ),
      hidden: outputs.map(({ hidden }) => !!hidden),
      gpu: options.outputs === 'gpu',
    };
  }

  /**
   * @param {Record<string, unknown>} inputs
   * @param {RunOptions} options
   * @param {boolean} profile
   * @returns {Promise<any>}
   */
  #enqueue(inputs, options, profile) {
    return new Promise((resolve, reject) => {
      const { signal } = checked('run', RUN, options);
      if (this.#ended) throw this.#ended;
      const forgot = this.#forgot;
      this.#forgot = undefined;
      if (forgot) throw forgot;
      const aborted = () => new WebDNNError('aborted', 'the run was aborted', signal?.reason);
      if (signal?.aborted) throw aborted();
      const painted = this.#painted(inputs);
      /** @type {Pending} */
      const pending = {
        job:
          this.#apart(painted) ??
          this.#job(painted, options, this.#idle),
        options,
        profile,
        aborted: false,
        resolve,
        reject,
      };
      const onAbort = () => {
        pending.aborted = true;
        this.#queue = this.#queue.filter((other) => other !== pending);
        if (this.#running === pending) this.#engine.cancel();
        reject(aborted());
      };
      signal?.addEventListener('abort', onAbort, { once: true });
      const settle = (/** @type {(value: any) => void} */ then) => (/** @type {any} */ value) => {
        signal?.removeEventListener('abort', onAbort);
        then(value);
      };
      pending.resolve = settle(resolve);
      pending.reject = settle(reject);
      this.#queue.push(pending);
      this.#next();
    });
  }

  async #next() {
    if (this.#running || this.#ended) return;
    const pending = (this.#running = this.#queue.shift());
    if (!pending) return;
    const { options, profile } = pending;
    try {
      if (this.#recovering) await this.#recovering; // else at once, so that it can be cancelled
      if (pending.aborted) {
        // or was lost: nobody waits for it
      } else if (pending.job === 'reset') {
        pending.resolve(await this.#tried(pending, async () => this.#engine.reset()));
      } else {
        let { job } = pending;
        if (job instanceof Promise) {
          const inputs = await job;
          job = this.#job(inputs, options, true);
          this.#aside?.again(inputs);
        }
        if (pending.aborted) {
          // while its pictures were read: an engine that has begun could not be stopped any more
        } else if (profile) {
          pending.resolve(await this.#engine.profile(job));
        } else {
          const { submits } = this.#engine;
          const given = this.#tried(pending, () => this.#engine.run(job));
          if (submits?.(job) && this.#flying.size < FLYING) {
            this.#flying.add(pending);
            this.#running = undefined;
            this.#next();
          }
          const raw = await given;
          if (!pending.aborted && !this.#ended) pending.resolve(this.#publish(job, raw));
          else for (const data of raw) if (isGpuBuffer(data)) data.destroy(); // nobody will
        }
        this.#last = job.dims;
      }
    } catch (error) {
      if (!this.#ended && error instanceof WebDNNError && error.code === 'kernel') this.#end(error);
      pending.reject(error);
    }
    this.#flying.delete(pending);
    if (this.#running === pending) this.#running = undefined;
    this.#next();
  }

  /** @param {Job} job @param {(Elements | GPUBuffer)[]} raw */
  #publish(job, raw) {
    const { outputs } = this.#descriptor;
    const dims = { ...job.dims }; // and what the run found: the hidden outputs are such sizes
    outputs.forEach(({ name, hidden, alarm }, i) => {
      if (hidden) dims[name] = Number(/** @type {Elements} */ (raw[i])[0]);
      if (alarm && dims[name])
        throw new WebDNNError('range', alarm);
    });
    for (const { low, high, ...check } of this.#checks)
      if (low) within(check, dims[low], dims[high], dims);
    const shown = outputs.flatMap(({ name, dtype, shape, largest, hidden, words }, i) => {
      const data = raw[i];
      if (hidden) return [];
      const found = sizes(shape, dims);
      if (isGpuBuffer(data)) {
        const rows = largest && sizes(largest, job.dims).slice(1);
        const lies = rows?.some((size, axis) => size !== found[axis + 1])
          ? `rows of ${rows.join(' × ')} elements`
          : words && TWO_WORDS;
        if (lies) Object.assign(data, { [LIES]: lies });
        return [[name, { dtype, shape: found, data }]];
      }
      if (this.viewKind === 'staging') this.#views.get(name)?.set(data);
      const each = words ? [words] : [];
      const part = largest
        ? corner(data, [...sizes(largest, job.dims), ...each], [...found, ...each])
        : data;
      return [[name, { dtype, shape: found, data: publish(part, dtype, words) }]];
    });
    return Object.fromEntries(shown);
  }
}
