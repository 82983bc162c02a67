/**
 * What the page asks of a worker: for each call, the rule of its value and those of its arguments.
 * Both sides check what arrives, because a worker that the page made may run any script.
 *
 * A new worker takes the calls of `START`, which give it its role, and with it other calls.
 *
 * @typedef {import('../tensors.js').Elements} Elements
 * @typedef {import('../model.js').Job} Job
 * @typedef {Record<string, readonly [Rule<any>, ...Rule<any>[]]>} Table
 */
/**
 * @template T
 * @typedef {import('../rules.js').Rule<T>} Rule
 */
/**
 * The arguments of a call.
 * @template {readonly [Rule<any>, ...Rule<any>[]]} C
 * @typedef {C extends readonly [any, ...infer R extends Rule<any>[]]
 *   ? { [I in keyof R]: ReturnType<R[I]> } : never} Args
 */
/**
 * The operations that answer the calls of a table.
 * @template {Table} T
 * @typedef {{ [K in keyof T]: (...args: Args<T[K]>) =>
 *   ReturnType<T[K][0]> | Promise<ReturnType<T[K][0]>> }} Operations
 */
import { check, storage } from '../descriptor.js';
import { flag, is, list, object, record, text, whole } from '../rules.js';
import { typeName } from '../tensors.js';

/** @template T @param {string} name @returns {Rule<T>} */
const kind = (name) => is(`a ${name}`, (value) => typeName(value) === name);
/** @type {Rule<Elements>} */
const elements = is('a typed array', ArrayBuffer.isView);
/** @type {Rule<Uint8Array>} */
const bytes = kind('Uint8Array');
/** @type {Rule<number>} */
const number = kind('Number');
/** @type {Rule<WebAssembly.Module>} */
const module = kind('WebAssembly.Module');
/** @type {Rule<WebAssembly.Memory>} */
const memory = kind('WebAssembly.Memory');
/** @type {Rule<void>} */
const nothing = kind('Undefined');
/** @type {Rule<import('../descriptor.js').Descriptor>} */
const model = (value, at) => check(value, at);
const layout = object({ arena: whole, stacks: whole, scratch: whole, pages: whole });
/** @type {Rule<Job['inputs']>} */
const inputs = list(elements);
/** @type {Rule<Job>} */
const job = object({
  dims: record(whole),
  inputs,
  counts: list(whole),
  hidden: list(flag),
  gpu: flag,
});
const taken = object({ weights: whole, activations: whole, io: whole, total: whole });
const step = object({ name: text, origin: text, ms: number });

/** @template {readonly [Rule<any>, ...Rule<any>[]]} R @param {R} rules @returns {R} */
const call = (...rules) => rules;

export const START = {
  own: call(taken, object({ model, module })),
  join: call(nothing, object({ module, memory, layout, thread: whole })),
};
/** Of the one that owns the model's memory. */
export const OWNER = {
  load: call(nothing, whole, bytes),
  prepare: call(nothing),
  run: call(object({ outputs: list(elements), inputs }), job),
  profile: call(list(step), job),
  reset: call(nothing),
  read: call(elements, object({ dtype: storage, offset: whole }), whole, whole),
};
/** Of one of several on shared memory. */
export const PART = {
  prepare: call(nothing),
  run: call(whole),
  profile: call(list(number)),
};
