/**
 * The page's half of `webdnn.browser.engine`: asks its server for jobs and sends back what they return.
 *
 * A job names a module; its default export is called as `module.default(argument, io)`. What it
 * returns goes back as JSON, arrays as bytes through `io`. No driver protocol is involved, so any
 * engine that can open a URL can be used.
 *
 * @typedef {{
 *   read(name: string): Promise<ArrayBuffer>,
 *   write(name: string, data: ArrayBuffer | ArrayBufferView<ArrayBuffer>): Promise<void>,
 * }} Io
 * @typedef {{ id: number, module: string, argument: any }} Job
 */

/** @param {string} path @param {BodyInit} [body] */
const post = (path, body) => fetch(`/__page__/${path}`, { method: 'POST', body: body ?? '' });

/** @param {unknown} value */
function text(value) {
  if (value instanceof Error) return value.stack?.includes(value.message) ? value.stack : `${value}\n${value.stack}`;
  if (typeof value === 'object' && value !== null) {
    try { return JSON.stringify(value); } catch { /* cyclic: its plain form must do */ }
  }
  return String(value);
}

// One after another, and before the result of the job that wrote them.
let logged = Promise.resolve();

/** @param {string} level @param {unknown[]} values */
function report(level, ...values) {
  const line = `${level}: ${values.map(text).join(' ')}`;
  logged = logged.then(() => post('log', line)).then(() => {}, () => {});
}

for (const level of /** @type {const} */ (['debug', 'log', 'info', 'warn', 'error'])) {
  const original = console[level].bind(console);
  console[level] = (/** @type {unknown[]} */ ...values) => { original(...values); report(level, ...values); };
}
addEventListener('error', (event) => report('uncaught', event.error ?? event.message));
addEventListener('unhandledrejection', (event) => report('unhandled rejection', event.reason));
document.addEventListener('securitypolicyviolation', (event) => {
  report('blocked by policy', `${event.violatedDirective}: ${event.blockedURI} (${event.sourceFile}:${event.lineNumber})`);
});

/** @param {Job} job @returns {Promise<string>} */
async function run({ id, module, argument }) {
  /** @type {Io} */
  const io = {
    async read(name) {
      const response = await fetch(`/__page__/data/${id}/${encodeURIComponent(name)}`);
      if (!response.ok) throw new Error(`job ${id} has no array named ${name}`);
      return response.arrayBuffer();
    },
    async write(name, data) {
      await post(`data/${id}/${encodeURIComponent(name)}`, data);
    },
  };
  try {
    const value = await (await import(module)).default(argument, io);
    return JSON.stringify({ value: value ?? null });
  } catch (thrown) {
    const error = /** @type {any} */ (thrown instanceof Error ? thrown : new Error(text(thrown)));
    return JSON.stringify({
      error: { name: error.name, message: error.message, code: error.code ?? null, stack: error.stack ?? '' },
    });
  }
}

// Never answered: the server learns from the closed connection that this page has died.
fetch('/__page__/alive').then((response) => response.text()).catch(() => {});

for (;;) {
  const response = await post('job').catch(() => null);
  if (response === null) break; // the server is gone, its program killed: nobody else ends this browser
  if (response.status === 204) continue; // nothing to do for now
  const job = /** @type {Job} */ (await response.json());
  const result = await run(job);
  await logged;
  await post(`result/${job.id}`, result);
}
close();

export {};
