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
import { WebDNNError } from './errors.js';

/** @param {Int} int @param {Dims} dims @returns {number} */
export function evaluate(int, dims) {
  if (typeof int === 'number') return int;
  if (typeof int === 'string') {
    const size = dims[int];
    if (size === undefined)
      throw new WebDNNError(
        'descriptor',
        `the descriptor uses a dimension "${int}" that it does not declare`,
      );
    return size;
  }
  const [op, x, y, z] = int;
  if (op === 'select') return evaluate(evaluate(x, dims) ? y : z, dims);
  const a = evaluate(x, dims);
  const b = evaluate(y, dims);
  switch (op) {
    case '+':
      return a + b;
    case '-':
      return a - b;
    case '*':
      return a * b;
    case '//':
      return b === 0 ? 0 : Math.floor(a / b);
    case '%':
      return b === 0 ? 0 : a - b * Math.floor(a / b);
    case 'min':
      return Math.min(a, b);
    case 'max':
      return Math.max(a, b);
    case '<':
      return +(a < b);
    case '<=':
      return +(a <= b);
    case '==':
      return +(a === b);
    case '!=':
      return +(a !== b);
    case '&&':
      return +(a !== 0 && b !== 0);
    case '||':
      return +(a !== 0 || b !== 0);
    default:
      throw new WebDNNError('descriptor', `the descriptor uses an unknown operator "${op}"`);
  }
}

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
