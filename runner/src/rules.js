/**
 * Rules: what plain data must look like. A rule gives back what it was given, or throws: where it
 * is, what was expected, what was found.
 *
 *     const point = object({ x: between(0, 9), 'label?': text });
 *     checked(point, { x: 10 }, 'file.json', 'Write it again.');
 *     // file.json: x: expected a whole number from 0 to 9, found 10. Write it again.
 *
 * What a rule returns is typed: a type that disagrees with its rule does not compile.
 */
import { WebDNNError, say } from './errors.js';

/**
 * @template T
 * @typedef {(value: any, at: string) => T} Rule  at: the value's place, `.targets.wasm`
 */
/**
 * What `object` returns: of the keys, those that end in `?` may be absent.
 * @template {Record<string, Rule<any>>} R
 * @typedef {{ [K in keyof R as K extends `${string}?` ? never : K]: ReturnType<R[K]> }
 *   & { [K in keyof R as K extends `${infer N}?` ? N : never]?: ReturnType<R[K]> }} Checked
 */

/** @param {string} at @param {string} expected @param {unknown} found @returns {never} */
export function wrong(at, expected, found) {
  let text = Object.prototype.toString.call(found); // of what JSON has no text for
  try {
    const json = found === undefined ? 'nothing' : typeof found === 'number' ? `${found}` : JSON.stringify(found);
    if (json && (json !== '{}' || text === '[object Object]')) text = json; // a Promise has an empty one
  } catch {} // a circle
  const short = text.length > 60 ? `${text.slice(0, 60)}…` : text;
  throw new Error(`${at && `${at.slice(1)}: `}expected ${expected}, found ${short}`);
}

/**
 * @template T
 * @param {string} expected @param {(value: any) => boolean} test @returns {Rule<T>}
 */
export const is = (expected, test) => (value, at) =>
  test(value) ? value : wrong(at, expected, value);

/** @type {Rule<string>} */
export const text = is('a text', (value) => typeof value === 'string');
/** @type {Rule<boolean>} */
export const flag = is('true or false', (value) => typeof value === 'boolean');
/** A multiple of `unit` within a range. @returns {Rule<number>} */
export const between = (low = 0, high = Number.MAX_SAFE_INTEGER, unit = 1) =>
  is(
    (unit > 1 ? `a multiple of ${unit}` : 'a whole number') +
      (low === high ? `, ${low}` : ` from ${low} to ${high}`),
    (value) => Number.isInteger(value) && value % unit === 0 && value >= low && value <= high,
  );
export const whole = between();
/** @template {string} T @param {T[]} names @returns {Rule<T>} */
export const oneOf = (...names) => is(names.join(' or '), (value) => names.includes(value));

/** @template T @param {Rule<T>} rule @param {number} [length] @returns {Rule<T[]>} */
export const list = (rule, length) => (value, at) => {
  if (!Array.isArray(value) || (length ?? value.length) !== value.length)
    wrong(at, length === undefined ? 'a list' : `a list of ${length}`, value);
  for (const i of value.keys()) rule(value[i], `${at}[${i}]`);
  return value;
};
/**
 * A list of which each part has a rule of its own; none may be absent.
 * @template T @param {number} length @param {(i: number) => Rule<T>} rule @returns {Rule<T[]>}
 */
export const each = (length, rule) => (value = [], at) => {
  let i = 0;
  return list((part, place) => rule(i++)(part, place), length)(value, at);
};

/** @type {Rule<Record<string, any>>} */
const fields = is(
  'an object',
  (value) => typeof value === 'object' && value !== null && !Array.isArray(value),
);
/** @template T @param {Rule<T>} rule @returns {Rule<Record<string, T>>} */
export const record = (rule) => (value, at) => {
  for (const key of Object.keys(fields(value, at))) rule(value[key], `${at}.${key}`);
  return value;
};
/** @template {Record<string, Rule<any>>} R @param {R} rules @returns {Rule<Checked<R>>} */
export const object = (rules) => (value, at) => {
  fields(value, at);
  for (const key of Object.keys(rules)) {
    const name = key.replace('?', '');
    if (name === key || Object.hasOwn(value, name)) rules[key](value[name], `${at}.${name}`);
  }
  return value;
};
/**
 * What one rule lets through, seen by another.
 * @template T
 * @param {Rule<T>} rule @param {(value: T, at: string) => unknown} more @returns {Rule<T>}
 */
export const and = (rule, more) => (value, at) => {
  more(rule(value, at), at);
  return value;
};

/**
 * A value that a rule lets through. Raises the one error of the runner.
 * @template T
 * @param {Rule<T>} rule
 * @param {unknown} value
 * @param {string} from  whose value it is
 * @param {string} remedy  what to do
 * @param {import('./errors.js').ErrorCode} [code]
 * @returns {T}
 */
export function checked(rule, value, from, remedy, code = 'descriptor') {
  try {
    return rule(value, '');
  } catch (error) {
    throw new WebDNNError(code, `${from}: ${say(error)}. ${remedy}`, error);
  }
}
