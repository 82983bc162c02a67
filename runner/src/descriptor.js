/**
 * The graph descriptor as data: the one contract with the transpiler (docs/descriptor.md).
 *
 * `check` reads what model.json says and refuses what this runner cannot run. It looks at what a
 * damaged or foreign file would get wrong; that sizes and steps fit together is the transpiler's
 * task.
 *
 * @typedef {import('./int.js').Int} Int
 * @typedef {import('./types.d.ts').DType} DType
 * @typedef {keyof typeof STORAGE} Storage
 * @typedef {{ name: string, min: number, max: number }} Dimension
 * @typedef {import('./types.d.ts').ImageSpec} ImageSpec
 * @typedef {{
 *   name: string, dtype: DType, shape: Int[], image?: ImageSpec, labels?: string[],
 *   largest?: Int[], hidden?: boolean,
 * }} Signature  image: of inputs, the others of outputs. largest: its shape in memory, where `shape`
 *   has dimensions that are named as the hidden outputs which say them
 * @typedef {{ dtype: Storage, shape: Int[], strides: Int[], start: Int }} Layout
 *
 * @typedef {{ offset: number, dtype: Storage, elements: Int }} WasmTensor  offset in the arena
 * @typedef {{ name: string, file: string, relaxed: boolean, threads: boolean }} WasmVariant
 * @typedef {{
 *   variants: WasmVariant[], memory: { weights: number, bytes: number },
 *   inputs: WasmTensor[], outputs: WasmTensor[], states?: { offset: number, bytes: number }[],
 *   steps?: { name: string, origin?: string }[],
 *   stored?: Record<string, Layout & { offset: number }>,
 * }} WasmTarget
 *
 * @typedef {{ file: string, features: string[], limits: Record<string, number> }} GpuTarget
 * @typedef {{ b: number } | { w: number, offset: number, bytes: number }} Binding
 * @typedef {{
 *   kernel: number, bindings: Binding[], params: Int[], grid: Int[], flops?: Int,
 * }} Dispatch
 * @typedef {{ repeat: Int, body: Step[] }} Repeat
 * @typedef {{ choose: number, then: Step[], else: Step[] }} Choose  by the first element of a buffer
 * @typedef {Dispatch | Repeat | Choose} Step
 * @typedef {{
 *   name: string, code: string, origin?: string, variants?: Record<string, string>,
 * }} Kernel
 * @typedef {{ buffer: number, dtype: Storage }} GpuTensor
 * @typedef {{
 *   kernels: Kernel[], buffers: { bytes: Int, max: number }[],
 *   weights: { offset: number, bytes: number }[],
 *   inputs: GpuTensor[], outputs: GpuTensor[], states?: { buffer: number }[],
 *   prepare: Step[], steps: Step[],
 *   stored?: Record<string, Layout & { buffer: number }>,
 * }} Program
 *
 * @typedef {{
 *   format: number, generator: string, name: string, dims: Dimension[],
 *   inputs: Signature[], outputs: Signature[], states?: Signature[],
 *   files: Record<string, { bytes: number, sha256: string }>,
 *   weights: { bytes: number, shards: string[] },
 *   targets: { webgpu?: GpuTarget, wasm?: WasmTarget },
 * }} Descriptor
 */
import { WebDNNError } from './errors.js';

/** The format that this runner reads; the transpiler writes the same number. */
export const FORMAT = 1;

/**
 * How elements lie in memory: their bits, the array that holds them, and the dtype that this is.
 * A type of fewer bits, or one without an array, would be a row more.
 */
export const STORAGE = {
  f32: { bits: 32, array: Float32Array, dtype: /** @type {const} */ ('float32') },
  i32: { bits: 32, array: Int32Array, dtype: /** @type {const} */ ('int32') },
  u32: { bits: 32, array: Uint32Array, dtype: /** @type {const} */ ('uint32') },
};

/** @param {Storage} storage @param {number} elements */
export const bytesOf = (storage, elements) => Math.ceil((STORAGE[storage].bits * elements) / 8);

/** @param {any} json @param {string} from @returns {Descriptor} */
export function check(json, from) {
  /** @param {boolean} holds @param {string} what */
  const need = (holds, what) => {
    if (!holds)
      throw new WebDNNError(
        'descriptor',
        `${from} is not a graph descriptor: ${what}. Transpile the model again.`,
      );
  };
  need(typeof json?.format === 'number', 'it has no format number');
  if (json.format !== FORMAT) {
    throw new WebDNNError(
      'format',
      `${from} has format ${json.format} (written by ${json.generator ?? 'an unknown program'}), ` +
        `but this runner reads format ${FORMAT}. Run \`webdnn transpile MODEL -o DIR\` with the ` +
        "version of WebDNN that this runner belongs to, or import the runner in the descriptor's " +
        'own folder.',
    );
  }
  for (const key of ['dims', 'inputs', 'outputs'])
    need(Array.isArray(json[key]), `"${key}" is not a list`);
  for (const { name, dtype, shape } of [...json.inputs, ...json.outputs]) {
    need(
      typeof name === 'string' && typeof dtype === 'string' && Array.isArray(shape),
      'a tensor lacks its name, dtype or shape',
    );
  }
  need(
    typeof json.files === 'object' && typeof json.targets === 'object',
    '"files" or "targets" is missing',
  );
  const { wasm, webgpu } = json.targets;
  need(Array.isArray(json.weights?.shards), 'the list of weight shards is missing');
  const named = [
    ...json.weights.shards,
    ...(wasm?.variants ?? []),
    ...(webgpu ? [webgpu] : []),
  ].map((f) => f.file ?? f);
  for (const file of named)
    need(Number.isInteger(json.files[file]?.bytes), `it does not list its file "${file}"`);
  let bytes = 0;
  json.weights.shards.forEach((/** @type {string} */ file, /** @type {number} */ k) => {
    bytes += json.files[file].bytes;
    need(
      bytes % 4 === 0 || k === json.weights.shards.length - 1,
      `the shard "${file}" does not end on a multiple of 4 bytes`,
    );
  });
  need(
    bytes === json.weights.bytes,
    `its shards hold ${bytes} bytes of weights, but ${json.weights.bytes} are declared`,
  );
  return json;
}

/** The dimensions at their upper bounds: what memory is laid out for. @param {Descriptor} model */
export const upper = (model) => Object.fromEntries(model.dims.map((dim) => [dim.name, dim.max]));
