/**
 * Scenarios that need a browser: `tests/test_runner_browser.py` names one and gives its argument;
 * it throws if what it sees is not what it expects. `/tiny/` is the hand-made descriptor.
 */

const K = 'k/0';
/** Inputs of the tiny model. */
const feed = (x, { k = [2, 3], rounds = 1 } = {}) => ({
  x: Float32Array.from(x),
  [K]: BigInt64Array.from(k, BigInt),
  rounds: Int32Array.of(rounds),
});

/** @returns {asserts value} */
function ok(value, what) {
  if (!value) throw new Error(`expected ${what}`);
}
function equal(found, expected, what = 'value') {
  const [a, b] = [found, expected].map((v) =>
    JSON.stringify(v, (_, x) =>
      typeof x === 'bigint' ? `${x}n` : ArrayBuffer.isView(x) ? Array.from(x) : x,
    ),
  );
  if (a !== b) throw new Error(`${what}: expected ${b}, found ${a}`);
}
/** The code and message of the error that `promise` rejects with. */
async function refused(promise, code, ...parts) {
  let value;
  try {
    value = await promise;
  } catch (error) {
    ok(error.code === code, `code ${code}, found ${error.code}: ${error.message}`);
    for (const part of parts)
      ok(error.message.includes(part), `"${part}" in the message "${error.message}"`);
    return error;
  }
  throw new Error(`expected a rejection with ${code}, found ${JSON.stringify(value)}`);
}
const loaded = async (options, where = '/tiny/') =>
  (await import(`${where}model.js`)).load(options);
/** Does some work while fields of the browser's objects are others: [object, name, value]. */
async function changed(changes, work) {
  const before = changes.map(([object, name, value]) => {
    const own = Object.getOwnPropertyDescriptor(object, name);
    Object.defineProperty(object, name, { value, configurable: true, writable: true });
    return () => (own ? Object.defineProperty(object, name, own) : delete object[name]);
  });
  try {
    return await work();
  } finally {
    for (const restore of before) restore();
  }
}
const sleep = (ms) =>
  new Promise((resolve) => {
    setTimeout(resolve, ms);
  });

/** A model gives the right answers, at several sizes. */
async function right(model) {
  for (const [x, k] of [
    [
      [-1, 0, 2.5],
      [2, -7],
    ],
    [[4], [0, 0]],
    [Array.from({ length: 1024 }, (_, i) => i - 512), [-(2 ** 31), 1]],
    [
      [1, 2],
      [1, 1],
    ],
  ]) {
    const out = await model.run(feed(x, { k }));
    equal(Object.keys(out), ['y', 'total:0', 'mask', 'done']);
    equal(out.y, { dtype: 'float32', shape: [1, x.length], data: x.map((v) => 2 * v + 1) });
    equal(out['total:0'], { dtype: 'int64', shape: [1], data: [BigInt(k[0] + k[1])] });
    equal(out.mask, { dtype: 'bool', shape: [x.length], data: x.map((v) => +(v > 0)) });
    for (const { data } of Object.values(out))
      ok(data.buffer instanceof ArrayBuffer, 'outputs on unshared memory');
  }
}

const scenarios = {
  /** Loads with `options`, checks answers, returns the backend. */
  async runs({ options, where }) {
    const model = await loaded(options, where);
    await right(model);
    const times = await model.profile(feed([1, 2, 3]));
    ok(
      times.length === 2 && times.every((t) => t.name && t.ms >= 0),
      `two steps with names and times, found ${JSON.stringify(times)}`,
    );
    await model.run(feed([1, 2, 3]));
    equal(await model.stored(), { y_reversed: { dtype: 'float32', shape: [3], data: [7, 5, 3] } });
    const { backend, viewKind } = model;
    model.dispose();
    return { ...backend, viewKind };
  },

  /** What a model takes, as it is on each target; and what becomes of a page that takes too much. */
  async memory({ places }) {
    const io = 4096 + 8 + 4 + 4096 + 4 + 4096 + 4;
    for (const options of places) {
      const model = await loaded(options);
      const { weights, activations, io: outside, total } = model.memory;
      const onGpu = model.backend.name === 'webgpu';
      ok(weights >= 520 && weights < 1024, `weights, found ${weights}`);
      ok(outside >= io && outside <= 2 * io + 64, `inputs and outputs, found ${outside}`);
      ok(activations >= 0 && weights + activations + outside <= total, `a total, found ${total}`);
      if (onGpu) equal(weights + activations + outside, total);
      else equal([outside, total % 65536], [io, 0]);
      model.dispose();
    }
    const models = [];
    const all = async () => {
      for (;;) models.push(await loaded({ backend: 'wasm', worker: false }));
    };
    const error = await refused(all(), 'memory', 'Dispose of models');
    ok(!error.message.includes('transpiler'), error.message);
    for (const model of models) model.dispose();
    // Disposed of, though still held.
    const again = await loaded({ backend: 'wasm', worker: false });
    await right(again);
    return [models.length, error.message];
  },

  /** Bit-equal results for any number of threads. */
  async threads() {
    const x = Array.from({ length: 997 }, (_, i) => Math.fround(Math.sin(i)));
    const results = [];
    for (const threads of [1, 2, 3, 5]) {
      const model = await loaded({ backend: 'wasm', variant: 'plain-threads', threads });
      equal(model.backend.threads, threads, 'threads');
      for (let turn = 0; turn < 20; turn++)
        results.push((await model.run(feed(x, { rounds: 3 }))).y.data);
      model.dispose();
    }
    for (const result of results) equal(result, results[0]);
    equal(
      results[0],
      x.map((v) => Math.fround(2 * v + 1)),
    );
  },

  /** Runs are queued in order, and inputs are taken when run is called. */
  async queue({ options }) {
    const model = await loaded(options);
    const x = Float32Array.of(0, 0);
    const order = [];
    const runs = [];
    for (let turn = 0; turn < 8; turn++) {
      x.fill(turn);
      const run = model.run({ ...feed([]), x: x.subarray(0, 1 + (turn % 2)) });
      run.then(() => order.push(turn));
      runs.push(run);
    }
    x.fill(99);
    for (const [turn, out] of (await Promise.all(runs)).entries())
      equal(out.y.data, Array(1 + (turn % 2)).fill(2 * turn + 1));
    equal(order, [0, 1, 2, 3, 4, 5, 6, 7]);
    // Outputs are the caller's: a later run does not change them.
    const first = await model.run(feed([1]));
    first.y.data[0] = 7;
    await model.run(feed([5]));
    equal(first.y.data, [7]);
    model.dispose();
  },

  /** Abort before, while queued, and while running; the next run works. */
  async abort({ options, stops, rounds }) {
    const model = await loaded(options);
    const reason = new Error('enough');
    const aborted = await refused(
      model.run(feed([1]), { signal: AbortSignal.abort(reason) }),
      'aborted',
    );
    ok(
      aborted.name === 'AbortError' && aborted.cause === reason,
      'name AbortError, and the reason as cause',
    );
    const running = new AbortController();
    const queued = new AbortController();
    const long = model.run(feed([1], { rounds }), { signal: running.signal });
    const waiting = model.run(feed([2]), { signal: queued.signal });
    const last = model.run(feed([3]));
    queued.abort();
    await refused(waiting, 'aborted');
    await sleep(50);
    const begin = performance.now();
    running.abort();
    await refused(long, 'aborted');
    ok(performance.now() - begin < 50, 'a rejection at once');
    equal((await last).y.data, [7]);
    const ms = performance.now() - begin;
    // 2^30 rounds would take minutes: that the next run was there proves that the first was stopped.
    if (stops) ok(ms < 5000, `a stop at the next kernel, found ${ms} ms`);
    equal((await model.run(feed([4], { rounds: 2 }))).done.data, [2]);
    await model.profile(feed([1]));
    model.dispose();
  },

  async dispose({ options, rounds }) {
    const model = await loaded(options);
    model.view('x');
    const pending = [model.run(feed([1], { rounds })), model.run(feed([2]))];
    model.dispose();
    model.dispose();
    for (const run of pending) await refused(run, 'disposed');
    await refused(model.run(feed([1])), 'disposed', 'load it again');
    await refused(model.profile(feed([1])), 'disposed');
    await refused(model.stored(), 'disposed');
    await refused((async () => model.view('x'))(), 'disposed');
  },

  /** A view is filled in place and keeps its contents from run to run. */
  async views({ options, kind }) {
    const model = await loaded(options);
    equal(model.viewKind, kind);
    const x = model.view('x');
    ok(
      x instanceof Float32Array && x.length === 1024 && x === model.view('x'),
      'one array of the largest size',
    );
    equal(x.buffer instanceof ArrayBuffer, kind !== 'direct-shared', 'unshared');
    const y = model.view('y');
    x.set([1, 2, 3]);
    for (let turn = 0; turn < 2; turn++) {
      const out = await model.run({ ...feed([]), x: { data: x.subarray(0, 3), shape: [1, 3] } });
      equal(out.y.data, [3, 5, 7]);
      equal(y.subarray(0, 3), [3, 5, 7]);
      ok(out.y.data.buffer !== y.buffer, 'a copy');
    }
    // The whole view is the largest size; a bool and an int64 are seen as they are stored.
    x.fill(-1);
    const whole = await model.run({ ...feed([]), x, [K]: model.view(K).fill(4) });
    equal(whole.y.shape, [1, 1024]);
    equal(whole['total:0'].data, [8n]);
    ok(model.view('mask') instanceof Int32Array, 'a bool as i32');
    await refused((async () => model.view('z'))(), 'input', '"x"', '"total:0"');
    model.dispose();
  },

  /** What bad input gets at run time: each message says what was expected and what was found. */
  async inputs({ options }) {
    const model = await loaded(options);
    const good = feed([1, 2]);
    const run = (changes) => model.run({ ...good, ...changes });
    await refused(run({ image: good.x }), 'input', 'no input "image"', '"x", "k/0", "rounds"');
    await refused(run({ x: undefined }), 'input', 'missing "x"');
    await refused(model.run(), 'input', '"x"');
    await refused(
      run({ x: new Float64Array(2) }),
      'dtype',
      'Float32Array (float32)',
      'found Float64Array',
    );
    await refused(run({ x: [1, 2] }), 'dtype', 'Float32Array', 'found Array');
    await refused(
      run({ x: { data: good.x, dtype: 'float16' } }),
      'dtype',
      'expected dtype float32',
      'float16',
    );
    await refused(
      run({ [K]: new Float32Array(2) }),
      'dtype',
      'BigInt64Array or Int32Array (int64)',
      'Float32Array',
    );
    await refused(
      run({ x: { data: good.x, shape: [2] } }),
      'shape',
      '[1, n] with n = 1..1024',
      'found [2]',
    );
    await refused(run({ x: { data: good.x, shape: [2, 1] } }), 'shape', '[1, n]', 'found [2, 1]');
    await refused(
      run({ x: { data: good.x, shape: [1, 3] } }),
      'shape',
      '2 elements where [1, 3] has 3',
    );
    await refused(run({ [K]: BigInt64Array.of(1n) }), 'shape', 'expected shape [2]', '1 elements');
    await refused(
      run({ x: new Float32Array(1025) }),
      'dimension',
      '"n": expected 1..1024, found 1025',
      'input "x"',
    );
    await refused(
      run({ x: { data: new Float32Array(0), shape: [1, 0] } }),
      'dimension',
      'found 0',
      'axis 1',
    );
    await refused(
      run({ [K]: BigInt64Array.of(1n, 2n ** 31n) }),
      'range',
      '"k/0"',
      '-2147483648..2147483647',
      '2147483648 at element 1',
    );
    await refused(model.run(good, { outputs: 'disk' }), 'option', "'disk'");
    if (model.backend.name === 'wasm')
      await refused(model.run(good, { outputs: 'gpu' }), 'option', 'runs on wasm');
    equal((await model.run(good)).y.data, [3, 5]);
    model.dispose();
  },

  /** Loading that fails: `where` is a damaged copy, `parts` are in the message. */
  async refuses({ where, options, code, parts }) {
    const { load } = await import('/tiny/runner/index.js');
    const error = await refused(load(where, options), code, ...parts);
    return error.message;
  },

  /** Options that cannot be. */
  async options() {
    const url = '/tiny/model.json';
    const { load, prepare, requirements } = await import('/tiny/runner/index.js');
    for (const [options, ...parts] of [
      [{ backends: 'wasm' }, 'load: no option is called "backends"; the nearest is "backend"'],
      [{ thread: 2 }, '"thread"; the nearest is "threads"', 'timeout, variant, worker'],
      [{ constructor: 1 }, '"constructor"'],
      [{ backend: 'webgl' }, 'backend: expected webgpu or wasm, found "webgl"'],
      [null, 'load: expected an object, found null'],
      [5, 'expected an object, found 5'],
      [{ device: {} }, 'device: expected a GPUDevice, found {}'],
      [{ fetch: 5 }, 'fetch: expected a function, found 5'],
      [{ progress: [] }, 'progress: expected a function'],
      [{ signal: {} }, 'signal: expected an AbortSignal, found {}'],
      [{ worker: 'no' }, `worker: expected true, false, 'blob' or a function, found "no"`],
      [{ threads: 1e9 }, 'threads: expected a whole number from 1 to 64, found 1000000000'],
      [{ threads: 0 }, 'found 0'],
      [{ threads: '2' }, 'found "2"'],
      [{ timeout: NaN }, 'timeout: expected milliseconds, found NaN'],
      [{ base: 5 }, 'base: expected an address, found 5'],
      [{ variant: 3n }, 'variant: expected a text, found [object BigInt]'],
    ])
      await refused(load(url, options), 'option', ...parts);
    await refused(prepare(url, { backend: 'wasm' }), 'option', 'prepare: no option', '"backend"');
    await refused(requirements(url, { progress() {} }), 'option', 'requirements: no option');
    for (const where of [undefined, null, 7, {}, 'http://['])
      await refused(load(where), 'option', 'where the model is: expected', `found ${where}`);
    const model = await load(url, { backend: 'wasm', threads: undefined, worker: false });
    await refused(model.run(feed([1]), { output: 'cpu' }), 'option', 'nearest is "outputs"');
    await refused(model.run(feed([1]), { signal: {} }), 'option', 'run: signal: expected an Abort');
    await refused(model.run(feed([1]), null), 'option', 'run: expected an object, found null');
    await right(model);
    await refused(loaded({ threads: 2, worker: false }), 'option', 'worker: false');
    await refused(loaded({ backend: 'wasm', variant: 'fast' }), 'not-in-descriptor', '"fast"');
    await refused(
      (await import('/tiny/runner/index.js')).load('/nowhere/'),
      'missing-file',
      '404',
      '/nowhere/model.json',
    );
    await right(await load('../tiny', { backend: 'wasm' })); // a folder, relative to the page
    await right(await load('../tiny/model.js', { backend: 'wasm' }));
    await right(await load(new URL('/tiny/model.json', location.href), { backend: 'wasm' }));
  },

  /** Files within their addresses, as bundlers write small ones: read without fetch. */
  async inlined() {
    const { load } = await import('/tiny/runner/index.js');
    const json = await (await fetch('/tiny/model.json')).text();
    const files = { 'model.json': `data:application/json,${encodeURIComponent(json)}` };
    for (const name of Object.keys(JSON.parse(json).files)) {
      const bytes = new Uint8Array(await (await fetch(`/tiny/${name}`)).arrayBuffer());
      const raw = Array.from(bytes, (byte) => String.fromCharCode(byte)).join('');
      files[name] = `data:application/octet-stream;base64,${btoa(raw)}`;
    }
    const never = () => Promise.reject(new Error('nothing is to be fetched'));
    for (const backend of navigator.gpu ? ['wasm', 'webgpu'] : ['wasm'])
      await right(await load(files, { backend, fetch: never }));
    const urls = Object.entries(files).map(([name, url]) => [name, new URL(url)]);
    await right(await load(Object.fromEntries(urls), { fetch: never }));
    const name = Object.keys(files).find((file) => file.startsWith('weights-0'));
    for (const [changed, code, part] of [
      [{ [name]: files[name].slice(0, -200) }, 'truncated', 'data:application/octet-stream;base64,…'],
      [{ [name]: `${files[name]}*` }, 'network', 'could not be fetched from data:application/oct'],
      [{ [name]: undefined }, 'option', name],
      [{ 'model.json': files['model.json'].slice(0, -9) }, 'descriptor', 'data:application/json,…'],
    ]) {
      const error = await refused(load({ ...files, ...changed }), code, part);
      ok(error.message.length < 400, `a short message, found ${error.message.slice(0, 999)}`);
    }
  },

  /** Progress counts up to the total; the hook sees every file, absolute; load can be aborted. */
  async loading() {
    const seen = [];
    const urls = [];
    const fetched = (url, init) => {
      urls.push(url);
      return fetch(url, init);
    };
    const first = await loaded({ backend: 'wasm', progress: (p) => seen.push(p), fetch: fetched });
    first.dispose();
    ok(
      seen.every(
        ({ loaded: n, total }, i) =>
          total === seen[0].total && n <= total && (i === 0 || n >= seen[i - 1].loaded),
      ),
      'progress that rises',
    );
    const { loaded: end, total } = seen.at(-1);
    ok(
      seen[0].loaded === 0 && end === total && total > 520,
      `progress from 0 to the total, found ${JSON.stringify(seen)}`,
    );
    const prepares = seen.findIndex(({ stage }) => stage === 'prepare');
    ok(
      seen[0].stage === 'download' && prepares === seen.length - 1,
      'a stage of its own for what is prepared',
    );
    equal(urls.map((url) => new URL(url).pathname.replace(/\.[0-9a-f]{10}\./, '.')).sort(), [
      `/tiny/${first.backend.variant}.wasm`,
      '/tiny/weights-0.bin',
      '/tiny/weights-1.bin',
      '/tiny/weights-2.bin',
    ]);

    await refused(loaded({ signal: AbortSignal.abort() }), 'aborted');
    for (const backend of navigator.gpu ? ['wasm', 'webgpu'] : ['wasm'])
      for (const when of ['download', 'prepare']) {
        const stop = new AbortController();
        const aborted = refused(
          loaded({
            backend,
            signal: stop.signal,
            progress: ({ loaded: n, stage }) => {
              if (n > 0 && stage === when) stop.abort();
            },
          }),
          'aborted',
        );
        ok((await aborted).name === 'AbortError', 'an AbortError');
      }
    // A worker that runs another script is refused and ended, one that never answers is ended.
    const other = () => new Worker('/test/page_worker.js', { type: 'module' });
    await refused(
      loaded({ backend: 'wasm', threads: 1, worker: other }),
      'worker',
      "a worker's message",
      'same version of the runner',
    );
    const worker = other();
    worker.postMessage = () => {};
    let ended = false;
    worker.terminate = () => {
      ended = true;
      Worker.prototype.terminate.call(worker);
    };
    const silent = new AbortController();
    const hired = () => {
      setTimeout(() => silent.abort(), 100);
      return worker;
    };
    const options = { backend: 'wasm', threads: 1, worker: hired, signal: silent.signal };
    await refused(loaded(options), 'aborted');
    ok(ended, 'the worker was ended');
    // A server that never ends its answer.
    const stop = new AbortController();
    const hanging = loaded({
      signal: stop.signal,
      fetch: (url, init) =>
        url.includes('weights')
          ? new Promise((_, reject) => {
              init.signal.addEventListener('abort', () => reject(init.signal.reason));
            })
          : fetch(url, init),
    });
    setTimeout(() => stop.abort(), 100);
    await refused(hanging, 'aborted');
    // A wrong MIME type, no body stream, and a connection that breaks.
    const plain = async (url, init) => {
      const bytes = await (await fetch(url, init)).arrayBuffer();
      return { ok: true, status: 200, statusText: '', arrayBuffer: async () => bytes };
    };
    await right(await loaded({ fetch: plain }));
    await refused(
      loaded({
        fetch: async (url, init) =>
          url.includes('weights-1')
            ? Promise.reject(new TypeError('Failed to fetch'))
            : fetch(url, init),
      }),
      'network',
      'weights-1',
      'Failed to fetch',
    );
  },

  /**
   * A worker that does not start: one error with its address and the causes, where the page insists
   * on it; else the calling thread, with that as the reason.
   */
  async noWorker({ where, make, parts, policy }) {
    if (policy) {
      const meta = document.createElement('meta');
      meta.httpEquiv = 'Content-Security-Policy';
      meta.content = policy;
      document.head.append(meta);
    }
    const worker = !make || (() => new Worker(make, { type: 'module' }));
    const error = await refused(loaded({ backend: 'wasm', worker }, where), 'worker', ...parts);
    if (!make) {
      const model = await loaded({ backend: 'wasm' }, where);
      ok(model.backend.reason.endsWith('1 thread, the calling one'), model.backend.reason);
      const { name, code, reason } = model.backend.rejected.at(-1);
      equal([name.replace('-threads', ''), code], ['relaxed', 'worker']);
      for (const part of parts) ok(reason.includes(part), reason);
      await right(model);
    }
    await right(await loaded({ backend: 'wasm', worker: false }, where));
    return error.message;
  },

  /** Workers that start and say nothing, or are damaged: an error within the time, or none. */
  async deadWorkers() {
    const options = { backend: 'wasm', timeout: 1000 };
    const silent = ['the worker', 'its script whole', '0.25 s', 'quarter of `timeout`'];
    for (const threads of [1, 2])
      for (const [where, ...parts] of [
        ['/empty-worker/', ...silent],
        ['/cut-worker/', 'did not start'],
      ]) {
        await refused(loaded({ ...options, threads, worker: true }, where), 'worker', ...parts);
        const model = await loaded({ ...options, threads }, where);
        equal([model.viewKind, model.backend.rejected.at(-1).code], ['direct', 'worker']);
        await right(model);
      }
    // Asked for anew, the script does not come either: a server that is silent about this file alone.
    const ask = globalThis.fetch;
    const mute = (url, init) => (`${url}`.endsWith('worker.js') ? new Promise(() => {}) : ask(url, init));
    await changed([[globalThis, 'fetch', mute]], async () => {
      const model = await loaded(options, '/empty-worker/');
      equal([model.viewKind, model.backend.rejected.at(-1).code], ['direct', 'worker']);
    });
    const hired = () => new Worker('/empty-worker/runner/worker.js', { type: 'module' });
    const all = ['the worker', 'its script whole', '0.3 s', '`timeout`'];
    await refused(loaded({ ...options, timeout: 300, worker: hired }), 'worker', ...all);
    await right(await loaded({ ...options, worker: false }, '/empty-worker/'));
    const same = new Worker('/tiny/runner/worker.js', { type: 'module' });
    for (const [worker, found] of [
      [() => 5, 'found 5'],
      [() => {}, 'found undefined'],
      [async () => 5, 'found [object Promise]'],
      [() => same, 'a new Worker each time'],
    ])
      await refused(loaded({ ...options, threads: 2, worker }), 'option', 'the function is to', found);
  },

  /** What servers, hooks and browsers do wrong, each with a code of its own. */
  async faults() {
    const { load } = await import('/tiny/runner/index.js');
    const answer = (name, make) => ({
      backend: 'wasm',
      threads: 1,
      timeout: 300,
      fetch: (url, init) => (url.includes(name) ? make(url, init) : fetch(url, init)),
    });
    const page = { headers: { 'content-type': 'text/html; charset=utf-8' } };
    for (const name of ['model.json', 'weights-1', 'relaxed']) {
      for (const [code, make, ...parts] of [
        ['server', () => new Response('', { status: 500 }), name, '500', 'log'],
        ['server', () => new Response('', { status: 503, statusText: 'Busy' }), '503 Busy'],
        ['not-modified', () => new Response(null, { status: 304 }), name, '304'],
        ['missing-file', () => new Response('', { status: 403 }), '403', '`fetch` option'],
        ['option', () => Response.error(), name, 'opaque', 'no-cors'],
        ['html', () => new Response('<!doctype html>', page), name, 'a web page', '/tiny/'],
        ['option', () => 5, 'expected a Response', 'found 5'],
        ['option', () => undefined, 'found undefined'],
        [
          'network',
          () => {
            throw new Error('no way');
          },
          'no way',
        ],
        ['network', () => new Promise(() => {}), name, 'no answer', '0.3 s'],
        [
          'network',
          () => new Response(new ReadableStream({ start: (c) => c.enqueue(new Uint8Array(9)) })),
          name,
          'no answer',
        ],
      ])
        await refused(load('/tiny/', answer(name, make)), code, ...parts);
    }
    // A server that calls every file a page, and sends the right one.
    const typed = async (url, init) =>
      new Response(await (await fetch(url, init)).arrayBuffer(), page);
    await right(await load('/tiny/', answer('', typed)));
    const slow = async (url, init) => {
      await sleep(200); // often, but never for long
      return fetch(url, init);
    };
    await right(await load('/tiny/', { ...answer('', slow), timeout: 1000 }));
    const throwing = () => {
      throw new Error('my own');
    };
    for (const options of [{}, { backend: 'wasm' }, { backend: 'webgpu' }])
      await refused(load('/tiny/', { ...options, progress: throwing }), 'option', 'my own');
    await changed([[globalThis, 'WebAssembly', undefined]], async () => {
      await refused(load('/tiny/', { backend: 'wasm' }), 'no-wasm', 'Lockdown');
      await refused(load('/tiny/'), 'no-wasm', 'webgpu: the graphics adapter is software');
      equal((await load('/tiny/', { backend: 'webgpu' })).backend.name, 'webgpu');
    });
  },

  /** Pages on which workers, or WebAssembly, are not to be had. */
  async hostile({ case: name, where = new URL('/tiny/', import.meta.url).href }) {
    const { load } = await import(`${where}runner/index.js`);
    const passed = ({ backend }) => backend.rejected.find(({ code }) => code === 'no-worker')?.reason;
    if (name === 'foreign') {
      ok(crossOriginIsolated, 'an isolated page');
      const model = await load(where);
      equal([model.backend.threads, model.viewKind], [1, 'direct']);
      ok(/another origin, http.*'blob'/.test(passed(model)), passed(model));
      await right(model);
      const blob = await load(where, { worker: 'blob', threads: 2 });
      equal([blob.backend.threads, blob.viewKind], [2, 'direct-shared']);
      await right(blob);
      await refused(load(where, { worker: true, backend: 'wasm' }), 'worker', 'another origin');
    } else if (name === 'no-content') {
      const worker = () => new Worker('/empty.js', { type: 'module' });
      await refused(load(where, { backend: 'wasm', worker, timeout: 500 }), 'worker');
    } else if (name === 'sandboxed') {
      equal(globalThis.origin, 'null');
      const model = await load(where);
      equal(model.viewKind, 'direct');
      ok(passed(model).includes('sandbox="allow-scripts allow-same-origin"'), passed(model));
      await right(model);
    } else if (name === 'no-wasm-eval') {
      const line = "script-src 'self' 'wasm-unsafe-eval'";
      await refused(load(where, { backend: 'wasm' }), 'policy', line);
    } else if (name === 'trusted-types') {
      const line = 'Add "trusted-types webdnn"';
      await refused(load(where, { backend: 'wasm' }), 'policy', line, 'createScriptURL(script)');
      await right(await load(where, { backend: 'wasm', worker: false }));
      const policy = trustedTypes.createPolicy('webdnn', { createScriptURL: (url) => url });
      const worker = (script) => new Worker(policy.createScriptURL(script), { type: 'module' });
      await right(await load(where, { backend: 'wasm', worker }));
    } else if (name === 'adrift') {
      // Modules that do not know where they are: they import, and say what load needs.
      const [text, runner] = await Promise.all(
        ['model.js', 'runner/index.js'].map(async (file) => (await fetch(`/tiny/${file}`)).text()),
      );
      const type = 'text/javascript';
      for (const address of [
        (code) => URL.createObjectURL(new Blob([code], { type })),
        (code) => `data:${type},${encodeURIComponent(code)}`,
      ]) {
        const { load, prepare, requirements, files } = await import(address(text));
        equal(files, []);
        const parts = ['no address', "load({ base: '/models/name/' })", 'docs/bundlers.md'];
        await refused(load(), 'option', ...parts);
        await refused(load({ backend: 'wasm' }), 'option', ...parts);
        await refused(prepare(), 'option', ...parts);
        equal((await requirements()).requiredFeatures, []);
        for (const wrong of [5, {}, null, 'http://['])
          await refused(load({ base: wrong }), 'option', 'address', 'found');
        for (const base of ['/tiny/', '/tiny', new URL('/tiny/model.json', location.href)]) {
          const model = await load({ base, threads: 2 });
          equal([model.viewKind, model.backend.rejected.length], ['direct-shared', 1]);
          await right(model);
          model.dispose();
        }
        await right(await load({ base: '/tiny/', worker: 'blob' }));
        const alone = await import(address(runner));
        for (const [from, options] of [['/tiny/'], ['model.json', { base: '/tiny/' }]]) {
          const model = await alone.load(from, { ...options, threads: 2 });
          equal(model.viewKind, 'direct-shared');
          await right(model);
          model.dispose();
        }
      }
    } else throw new Error(`no case ${name}`);
  },

  /** The page's own function makes the workers. */
  async ownWorkers() {
    let made = 0;
    const worker = () => {
      made++;
      return new Worker('/tiny/runner/worker.js', { type: 'module' });
    };
    const model = await loaded({ backend: 'wasm', worker, threads: 2 });
    equal(made, model.backend.threads);
    await right(model);
    model.dispose();
  },

  /** A trapped kernel is an error, and so is every later call. */
  async traps({ options }) {
    const model = await loaded(options);
    const error = await refused(model.run(feed([1], { rounds: -1 })), 'kernel', 'nreachable');
    await refused(model.run(feed([1])), 'kernel');
    return error.message;
  },

  /** The same inside a dedicated worker. */
  async inWorker({ options }) {
    const worker = new Worker('/test/page_worker.js', { type: 'module' });
    const { error, value } = await new Promise((resolve, reject) => {
      worker.onmessage = ({ data }) => resolve(data);
      worker.onerror = (event) => reject(new Error(`page_worker.js: ${event.message}`));
      worker.postMessage({ scenario: 'runs', options });
    });
    worker.terminate();
    if (error) throw new Error(error);
    return value;
  },

  /** While a long run is at work, the page's thread goes on. */
  async responsive({ options, rounds }) {
    const model = await loaded(options);
    const run = model.run(feed(Array(1024).fill(1), { rounds }));
    let ticks = 0;
    let longest = 0;
    let last = performance.now();
    let done = false;
    run.then(() => {
      done = true;
    });
    while (!done) {
      await sleep(0);
      longest = Math.max(longest, performance.now() - last);
      last = performance.now();
      ticks++;
    }
    model.dispose();
    ok(ticks > 3, `timers that fire during a run, found ${ticks}`);
    return { ticks, longest };
  },

  /** An audio worklet runs a kit in its own thread, synchronously. */
  async worklet() {
    const { prepare } = await import('/tiny/model.js');
    const kit = await prepare();
    const context = new OfflineAudioContext(1, 1280, 44100);
    await context.audioWorklet.addModule('/test/worklet_processor.js');
    const node = new AudioWorkletNode(context, 'tiny', { processorOptions: { kit } });
    const failed = new Promise((_, reject) => {
      node.onprocessorerror = (event) =>
        reject(new Error(`the processor failed: ${event.message}`));
      node.port.onmessage = ({ data }) => reject(new Error(data));
    });
    const source = new ConstantSourceNode(context, { offset: 0.25 });
    source.connect(node).connect(context.destination);
    source.start();
    const buffer = await Promise.race([context.startRendering(), failed]);
    const samples = buffer.getChannelData(0);
    ok(
      samples.every((v) => v === 1.5),
      `2 * 0.25 + 1 in every sample, found ${samples.slice(0, 3)}`,
    );
  },

  /** A kit in this thread. */
  async kit() {
    const { prepare, instantiate } = await import('/tiny/model.js');
    const model = instantiate(await prepare());
    equal(model.runSync(feed([1, 2])).y.data, [3, 5]);
    equal((await model.run(feed([3]))).y.data, [7]);
    for (const { name, code } of model.backend.rejected) {
      ok(
        code ===
          (name.startsWith('relaxed') && !model.backend.variant.startsWith('relaxed')
            ? 'no-relaxed-simd'
            : 'single-thread'),
        `a reason against ${name}, found ${code}`,
      );
    }
    const other = await loaded({ backend: 'wasm', worker: false });
    equal(other.runSync(feed([1, 2])).y.data, [3, 5]);
    const workers = await loaded({ backend: 'wasm' });
    await refused((async () => workers.runSync(feed([1])))(), 'option', 'worker: false');
  },

  /**
   * No adapter, or a late one, or no answer: wasm does not wait for it. `/NAME/runner/` are copies
   * of the runner, as each model.js holds one.
   */
  async adapters() {
    const { requestAdapter } = GPU.prototype;
    const forget = () => delete navigator.gpu[Symbol.for('webdnn: an adapter was found')];
    const hardware = { vendor: 'hardware', architecture: '', isFallbackAdapter: false };
    /** What happens, in order, where `answer` is asked for an adapter. */
    const events = async (copy, answer, options = {}) => {
      const { load } = await import(`/${copy}/runner/index.js`);
      const seen = [];
      const asked = function (...args) {
        seen.push('asked');
        return answer.call(this, seen.filter((event) => event === 'asked').length, ...args);
      };
      const hook = (url, init) => {
        seen.push(new URL(url).pathname.split('/').at(-1).split('.')[0]);
        return options.fetch?.(url, init, seen) ?? fetch(url, init);
      };
      const changes = [
        [GPU.prototype, 'requestAdapter', asked],
        [GPUAdapter.prototype, 'info', hardware],
      ];
      return changed(changes, async () => {
        const model = await load('/tiny/', { threads: 1, ...options, fetch: hook });
        await right(model);
        const { name, rejected } = model.backend;
        model.dispose();
        return { seen, name, rejected: rejected.map(({ name: at, code }) => `${at} ${code}`) };
      });
    };
    const really = function (times, ...args) {
      return requestAdapter.apply(this, args);
    };
    const asks = ({ seen }) => seen.filter((event) => event === 'asked').length;
    const none = async () => null;
    const crashing = () => {
      throw new Error('crashed');
    };
    // It is asked for once, and the answer is remembered for the page.
    for (const answer of [none, crashing]) {
      forget();
      const first = await events('longer', answer);
      equal([first.name, first.rejected[0], asks(first)], ['wasm', 'webgpu no-adapter', 1]);
      const again = await events('edited', answer);
      equal([again.name, again.rejected[0], again.seen[1]], ['wasm', 'webgpu no-adapter', 'weights-0']);
      equal(asks(again), 0);
    }
    forget();
    let insisted = 0;
    const counted = async () => (insisted++, null);
    const insist = (copy) =>
      refused(events(copy, counted, { backend: 'webgpu' }), 'no-adapter', 'no graphics adapter');
    for (const copy of ['longer', 'longer', 'edited']) await insist(copy);
    equal(insisted, 1);
    // One that was there may come back.
    forget();
    equal((await events('longer', really)).name, 'webgpu');
    for (const copy of ['longer', 'edited']) await insist(copy);
    equal(insisted, 3);
    // It is found late, while the weights are on their way: no file comes twice.
    const slow = async (url, init, seen) => {
      const answer = await fetch(url, init);
      while (url.includes('weights-2') && !seen.includes('webgpu')) await sleep(5);
      return answer;
    };
    const found = await events(
      'format',
      async function (...args) {
        await sleep(1200);
        return really.apply(this, args);
      },
      { fetch: slow },
    );
    equal([found.name, found.rejected], ['webgpu', []]);
    ok(found.seen.indexOf('relaxed') < found.seen.indexOf('webgpu'), `wasm meanwhile: ${found.seen}`);
    const files = found.seen.filter((event) => event !== 'asked');
    equal(files.length, new Set(files).size, `each file once, of ${files}`);
    // The browser never answers.
    const never = () => new Promise(() => {});
    const silent = await events('missing', never);
    equal([silent.name, silent.rejected[0]], ['wasm', 'webgpu no-adapter']);
    const strict = { backend: 'webgpu', timeout: 200 };
    await refused(events('missing', never, strict), 'driver', 'the graphics adapter', '0.2 s');
  },

  /** WebGPU fails while a model is built: wasm takes over, with the files that are there. */
  async gpuFails() {
    const info = { vendor: 'hardware', architecture: '', isFallbackAdapter: false };
    const device = GPUDevice.prototype;
    const { createBuffer, popErrorScope } = device;
    let pops = 0;
    for (const [code, change, where] of [
      [
        'driver',
        [
          device,
          'createComputePipelineAsync',
          () => Promise.reject(new GPUPipelineError('no', { reason: 'internal' })),
        ],
      ],
      [
        'memory',
        [
          device,
          'createBuffer',
          () => {
            throw new RangeError('too large');
          },
        ],
      ],
      [
        'memory',
        [
          device,
          'popErrorScope',
          async function () {
            await popErrorScope.call(this);
            return ++pops % 5 ? null : new GPUOutOfMemoryError('full'); // of the work in `prepare`
          },
        ],
      ],
      [
        'device-lost',
        [
          device,
          'createBuffer',
          function (...args) {
            this.destroy();
            return createBuffer.apply(this, args);
          },
        ],
      ],
      [
        'driver',
        [
          GPUQueue.prototype,
          'onSubmittedWorkDone',
          () => Promise.reject(new DOMException('gone', 'OperationError')),
        ],
      ],
      ['kernel', [GPUAdapter.prototype, 'unchanged', 1], '/bad-kernel/'],
    ]) {
      const urls = [];
      const counting = (url, init) => (urls.push(url), fetch(url, init));
      await changed([change, [GPUAdapter.prototype, 'info', info]], async () => {
        const model = await loaded({ fetch: counting, threads: 1 }, where);
        equal(model.backend.name, 'wasm');
        const { name, code: found, reason } = model.backend.rejected[0];
        equal([name, found], ['webgpu', code], reason);
        equal(reason.includes('bug of the transpiler'), code === 'kernel', reason);
        equal(urls.length, new Set(urls).size, `each file once, of ${urls}`);
        ok(urls.some((url) => url.includes('webgpu')), 'the program');
        await right(model);
        model.dispose();
        await refused(loaded({ backend: 'webgpu' }, where), code);
      });
    }
  },

  /** The device is lost: said, or replaced. */
  async lost() {
    const devices = [];
    const { requestDevice } = GPUAdapter.prototype;
    const noted = async function (...args) {
      const device = await requestDevice.apply(this, args);
      devices.push(device);
      return device;
    };
    let past = 0;
    const now = () => Performance.prototype.now.call(performance) + past;
    const gpu = { backend: 'webgpu' };
    const changes = [
      [GPUAdapter.prototype, 'requestDevice', noted],
      [performance, 'now', now],
    ];
    await changed(changes, async () => {
      const plain = await loaded(gpu);
      devices.at(-1).destroy();
      equal([(await plain.lost).code, (await plain.lost).name], ['device-lost', 'WebDNNError']);
      await refused(plain.run(feed([1])), 'device-lost');
      const mine = await loaded(gpu);
      let told = false;
      mine.lost.then(() => (told = true));
      mine.dispose();
      await sleep(20);
      ok(!told, 'no loss where the page disposes');

      const urls = [];
      const counted = (url, init) => (urls.push([url, init.cache]), fetch(url, init));
      const model = await loaded({ ...gpu, recover: true, fetch: counted });
      urls.length = 0;
      const view = model.view('x');
      const kept = await model.run(feed([1]), { outputs: 'gpu' });
      // In flight, queued, and with a buffer that is gone.
      const runs = [model.run(feed([1, 2])), model.run(feed([3]))];
      const x = { data: kept.y.data, shape: [1, 1] };
      const gone = refused(model.run({ ...feed([]), x }), 'device-lost');
      devices.at(-1).destroy();
      equal((await runs[0]).y.data, [3, 5]);
      equal((await runs[1]).y.data, [7]);
      await gone;
      ok(urls.length && urls.every(([, cache]) => cache === 'force-cache'), 'weights from the cache');
      view.set([5]);
      const viewed = { data: view.subarray(0, 1), shape: [1, 1] };
      equal((await model.run({ ...feed([]), x: viewed })).y.data, [11]);
      await right(model);
      // At rest, long after; then too soon.
      past += 20_000;
      devices.at(-1).destroy();
      await right(model);
      devices.at(-1).destroy();
      equal((await model.lost).code, 'device-lost');
      await refused(model.run(feed([1])), 'device-lost');
      // The graphics card does not come back.
      const last = await loaded({ ...gpu, recover: true });
      await changed([[GPU.prototype, 'requestAdapter', async () => null]], async () => {
        devices.at(-1).destroy();
        await refused(last.run(feed([1])), 'device-lost', 'could not be recovered', 'no graphics');
      });
      equal((await last.lost).code, 'device-lost');

      // What a model remembered is gone, which no run may hide.
      const stateful = await loaded({ ...gpu, recover: true }, '/stateful/');
      const said = ['recovered', 'states (h) are zero', 'anew'];
      const pending = [stateful.run(feed([1])), stateful.run(feed([2])), stateful.reset()];
      devices.at(-1).destroy();
      await refused(pending[0], 'device-lost', ...said);
      await refused(pending[1], 'device-lost', ...said);
      await pending[2];
      await right(stateful);
      past += 20_000;
      devices.at(-1).destroy();
      await stateful.reset(); // which met a device that nobody knew to be lost
      await right(stateful);
      past += 20_000;
      const before = devices.length;
      devices.at(-1).destroy();
      while (devices.length === before) await sleep(5);
      await sleep(300); // it is at rest by now, most likely; the next run is told in any case
      await refused(stateful.run(feed([1])), 'device-lost', ...said);
      past += 20_000;
      const dead = devices.at(-1);
      dead.destroy();
      while (devices.at(-1) === dead) await sleep(0);
      // While it recovers: not run at all, for that would change the new states.
      const { createCommandEncoder } = GPUDevice.prototype;
      let encoders = 0;
      const counting = function (...args) {
        if (this !== dead) encoders++;
        return createCommandEncoder.apply(this, args);
      };
      await changed([[GPUDevice.prototype, 'createCommandEncoder', counting]], async () => {
        await refused(stateful.run(feed([1])), 'device-lost', ...said);
        await sleep(20);
      });
      ok(encoders <= 1, `the preparation alone on the new device, found ${encoders} encoders`);
      await right(stateful);
      stateful.dispose();
    });
    await refused(loaded({ device: devices[0], recover: true }), 'option', 'the device is yours');
    equal((await loaded({ backend: 'wasm', recover: true })).backend.name, 'wasm');
  },

  /** Buffers in and out, the page's device, requirements. */
  async gpu() {
    const { load, requirements } = await import('/tiny/model.js');
    const wanted = await requirements();
    equal(
      [wanted.requiredFeatures, wanted.requiredLimits],
      [[], { maxStorageBuffersPerShaderStage: 5, maxStorageBufferBindingSize: 4096 }],
    );
    ok(wanted.optionalFeatures.includes('subgroups'), 'optional features');
    const adapter = await navigator.gpu.requestAdapter();
    const device = await adapter.requestDevice(wanted);
    const model = await load({ device });
    equal(
      [model.backend.name, model.backend.variant, model.backend.reason],
      ['webgpu', 'plain', "the page's device"],
    );
    await right(model);
    const x = device.createBuffer({
      size: 12,
      usage: GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST,
    });
    device.queue.writeBuffer(x, 0, Float32Array.of(1, 2, 3));
    const out = await model.run({ ...feed([]), x: { data: x, shape: [1, 3] } }, { outputs: 'gpu' });
    equal([out.y.shape, out.y.data.size, out['total:0'].data.size], [[1, 3], 12, 4]);
    ok(out.y.data instanceof GPUBuffer, 'a GPUBuffer');
    // Results as the next run's input, without leaving the device.
    const again = await model.run({ ...feed([]), x: { data: out.y.data, shape: [1, 3] } });
    equal(again.y.data, [7, 11, 15]);
    // Runs whose results stay are with the device before it has answered for those before them.
    const { queue } = device;
    let submits = 0;
    const submit = queue.submit.bind(queue);
    queue.submit = (buffers) => (submits++, submit(buffers));
    const flying = [1, 2, 3, 4].map((i) => model.run(feed([i]), { outputs: 'gpu' }));
    flying.push(model.run(feed([5])));
    equal(submits, 5);
    delete queue.submit;
    const landed = await Promise.all(flying);
    for (const [i, { y }] of landed.slice(0, 4).entries()) {
      const held = { data: y.data, shape: [1, 1] };
      equal((await model.run({ ...feed([]), x: held })).y.data, [2 * (2 * (i + 1) + 1) + 1]);
      y.data.destroy();
    }
    equal(landed[4].y.data, [11]);
    await refused(model.run({ ...feed([]), x }), 'dimension', '"n"', '{data, shape}');
    await refused(
      model.run({ ...feed([]), x: { data: x, shape: [1, 4] } }),
      'shape',
      'at least 16 bytes, found 12',
    );
    const sink = device.createBuffer({ size: 12, usage: GPUBufferUsage.STORAGE });
    await refused(
      model.run({ ...feed([]), x: { data: sink, shape: [1, 3] } }),
      'input',
      '"x"',
      'COPY_SRC',
    );
    // Buffers that the GPU does not take: of another model's device, destroyed, mapped, none.
    const usage = GPUBufferUsage.COPY_SRC;
    const destroyed = device.createBuffer({ size: 12, usage });
    destroyed.destroy();
    const none = { [Symbol.toStringTag]: 'GPUBuffer', size: 12, usage };
    const mapped = device.createBuffer({ size: 12, usage, mappedAtCreation: true });
    for (const where of ['/tiny/', '/stateful/'])
      for (const options of [{ device }, { backend: 'webgpu', recover: true }]) {
        const one = await loaded(options, where);
        const two = await loaded({ backend: 'webgpu' }, where);
        const { y } = await two.run(feed([1, 2, 3]), { outputs: 'gpu' });
        const wrong = [y.data, ...(options.device ? [destroyed, mapped, none] : [x])];
        for (const data of wrong)
          for (const outputs of ['cpu', 'gpu']) {
            const given = { ...feed([]), x: { data, shape: [1, 3] } };
            const parts = ['input "x"', 'load({ device })', 'neither destroyed nor mapped'];
            const bad = refused(one.run(given, { outputs }), 'input', ...parts);
            const good = one.run(feed([4])); // behind it
            await bad;
            equal((await good).y.data, [9]);
            if (outputs === 'cpu') await refused(one.profile(given), 'input', ...parts);
          }
        const later = one.run({ ...feed([]), x: { data: y.data, shape: [1, 3] } });
        one.dispose();
        await refused(later, 'disposed');
        two.dispose();
      }
    const foreign = await loaded({ backend: 'wasm' });
    await refused(
      foreign.run({ ...feed([]), x: { data: x, shape: [1, 3] } }),
      'dtype',
      'webgpu backend',
    );
    model.dispose();
    out.y.data.destroy(); // ours; and the device is still the page's
    device.pushErrorScope('validation');
    device.createBuffer({ size: 4, usage: GPUBufferUsage.STORAGE }).destroy();
    equal(await device.popErrorScope(), null);
    // A device without memory, of which there is none here.
    const pop = device.popErrorScope.bind(device);
    device.popErrorScope = async () => (
      await pop(),
      ++pops === 2 ? new GPUOutOfMemoryError('full') : null
    );
    let pops = 0;
    await refused(
      load({ device }),
      'memory',
      'for weights',
      'for activations',
      'for inputs and outputs',
    );
    delete device.popErrorScope;
    // The device is lost: pending and later runs say so.
    const lost = await load({ device });
    const pending = lost.run(feed([1]));
    device.destroy();
    await refused(pending, 'device-lost', 'Load the model again, on another device');
    await refused(lost.run(feed([1])), 'device-lost');
    await refused(load({ device }), 'device-lost', 'on another device');
  },
};

export default async (argument) => scenarios[argument.scenario](argument);
