/**
 * Which of a descriptor's four wasm modules runs here, and why not a better one.
 *
 * @typedef {import('../descriptor.js').Descriptor} Descriptor
 * @typedef {import('../descriptor.js').WasmVariant} WasmVariant
 * @typedef {import('../errors.js').Refusal} Refusal
 * @typedef {import('../fetch.js').Files} Files
 * @typedef {import('../types.d.ts').LoadOptions} LoadOptions
 * @typedef {import('../types.d.ts').Rejection} Rejection
 * @typedef {{
 *   variant: WasmVariant, threads: number, place: 'local' | 'worker', reason: string,
 * }} Choice
 */
import { WebDNNError, say } from '../errors.js';
import { kernelError } from './instance.js';

/**
 * A module whose one function is a 128-bit instruction; `validate` says whether the engine knows
 * it.
 * @param {number[]} code
 */
const knows = (...code) =>
  WebAssembly.validate(
    Uint8Array.from([
      ...[0, 97, 115, 109, 1, 0, 0, 0], // magic, version
      ...[1, 5, 1, 96, 0, 1, 123], // the type () -> v128
      ...[3, 2, 1, 0], // one function of it
      ...[10, code.length + 4, 1, code.length + 2, 0, ...code, 11], // its code
    ]),
  );
const hasSimd = () => knows(65, 0, 253, 15, 253, 98); // i8x16.popcnt(splat)
const hasRelaxed = () => knows(65, 1, 253, 15, 65, 2, 253, 15, 253, 128, 2); // relaxed_swizzle

/** Why a worker cannot be had here, if so. @param {LoadOptions} options @param {string} script */
export function whyNoWorker({ worker }, script) {
  if (typeof worker === 'function') return '';
  if (typeof Worker === 'undefined') return 'there is no Worker in this place';
  const { origin } = globalThis;
  const own = /^https?:/.test(script) ? new URL(script).origin : origin;
  if (worker !== undefined || !origin || own === origin) return ''; // Deno has no origin
  return origin === 'null'
    ? 'a sandboxed frame has no workers; sandbox="allow-scripts allow-same-origin" gives it some'
    : `the runner is from another origin, ${own}, whose scripts cannot be workers here; ` +
        "{worker: 'blob'} starts one that imports it (worker-src blob:)";
}

/**
 * The best module for this place, or why there is none. Better ones that were passed over are added
 * to `rejected`.
 * @param {Descriptor} model
 * @param {LoadOptions} options
 * @param {Rejection[]} rejected
 * @param {string} noWorker  why there is no worker, if so
 * @returns {Choice | Refusal}
 */
export function settle(model, options, rejected, noWorker) {
  const target = model.targets.wasm;
  if (!target)
    return {
      code: 'not-in-descriptor',
      reason: 'the descriptor was written without the wasm target (webdnn transpile --target wasm)',
    };
  if (typeof WebAssembly === 'undefined')
    return {
      code: 'no-wasm',
      reason: 'there is no WebAssembly here: a setting, such as Lockdown Mode, turns it off',
    };
  if (!hasSimd())
    return { code: 'no-simd', reason: "this browser's WebAssembly has no 128-bit SIMD" };
  const inThread = options.worker === false || !!noWorker;
  const cores = globalThis.navigator?.hardwareConcurrency ?? 1;
  // Half of many cores: the other half are often hyperthreads, or the page's own.
  const threads = options.threads ?? Math.min(cores, 8, Math.max(4, cores >> 1));

  /**
   * @param {string} name
   * @param {WasmVariant | undefined} variant
   * @returns {Refusal | undefined}
   */
  const refuse = (name, variant) => {
    if (!variant)
      return {
        code: 'not-in-descriptor',
        reason: `the descriptor was written without the variant "${name}"`,
      };
    if (variant.relaxed && !hasRelaxed())
      return { code: 'no-relaxed-simd', reason: "this browser's WebAssembly has no relaxed SIMD" };
    if (!variant.threads) return undefined;
    if (noWorker) return { code: 'no-worker', reason: noWorker };
    if (inThread) return { code: 'single-thread', reason: '`worker: false` was asked for' };
    if (threads === 1 && !options.variant) {
      return {
        code: 'single-thread',
        reason: options.threads ? '`threads: 1` was asked for' : 'this machine has one core',
      };
    }
    if (globalThis.crossOriginIsolated !== true) {
      return {
        code: 'not-isolated',
        reason:
          'the page is not cross-origin isolated, so it has no shared memory; send the headers ' +
          '"Cross-Origin-Opener-Policy: same-origin" and ' +
          '"Cross-Origin-Embedder-Policy: require-corp" with it',
      };
    }
    if (typeof SharedArrayBuffer === 'undefined') {
      // WebKitGTK, even when isolated
      return { code: 'no-shared-memory', reason: 'this browser has no SharedArrayBuffer' };
    }
    return undefined;
  };

  const names = options.variant
    ? [options.variant]
    : ['relaxed-threads', 'plain-threads', 'relaxed', 'plain'];
  /** @type {Refusal | undefined} */
  let refusal;
  for (const name of names) {
    const variant = target.variants.find((v) => v.name === name);
    refusal = refuse(name, variant);
    if (variant && !refusal) {
      const count = variant.threads ? threads : 1;
      const simd = variant.relaxed ? 'relaxed' : 'plain';
      const where = inThread ? ', the calling one' : '';
      return {
        variant,
        threads: count,
        place: inThread ? 'local' : 'worker',
        reason: `${simd} SIMD, ${count === 1 ? '1 thread' : `${count} threads`}${where}`,
      };
    }
    rejected.push({ name, .../** @type {Refusal} */ (refusal) });
  }
  return /** @type {Refusal} */ (refusal);
}

/** @param {Descriptor} model @param {WasmVariant} variant @param {Files} files */
export async function compile(model, variant, files) {
  const bytes = await files.file(model, variant.file);
  try {
    return await WebAssembly.compile(bytes);
  } catch (error) {
    // The empty module is refused by policies alone.
    const empty = WebAssembly.compile(Uint8Array.of(0, 97, 115, 109, 1, 0, 0, 0));
    if (
      await empty.then(
        () => true,
        () => false,
      )
    )
      throw kernelError(error);
    throw new WebDNNError(
      'policy',
      "the page's Content-Security-Policy forbids WebAssembly; it takes " +
        `"script-src 'self' 'wasm-unsafe-eval'" (${say(error)})`,
      error,
    );
  }
}
