/**
 * The graph descriptor as data: the one contract with the transpiler (docs/descriptor.md).
 *
 * `check` and `checkProgram` read what model.json and the WebGPU program say. What would fail or
 * crash later in a damaged or foreign file is refused here, with its place in the file.
 *
 * @typedef {import('./int.js').Int} Int
 * @typedef {import('./int.js').Dims} Dims
 * @typedef {import('./types.d.ts').DType} DType
 * @typedef {'f32' | 'f64' | 'i32' | 'u32'} Storage  of values; weights may be stored as others
 * @typedef {{ name: string, min: number, max: number, step?: number }} Dimension  min, min + step, ...
 * @typedef {import('./types.d.ts').ImageSpec} ImageSpec
 * @typedef {{
 *   name: string, dtype: DType, shape: Int[], image?: ImageSpec,
 *   drawn?: import('./types.d.ts').DrawnSpec, labels?: string[],
 *   largest?: Int[], hidden?: boolean, words?: number, near?: number, alarm?: string,
 * }} Signature  image and near: of inputs, the others of outputs. largest: its shape in memory,
 *   where `shape` has dimensions that are named as the hidden outputs which say them. words: 2 where
 *   an integer lies in memory as 64 bits. near: how large integers may be, up or down. alarm: what
 *   is wrong where this hidden output is not 0
 * @typedef {{ dtype: Storage, shape: Int[], strides: Int[], start: Int }} Layout
 *
 * @typedef {{ offset: number, dtype: Storage, elements: Int }} WasmTensor  offset in the arena
 * @typedef {{ name: string, file: string, relaxed: boolean, threads: boolean }} WasmVariant
 * @typedef {{
 *   variants: WasmVariant[], memory: { weights: number, bytes: number },
 *   inputs: WasmTensor[], outputs: WasmTensor[], states?: { offset: number, bytes: number }[],
 *   steps?: { name: string, origin?: string, source?: string }[],
 *   stored?: Record<string, Layout & { offset: number }>,
 * }} WasmTarget
 *
 * @typedef {{
 *   file: string, features: string[], limits: Record<string, number>, loops?: boolean,
 * }} GpuTarget  loops: whether the program has any, for which the runner has a module of its own
 * @typedef {{ b: number } | { w: number, offset: number, bytes: number }} Binding
 * @typedef {{
 *   kernel: number, bindings: Binding[], params: Int[], grid: Int[], flops?: Int,
 * }} Dispatch
 * @typedef {{ while: number, body: Step[], once?: boolean }} While  as long as a buffer's first
 *   element is not 0; once: one time at most
 * @typedef {Dispatch | While} Step
 * @typedef {{
 *   name: string, code: string, origin?: string, source?: string,
 *   variants?: Record<string, string>,
 * }} Kernel  source: the file of a text that is not WebDNN's own
 * @typedef {{ buffer: number, dtype: Storage }} GpuTensor
 * @typedef {{
 *   kernels: Kernel[], buffers: { bytes: Int, max: number }[],
 *   weights: { offset: number, bytes: number }[],
 *   inputs: GpuTensor[], outputs: GpuTensor[], states?: { buffer: number }[],
 *   prepare: Dispatch[], steps: Step[],
 *   stored?: Record<string, Layout & { buffer: number }>,
 * }} Program
 *
 * @typedef {{ of: string, input?: string, low: string, high: string, size: Int }} Check  the
 *   positions that an operator is given, for an axis of that size: an input, or hidden outputs with
 *   the least and the greatest of them
 * @typedef {{
 *   format: number, generator: string, name: string, dims: Dimension[],
 *   inputs: Signature[], outputs: Signature[], states?: Signature[],
 *   files: Record<string, { bytes: number, sha256: string }>,
 *   weights: { bytes: number, shards: string[] }, checks?: Check[],
 *   targets: { webgpu?: GpuTarget, 'webgpu-f16'?: GpuTarget, wasm?: WasmTarget }, sha256?: string, runner?: string,
 * }} Descriptor  sha256: of its own text, without these digits
 */
/** @template T @typedef {import('./rules.js').Rule<T>} Rule */
import { WebDNNError } from './errors.js';
import { OPERATORS, evaluate, product, reach, roundUp, sizes } from './int.js';
import {
  and,
  between,
  checked,
  each,
  flag,
  is,
  list,
  object,
  oneOf,
  record,
  text,
  whole,
  wrong,
} from './rules.js';

/** The format that this runner reads; the transpiler writes the same number. */
export const FORMAT = 1;

/**
 * How elements lie in memory: their bits; and of values, the array that holds them and its dtype.
 * The transpiler's twin of this table is in webdnn/scalar.py.
 */
export const STORAGE = {
  f32: { bits: 32, array: Float32Array, dtype: /** @type {const} */ ('float32') },
  f64: { bits: 64, array: Float64Array, dtype: /** @type {const} */ ('float64') },
  i32: { bits: 32, array: Int32Array, dtype: /** @type {const} */ ('int32') },
  u32: { bits: 32, array: Uint32Array, dtype: /** @type {const} */ ('uint32') },
  f16: { bits: 16 },
};

/** @param {keyof typeof STORAGE} storage @param {number} elements */
export const bytesOf = (storage, elements) => Math.ceil((STORAGE[storage].bits * elements) / 8);

/**
 * Of each public dtype: as what it is stored (float64: on WebGPU), the array in which it is returned,
 * and the names of others that are accepted.
 */
export const DTYPES = /** @satisfies {Record<DType, [Storage, any, ...string[]]>} */ ({
  float32: ['f32', Float32Array],
  float16: ['f32', Float32Array, 'Float16Array'],
  float64: ['f32', Float64Array],
  bfloat16: ['f32', Float32Array],
  float8_e4m3fn: ['f32', Float32Array],
  float8_e4m3fnuz: ['f32', Float32Array],
  float8_e5m2: ['f32', Float32Array],
  float8_e5m2fnuz: ['f32', Float32Array],
  float8_e8m0fnu: ['f32', Float32Array],
  float4_e2m1fn: ['f32', Float32Array],
  int2: ['i32', Int8Array],
  uint2: ['i32', Uint8Array],
  int4: ['i32', Int8Array],
  uint4: ['i32', Uint8Array],
  int8: ['i32', Int8Array],
  uint8: ['i32', Uint8Array, 'Uint8ClampedArray'],
  int16: ['i32', Int16Array],
  uint16: ['i32', Uint16Array],
  int32: ['i32', Int32Array],
  uint32: ['u32', Uint32Array],
  int64: ['i32', BigInt64Array, 'Int32Array'],
  uint64: ['u32', BigUint64Array, 'Uint32Array'],
  bool: ['i32', Uint8Array],
});

/**
 * The smallest and the largest dimensions.
 * @param {Pick<Descriptor, 'dims'>} model @returns {Dims[]}
 */
const ends = ({ dims }) =>
  /** @type {const} */ (['min', 'max']).map((end) =>
    Object.fromEntries(dims.map((dim) => [dim.name, dim[end]])),
  );

/** The dimensions at their upper bounds: what memory is laid out for. @param {Descriptor} model */
export const upper = (model) => ends(model)[1];

/**
 * The kind of each binding of a kernel, as its text declares it: '' uniform, 'read', 'read_write'.
 * @param {string} code
 */
export function declared(code) {
  /** @type {string[]} */
  const kinds = [];
  for (const [, index, space, mode = 'read'] of code.matchAll(
    /@binding\((\d+)\)[^;]*?\bvar\s*<\s*(storage|uniform)\s*(?:,\s*(\w+))?/g,
  )) {
    kinds[+index] = space === 'uniform' ? '' : mode;
  }
  return kinds;
}

// ---- rules of what a descriptor is made of ------------------------------------------------------

/** @param {string[]} names  of dimensions @returns {Rule<Int>} */
const int = (names) => (value, at) => {
  if (Array.isArray(value)) {
    const [op, ...parts] = value;
    if (parts.length !== (op === 'select' ? 3 : Object.hasOwn(OPERATORS, op) ? 2 : -1))
      wrong(at, 'an expression such as ["*", 2, "n"]', value);
    parts.forEach((part, i) => int(names)(part, `${at}[${i + 1}]`));
  } else if (!Number.isSafeInteger(value) && !names.includes(value)) {
    wrong(at, ['a whole number', ...names].join(' or '), value);
  }
  return value;
};

/**
 * An Int within a range, looked at where all dimensions are smallest and where all are largest.
 * @param {Dims[]} ends
 * @param {(dims: Dims) => number} [high]
 * @param {(dims: Dims) => number} [low]
 */
const size = (ends, high = () => Number.MAX_SAFE_INTEGER, low = () => 0) =>
  and(int(Object.keys(ends[0])), (value, at) =>
    ends.forEach((dims) => between(low(dims), high(dims))(evaluate(value, dims), at)),
  );

/** @type {Rule<Storage>} */
export const storage = oneOf('f32', 'f64', 'i32', 'u32');
const INT32 = 2 ** 31 - 1;
const small = between(0, INT32);
const positive = between(1, INT32);
const words = between(0, Number.MAX_SAFE_INTEGER, 4);
const pair = /** @type {Rule<[number, number]>} */ (list(positive, 2));
const image = object({
  channels: oneOf('rgb', 'bgr', 'gray', 'rgba'),
  fit: oneOf('stretch', 'contain', 'cover'),
  'resize?': pair,
  'shorter?': positive,
  'crop?': pair,
  'longest?': positive,
  'multiple?': positive,
  'pad?': /** @type {Rule<[number, number, number]>} */ (list(between(0, 255), 3)),
  'resample?': oneOf('fast'),
});

const drawn = object({
  channels: oneOf('rgb', 'bgr', 'gray', 'rgba', 'mask'),
  'colors?': list(text),
});

/** Tensors of the signature. @param {Rule<Int>} dim  of their shapes @param {Rule<Int>} largest */
const signature = (dim, largest) =>
  list(
    object({
      name: text,
      dtype: oneOf(.../** @type {DType[]} */ (Object.keys(DTYPES))),
      shape: list(dim),
      'image?': image,
      'drawn?': drawn,
      'labels?': list(text),
      'largest?': list(largest),
      'hidden?': flag,
      'words?': between(2, 2),
      'near?': small,
      'alarm?': text,
    }),
  );

/** The shape of an input that takes pictures. */
const picture = list(is('a size or a dimension', (value) => !Array.isArray(value)), 2);

/** The elements of a tensor in memory. @param {Signature} spec @returns {(dims: Dims) => number} */
const count =
  ({ shape, largest = shape, words = 1 }) =>
  (dims) =>
    product(sizes(largest, dims)) * words;

/**
 * The bytes of a tensor in memory.
 * @param {Signature} spec @param {Storage} [storage] @returns {(dims: Dims) => number}
 */
const bytesIn =
  (spec, storage = DTYPES[spec.dtype][0]) =>
  (dims) =>
    bytesOf(storage, count(spec)(dims));

/** How a tensor is stored on wasm. @param {Signature} spec @returns {Storage} */
const onWasm = ({ dtype }) => (dtype === 'float64' ? 'f64' : DTYPES[dtype][0]);

/**
 * Values of the imported model in memory, and all that their strides reach.
 * @template {Record<string, Rule<any>>} R
 * @param {Dims[]} ends
 * @param {R} where
 * @param {(entry: any) => number} room  bytes from there
 */
const kept = (ends, where, room) =>
  record(
    and(
      object({
        dtype: storage,
        shape: list(size(ends)),
        strides: list(int(Object.keys(ends[0]))),
        start: int(Object.keys(ends[0])),
        ...where,
      }),
      (/** @type {any} */ entry, at) => {
        const { dtype, shape, strides, start } = entry;
        list(int(Object.keys(ends[0])), shape.length)(strides, `${at}.strides`);
        for (const dims of ends)
          for (const end of reach(sizes(shape, dims), sizes(strides, dims), evaluate(start, dims)))
            between(0, room(entry))(bytesOf(dtype, end + 1), at);
      },
    ),
  );

/** @type {Rule<Descriptor>} */
const descriptor = (value, at) => {
  const head = object({
    format: between(FORMAT, FORMAT),
    generator: text,
    name: text,
    dims: list(
      and(object({ name: text, min: small, max: small, 'step?': small }), ({ min, max }, at) =>
        between(min)(max, `${at}.max`),
      ),
    ),
    files: record(object({ bytes: whole, sha256: text })),
    'sha256?': text,
    'runner?': is('the name of a folder', (name) => /^[\w.-]+$/.test(name)),
    inputs: list(object({ name: text })),
    outputs: list(object({ name: text, 'hidden?': flag })),
  })(value, at);
  const both = ends(head);
  const [, most] = both;
  const names = Object.keys(most);
  const counted = head.outputs.flatMap(({ name, hidden }) => (hidden ? name : []));
  const dim = size(both);
  const file = and(text, is('a name in files', (name) => Object.hasOwn(head.files, name)));
  const body = object({
    inputs: and(signature(dim, dim), (specs, at) => {
      specs.forEach(({ image, shape }, i) => image && picture(shape, `${at}[${i}].shape`));
      const open = names.find((name) => !specs.some(({ shape }) => shape.includes(name)));
      if (open !== undefined) wrong(at, `one with the axis ${open}`, specs);
    }),
    outputs: and(signature(int([...names, ...counted]), dim), (specs, at) =>
      specs.forEach(({ drawn, shape, largest = shape }, i) => {
        if (drawn) list(dim, 2)(shape, `${at}[${i}].shape`);
        list(dim, shape.length)(largest, `${at}[${i}].largest`);
      }),
    ),
    'checks?': list((check, at) => {
      const { input } = object({ of: text, size: dim, 'input?': text })(check, at);
      const ours = head.inputs.map(({ name }) => name);
      if (input !== undefined) oneOf(...ours)(input, `${at}.input`);
      else object({ low: oneOf(...counted), high: oneOf(...counted) })(check, at);
      return check;
    }),
    'states?': signature(small, small),
    weights: and(object({ bytes: whole, shards: list(file) }), ({ bytes, shards }, at) => {
      const end = shards.reduce((start, name, i) => {
        between(0, bytes, 4)(start, `${at}.shards[${i}]`);
        return start + head.files[name].bytes;
      }, 0);
      between(end, end)(bytes, `${at}.bytes`);
    }),
  })(value, at);
  const { states = [] } = body;

  /** @type {Rule<WasmTarget>} */
  const wasm = (value, at) => {
    const arena = object({ memory: object({ weights: whole, bytes: whole }) })(value, at);
    const { bytes: end, weights } = arena.memory;
    /** Where so many bytes may begin. @param {number} bytes @param {number} [step] */
    const offset = (bytes, step = 4) => between(0, end - bytes, step);
    offset(body.weights.bytes)(weights, `${at}.memory.weights`);
    /** @param {Signature[]} specs */
    const tensors = (specs) =>
      each(specs.length, (i) => {
        const storage = onWasm(specs[i]);
        return object({
          offset: offset(bytesIn(specs[i], storage)(most), STORAGE[storage].bits / 8),
          dtype: oneOf(storage),
          elements: size(both, count(specs[i]), count(specs[i])),
        });
      });
    const rest = object({
      variants: list(object({ name: text, file, relaxed: flag, threads: flag })),
      inputs: tensors(body.inputs),
      outputs: tensors(body.outputs),
      states: each(states.length, (i) =>
        and(object({ offset: whole, bytes: between(bytesIn(states[i])(most)) }), (state, at) =>
          offset(state.bytes)(state.offset, `${at}.offset`),
        ),
      ),
      'steps?': list(object({ name: text, 'origin?': text, 'source?': text })),
      'stored?': kept(both, { offset: between(0, end, 4) }, ({ offset }) => end - offset),
    })(value, at);
    return Object.assign(arena, rest);
  };
  const webgpu = object({ file, features: list(text), limits: record(whole), 'loops?': flag });
  const targets = object({
    targets: object({ 'webgpu?': webgpu, 'webgpu-f16?': webgpu, 'wasm?': wasm }),
  })(value, at);
  return Object.assign(head, body, targets);
};

/** @param {Descriptor} model @returns {Rule<Program>} */
const program = (model) => (value, at) => {
  const both = ends(model);
  const [, most] = both;
  const anyInt = int(Object.keys(most));
  const pool = object({
    kernels: list(
      object({
        name: text,
        code: text,
        'origin?': text,
        'source?': text,
        'variants?': record(text),
      }),
    ),
    buffers: list(
      and(object({ bytes: size(both), max: whole }), ({ bytes, max }, at) =>
        size(both, () => max)(bytes, `${at}.bytes`),
      ),
    ),
    weights: list(
      and(object({ offset: words, bytes: words }), ({ offset, bytes }, at) =>
        between(0, roundUp(model.weights.bytes, 256) - bytes)(offset, `${at}.offset`),
      ),
    ),
  })(value, at);
  const { kernels, buffers, weights } = pool;
  const below = (/** @type {unknown[]} */ rows) => between(0, rows.length - 1);
  const buffer = below(buffers);
  const bound = kernels.map(({ code }) => declared(code).filter(Boolean).length);
  const slot = object({ b: buffer });
  const range = and(
    object({ w: below(weights), offset: between(0, INT32, 256), bytes: positive }),
    ({ w, offset, bytes }, at) =>
      between(0, weights[w].bytes - roundUp(bytes, 4))(offset, `${at}.offset`),
  );
  /** @type {Rule<Binding>} */
  const binding = (value, at) => ('b' in Object(value) ? slot : range)(value, at);
  /** @type {Rule<Dispatch>} */
  const dispatch = and(
    object({
      kernel: below(kernels),
      bindings: list(binding),
      params: list(anyInt),
      grid: list(size(both, () => 65535), 3),
      'flops?': anyInt,
    }),
    ({ kernel, bindings }, at) => list(binding, bound[kernel])(bindings, `${at}.bindings`),
  );
  const flagged = and(buffer, (i, at) => between(4)(buffers[i].max, at));
  /** @type {Record<string, Rule<Step>>} */
  const kinds = {
    kernel: dispatch,
    while: (value, at) => object({ while: flagged, body: steps, 'once?': flag })(value, at),
  };
  const steps = list((value, at) => {
    const kind = Object.keys(kinds).find((key) => key in Object(value));
    return kind ? kinds[kind](value, at) : wrong(at, 'kernel or while', value);
  });
  /** @param {Signature[]} specs */
  const tensors = (specs) =>
    each(specs.length, (i) =>
      and(object({ buffer, dtype: oneOf(DTYPES[specs[i].dtype][0]) }), ({ buffer }, at) =>
        size(both, bytesIn(specs[i]), bytesIn(specs[i]))(buffers[buffer].bytes, `${at}.buffer`),
      ),
    );
  const { states = [] } = model;
  const rest = object({
    inputs: tensors(model.inputs),
    outputs: tensors(model.outputs),
    states: each(states.length, (i) =>
      and(object({ buffer }), ({ buffer }, at) =>
        between(bytesIn(states[i])(most))(buffers[buffer].max, `${at}.buffer`),
      ),
    ),
    prepare: list(dispatch),
    steps,
    'stored?': kept(both, { buffer }, ({ buffer }) => buffers[buffer].max),
  })(value, at);
  return Object.assign(pool, rest);
};

const REMEDY = 'Transpile the model again.';

/** @param {unknown} json @param {string} from  its address @returns {Descriptor} */
export function check(json, from) {
  const { format, generator = 'an unknown program' } = Object(json);
  if (Number.isInteger(format) && format !== FORMAT) {
    throw new WebDNNError(
      'format',
      `${from} has format ${format} (written by ${generator}), ` +
        `but this runner reads format ${FORMAT}. Run \`webdnn transpile MODEL -o DIR\` with the ` +
        "version of WebDNN that this runner belongs to, or import the runner in the descriptor's " +
        'own folder.',
    );
  }
  return checked(descriptor, json, from, REMEDY);
}

/**
 * The WebGPU program of a descriptor.
 * @param {unknown} json @param {string} from  its file @param {Descriptor} model
 * @returns {Program}
 */
export const checkProgram = (json, from, model) =>
  checked(program(model), json, from, REMEDY);
