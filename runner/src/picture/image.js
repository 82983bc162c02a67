/**
 * Pictures as inputs: whatever a page holds becomes RGBA pixels of the size that the model takes.
 *
 *     const pictures = new Pictures();
 *     pictures.read(signature, video, dims);   // { data: Uint32Array, shape: [224, 224] }
 *
 * Only reading goes through a canvas; resizing is our own (resample.js). A result is the same in
 * every browser and in the transpiler's reading (webdnn/picture/). What is transparent is laid on
 * white, unless the model takes the alpha channel.
 *
 * @typedef {import('../descriptor.js').ImageSpec} ImageSpec
 * @typedef {import('../descriptor.js').Signature} Signature
 * @typedef {import('../descriptor.js').Dimension} Dimension
 * @typedef {import('./source.js').Raster} Raster
 * @typedef {import('./resample.js').Box} Box
 */
import { WebDNNError, say } from '../errors.js';
import { typeName } from '../tensors.js';
import { planned } from './geometry.js';
import { Resampler } from './resample.js';
import { article, sized } from './source.js';

/** Pixels as words; a copy where the bytes do not begin on a word. @param {Uint8Array | Uint8ClampedArray} bytes */
function wordsOf(bytes) {
  const { buffer, byteOffset, length } = bytes.byteOffset % 4 ? bytes.slice() : bytes;
  return new Uint32Array(buffer, byteOffset, length / 4);
}

/** @param {Uint32Array<ArrayBuffer>} words */
const asBytes = ({ buffer }) => new Uint8Array(buffer);

/** Reads and resizes pictures; keeps its canvas and buffers from one picture to the next. */
export class Pictures {
  /** @type {any} */ #context;
  #resampler = new Resampler();
  /** @type {Map<string, Uint32Array<ArrayBuffer>>} */ #buffers = new Map();

  /**
   * A picture as the model's input takes it: one word a pixel.
   * @param {Signature} signature @param {any} value @param {readonly Dimension[]} dimensions
   * @param {string} [type]  what the page gave, of which `value` was made
   * @param {ArrayBuffer} [spare]  where the result may lie, if it is as large
   * @returns {{ data: Uint32Array<ArrayBuffer>, shape: number[] }}
   */
  read(signature, value, dimensions, type = typeName(value), spare = undefined) {
    const { name, image } = signature;
    const spec = /** @type {ImageSpec} */ (image);
    const { width, height, data: given } = sized(name, value);
    const { out, box, whole, part, at, pad } = planned(signature, width, height, dimensions);
    const count = out[0] * out[1];
    const data =
      spare?.byteLength === 4 * count ? new Uint32Array(spare) : this.#words(`out ${name}`, count);
    if (pad !== undefined) data.fill(pad);
    const shape = [out[1], out[0]];
    if (spec.resample === 'fast' && !given) {
      const [wide, high] = [part[2] - part[0], part[3] - part[1]];
      // Of the picture, what becomes the part: the browser resizes that.
      const [sx, sy] = [(box[2] - box[0]) / whole[0], (box[3] - box[1]) / whole[1]];
      /** @type {Box} */
      const from = [box[0] + part[0] * sx, box[1] + part[1] * sy, wide * sx, high * sy];
      const drawn = this.#draw(name, value, type, wide, high, from);
      const words = wordsOf((spec.channels === 'rgba' ? drawn : this.#onWhite(drawn)).data);
      for (let y = 0; y < high; y++)
        data.set(words.subarray(y * wide, (y + 1) * wide), (y + at[1]) * out[0] + at[0]);
      return { data, shape };
    }
    const alpha = spec.channels === 'rgba';
    /** @type {Raster} */
    let raster = given
      ? { data: given, width, height }
      : this.#draw(name, value, type, width, height);
    if (!alpha) raster = this.#onWhite(raster);
    const source = wordsOf(alpha ? this.#multiplied(raster) : raster.data);
    this.#resampler.resize(source, width, height, box, whole, part, data, out[0], at, alpha);
    if (alpha) divided(asBytes(data));
    return { data, shape };
  }

  /** A kept buffer of so many pixels. @param {string} key @param {number} length */
  #words(key, length) {
    let found = this.#buffers.get(key);
    if (found?.length !== length) this.#buffers.set(key, (found = new Uint32Array(length)));
    return found;
  }

  /**
   * Reads what can be drawn, or a part of it, at a size.
   * @param {string} name @param {any} source @param {string} type
   * @param {number} width @param {number} height
   * @param {Box} [from]  the part: left, top, width, height
   * @returns {Raster}
   */
  #draw(name, source, type, width, height, from) {
    let context = this.#context;
    try {
      if (!context) {
        const canvas =
          typeof OffscreenCanvas === 'function'
            ? new OffscreenCanvas(width, height)
            : Object.assign(document.createElement('canvas'), { width, height });
        context = this.#context = canvas.getContext('2d', {
          willReadFrequently: true,
          colorSpace: 'srgb',
        });
      }
      const { canvas } = context;
      // Setting a size clears the canvas, also of another origin's mark.
      if (canvas.width !== width) canvas.width = width;
      if (canvas.height !== height) canvas.height = height;
      context.globalCompositeOperation = 'copy';
      context.imageSmoothingQuality = 'medium';
      if (from) context.drawImage(source, ...from, 0, 0, width, height);
      else context.drawImage(source, 0, 0, width, height);
      return context.getImageData(0, 0, width, height);
    } catch (error) {
      this.#context = undefined; // it may be marked as another origin's
      const foreign = /** @type {any} */ (error)?.name === 'SecurityError';
      throw new WebDNNError(
        'image',
        foreign
          ? `input "${name}": the pixels of ${article(type)} from another origin may not be read. ` +
              'Load it with crossOrigin = "anonymous" from a server that allows it ' +
              '(Access-Control-Allow-Origin), or from your own'
          : `input "${name}": could not read ${width} × ${height} pixels of ${article(type)}: ` +
              say(error),
        error,
      );
    }
  }

  /** Opaque pixels: what is transparent is laid on white. @param {Raster} raster @returns {Raster} */
  #onWhite({ data, width, height }) {
    let opaque = true;
    for (let i = 3; opaque && i < data.length; i += 4) opaque = data[i] === 255;
    if (opaque) return { data, width, height };
    const out = asBytes(this.#words('white', data.length / 4));
    for (let i = 0; i < data.length; i += 4) {
      const a = data[i + 3];
      const white = 255 * (255 - a) + 127;
      out[i] = ((data[i] * a + white) / 255) | 0;
      out[i + 1] = ((data[i + 1] * a + white) / 255) | 0;
      out[i + 2] = ((data[i + 2] * a + white) / 255) | 0;
      out[i + 3] = 255;
    }
    return { data: out, width, height };
  }

  /** Colours times alpha, so that transparent ones do not bleed. @param {Raster} raster */
  #multiplied({ data }) {
    const out = asBytes(this.#words('multiplied', data.length / 4));
    for (let i = 0; i < data.length; i += 4) {
      const a = (out[i + 3] = data[i + 3]);
      for (let c = i; c < i + 3; c++) {
        const product = data[c] * a + 128;
        out[c] = (product + (product >> 8)) >> 8;
      }
    }
    return out;
  }
}

/** Colours without their alpha, in place. @param {Uint8Array} data */
function divided(data) {
  for (let i = 0; i < data.length; i += 4) {
    const a = data[i + 3];
    if (a === 0 || a === 255) continue;
    for (let c = i; c < i + 3; c++) data[c] = Math.min(255, Math.trunc((255 * data[c]) / a));
  }
}
