/**
 * Sizes that depend on symbolic dimensions.
 *
 *     evaluate(['*', 3, ['//', 'h', 2]], { h: 65 })   // 96
 *
 * `//` and `%` round towards minus infinity; dividing by zero gives 0, as in the transpiler.
 *
 * @typedef {number | string | [string, ...any[]]} Int
 * @typedef {Readonly<Record<string, number>>} Dims
 */
/**
 * What two integers give; beside these there is `select`, of three.
 * @type {Record<string, (a: number, b: number) => number>}
 */
export const OPERATORS = {
  '+': (a, b) => a + b,
  '-': (a, b) => a - b,
  '*': (a, b) => a * b,
  '//': (a, b) => (b === 0 ? 0 : Math.floor(a / b)),
  '%': (a, b) => (b === 0 ? 0 : a - b * Math.floor(a / b)),
  min: Math.min,
  max: Math.max,
  '<': (a, b) => +(a < b),
  '<=': (a, b) => +(a <= b),
  '==': (a, b) => +(a === b),
  '!=': (a, b) => +(a !== b),
  '&&': (a, b) => +(a !== 0 && b !== 0),
  '||': (a, b) => +(a !== 0 || b !== 0),
};

/** The value of a checked Int. @param {Int} int @param {Dims} dims @returns {number} */
export function evaluate(int, dims) {
  if (typeof int === 'number') return int;
  if (typeof int === 'string') return dims[int];
  const [op, x, y, z] = int;
  if (op === 'select') return evaluate(evaluate(x, dims) ? y : z, dims);
  return OPERATORS[op](evaluate(x, dims), evaluate(y, dims));
}

/** A shape's sizes. @param {readonly Int[]} shape @param {Dims} dims */
export const sizes = (shape, dims) => shape.map((size) => evaluate(size, dims));

/** @param {readonly number[]} shape */
export const product = (shape) => shape.reduce((n, size) => n * size, 1);

/**
 * The lowest and the highest element that strides reach from a start.
 * @param {number[]} shape @param {number[]} strides @param {number} start
 */
export function reach(shape, strides, start) {
  let [low, high] = [start, start];
  strides.forEach((stride, axis) => {
    const far = stride * Math.max(0, shape[axis] - 1);
    if (far < 0) low += far;
    else high += far;
  });
  return [low, high];
}

/** @param {number} n @param {number} to */
export const roundUp = (n, to) => Math.ceil(n / to) * to;

/** Whether a size can be computed yet. @param {Int} int @param {Dims} dims @returns {boolean} */
export const known = (int, dims) =>
  Array.isArray(int)
    ? int.slice(1).every((part) => known(part, dims))
    : typeof int === 'number' || dims[int] !== undefined;

/** A size as people read it: `h`, `2 * h`. @param {Int} int @returns {string} */
export function show(int) {
  if (!Array.isArray(int)) return `${int}`;
  const [op, ...args] = int;
  const texts = args.map(show);
  return args.length === 2 && !/^m/.test(op)
    ? `(${texts.join(` ${op} `)})`
    : `${op}(${texts.join(', ')})`;
}
