/**
 * The one error of the descriptor runner. Its `code` is for programs, its message for people: what
 * was expected, what was found, and what to do.
 *
 * @typedef {import('./types.d.ts').ErrorCode} ErrorCode
 * @typedef {{ code: ErrorCode, reason: string }} Refusal  why something cannot be used here
 */

export class WebDNNError extends Error {
  /** @param {ErrorCode} code @param {string} message @param {unknown} [cause] */
  constructor(code, message, cause) {
    super(message, cause === undefined ? undefined : { cause });
    /** @type {ErrorCode} */
    this.code = code;
    // What the platform calls it, so that `error.name === 'AbortError'` works here too.
    this.name = code === 'aborted' ? 'AbortError' : 'WebDNNError';
  }
}

/** What a caught value says. @param {unknown} error */
export const say = (error) => String(Object(error).message ?? error).trim();

/** Whether no memory was left. @param {any} error */
const starved = (error) => error instanceof RangeError && /alloc|memory/i.test(error.message);

/**
 * Any failure as one of ours.
 * @param {unknown} error @param {ErrorCode} [code] @param {string} [message]  of what is none yet
 */
export function ours(error, code = 'internal', message = say(error)) {
  if (error instanceof WebDNNError) return error;
  if (!starved(error)) return new WebDNNError(code, message, error);
  const remedy = 'Dispose of models that are not needed, or close other pages.';
  return new WebDNNError('memory', `no memory is left: ${say(error)}. ${remedy}`, error);
}

/**
 * A kernel as errors call it, and who is to mend it.
 * @param {{ name: string, origin?: string, source?: string }} kernel  `source`: a plugin's own file
 */
export const blame = ({ name, origin, source }) => ({
  what: `the kernel ${origin ? `${name} (${origin})` : name}`,
  whose: source
    ? `It is written in ${source}, which is not WebDNN's: correct it there.`
    : 'This is a bug of the transpiler.',
});

/** An error as plain data, to cross a worker's boundary. @param {unknown} error */
export const packError = (error) => ({
  code: ours(error).code,
  message: ours(error).message,
});

/** @param {number} bytes */
const mib = (bytes) => `${(bytes / 2 ** 20).toFixed(bytes < 2 ** 20 * 10 ? 1 : 0)} MiB`;

/**
 * @param {import('./types.d.ts').Memory} wanted
 * @param {string} where
 * @param {unknown} [cause]
 */
export const outOfMemory = ({ weights, activations, io, total }, where, cause) =>
  new WebDNNError(
    'memory',
    `${where} could not give ${mib(total)}: ${mib(weights)} for weights, ${mib(activations)} for ` +
      `activations, ${mib(io)} for inputs and outputs. Dispose of models that are not needed, ` +
      'close other pages, or transpile with smaller dimensions.',
    cause,
  );
