/**
 * Tensors at the border: what a page passes in, checked and turned into 32-bit elements, and back.
 *
 * `bind` settles the symbolic dimensions from the shapes of the inputs. Numbers without a shape are
 * taken where the shape follows from their count: `{ ids: Int32Array(16) }` for `ids: [1, T]` is T
 * = 16.
 *
 * @typedef {import('./types.d.ts').DType} DType
 * @typedef {import('./descriptor.js').Storage} Storage
 * @typedef {import('./descriptor.js').Signature} Signature
 * @typedef {import('./descriptor.js').Dimension} Dimension
 * @typedef {Float32Array | Float64Array | Int32Array | Uint32Array} Elements  as in memory
 * @typedef {Elements | Int8Array | Uint8Array | Uint8ClampedArray | Int16Array
 *   | Uint16Array | BigInt64Array | BigUint64Array} Numbers
 */
import { DTYPES, STORAGE } from './descriptor.js';
import { WebDNNError } from './errors.js';
import { evaluate, known, product, show, sizes as sizesOf } from './int.js';

/**
 * @param {Storage} storage
 * @param {number | ArrayBuffer} from  a length, or a buffer
 * @returns {Elements}
 */
export const elements = (storage, from) => new STORAGE[storage].array(/** @type {any} */ (from));

/**
 * A view of memory.
 * @param {Storage} storage
 * @param {ArrayBufferLike} buffer
 * @param {number} at
 * @param {number} length
 * @returns {Elements}
 */
export const view = (storage, buffer, at, length) =>
  new STORAGE[storage].array(/** @type {ArrayBuffer} */ (buffer), at, length);

/** What a value is, as JavaScript names it. @param {unknown} value */
export const typeName = (value) => Object.prototype.toString.call(value).slice(8, -1);

/** @param {unknown} value @returns {value is GPUBuffer} */
export const isGpuBuffer = (value) => typeName(value) === 'GPUBuffer';

/**
 * Integers of 64 bits as two words each, the low one first.
 * @param {Elements} target @param {Numbers} source
 */
function pairs(target, source) {
  if (source.length === target.length) target.set(/** @type {Elements} */ (source)); // a view of words
  else if (typeName(source).startsWith('Big'))
    target.set(new Uint32Array(source.buffer, source.byteOffset, 2 * source.length));
  else
    for (let i = 0; i < source.length; i++) {
      target[2 * i] = Number(source[i]);
      target[2 * i + 1] = source[i] < 0 ? -1 : 0;
    }
}

/**
 * Writes public numbers as stored elements.
 * @param {Elements} target @param {Numbers} source @param {Signature} spec
 */
export function fill(target, source, { dtype, name, near, words }) {
  if (near) {
    const i = /** @type {any} */ (source).findIndex(
      (/** @type {number | bigint} */ value) => value > near || value < -near,
    );
    if (i >= 0)
      throw new WebDNNError(
        'range',
        `input "${name}": expected numbers from ${dtype.startsWith('u') ? 0 : -near} to ${near}, so that ` +
          `what the model adds to them needs no more than 32 bits, found ${source[i]} at element ${i}`,
      );
  }
  // The model's own view: the elements are in place.
  if (source.buffer === target.buffer && source.byteOffset === target.byteOffset) return;
  if (words) return pairs(target, source);
  const unsigned = target instanceof Uint32Array;
  if (typeName(source).startsWith('Big')) {
    const wide = /** @type {BigInt64Array} */ (source);
    for (let i = 0; i < target.length; i++) {
      const value = wide[i];
      if ((unsigned ? BigInt.asUintN(32, value) : BigInt.asIntN(32, value)) !== value)
        throw outOfRange(name, dtype, i, value, unsigned);
      target[i] = Number(value);
    }
  } else if (dtype === 'uint64' && !unsigned) {
    for (let i = 0; i < target.length; i++) {
      if (source[i] > 0x7fffffff) throw outOfRange(name, dtype, i, source[i], unsigned);
      target[i] = Number(source[i]);
    }
  } else if (dtype === 'bool') {
    for (let i = 0; i < target.length; i++) target[i] = source[i] ? 1 : 0;
  } else {
    target.set(/** @type {Elements} */ (source));
  }
}

/**
 * @param {string} name
 * @param {DType} dtype
 * @param {number} i
 * @param {bigint | number} value
 * @param {boolean} unsigned
 */
const outOfRange = (name, dtype, i, value, unsigned) =>
  new WebDNNError(
    'range',
    `input "${name}": expected ${dtype} values that fit into 32 bits ` +
      `(${unsigned ? '0..4294967295' : '-2147483648..2147483647'}), found ${value} at element ${i}`,
  );

/**
 * Stored elements as the public array; `raw` itself where that is the same.
 * @param {Elements} raw
 * @param {DType} dtype
 * @param {number} [words]  elements of `raw` to one of the array
 */
export function publish(raw, dtype, words) {
  /** @type {any} */
  const Public = DTYPES[dtype][1];
  if (words) return new Public(raw.slice().buffer);
  if (raw instanceof Public) return raw;
  const out = new Public(raw.length);
  if (typeName(out).startsWith('Big')) for (let i = 0; i < raw.length; i++) out[i] = BigInt(raw[i]);
  else if (dtype === 'bool') for (let i = 0; i < raw.length; i++) out[i] = +(raw[i] !== 0);
  else out.set(raw);
  return out;
}

/** @param {ReadonlyArray<import('./int.js').Int>} shape */
const showShape = (shape) => `[${shape.map(show).join(', ')}]`;

/** What is to be given, with types and shapes. @param {readonly Signature[]} signature */
const wanted = (signature) =>
  signature
    .map(({ name, dtype, shape, image }) => `"${name}" (${image ? 'picture' : dtype} ${showShape(shape)})`)
    .join(', ');

/**
 * @typedef {{ data: Numbers | GPUBuffer, shape?: readonly number[] }} Given
 * @typedef {{ data: Numbers | GPUBuffer, length: number }} Bound
 */

/**
 * One input's value in its normal form.
 * @param {Signature} spec
 * @param {any} value
 * @param {Elements | undefined} ownView
 * @returns {Given}
 */
function normalise({ name, dtype, image }, value, ownView) {
  const [, Public, ...others] = /** @type {[Storage, any, ...string[]]} */ (DTYPES[dtype]);
  const arrays = [Public.name, ...others].join(' or ');
  const expected = image ? `a picture, or its pixels as ${arrays}` : arrays;
  const tensor = ArrayBuffer.isView(value) || isGpuBuffer(value) ? { data: value } : value;
  const data = tensor?.data;
  const found = typeName(data);
  if (!ArrayBuffer.isView(data) && !isGpuBuffer(data)) {
    const what =
      value === null || typeof value !== 'object'
        ? String(value)
        : Array.isArray(value) || data === undefined
          ? typeName(value)
          : `{data: ${found}}`;
    const picture = image || !/^(HTML.|Image|Offscreen|Video|Blob|File)/.test(typeName(value));
    throw new WebDNNError(
      'dtype',
      `input "${name}": expected ${expected} (${dtype}), or {data, shape}, found ${what}` +
        (picture ? '' : `. To hand it pictures, transpile with --input ${name}:rgb`),
    );
  }
  if (tensor.dtype !== undefined && tensor.dtype !== dtype) {
    throw new WebDNNError(
      'dtype',
      `input "${name}": expected dtype ${dtype}, found a tensor of dtype ${tensor.dtype}`,
    );
  }
  const own = !isGpuBuffer(data) && data.buffer === ownView?.buffer && found === typeName(ownView);
  if (!isGpuBuffer(data) && !own && found !== Public.name && !others.includes(found)) {
    throw new WebDNNError(
      'dtype',
      `input "${name}": expected ${expected} (${dtype}), found ${found}`,
    );
  }
  if (tensor.shape !== undefined && !Array.isArray(tensor.shape)) {
    throw new WebDNNError(
      'shape',
      `input "${name}": expected "shape" to be an array of sizes, found ${typeName(tensor.shape)}`,
    );
  }
  return tensor;
}

/**
 * Checks the inputs of a run and settles the dimensions.
 * @param {readonly Signature[]} signature @param {readonly Dimension[]} dimensions
 * @param {Record<string, unknown>} inputs @param {(i: number) => Elements | undefined} ownView
 * @param {(i: number, count: number) => number} bytes  that so many elements of an input take
 * @returns {{ dims: Record<string, number>, bound: Bound[] }}
 */
export function bind(signature, dimensions, inputs, ownView, bytes) {
  const names = signature.map((spec) => spec.name);
  const listed = names.map((name) => `"${name}"`).join(', ');
  const bare = names.length > 0 && names.every((name) => inputs?.[name] === undefined);
  if (
    inputs === null ||
    typeof inputs !== 'object' ||
    ArrayBuffer.isView(inputs) ||
    (bare && typeName(inputs) !== 'Object') // an image, say, as run(image)
  ) {
    throw new WebDNNError(
      'input',
      `expected an object with the inputs ${wanted(signature)}, found ` +
        (inputs === undefined ? 'nothing' : typeName(inputs)),
    );
  }
  for (const name of Object.keys(inputs)) {
    if (!names.includes(name))
      throw new WebDNNError('input', `the model has no input "${name}"; its inputs are ${listed}`);
  }
  const missing = names.filter((name) => inputs[name] === undefined);
  if (missing.length) {
    throw new WebDNNError(
      'input',
      `missing ${wanted(signature.filter(({ name }) => missing.includes(name)))}; ` +
        `the model's inputs are ${listed}`,
    );
  }
  const given = signature.map((spec, i) => normalise(spec, inputs[spec.name], ownView(i)));

  /** @type {Record<string, number>} */
  const dims = {};
  /** @type {Record<string, string>} */
  const from = {};
  /** @param {string} dim @param {number} size @param {string} place */
  const settle = (dim, size, place) => {
    const allowed = /** @type {Dimension} */ (dimensions.find((d) => d.name === dim));
    const { min, max, step = 1 } = allowed;
    if (!Number.isInteger(size) || size < min || size > max || (size - min) % step) {
      throw new WebDNNError(
        'dimension',
        `dimension "${dim}": expected ${range(allowed)}, found ${size} in ${place}`,
      );
    }
    if (dims[dim] !== undefined && dims[dim] !== size) {
      throw new WebDNNError(
        'dimension',
        `dimension "${dim}" is ${dims[dim]} in ${from[dim]}, but ${size} in ${place}`,
      );
    }
    dims[dim] = size;
    from[dim] ??= place;
  };
  /** @param {Signature} spec @param {string} found */
  const wrong = ({ name, shape }, found) =>
    new WebDNNError(
      'shape',
      `input "${name}": expected shape ${showShape(shape)}` +
        `${ranges(shape, dimensions)}, found ${found}`,
    );

  given.forEach(({ shape }, i) => {
    const spec = signature[i];
    if (!shape) return;
    if (shape.length !== spec.shape.length) throw wrong(spec, showShape(shape));
    shape.forEach((size, axis) => {
      const want = spec.shape[axis];
      if (typeof want === 'string') settle(want, size, `input "${spec.name}", axis ${axis}`);
      else if (typeof want === 'number' && want !== size) throw wrong(spec, showShape(shape));
    });
  });
  /** Words of an element, if the data is the model's own view. @param {number} i */
  const each = (i) =>
    /** @type {Numbers} */ (given[i].data).buffer === ownView(i)?.buffer
      ? (signature[i].words ?? 1)
      : 1;
  // Numbers without a shape: one unknown dimension follows from their count.
  given.forEach(({ shape, data }, i) => {
    const spec = signature[i];
    if (shape || isGpuBuffer(data)) return;
    const length = data.length / each(i);
    const unknown = spec.shape.filter((size) => !known(size, dims));
    if (unknown.length !== 1 || typeof unknown[0] !== 'string') return;
    const rest = spec.shape.reduce(
      (/** @type {number} */ n, size) => (size === unknown[0] ? n : n * evaluate(size, dims)),
      1,
    );
    if (!rest) return; // nothing, whatever the size
    if (length % rest) throw wrong(spec, `${length} elements`);
    settle(unknown[0], length / rest, `input "${spec.name}" (${length} elements)`);
  });
  for (const { name } of dimensions) {
    if (dims[name] === undefined) {
      const user = signature.find((spec) => spec.shape.includes(name));
      throw new WebDNNError(
        'dimension',
        `the size of dimension "${name}" is not given: pass input "${user?.name}" as ` +
          `{data, shape} with shape ${showShape(user?.shape ?? [])}`,
      );
    }
  }
  const bound = given.map(({ data, shape }, i) => {
    const spec = signature[i];
    const sizes = sizesOf(spec.shape, dims);
    if (shape?.some((size, axis) => size !== sizes[axis])) {
      const [found, wanted, whole] = [shape, spec.shape, sizes].map(showShape);
      throw wrong(spec, `${found} where ${wanted} is ${whole}`);
    }
    const length = product(sizes);
    if (isGpuBuffer(data)) {
      if (data.size < bytes(i, length)) {
        throw new WebDNNError(
          'shape',
          `input "${spec.name}": expected a GPUBuffer of at least ${bytes(i, length)} bytes, ` +
            `found ${data.size}`,
        );
      }
    } else if (data.length !== length * each(i)) {
      throw wrong(spec, `${data.length} elements where ${showShape(sizes)} has ${length}`);
    }
    return { data, length };
  });
  return { dims, bound };
}

/** @param {Dimension} dimension */
const range = ({ min, max, step = 1 }) => `${min}..${max}${step > 1 ? ` in steps of ${step}` : ''}`;

/** The dimensions that a size mentions. @param {import('./int.js').Int} int @returns {string[]} */
const names = (int) =>
  Array.isArray(int) ? int.slice(1).flatMap(names) : typeof int === 'string' ? [int] : [];

/** @param {ReadonlyArray<import('./int.js').Int>} shape @param {readonly Dimension[]} dimensions */
function ranges(shape, dimensions) {
  const used = dimensions.filter((dim) => shape.flatMap(names).includes(dim.name));
  return used.length ? ` with ${used.map((dim) => `${dim.name} = ${range(dim)}`).join(', ')}` : '';
}

/**
 * A strided value in compact order.
 * @template {Elements} T
 * @param {T} source
 * @param {readonly number[]} shape
 * @param {readonly number[]} strides
 * @param {number} start
 * @returns {T}
 */
export function gather(source, shape, strides, start) {
  const count = product(shape);
  const out = /** @type {T} */ (new /** @type {any} */ (source.constructor)(count));
  const index = shape.map(() => 0);
  for (let i = 0, at = start; i < count; i++) {
    out[i] = source[at];
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      at += strides[axis];
      if (++index[axis] < shape[axis]) break;
      at -= strides[axis] * shape[axis];
      index[axis] = 0;
    }
  }
  return out;
}

/**
 * The first elements along each axis of a compact value.
 * @template {Elements} T
 * @param {T} source
 * @param {readonly number[]} shape
 * @param {readonly number[]} part
 * @returns {T}
 */
export function corner(source, shape, part) {
  /** @type {number[]} */
  const strides = [];
  let stride = 1;
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    strides[axis] = stride;
    stride *= shape[axis];
  }
  return gather(source, part, strides, 0);
}
