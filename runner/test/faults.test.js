/**
 * Six hundred faults of servers, workers, graphics drivers and pages, one or two at a time: `load`
 * ends within its time, with a model that gives the right answers or with one clear error. In CI a
 * fixed third of them.
 *
 * The graphics adapter computes nothing (testing/gpu.js), so that only wasm's answers are looked at.
 */
import assert from 'node:assert/strict';
import { AsyncLocalStorage } from 'node:async_hooks';
import { readFileSync, readdirSync } from 'node:fs';
import test from 'node:test';

import { WebDNNError, load, prepare } from '../src/index.js';
import { seeded } from '../testing/damage.js';
import { checkingDevice } from '../testing/gpu.js';
import { tiny } from '../testing/tiny.js';

const FAULTS = process.env.CI ? 200 : 600;
/** How long nothing may happen, and how long all may take, in milliseconds. */
const TIMEOUT = 400;
const DEADLINE = 5000;

const folder = tiny();
const files = Object.fromEntries(
  readdirSync(folder)
    .filter((name) => /\.(json|wasm|bin)$/.test(name))
    .map((name) => [name, readFileSync(`${folder}/${name}`)]),
);
const WHERE = 'https://example.org/tiny/';
const name = (url) => url.slice(url.lastIndexOf('/') + 1);
const never = () => new Promise(() => {});
const fail = (error) => {
  throw error;
};
const pick = (random, list) => list[random(list.length)];

/** What becomes of a file: [what, answer]. */
const ANSWERS = [
  ...[204, 206, 304, 400, 403, 404, 410, 429, 500, 502, 503].map((status) => [
    `status ${status}`,
    (body) => new Response(status === 204 || status === 304 ? null : body, { status }),
  ]),
  ['empty', () => new Response('')],
  ['cut', (body, random) => new Response(body.subarray(0, random(body.length)))],
  ['longer', (body) => new Response(Buffer.concat([body, body]))],
  [
    'flipped',
    (body, random) => {
      const changed = Buffer.from(body);
      changed[random(changed.length)] ^= 1 << random(8);
      return new Response(changed);
    },
  ],
  ['zeros', (body) => new Response(new Uint8Array(body.length))],
  ['a page', () => new Response('<!doctype html>', { headers: { 'content-type': 'text/html' } })],
  ['a page as bytes', () => new Response('  <html>')],
  ['null', () => new Response('null')],
  ['another file', (_, random) => new Response(pick(random, Object.values(files)))],
  ['no answer', never],
  ['refused', () => fail(new TypeError('Failed to fetch'))],
  ['rejected with nothing', () => Promise.reject()],
  ['no Response', (_, random) => pick(random, [undefined, null, 5, 'x', {}, [], { ok: true }])],
  [
    'a body that stops',
    (body) => new Response(new ReadableStream({ start: (c) => c.enqueue(body.subarray(0, 9)) })),
  ],
  [
    'a body that breaks',
    () => new Response(new ReadableStream({ pull: (c) => c.error(new Error('broken')) })),
  ],
  ['a body that was read', (body) => {
    const response = new Response(body);
    response.text();
    return response;
  }],
  [
    'small pieces, slowly',
    (body) => {
      let at = 0;
      const pull = async (c) => {
        await new Promise((resolve) => setTimeout(resolve, 1));
        if (at >= body.length) c.close();
        else c.enqueue(new Uint8Array(body.subarray(at, (at += 1 + (body.length >> 3)))));
      };
      return new Response(new ReadableStream({ pull }));
    },
  ],
];

/**
 * What graphics drivers do: changes of an adapter, a device. (That there is no adapter at all is
 * remembered for the page: tests/runner_page/page.js.)
 */
const DRIVERS = {
  'an adapter that never comes': { requestAdapter: never },
  'no device': { requestDevice: () => Promise.reject(new DOMException('no', 'OperationError')) },
  'a device that never comes': { requestDevice: never },
  'pipelines that fail': {
    createComputePipelineAsync: () =>
      Promise.reject(Object.assign(new Error('internal error'), { reason: 'internal' })),
  },
  'pipelines that never come': { createComputePipelineAsync: never },
  'buffers that throw': { createBuffer: () => fail(new RangeError('Array buffer allocation')) },
  'bind groups that throw': { createBindGroup: () => fail(new TypeError('no such layout')) },
  'a scope that finds something': { popErrorScope: async () => ({ message: 'invalid' }) },
  'scopes that never answer': { popErrorScope: never },
  'a queue that never ends': { queue: { onSubmittedWorkDone: never } },
  'a queue that rejects': { queue: { onSubmittedWorkDone: () => Promise.reject(new Error('x')) } },
  'a queue that throws': { queue: { writeBuffer: () => fail(new Error('gone')) } },
  'a device that is lost': { lost: Promise.resolve({ reason: 'unknown', message: 'gone.' }) },
};
function gpu(faults) {
  const made = checkingDevice({ maxStorageBuffersPerShaderStage: 8 });
  const device = { ...made, ...faults, queue: { ...made.queue, ...faults.queue } };
  const adapter = {
    features: device.features,
    limits: device.limits,
    info: { vendor: 'test', architecture: '' },
    requestDevice: async () => device,
    ...faults,
  };
  return { requestAdapter: async () => adapter, ...faults };
}

/** The graphics card that a piece of work finds, and all that it awaits. */
const graphics = new AsyncLocalStorage();
Object.defineProperty(globalThis, 'navigator', {
  value: {
    get gpu() {
      return graphics.getStore();
    },
  },
});

/** Options that pages give. */
const STRANGE = [null, 0, -1, NaN, 1e9, '', 'x', true, [], {}, () => {}, 3n, Symbol('x'), new Date()];
const NAMES = ['backend', 'device', 'threads', 'worker', 'progress', 'signal', 'fetch', 'timeout'];
/** What a worker may be that is none. */
const worker = (post) => () => ({ postMessage: post, terminate() {} });
const WORKERS = {
  'a silent worker': worker(() => {}),
  'a worker that throws': worker(() => fail(new DOMException('clone', 'DataCloneError'))),
  'a worker that cannot be made': () => fail(new DOMException('no', 'SecurityError')),
  'no worker': () => undefined,
  'a worker of another kind': () => {
    const other = { terminate() {} };
    other.postMessage = () => queueMicrotask(() => other.onmessage({ data: 'hello' }));
    return other;
  },
  'a worker that breaks': () => {
    const other = { terminate() {} };
    other.postMessage = () =>
      queueMicrotask(() => other.onerror({ message: 'SyntaxError', preventDefault() {} }));
    return other;
  },
};

/** A fault of any kind: what it is, and what it changes. */
function fault(random) {
  const kind = random(8);
  if (kind < 4) {
    const file = pick(random, Object.keys(files));
    const [what, answer] = pick(random, ANSWERS);
    return { what: `${file}: ${what}`, answers: { [file]: (body) => answer(body, random) } };
  }
  if (kind < 6) {
    const what = pick(random, Object.keys(DRIVERS));
    return { what, driver: DRIVERS[what] };
  }
  if (kind === 6) {
    const what = pick(random, Object.keys(WORKERS));
    return { what, options: { backend: 'wasm', threads: 1, worker: WORKERS[what] } };
  }
  const key = pick(random, NAMES);
  // A page may ask for such patience, and gets it.
  const value = pick(random, key === 'timeout' ? STRANGE.filter((v) => v !== 1e9) : STRANGE);
  return { what: `${key}: ${String(value)}`, options: { [key]: value } };
}

const feed = {
  x: Float32Array.of(-1, 2, 3),
  'k/0': Int32Array.of(2, -7),
  rounds: Int32Array.of(1),
};

test(`${FAULTS} faults`, async (t) => {
  const { compile } = WebAssembly;
  const known = new Map();
  // Each text is compiled once.
  WebAssembly.compile = (bytes) => {
    const key = Buffer.from(bytes).toString('latin1');
    if (!known.has(key)) known.set(key, compile(bytes));
    return known.get(key);
  };
  const unhandled = [];
  const note = (error) => unhandled.push(error);
  process.on('unhandledRejection', note);
  const outcomes = {};
  const random = seeded(9);
  const all = Array.from({ length: FAULTS }, () => [
    fault(random),
    ...(random(2) ? [fault(random)] : []),
  ]);
  /** One after another; several of these wait at once. */
  const lane = async () => {
    for (let found = all.pop(); found; found = all.pop()) {
      const what = found.map((one) => one.what).join(' + ');
      const answers = Object.assign({}, ...found.map((one) => one.answers));
      const driver = Object.assign({}, ...found.map((one) => one.driver));
      const given = Object.assign({}, ...found.map((one) => one.options));
      const options = {
        timeout: TIMEOUT,
        fetch: async (url) => {
          const body = files[name(url)];
          if (!body) return new Response(null, { status: 404 });
          return (answers[name(url)] ?? ((bytes) => new Response(bytes)))(body);
        },
        ...given,
      };
      let timer;
      const late = new Promise((_, reject) => {
        timer = setTimeout(() => reject(new Error('it hangs')), DEADLINE);
      });
      const outcome = await Promise.race([
        late,
        (async () => {
          const model = await graphics.run(gpu(driver), () => load(WHERE, options));
          if (model.backend.name === 'wasm') {
            const { y, 'total:0': total } = await model.run(feed);
            assert.deepEqual([...y.data, ...total.data], [-1, 5, 7, -5n], what);
          }
          model.dispose();
          return model.backend.name;
        })(),
      ]).catch((error) => error);
      clearTimeout(timer);
      if (typeof outcome !== 'string') {
        assert.ok(outcome instanceof WebDNNError, `${what}: ${outcome?.stack}`);
        assert.notEqual(outcome.code, 'internal', `${what}: ${outcome.message}`);
        assert.ok(outcome.message.length > 30, `${what}: ${outcome.message}`);
      }
      const code = outcome.code ?? outcome;
      outcomes[code] = (outcomes[code] ?? 0) + 1;
    }
  };
  try {
    await Promise.all(Array.from({ length: 16 }, lane));
    await new Promise((resolve) => setTimeout(resolve, 20));
    assert.deepEqual(unhandled, []);
  } finally {
    process.off('unhandledRejection', note);
    WebAssembly.compile = compile;
  }
  t.diagnostic(JSON.stringify(outcomes));
  for (const expected of ['wasm', 'webgpu', 'network', 'option', 'worker', 'corrupted', 'html'])
    assert.ok(outcomes[expected], `${expected} among ${JSON.stringify(outcomes)}`);
});

test('a driver that fails is no reason to have no model', async () => {
  for (const [what, driver] of Object.entries(DRIVERS)) {
    const fetched = [];
    const options = {
      timeout: TIMEOUT,
      fetch: async (url) => {
        fetched.push(name(url));
        return new Response(files[name(url)]);
      },
    };
    const loaded = (more) => graphics.run(gpu(driver), () => load(WHERE, { ...options, ...more }));
    const { backend } = await loaded();
    assert.equal(backend.name, 'wasm', what);
    assert.equal(backend.rejected[0].name, 'webgpu', what);
    assert.equal(new Set(fetched).size, fetched.length, `${what}: ${fetched}`);
    await assert.rejects(loaded({ backend: 'webgpu' }), WebDNNError, what);
  }
});

test('files that never come, where a kit is prepared', async () => {
  for (const file of Object.keys(files).filter((key) => /model|weights-2|^plain\./.test(key))) {
    const options = {
      variant: 'plain',
      timeout: TIMEOUT,
      fetch: (url) => (name(url) === file ? never() : Promise.resolve(new Response(files[name(url)]))),
    };
    await assert.rejects(prepare(WHERE, options), {
      code: 'network',
      message: `no answer from ${file}: nothing has happened for 0.4 s (\`timeout\`)`,
    });
  }
});
