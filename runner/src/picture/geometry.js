/**
 * Where the pixels of a picture go: the size that an input takes, and which part of the resized
 * picture lies where in it. The same is in webdnn/picture/ for references.
 *
 * @typedef {import('../descriptor.js').ImageSpec} ImageSpec
 * @typedef {import('../descriptor.js').Signature} Signature
 * @typedef {import('../descriptor.js').Dimension} Dimension
 * @typedef {import('./resample.js').Box} Box
 * @typedef {{
 *   out: readonly [number, number], box: Box, whole: readonly [number, number], part: Box,
 *   at: readonly [number, number], pad: number | undefined,
 * }} Plan  the size of the result; `box` of the picture is resized to `whole`, of which `part` lies
 *   in the result from `at`; the word around it, where there is anything around it
 */
import { WebDNNError } from '../errors.js';

/**
 * The plan for a picture of this size.
 * @param {Signature} signature @param {number} width @param {number} height
 * @param {readonly Dimension[]} dimensions
 * @returns {Plan}
 */
export function planned({ name, shape, image }, width, height, dimensions) {
  const spec = /** @type {ImageSpec} */ (image);
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
  /** @type {Box} */
  const box = [0, 0, width, height];
  const [w, h] = size;
  if (crop) {
    const x = halfEven((w - crop[0]) / 2);
    const y = halfEven((h - crop[1]) / 2);
    const part = /** @type {Box} */ ([x, y, x + crop[0], y + crop[1]]);
    return { out: crop, box, whole: size, part, at: [0, 0], pad: undefined };
  }
  if (spec.fit === 'contain') {
    const factor = Math.min(w / width, h / height);
    const inner = [width, height].map((n, i) =>
      Math.min(Math.max(Math.trunc(n * factor + 0.5), 1), size[i]),
    );
    const whole = /** @type {[number, number]} */ (inner);
    const [r, g, b] = spec.pad ?? [0, 0, 0];
    return {
      out: size,
      box,
      whole,
      part: [0, 0, inner[0], inner[1]],
      at: [(w - inner[0]) >> 1, (h - inner[1]) >> 1],
      pad: (0xff000000 | (b << 16) | (g << 8) | r) >>> 0,
    };
  }
  if (spec.fit === 'cover' && width * h !== w * height) {
    const [i, middle] = width * h > w * height ? [0, (height * w) / h] : [1, (width * h) / w];
    const start = (box[i + 2] - middle) / 2;
    [box[i], box[i + 2]] = [start, start + middle];
  }
  return { out: size, box, whole: size, part: [0, 0, w, h], at: [0, 0], pad: undefined };
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
