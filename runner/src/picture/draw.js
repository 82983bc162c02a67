/**
 * Outputs that are pictures, onto a canvas: the model computed the pixels, so none is touched here.
 *
 *     model.draw(canvas, await model.run({ image }));
 *     model.draw(canvas, await model.run({ image }, { outputs: 'gpu' }));  // never leaves the GPU
 *
 * @typedef {import('../descriptor.js').Signature} Signature
 */
import { WebDNNError, say } from '../errors.js';
import { isGpuBuffer, typeName } from '../tensors.js';
import { article } from './source.js';

/** @param {string} message */
const wrong = (message) => new WebDNNError('option', `draw: ${message}`);

/** The output to draw. @param {readonly Signature[]} signature @param {string} [name] */
function chosen(signature, name) {
  const pictures = signature.filter(({ drawn }) => drawn);
  const names = pictures.map((spec) => `"${spec.name}"`).join(', ');
  if (!names) throw wrong('no output of this model is a picture; transpile it with --output NAME:rgb');
  if (name === undefined && pictures.length > 1)
    throw wrong(`several outputs are pictures (${names}); say which as the third argument`);
  const spec = name === undefined ? pictures[0] : pictures.find((one) => one.name === name);
  if (!spec) throw wrong(`the outputs that are pictures are ${names}, not "${name}"`);
  return spec;
}

/** A canvas's context. @param {any} canvas @param {'2d' | 'webgpu'} kind */
function contextOf(canvas, kind) {
  let context;
  try {
    context = canvas.getContext(kind);
  } catch (error) {
    throw wrong(
      `the canvas gives no context (${say(error)}). One whose control was transferred is drawn ` +
        'where its OffscreenCanvas is: draw on that',
    );
  }
  if (context) return context;
  throw wrong(
    kind === '2d'
      ? "the canvas has a context of another kind, as of outputs: 'gpu': give these one of their own"
      : 'the canvas has a context of another kind, or this browser gives no "webgpu" one: outputs on ' +
          "the GPU need a canvas of their own; {outputs: 'cpu'} draws on the others",
  );
}

/**
 * @param {readonly Signature[]} signature  the model's outputs
 * @param {any} canvas @param {Record<string, any>} outputs  what a run returned
 * @param {string | undefined} name
 * @param {((context: any, data: GPUBuffer, width: number, height: number, opaque: boolean) => Promise<void>)
 *   | undefined} show  of an engine on the GPU
 * @returns {Promise<void> | undefined}  when the GPU has taken it
 */
export function draw(signature, canvas, outputs, name, show) {
  const spec = chosen(signature, name);
  const type = typeName(canvas);
  if (!/^(HTMLCanvas|OffscreenCanvas)/.test(type)) {
    const found = canvas === null || typeof canvas !== 'object' ? `${canvas}` : article(type);
    throw wrong(`expected an HTMLCanvasElement or OffscreenCanvas, found ${found}`);
  }
  const { data, shape } = outputs?.[spec.name] ?? {};
  const onGpu = isGpuBuffer(data);
  const [height, width] = shape?.length === 2 ? shape : [];
  if (onGpu ? height === undefined : !(data instanceof Uint32Array) || data.length !== height * width)
    throw wrong(`expected what run() returned, with "${spec.name}" in it`);
  if (onGpu && !show)
    throw wrong('these outputs are on a GPU, and this model is not: draw them with the model that made them');
  const context = contextOf(canvas, onGpu ? 'webgpu' : '2d');
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  if (!width || !height) return;
  if (!onGpu) {
    const bytes = new Uint8ClampedArray(
      /** @type {ArrayBuffer} */ (data.buffer),
      data.byteOffset,
      data.byteLength,
    );
    context.putImageData(new ImageData(bytes, width, height), 0, 0);
  } else {
    const opaque = !/^(rgba|mask)$/.test(/** @type {any} */ (spec.drawn).channels);
    return show?.(context, data, width, height, opaque);
  }
}
