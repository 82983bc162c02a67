/**
 * Patience: for how long nothing may happen while a model is loaded.
 *
 *     const { during, late } = patience(20_000);
 *     late.add(reject);                               // called when it has been too long
 *     await during('worker', 'the worker', answer);   // with the name of what is waited for
 *     await soon(answer);                             // for a quarter of the time
 *
 * Whatever moves begins the time anew. It is counted in ticks, so that a thread that was busy, or a
 * computer that slept, does not look like a server that is silent.
 *
 * @typedef {import('./types.d.ts').ErrorCode} ErrorCode
 */
import { WebDNNError } from './errors.js';

const TICKS = 20;
/** Those in which a thread that was started answers. */
const FEW = 5;

/** @param {number} ms */
export function patience(ms) {
  /** @type {Set<{ code: ErrorCode, what: string }>} */
  const waits = new Set();
  /** @type {Set<(error: WebDNNError) => void>} */
  const late = new Set();
  /** Who is told earlier. @type {typeof late} */
  const early = new Set();
  let ticks = 0;
  const moved = () => {
    ticks = 0;
  };
  const timer = setInterval(
    () => {
      if (++ticks < FEW || ms === Infinity) return;
      // Who waits for a file waits for nothing else.
      const all = [...waits];
      const files = all.filter(({ code }) => code === 'network');
      const over = ticks >= TICKS;
      if (!over && (files.length || !early.size)) return;
      const whom = files.length ? files : all;
      const names = whom.map(({ what }) => what).join(', ') || 'the browser';
      const error = new WebDNNError(
        whom[0]?.code ?? 'internal',
        `no answer from ${names}: nothing has happened for ` +
          (over ? `${ms / 1000} s (\`timeout\`)` : `${ms / 4000} s, a quarter of \`timeout\``),
      );
      moved();
      for (const call of over ? late : early) call(error);
    },
    Math.min(ms / TICKS, 2 ** 30),
  );
  return {
    /** Something happened. */
    moved,
    /** Who is told when it has been too long. */
    late,
    /**
     * Waits for what answers soon where no file is waited for.
     * @template T
     * @param {Promise<T>} promise @returns {Promise<T>}
     */
    soon: (promise) =>
      new Promise((resolve, reject) => {
        early.add(reject);
        promise.then(resolve, reject).finally(() => early.delete(reject));
      }),
    end: () => clearInterval(timer),
    /**
     * Waits for something that has a name.
     * @template T
     * @param {ErrorCode} code  of its absence @param {string} what @param {Promise<T>} promise
     */
    async during(code, what, promise) {
      const wait = { code, what };
      waits.add(wait);
      try {
        return await promise;
      } finally {
        moved();
        waits.delete(wait);
      }
    },
  };
}
