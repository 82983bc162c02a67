/** What a descriptor's `model.js` declares above the code of `bound.js`. */

/** The text of model.json. */
declare const MODEL: string;

/** The address of each other file by its name. Throws where this module has no address. */
declare const FILES: () => { readonly [name: string]: string };

/** The runner's modules that a page may fetch, as seen from `model.js`. */
declare const MODULES: readonly string[];
