/**
 * Numbers for a model's inputs: from files, typed, random.
 *
 *     const { data, shape } = npy(await file.arrayBuffer(), 'float32');
 *     await model.run({ x: { data, shape } });
 *
 * What cannot be an input of its dtype is refused in words: a fraction is no integer, and no integer
 * becomes another in silence. Whether the shape is right is the runner's to say.
 *
 * @typedef {{ name: string, dtype: string, shape: Int[], image?: object }} Spec  of model.json
 * @typedef {number | string | [string, ...any[]]} Int  a size over dimensions: docs/descriptor.md
 * @typedef {{ data: any, shape?: number[] }} Numbers
 */

/** Public dtype → the array that the runner takes for it. @type {Record<string, any>} */
export const ARRAYS = {
  float32: Float32Array, float16: Float32Array, float64: Float64Array, bfloat16: Float32Array,
  float8_e4m3fn: Float32Array, float8_e4m3fnuz: Float32Array, float8_e5m2: Float32Array,
  float8_e5m2fnuz: Float32Array, float8_e8m0fnu: Float32Array, float4_e2m1fn: Float32Array,
  int2: Int8Array, uint2: Uint8Array, int4: Int8Array, uint4: Uint8Array,
  int8: Int8Array, uint8: Uint8Array, bool: Uint8Array, int16: Int16Array, uint16: Uint16Array,
  int32: Int32Array, uint32: Uint32Array, int64: BigInt64Array, uint64: BigUint64Array,
};

/** @type {Record<string, (a: number, b: number) => number>} */
const OPERATORS = {
  '+': (a, b) => a + b, '-': (a, b) => a - b, '*': (a, b) => a * b,
  '//': (a, b) => (b === 0 ? 0 : Math.floor(a / b)), '%': (a, b) => (b === 0 ? 0 : a - b * Math.floor(a / b)),
  min: Math.min, max: Math.max,
  '<': (a, b) => +(a < b), '<=': (a, b) => +(a <= b), '==': (a, b) => +(a === b), '!=': (a, b) => +(a !== b),
  '&&': (a, b) => +(a !== 0 && b !== 0), '||': (a, b) => +(a !== 0 || b !== 0),
};

/** A size at given dimensions. @param {Int} int @param {Record<string, number>} dims @returns {number} */
export function size(int, dims) {
  if (typeof int === 'number') return int;
  if (typeof int === 'string') return dims[int];
  const [op, x, y, z] = int;
  if (op === 'select') return size(size(x, dims) ? y : z, dims);
  return OPERATORS[op](size(x, dims), size(y, dims));
}

/** @param {readonly number[]} shape */
export const count = (shape) => shape.reduce((n, one) => n * one, 1);

const isFloat = (/** @type {string} */ dtype) => dtype.startsWith('float');

/**
 * Random numbers as `webdnn check` draws them: floats in 0..1, bytes of any value, other integers 0
 * or 1, as in a mask; noise where pictures are taken.
 * @param {Spec} spec @param {number[]} shape
 */
export function random({ dtype, image }, shape) {
  if (image) {
    const [height, width] = shape;
    const data = new Uint8ClampedArray(4 * height * width);
    for (let i = 0; i < data.length; i++) data[i] = i % 4 < 3 ? 256 * Math.random() : 255;
    return { data, width, height };
  }
  const data = new ARRAYS[dtype](count(shape));
  const draw = isFloat(dtype) ? Math.random
    : dtype === 'int8' || dtype === 'uint8' ? () => Math.floor(256 * Math.random())
      : () => +(Math.random() < 0.5);
  for (let i = 0; i < data.length; i++) data[i] = cast(data, draw());
  if (!isFloat(dtype) && !dtype.endsWith('t8') && data.length) data[0] = cast(data, 1);
  return { data, shape };
}

/** @param {any} array @param {number | bigint} value */
const cast = (array, value) => (typeof array[0] === 'bigint' ? BigInt(value) : Number(value));

/** numpy's type → the method that reads one. @type {Record<string, string>} */
const READS = {
  f2: 'getFloat16', f4: 'getFloat32', f8: 'getFloat64', b1: 'getUint8',
  i1: 'getInt8', i2: 'getInt16', i4: 'getInt32', i8: 'getBigInt64',
  u1: 'getUint8', u2: 'getUint16', u4: 'getUint32', u8: 'getBigUint64',
};
const KINDS = /** @type {Record<string, string>} */ ({ f: 'float', i: 'int', u: 'uint' });

/** The beginning of every .npy file. @param {ArrayBuffer} buffer */
export const isNpy = (buffer) => String.fromCharCode(...new Uint8Array(buffer.slice(0, 6))) === '\x93NUMPY';

/**
 * The array in a .npy file.
 * @param {ArrayBuffer} buffer @param {string} dtype  of the input
 * @returns {Required<Numbers> & { found: string }}  `found`: the file's own dtype
 */
export function npy(buffer, dtype) {
  const view = /** @type {any} */ (new DataView(buffer));
  if (!isNpy(buffer) || buffer.byteLength < 12) throw new Error('expected a .npy file, as numpy.save writes it');
  const [start, length] = view.getUint8(6) === 1 ? [10, view.getUint16(8, true)] : [12, view.getUint32(8, true)];
  const header = new TextDecoder().decode(buffer.slice(start, start + length));
  const type = /'descr': *'([<>|=])([fiub])(\d)'/.exec(header);
  const sizes = /'shape': *\(([\d, ]*)\)/.exec(header);
  const method = type && READS[type[2] + type[3]];
  if (!type || !sizes || !method)
    throw new Error(`expected a .npy file of numbers, found ${/'descr': *([^}]{1,60}?), *'/.exec(header)?.[1] ?? 'a damaged header'}`);
  const found = type[2] === 'b' ? 'bool' : `${KINDS[type[2]]}${8 * Number(type[3])}`;
  const shape = sizes[1].split(',').filter((part) => part.trim()).map(Number);
  if (/'fortran_order': *True/.test(header))
    throw new Error('the .npy file is in Fortran order: save numpy.ascontiguousarray(x)');
  if (isFloat(found) && !isFloat(dtype))
    throw new Error(`expected numbers of type ${dtype}, found ${found} in the .npy file: save x.astype('${dtype}')`);
  const [bytes, offset, total] = [Number(type[3]), start + length, count(shape)];
  if (buffer.byteLength < offset + total * bytes)
    throw new Error(`the .npy file ends early: ${total} numbers of ${bytes} bytes do not fit into ${buffer.byteLength} bytes`);
  if (!(method in view)) throw new Error(`this browser reads no float16: save x.astype('${dtype}')`);
  const data = new ARRAYS[dtype](total);
  for (let i = 0; i < total; i++) set(data, i, view[method](offset + i * bytes, type[1] !== '>'), dtype);
  return { data, shape, found };
}

/** Writes a number, which must stay what it is; floats may be rounded.
 * @param {any} data @param {number} i @param {number | bigint} value @param {string} dtype */
function set(data, i, value, dtype) {
  const whole = typeof value === 'bigint' || Number.isInteger(value);
  if (isFloat(dtype) || whole) data[i] = cast(data, value);
  // `!=`: a BigInt equals the number of its value.
  if (!isFloat(dtype) && (!whole || data[i] != value))
    throw new Error(`expected numbers of type ${dtype}, found ${value} at element ${i}`);
}

/**
 * Numbers as JSON, nested or not, or with commas alone: `[[1, 2], [3, 4]]`, `1, 2`, `true`.
 * @param {string} text @param {string} dtype
 * @returns {Numbers}  without a shape where they are not nested
 */
export function typed(text, dtype) {
  let value;
  try {
    value = JSON.parse(text.trim().startsWith('[') ? text : `[${text}]`);
  } catch {
    throw new Error('expected numbers as JSON: 1, 2, 3 or [[1, 2], [3, 4]]');
  }
  /** @type {(number | boolean)[]} */
  const flat = [];
  const shape = nested(value, flat);
  const data = new ARRAYS[dtype](flat.length);
  for (const [i, number] of flat.entries()) set(data, i, Number(number), dtype);
  return shape.length > 1 ? { data, shape } : { data };
}

/** The shape of nested lists, whose numbers go into `flat`. @param {any} value @param {any[]} flat @returns {number[]} */
function nested(value, flat) {
  if (typeof value === 'number' || typeof value === 'boolean') {
    flat.push(value);
    return [];
  }
  if (!Array.isArray(value)) throw new Error(`expected numbers, found ${JSON.stringify(value).slice(0, 40)}`);
  const parts = value.map((part) => nested(part, flat));
  if (parts.some((part) => `${part}` !== `${parts[0]}`))
    throw new Error('expected lists of equal lengths');
  return [value.length, ...(parts[0] ?? [])];
}

/**
 * The shape of numbers that came without: where at most one axis is open, it follows from their
 * count. Undefined where the runner has to say what is wrong.
 * @param {Int[]} shape @param {number} length @returns {number[] | undefined}
 */
export function shaped(shape, length) {
  const rest = count(shape.map((one) => (typeof one === 'number' ? one : 1)));
  if (shape.filter((one) => typeof one !== 'number').length > 1 || !rest || length % rest) return;
  const whole = shape.map((one) => (typeof one === 'number' ? one : length / rest));
  return count(whole) === length ? whole : undefined;
}

/** Whether an input may be a sound: floats along one axis. @param {Spec} spec */
export const isSound = ({ dtype, shape, image }) =>
  !image && isFloat(dtype) && shape.length > 0 && shape.slice(0, -1).every((one) => one === 1)
  && typeof shape[shape.length - 1] !== 'object';

/**
 * A sound file as one channel, decoded by the browser at this rate.
 * @param {ArrayBuffer} buffer @param {number} rate
 */
export async function sound(buffer, rate) {
  let decoded;
  try {
    decoded = await new OfflineAudioContext(1, 1, rate).decodeAudioData(buffer.slice(0));
  } catch (error) {
    throw new Error(`expected a sound that this browser can decode at ${rate} Hz (${/** @type {Error} */ (error).message})`);
  }
  const samples = new Float32Array(decoded.length);
  for (let channel = 0; channel < decoded.numberOfChannels; channel++) {
    const data = decoded.getChannelData(channel);
    for (let i = 0; i < data.length; i++) samples[i] += data[i] / decoded.numberOfChannels;
  }
  return { samples, channels: decoded.numberOfChannels, seconds: decoded.duration };
}
