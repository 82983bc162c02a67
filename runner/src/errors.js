/**
 * The one error of the descriptor runner. Its `code` is for programs, its message for people: what
 * was expected, what was found, and what to do.
 */

/** @typedef {import('./types.d.ts').ErrorCode} ErrorCode */

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
export const say = (error) => (error instanceof Error ? error.message : String(error));

/** An error as plain data, to cross a worker's boundary. @param {unknown} error */
export const packError = (error) => ({
  code: error instanceof WebDNNError ? error.code : /** @type {ErrorCode} */ ('internal'),
  message: say(error),
});

/** @param {number} bytes */
export const mib = (bytes) => `${(bytes / 2 ** 20).toFixed(bytes < 2 ** 20 * 10 ? 1 : 0)} MiB`;
