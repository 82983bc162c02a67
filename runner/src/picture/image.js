/**
 * Pictures as inputs: whatever a page holds becomes RGBA pixels of the size that the model takes.
 *
 *     const pictures = new Pictures();
 *     pictures.read(signature, video, dims);   // { data: Uint32Array, shape: [224, 224] }
 *
 * Only reading goes through a canvas; resizing is our own (resample.js). A result is the same in
 * every browser and in the transpiler's reading (webdnn/picture/); with `resample=fast` the browser
 * halves large pictures first. What is transparent is laid on white, unless the model takes the alpha
 * channel.
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

/**
 * How often the browser may halve a side that becomes `ratio` times shorter: what it leaves is still
 * twice to four times as long, and resized by our own filter.
 * @param {number} ratio
 */
const halved = (ratio) => Math.max(Math.floor(Math.log2(ratio)) - 1, 0);

/** A side, halved so often. @param {number} side @param {number} times */
const halfOf = (side, times) => Math.max(Math.round(side / 2 ** times), 1);

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
    const alpha = spec.channels === 'rgba';
    // A picture that the browser has halved is resized as the picture itself would be.
    const fast = spec.resample === 'fast' && !given;
    const halvings = [0, 1].map((i) => (fast ? halved((box[i + 2] - box[i]) / whole[i]) : 0));
    /** @type {Raster} */
    let raster = given ? { data: given, width, height } : this.#draw(name, value, type, width, height, halvings);
    const [sx, sy] = [raster.width / width, raster.height / height];
    const within = /** @type {Box} */ (box.map((edge, i) => edge * (i % 2 ? sy : sx)));
    if (!alpha) raster = this.#onWhite(raster);
    const source = wordsOf(alpha ? this.#multiplied(raster) : raster.data);
    const from = /** @type {const} */ ([source, raster.width, raster.height, within]);
    this.#resampler.resize(...from, whole, part, data, out[0], at, alpha);
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
   * Reads what can be drawn, halved as often as is asked for.
   * @param {string} name @param {any} source @param {string} type
   * @param {number} width @param {number} height
   * @param {readonly number[]} halvings  of the width and of the height
   * @returns {Raster}
   */
  #draw(name, source, type, width, height, halvings) {
    let context = this.#context;
    /** Sides after some steps. @param {number} step */
    const sides = (step) =>
      /** @type {const} */ ([
        halfOf(width, Math.min(step, halvings[0])),
        halfOf(height, Math.min(step, halvings[1])),
      ]);
    let [w, h] = sides(1);
    try {
      if (!context) {
        const canvas =
          typeof OffscreenCanvas === 'function'
            ? new OffscreenCanvas(w, h)
            : Object.assign(document.createElement('canvas'), { width: w, height: h });
        context = this.#context = canvas.getContext('2d', {
          willReadFrequently: true,
          colorSpace: 'srgb',
        });
      }
      const { canvas } = context;
      // Setting a size clears the canvas, also of another origin's mark.
      if (canvas.width !== w) canvas.width = w;
      if (canvas.height !== h) canvas.height = h;
      context.globalCompositeOperation = 'copy';
      // Between neighbours: of half the size, that is the mean of two, in every browser.
      context.imageSmoothingQuality = 'low';
      context.drawImage(source, 0, 0, w, h);
      for (let step = 2; step <= Math.max(...halvings); step++) {
        const before = [w, h];
        [w, h] = sides(step);
        context.drawImage(canvas, 0, 0, ...before, 0, 0, w, h);
      }
      return context.getImageData(0, 0, w, h);
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
