/**
 * What a page asks of the worker that reads its pictures (pictures.js): for each call, the rule of
 * its value and those of its arguments.
 *
 * @typedef {import('../descriptor.js').Signature} Signature
 * @typedef {import('../descriptor.js').Dimension} Dimension
 */
/**
 * @template T
 * @typedef {import('../rules.js').Rule<T>} Rule
 */
import { is, list, object, record, text, whole } from '../rules.js';
import { typeName } from '../tensors.js';

/** @type {Rule<any>} */
const any = (value) => value;
/** @template T @param {string} name @returns {Rule<T>} */
const kind = (name) => is(`a ${name}`, (value) => typeName(value) === name);
/** @type {Rule<void>} */
const nothing = kind('Undefined');
/** @type {Rule<ArrayBuffer>} */
const buffer = kind('ArrayBuffer');
/** @type {Rule<Uint32Array<ArrayBuffer>>} */
const words = kind('Uint32Array');
/** @type {Rule<Signature>} */
const signature = /** @type {Rule<any>} */ (
  object({ name: text, shape: list(any), image: record(any) })
);
/** @type {Rule<Dimension[]>} */
const dimensions = /** @type {Rule<any>} */ (list(object({ name: text, min: whole, max: whole })));

/** @template {readonly [Rule<any>, ...Rule<any>[]]} R @param {R} rules @returns {R} */
const call = (...rules) => rules;

export const READER = {
  ready: call(nothing),
  /** `spare`: memory for the result, if it is as large; `bytes`: those of the source, given back. */
  read: call(
    /** @type {Rule<{ data: Uint32Array<ArrayBuffer>, shape: number[], bytes?: any }>} */ (
      /** @type {Rule<any>} */ (object({ data: words, shape: list(whole) }))
    ),
    object({ signature, source: any, type: text, dims: dimensions, 'spare?': buffer }),
  ),
};
