/**
 * Files of a descriptor: fetched whole, a few at a time, counted and checked.
 *
 *     const files = open('https://example.org/style/', { signal, progress });
 *     const model = await files.descriptor();
 *     await files.weights(model, (offset, bytes) => …);   // each shard as it arrives
 *
 * Lengths and hashes are the descriptor's: a server's Content-Length lies under compression.
 * Nothing is retried here: the page's `fetch` hook, a service worker or a reload can do that
 * better. But a file that comes damaged, or not at all, is asked for once more, past the cache of the
 * browser, which may keep such an answer for a year.
 *
 * @typedef {import('./types.d.ts').LoadOptions} LoadOptions
 * @typedef {import('./types.d.ts').Where} Where
 * @typedef {import('./descriptor.js').Descriptor} Descriptor
 * @typedef {ReturnType<typeof open>} Files
 */
import { check, checkProgram } from './descriptor.js';
import { WebDNNError, say } from './errors.js';
import { patience } from './patience.js';
import { doors, placed } from './start.js';

const LANES = 4;
/** What an answer in the browser's cache may be, and the server's not. */
const STALE = ['truncated', 'corrupted', 'descriptor', 'html', 'missing-file', 'server'];
/** What becomes of the files of a model whose newer version has taken its place. */
const REPLACED = ['truncated', 'html', 'missing-file'];

/**
 * Asks once, and once more past the browser's cache.
 * @template T
 * @param {(how?: RequestInit) => Promise<T>} ask
 */
const twice = (ask) =>
  ask().catch((error) => {
    if (!STALE.includes(error.code)) throw error;
    return ask({ cache: 'reload' });
  });

/** @param {string} expected @param {unknown} found */
const unusable = (expected, found) =>
  new WebDNNError('option', `where the model is: expected ${expected}, found ${String(found)}`);

/** An address as messages name it: of what lies in the address itself, the head. @param {string} url */
const shown = (url) => (url.startsWith('data:') ? `${url.slice(0, 40).split(',')[0]},…` : url);

/** The content of a `data:` address, which no policy need allow. @param {string} url */
function inline(url) {
  const comma = url.indexOf(',');
  const text = url
    .slice(comma + 1)
    .replace(/%([0-9a-f]{2})/gi, (_, hex) => String.fromCharCode(parseInt(hex, 16)));
  const raw = url.slice(0, comma).endsWith(';base64') ? atob(text) : text;
  return new Response(Uint8Array.from(raw, (byte) => byte.charCodeAt(0)));
}

/** The address of model.json. @param {unknown} where @param {string} [base] */
function address(where, base) {
  if (typeof where !== 'string' && !(where instanceof URL))
    throw unusable('a text, a URL or an object with the address of each file', where);
  base ??= globalThis.document?.baseURI ?? globalThis.location?.href ?? `file://${node()?.cwd()}/`;
  let url;
  try {
    url = new URL(where, base);
  } catch {
    throw unusable('an address', where);
  }
  if (!url.pathname.endsWith('.json'))
    url.pathname = `${url.pathname.replace(/\/(model\.js)?$/, '')}/model.json`;
  return url.href;
}

const node = () => /** @type {any} */ (globalThis).process;

/**
 * fetch, which in Node cannot read files.
 * @param {string} url
 * @param {RequestInit} init
 * @returns {Promise<Response>}
 */
async function platformFetch(url, init) {
  const fs = url.startsWith('file:') && node()?.getBuiltinModule?.('node:fs/promises');
  if (!fs) return fetch(url, init);
  try {
    return new Response(await fs.readFile(new URL(url)));
  } catch (error) {
    return new Response(null, { status: 404, statusText: /** @type {any} */ (error).code });
  }
}

/**
 * SHA-256, or `otherwise` on insecure origins, which cannot compute it.
 * @param {Uint8Array<ArrayBuffer>} bytes @param {string} otherwise
 */
async function digest(bytes, otherwise) {
  if (!globalThis.crypto?.subtle) return otherwise;
  const hash = new Uint8Array(await crypto.subtle.digest('SHA-256', bytes));
  return Array.from(hash, (byte) => byte.toString(16).padStart(2, '0')).join('');
}

const COPY = "Copy the descriptor's whole folder to the server.";
/** @param {string} url */
const webPage = (url) =>
  `found a web page, as servers send for what they do not have: ${url}. ${COPY}`;

/** @param {Uint8Array} bytes @param {string} from  their address @returns {unknown} */
function parse(bytes, from) {
  const text = new TextDecoder().decode(bytes);
  try {
    return JSON.parse(text);
  } catch (error) {
    if (/^\s*</.test(text)) throw new WebDNNError('html', `model.json: ${webPage(from)}`);
    throw new WebDNNError(
      'descriptor',
      `${from} is not of a graph descriptor: expected JSON, found ` +
        `${JSON.stringify(text.slice(0, 20))}… (${say(error)}). Is this its address?`,
      error,
    );
  }
}

/** @param {unknown} reason */
const aborted = (reason) => new WebDNNError('aborted', 'loading was aborted', reason);

/**
 * @param {Where} where
 * @param {LoadOptions} [options]
 * @param {RequestInit} [init]  of each request
 */
export function open(where, options = {}, init = {}) {
  const { progress, signal, fetch: hook = platformFetch, timeout = 20_000 } = options;
  const listed = Object(where)['model.json'];
  const map = typeof listed === 'string' || listed instanceof URL ? Object(where) : undefined;
  const base = options.base === undefined ? undefined : address(options.base);
  const root = map ? `${listed}` : address(where, base);
  const written = root.startsWith('{'); // model.js holds the text itself
  const stop = new AbortController();
  const waiting = patience(timeout);
  const onAbort = () => stop.abort(signal?.reason);
  if (signal?.aborted) onAbort();
  signal?.addEventListener('abort', onAbort, { once: true });
  let loaded = 0;
  let total = 0;
  /** @type {'download' | 'prepare'} */
  let stage = 'download';
  /** @type {Set<string>} */
  const counted = new Set();
  const tell = () => {
    try {
      progress?.({ loaded, total, stage });
    } catch (error) {
      throw new WebDNNError('option', `progress: the page's function threw: ${say(error)}`, error);
    }
  };

  /**
   * @param {string} name
   * @param {string} url
   * @param {number} [expected] bytes
   * @param {RequestInit} [how]  of this request
   * @returns {Promise<Uint8Array<ArrayBuffer>>}
   */
  async function get(name, url, expected, how = init) {
    let found = 0;
    /** @param {number} bytes */
    const count = (bytes) => {
      const before = Math.min(found, expected ?? 0);
      found += bytes;
      loaded += Math.min(found, expected ?? 0) - before;
      if (total && !stop.signal.aborted) tell();
    };
    /** @template T @param {() => T | Promise<T>} work @returns {Promise<T>} */
    const arriving = (work) =>
      waiting.during('network', name, (async () => work())()).catch((error) => {
        if (stop.signal.aborted) throw aborted(stop.signal.reason);
        throw new WebDNNError(
          'network',
          `${name}: could not be fetched from ${shown(url)} ` +
            `(${found} of ${expected ?? 'unknown'} bytes arrived): ${say(error)}`,
          error,
        );
      });
    const response = await arriving(() =>
      url.startsWith('data:') ? inline(url) : hook(url, { ...how, signal: stop.signal }),
    );
    const { status, statusText, ok, headers } = Object(response);
    if (typeof status !== 'number' || typeof response.arrayBuffer !== 'function')
      throw new WebDNNError('option', `fetch: expected a Response for ${name}, found ${response}`);
    const said = statusText ? `${status} ${statusText}` : status; // HTTP/2 has no text
    const answer = `the server answered ${said} for ${shown(url)}`;
    if (status >= 500)
      throw new WebDNNError('server', `${name}: ${answer}. Its log says why.`);
    if (status === 304)
      throw new WebDNNError(
        'not-modified',
        `${name}: ${answer}; a service worker or \`fetch\` must answer with the file itself.`,
      );
    if (!status)
      throw new WebDNNError(
        'option',
        `fetch: the Response for ${name} is opaque, or an error: {mode: 'no-cors'} gives no bytes. ` +
          'Another origin is to send Access-Control-Allow-Origin.',
      );
    const secret = status === 401 || status === 403;
    const ask = secret ? ' If it wants to know who asks, send that by the `fetch` option.' : '';
    if (!ok) throw new WebDNNError('missing-file', `${name}: ${answer}. ${COPY}${ask}`);
    const reader =
      expected === undefined ? undefined : await arriving(() => response.body?.getReader());
    if (!reader) {
      const bytes = new Uint8Array(await arriving(() => response.arrayBuffer()));
      count(bytes.length);
      sized();
      return bytes;
    }
    // Nothing is allocated because the descriptor says so: it may be damaged.
    /** @type {Uint8Array<ArrayBuffer>[]} */
    const parts = [];
    for (;;) {
      const { done, value } = await arriving(() => reader.read());
      if (done) break;
      count(value.length);
      if (found <= Number(expected)) parts.push(value);
    }
    sized();
    const bytes = new Uint8Array(found);
    let at = 0;
    for (const part of parts) {
      bytes.set(part, at);
      at += part.length;
    }
    return bytes;
    function sized() {
      if (expected === undefined || found === expected) return;
      loaded -= Math.min(found, expected);
      if (headers?.get?.('content-type')?.startsWith('text/html'))
        throw new WebDNNError('html', `${name}: ${webPage(shown(url))}`);
      throw new WebDNNError(
        'truncated',
        `${name}: expected ${expected} bytes, found ${found}. The copy on the server is ` +
          `${found < expected ? 'cut short' : 'another file'}: ${shown(url)}`,
      );
    }
  }

  /**
   * Whether the model.json beside a file is of another version.
   * @param {Descriptor} model @param {string} name @param {string} url
   */
  async function replaced(model, name, url) {
    try {
      const beside = new URL('model.json', url).href;
      const response = await waiting.during(
        'network',
        'model.json',
        hook(beside, { signal: stop.signal, cache: 'no-store' }),
      );
      if (!response.ok) return false;
      const there = await response.json();
      return there.name === model.name && !(name in there.files); // else it is another model, by `base`
    } catch {
      return false; // no model.json there, as where a bundler has put the files elsewhere
    }
  }

  /** Files that are wanted more than once. @type {Map<string, ReturnType<typeof fresh>> | undefined} */
  let kept;
  /** Whether no further engine may want them. */
  let last = true;
  /** @type {Set<string>} */
  const used = new Set();
  /** One file, whole; its hash is on its way. @param {Descriptor} model @param {string} name */
  function arrival(model, name) {
    const found = kept?.get(name) ?? fresh(model, name);
    if (kept) found.catch(() => {}); // whoever wants it is told
    kept?.set(name, found);
    return found;
  }

  /** One file, whole and checked. @param {Descriptor} model @param {string} name */
  const file = async (model, name) => (await arrival(model, name)).sound;

  /**
   * A file's bytes, and a promise of those that have the hash: the same, or what came when it was asked
   * for once more. The hash is that of a copy: who takes the bytes need not wait for it.
   * @param {Descriptor} model @param {string} name
   */
  async function fresh(model, name) {
    const { bytes: expected, sha256 } = model.files[name];
    const url = `${(map && !base ? map[name] : new URL(name, base ?? root)) ?? ''}`;
    if (!url)
      throw new WebDNNError(
        'option',
        `${name}: no address was given for it. Of a script that has none of its own, a bundle that ` +
          'is no module or a blob, load needs that of the model\'s folder: ' +
          "load({ base: '/models/name/' }), see docs/bundlers.md",
      );
    let again = true;
    /** @param {RequestInit} [how] */
    const ask = async (how) => {
      again = !how;
      const bytes = await get(name, url, expected, how);
      return { bytes, hash: digest(bytes, sha256) };
    };
    /** @param {Awaited<ReturnType<typeof ask>>} answer */
    const checked = async ({ bytes, hash }) => {
      const found = await hash;
      if (stop.signal.aborted) throw aborted(stop.signal.reason);
      if (found === sha256) return bytes;
      loaded -= expected;
      throw new WebDNNError(
        'corrupted',
        `${name}: expected SHA-256 ${sha256}, found ${found}. The file was changed or damaged ` +
          'on its way; if it was transpiled again, a cache still holds the old model.json.',
      );
    };
    /** @param {WebDNNError} error @returns {Promise<never>} */
    const explain = async (error) => {
      if (!REPLACED.includes(error.code) || !(await replaced(model, name, url))) throw error;
      throw new WebDNNError(
        'newer-version',
        `${name}: the server holds a newer version of this model by now, without this file. ` +
          'Reload the page.',
      );
    };
    const first = await twice(ask).catch(explain);
    const sound = checked(first).catch((error) => {
      if (!again || error.code !== 'corrupted') throw error;
      return ask({ cache: 'reload' }).then(checked).catch(explain);
    });
    sound.catch(() => {}); // whoever wants it is told
    return { bytes: first.bytes, sound };
  }

  return {
    /** Aborts when the downloads have ended, for whatever reason. */
    stopped: stop.signal,
    /** Ends every download. */
    close() {
      signal?.removeEventListener('abort', onAbort);
      waiting.end();
      kept = undefined;
      stop.abort();
    },
    moved: waiting.moved,
    during: waiting.during,
    soon: waiting.soon,
    /**
     * Rejects as soon as loading is aborted or takes too long; what comes too late is released.
     * @template T
     * @param {Promise<T>} promise
     * @param {(late: T) => void} [release]
     * @returns {Promise<T>}
     */
    until(promise, release = () => {}) {
      return new Promise((resolve, reject) => {
        /** @param {WebDNNError} error */
        const give = (error) => {
          reject(error);
          promise.then(release, () => {});
        };
        const abort = () => give(aborted(signal?.reason));
        if (signal?.aborted) abort();
        signal?.addEventListener('abort', abort, { once: true });
        waiting.late.add(give);
        promise.then(resolve, reject).finally(() => {
          signal?.removeEventListener('abort', abort);
          waiting.late.delete(give);
        });
      });
    },
    /** @returns {Promise<Descriptor>} */
    descriptor: () =>
      twice(async (how) => {
        const from = written ? 'model.js' : shown(root);
        const bytes = written
          ? new TextEncoder().encode(root)
          : await get('model.json', root, undefined, how);
        const model = check(parse(bytes, from), from);
        const { sha256 } = model;
        if (sha256) {
          // It is that of the text around it. Line ends may have been changed: they do not count.
          const rest = new TextDecoder().decode(bytes).replace(sha256, '').replace(/\r/g, '');
          if ((await digest(new TextEncoder().encode(rest), sha256)) !== sha256)
            throw new WebDNNError(
              'descriptor',
              `${from}: its text was changed after it was written. Transpile the model again; or, ` +
                'if you meant the change, remove its "sha256".',
            );
        }
        return model;
      }),
    file,
    /** What is beside the runner. @param {Descriptor} model */
    doors({ runner = '.' }) {
      const folder = base ?? (placed() || map ? undefined : root);
      return doors(folder && new URL(`${runner}/`, folder).href);
    },
    /** The WebGPU program. @param {Descriptor} model @param {string} name */
    program: async (model, name) =>
      checkProgram(parse(await file(model, name), name), name, model),
    /** Asks for the weights at once, and keeps what arrives: more than one engine may take it. */
    begin(/** @type {Descriptor} */ model) {
      kept = new Map();
      last = false;
      const ask = async () => {
        for (const name of model.weights.shards) if (!used.has(name)) await arrival(model, name);
      };
      ask().catch(() => {}); // whoever wants it is told
    },
    /** The engine that is built now is the last. */
    finish() {
      last = true;
    },
    /** The files that progress counts. @param {Descriptor} model @param {string[]} names */
    expect(model, names) {
      for (const name of names) if (!counted.has(name)) total += model.files[name].bytes;
      names.forEach((name) => counted.add(name));
      stage = 'download';
      tell();
    },
    /** All have arrived: kernels are made ready, and weights that have another form in memory. */
    preparing() {
      stage = 'prepare';
      if (!stop.signal.aborted) tell();
    },
    /**
     * All shards; `write` is called for each as it arrives, and once more with what replaces it if its
     * hash, which nobody waits for before the end, is another.
     * @param {Descriptor} model
     * @param {(offset: number, bytes: Uint8Array<ArrayBuffer>) => unknown} write
     */
    async weights(model, write) {
      let next = 0;
      let end = 0;
      /** @type {Promise<unknown>[]} */
      const checks = [];
      /** @type {unknown[]} */
      const broken = [];
      const lane = async () => {
        while (next < model.weights.shards.length) {
          const name = model.weights.shards[next++];
          const offset = end;
          end += model.files[name].bytes;
          used.add(name);
          const { bytes, sound } = await arrival(model, name);
          if (broken.length) throw broken[0];
          const lend = !last;
          if (last) kept?.delete(name);
          const written = write(offset, lend ? bytes.slice() : bytes); // a worker takes them away
          const check = sound.then(async (right) => {
            await written;
            if (right !== bytes) await write(offset, lend ? right.slice() : right);
          });
          check.catch((error) => broken.push(error));
          checks.push(check);
          await written;
        }
      };
      await Promise.all(Array.from({ length: LANES }, lane));
      await Promise.all(checks);
    },
  };
}
