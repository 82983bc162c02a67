/**
 * Resizing of pictures in whole numbers, because browsers scale differently: a triangle filter as
 * wide as a pixel of the result, columns before rows, 8 bits between, which is what Pillow's
 * BILINEAR does. A pixel is a word, R in its lowest byte.
 *
 * @typedef {{ first: Int32Array, count: Int32Array, weights: Int32Array, widest: number }} Taps
 * @typedef {[left: number, top: number, right: number, bottom: number]} Box
 */

const BITS = 22; // of a weight's fraction: 8 bits times that fit into 31
const HALF = 1 << (BITS - 1);

/**
 * The weighted mean of opaque pixels, `stride` apart.
 * @param {Uint32Array} words @param {number} from @param {number} stride
 * @param {Int32Array} weights @param {number} k @param {number} count
 */
function mixedOpaque(words, from, stride, weights, k, count) {
  let r = HALF;
  let g = HALF;
  let b = HALF;
  for (const end = k + count; k < end; k++, from += stride) {
    const weight = weights[k];
    const pixel = words[from];
    r = (r + Math.imul(pixel & 255, weight)) | 0;
    g = (g + Math.imul((pixel >>> 8) & 255, weight)) | 0;
    b = (b + Math.imul((pixel >>> 16) & 255, weight)) | 0;
  }
  return (r >> BITS) | ((g >> BITS) << 8) | ((b >> BITS) << 16) | 0xff000000;
}

/** @type {typeof mixedOpaque} */
function mixed(words, from, stride, weights, k, count) {
  let a = HALF;
  for (let i = 0; i < count; i++)
    a = (a + Math.imul(words[from + i * stride] >>> 24, weights[k + i])) | 0;
  const colours = mixedOpaque(words, from, stride, weights, k, count);
  return (colours & 0xffffff) | ((a >> BITS) << 24);
}

/** Keeps the filters and the picture between, from one picture to the next. */
export class Resampler {
  /** @type {Map<string, Taps>} */ #taps = new Map();
  #between = new Uint32Array(0);

  /**
   * Resizes a box of the source to `size`, of which `part` is written.
   * @param {Uint32Array} words @param {number} width @param {number} height  the source
   * @param {Box} box
   * @param {readonly [number, number]} size @param {Box} part
   * @param {Uint32Array} out @param {number} pitch  pixels from one row of `out` to the next
   * @param {readonly number[]} at  where in `out` the part begins
   * @param {boolean} alpha  false: all is opaque
   */
  resize(words, width, height, box, size, part, out, pitch, at, alpha) {
    const mix = alpha ? mixed : mixedOpaque;
    const across = this.#triangle(width, box[0], box[2], size[0]);
    const down = this.#triangle(height, box[1], box[3], size[1]);
    const [left, top, right, bottom] = part;
    const columns = right - left;
    const firstRow = down.first[top];
    const rows = down.first[bottom - 1] + down.count[bottom - 1] - firstRow;
    // Columns first, of the rows that are needed.
    let between = words;
    let line = width;
    let begin = width * firstRow + left;
    if (size[0] !== width || box[0] !== 0 || box[2] !== width) {
      if (this.#between.length !== columns * rows) this.#between = new Uint32Array(columns * rows);
      between = this.#between;
      line = columns;
      begin = 0;
      const { first, count, weights, widest } = across;
      for (let y = 0, to = 0; y < rows; y++) {
        const start = width * (y + firstRow);
        for (let x = left; x < right; x++, to++)
          between[to] = mix(words, start + first[x], 1, weights, x * widest, count[x]);
      }
    }
    const { first, count, weights, widest } = down;
    const copied = size[1] === height && box[1] === 0 && box[3] === height;
    for (let y = top; y < bottom; y++) {
      const to = pitch * (y - top + at[1]) + at[0];
      const from = begin + line * (first[y] - firstRow);
      if (copied) out.set(between.subarray(from, from + columns), to);
      else
        for (let x = 0; x < columns; x++)
          out[to + x] = mix(between, from + x, line, weights, y * widest, count[y]);
    }
  }

  /** @param {[length: number, low: number, high: number, size: number]} line */
  #triangle(...line) {
    const key = line.join();
    const kept = this.#taps.get(key);
    if (kept) return kept;
    if (this.#taps.size > 16) this.#taps.clear();
    const taps = triangle(...line);
    this.#taps.set(key, taps);
    return taps;
  }
}

/**
 * Which pixels of a line make each pixel of the result, and their weights.
 * @param {number} length @param {number} low @param {number} high  the part of the line
 * @param {number} size  of the result
 * @returns {Taps}
 */
export function triangle(length, low, high, size) {
  const start = Math.fround(low);
  const scale = Math.fround(Math.fround(high) - start) / size;
  const support = Math.max(scale, 1);
  const widest = 2 * Math.ceil(support) + 1;
  const first = new Int32Array(size);
  const count = new Int32Array(size);
  const weights = new Int32Array(size * widest);
  const raw = new Float64Array(widest);
  for (let k = 0; k < size; k++) {
    const centre = start + (k + 0.5) * scale;
    first[k] = Math.max(Math.trunc(centre - support + 0.5), 0);
    count[k] = Math.min(Math.trunc(centre + support + 0.5), length) - first[k];
    let total = 0;
    for (let i = 0; i < count[k]; i++) {
      raw[i] = Math.max(0, 1 - Math.abs((first[k] + i - centre + 0.5) * (1 / support)));
      total += raw[i];
    }
    for (let i = 0; i < count[k]; i++)
      weights[k * widest + i] = Math.trunc(raw[i] * (1 / total) * (1 << BITS) + 0.5);
  }
  return { first, count, weights, widest };
}
