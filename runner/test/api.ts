/** What types.d.ts declares is what the runner is. There is nothing to run: tsc checks it. */
import { PageModel as Model } from '../src/loop.js';
import * as written from '../src/index.js';
import type * as declared from '../src/types.d.ts';

type None<T> = [T] extends [never] ? true : T;

export const api: typeof declared = written;
export const undeclared: None<Exclude<keyof typeof written, keyof typeof declared>> = true;

declare const model: Model;
export const shown: declared.Model<any, any> = model;
export const hidden: None<Exclude<keyof Model, keyof declared.Model>> = true;
