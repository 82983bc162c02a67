/**
 * Pictures as inputs: whatever a page holds becomes RGBA pixels of the size that the model takes.
 *
 *     const pictures = new Pictures();
 *     pictures.read(video, spec, dims);   // { data: Uint32Array, shape: [224, 224] }
 *
 * Only reading goes through a canvas; resizing is our own (resample.js). A result is the same in
 * every browser and in the transpiler's reading (webdnn/picture/). What is transparent is laid on
 * white, unless the model takes the alpha channel.
 *
 * @typedef {import('../descriptor.js').ImageSpec} ImageSpec
 * @typedef {import('../descriptor.js').Signature} Signature
 * @typedef {import('../descriptor.js').Dimension} Dimension
 * @typedef {{ data: Uint8Array | Uint8ClampedArray, width: number, height: number }} Raster  RGBA
 * @typedef {import('./resample.js').Box} Box
 */
import { WebDNNError, say } from '../errors.js';
import { typeName } from '../tensors.js';
import { Resampler } from './resample.js';

/** Pixels as words; a copy where the bytes do not begin on a word. @param {Uint8Array | Uint8ClampedArray} bytes */
function wordsOf(bytes) {
  const { buffer, byteOffset, length } = bytes.byteOffset % 4 ? bytes.slice() : bytes;
  return new Uint32Array(buffer, byteOffset, length / 4);
}

/** @param {Uint32Array<ArrayBuffer>} words */
const asBytes = ({ buffer }) => new Uint8Array(buffer);

/** What has a size and can be drawn: where its width and height are, and what it lacks unloaded. */
const DRAWABLE = /** @type {Record<string, [string, string, string]>} */ ({
  HTMLImageElement: ['naturalWidth', 'naturalHeight', 'wait for its decode(), or its load event'],
  HTMLVideoElement: ['videoWidth', 'videoHeight', 'wait for its loadeddata event'],
  HTMLCanvasElement: ['width', 'height', 'give it a width and a height'],
  OffscreenCanvas: ['width', 'height', 'give it a width and a height'],
  ImageBitmap: ['width', 'height', 'it was closed'],
  VideoFrame: ['displayWidth', 'displayHeight', 'it was closed'],
});

const EXPECTED =
  'an image, canvas, video, ImageBitmap, VideoFrame, ImageData, Blob, or RGBA bytes as ' +
  '{data, width, height}';

/** @param {unknown} value @returns {value is Blob} */
export const isBlob = (value) => ['Blob', 'File'].includes(typeName(value));

/** Whether a value is meant as numbers rather than as a picture. @param {any} value */
export const isTensor = (value) =>
  ArrayBuffer.isView(value) ||
  typeName(value) === 'GPUBuffer' ||
  (typeName(value) === 'Object' && 'data' in value && !('width' in value));

/**
 * A Blob as something that can be read at once.
 * @param {string} name @param {Blob} blob @returns {Promise<ImageBitmap>}
 */
export async function decode(name, blob) {
  if (typeof createImageBitmap !== 'function') {
    throw new WebDNNError(
      'image',
      `input "${name}": a ${typeName(blob)} needs a browser to decode it; expected RGBA bytes as ` +
        '{data, width, height} here',
    );
  }
  try {
    return await createImageBitmap(blob); // turned as the photograph says: that is the default
  } catch (error) {
    throw new WebDNNError(
      'image',
      `input "${name}": expected a file with a picture that this browser can read, found ` +
        `${blob.size} bytes of type "${blob.type}" (${say(error)})`,
      error,
    );
  }
}

/** Reads and resizes pictures; keeps its canvas and buffers from one picture to the next. */
export class Pictures {
  /** @type {any} */ #context;
  #resampler = new Resampler();
  /** @type {Map<string, Uint32Array<ArrayBuffer>>} */ #buffers = new Map();

  /**
   * A picture as the model's input takes it: one word a pixel.
   * @param {Signature} signature @param {unknown} value @param {readonly Dimension[]} dimensions
   * @returns {{ data: Uint32Array, shape: number[] }}
   */
  read({ name, shape, image }, value, dimensions) {
    const spec = /** @type {ImageSpec} */ (image);
    const alpha = spec.channels === 'rgba';
    let raster = this.#raster(name, value);
    if (!alpha) raster = this.#onWhite(raster);
    const { width, height } = raster;
    /** @type {readonly [number, number]} */
    let size = [width, height];
    const { crop } = spec;
    if (spec.shorter) {
      const s = spec.shorter;
      size =
        width <= height
          ? [s, Math.trunc((s * height) / width)]
          : [Math.trunc((s * width) / height), s];
    } else if (spec.resize) {
      size = spec.resize;
    } else if (!crop) {
      size = openSize(name, width, height, spec, shape, dimensions);
    }
    if (crop && (crop[0] > size[0] || crop[1] > size[1])) {
      throw new WebDNNError(
        'image',
        `input "${name}": expected a picture of at least ${crop[0]} × ${crop[1]} pixels, ` +
          `found ${size[0]} × ${size[1]}`,
      );
    }
    const out = crop ?? size;
    const data = this.#words(`out ${name}`, out[0] * out[1]);
    /** @type {Box} */
    const box = [0, 0, width, height];
    /** @type {Box} where in the resized picture to look, and the place in the result */
    let part = [0, 0, size[0], size[1]];
    let at = [0, 0];
    let whole = size;
    if (crop) {
      const x = halfEven((size[0] - crop[0]) / 2);
      const y = halfEven((size[1] - crop[1]) / 2);
      part = [x, y, x + crop[0], y + crop[1]];
    } else if (spec.fit === 'cover') {
      const [w, h] = size;
      const [i, middle] =
        width * h > w * height ? [0, (height * w) / h] : [1, (width * h) / w];
      const start = (box[i + 2] - middle) / 2;
      if (width * h !== w * height) [box[i], box[i + 2]] = [start, start + middle];
    } else if (spec.fit === 'contain') {
      const factor = Math.min(size[0] / width, size[1] / height);
      const inner = [width, height].map((n, i) =>
        Math.min(Math.max(Math.trunc(n * factor + 0.5), 1), size[i]),
      );
      whole = /** @type {[number, number]} */ (inner);
      part = [0, 0, inner[0], inner[1]];
      at = [(size[0] - inner[0]) >> 1, (size[1] - inner[1]) >> 1];
      const [r, g, b] = spec.pad ?? [0, 0, 0];
      data.fill(0xff000000 | (b << 16) | (g << 8) | r);
    }
    const source = wordsOf(alpha ? this.#multiplied(raster) : raster.data);
    this.#resampler.resize(source, width, height, box, whole, part, data, out[0], at, alpha);
    if (alpha) divided(asBytes(data));
    return { data, shape: [out[1], out[0]] };
  }

  /** A kept buffer of so many pixels. @param {string} key @param {number} length */
  #words(key, length) {
    let found = this.#buffers.get(key);
    if (found?.length !== length) this.#buffers.set(key, (found = new Uint32Array(length)));
    return found;
  }

  /** Any source as RGBA bytes. @param {string} name @param {any} value @returns {Raster} */
  #raster(name, value) {
    const type = typeName(value);
    const drawable = DRAWABLE[type];
    if (drawable) return this.#draw(name, value, type, drawable);
    const { data, width, height, colorSpace, pixelFormat } = value ?? {};
    if (isBlob(value)) {
      throw new WebDNNError(
        'option',
        `input "${name}": a ${type} must be decoded first, which takes a moment: pass it to run(), ` +
          'or what createImageBitmap makes of it to runSync()',
      );
    }
    const bytes = data instanceof Uint8Array || data instanceof Uint8ClampedArray;
    if (!['ImageData', 'Object'].includes(type) || width === undefined) {
      throw new WebDNNError('dtype', `input "${name}": expected ${EXPECTED}, found ${found(value)}`);
    }
    const whole = (/** @type {any} */ n) => Number.isInteger(n) && n > 0;
    if (!bytes || !whole(width) || !whole(height) || data.length !== 4 * width * height) {
      const length = data?.length === undefined ? '' : ` of length ${data.length}`;
      throw new WebDNNError(
        'image',
        `input "${name}": expected data to be a Uint8ClampedArray of 4 · width · height bytes ` +
          `(RGBA), found ${typeName(data)}${length} for ${width} × ${height} pixels` +
          (pixelFormat && pixelFormat !== 'rgba-unorm8' ? ` of ${pixelFormat}` : ''),
      );
    }
    if (colorSpace && colorSpace !== 'srgb') {
      throw new WebDNNError(
        'image',
        `input "${name}": expected ImageData in the colour space srgb, found ${colorSpace}; read ` +
          "it with getImageData(…, {colorSpace: 'srgb'})",
      );
    }
    return { data, width, height };
  }

  /**
   * Reads what can be drawn.
   * @param {string} name @param {any} source @param {string} type
   * @param {[string, string, string]} drawable
   * @returns {Raster}
   */
  #draw(name, source, type, [wide, high, remedy]) {
    const [width, height] = [source[wide], source[high]];
    const unloaded = type === 'HTMLVideoElement' && source.readyState < 2;
    if (!width || !height || unloaded) {
      const svg = type === 'HTMLImageElement' && source.complete && source.src;
      throw new WebDNNError(
        'image',
        `input "${name}": expected a picture with pixels, found ` +
          (svg
            ? `an image without a size of its own, or one that could not be loaded (${source.src})`
            : `${article(type)} ${unloaded ? 'without a frame yet' : `of ${width} × ${height}`}; ${remedy}`),
      );
    }
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
      context.drawImage(source, 0, 0, width, height);
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

/**
 * The size of a picture where the model leaves it open: within its ranges, proportions kept.
 * @param {string} name @param {number} width @param {number} height @param {ImageSpec} spec
 * @param {Signature['shape']} shape  height, width
 * @param {readonly Dimension[]} dimensions
 * @returns {[number, number]}
 */
function openSize(name, width, height, { longest, multiple = 1 }, shape, dimensions) {
  const [rangeH, rangeW] = shape.map((size) =>
    typeof size === 'number'
      ? { min: size, max: size }
      : /** @type {Dimension} */ (dimensions.find((dim) => dim.name === size)),
  );
  let [w, h] = [width, height];
  if (typeof shape[0] === 'string' && shape[0] === shape[1]) w = h = Math.max(w, h);
  const low = [rangeW, rangeH].map(({ min }) => Math.ceil(min / multiple) * multiple);
  const high = [rangeW, rangeH].map(({ max }) => Math.floor(max / multiple) * multiple);
  const smallest = Math.max(low[0] / w, low[1] / h);
  const largest = Math.min(high[0] / w, high[1] / h);
  if (smallest > largest) {
    const show = ({ min = 0, max = 0 }) => (min === max ? `${min}` : `${min}..${max}`);
    throw new WebDNNError(
      'dimension',
      `input "${name}": expected a picture that scales to ${show(rangeW)} by ${show(rangeH)} ` +
        `pixels, found ${width} × ${height}`,
    );
  }
  const wanted = longest ? Math.min(1, longest / Math.max(w, h)) : 1;
  const factor = Math.min(Math.max(wanted, smallest), largest);
  const side = (/** @type {number} */ n, /** @type {number} */ i) =>
    Math.min(
      Math.max(Math.trunc((n * factor) / multiple + 0.5) * multiple, low[i]),
      high[i],
    );
  return [side(w, 0), side(h, 1)];
}

/** Rounds half to even, as Python does. @param {number} x */
function halfEven(x) {
  const down = Math.floor(x);
  return x - down === 0.5 ? down + (down % 2) : Math.round(x);
}

/** @param {any} value */
function found(value) {
  if (typeof value === 'string') return `the text ${JSON.stringify(value.slice(0, 40))}`;
  if (value === null || typeof value !== 'object') return String(value);
  return typeName(value) === 'Object' ? `an object with ${Object.keys(value).join(', ')}` : typeName(value);
}

/** @param {string} type */
const article = (type) => `${/^[AEHIO]/.test(type) ? 'an' : 'a'} ${type}`;
