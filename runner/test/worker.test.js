/** The worker of the wasm backend and the page: both check what arrives. */
import assert from 'node:assert/strict';
import test from 'node:test';

import { load } from '../src/index.js';
import { seeded } from '../testing/damage.js';
import { tiny } from '../testing/tiny.js';

const folder = tiny();
const feed = {
  x: Float32Array.of(-1, 2, 3),
  'k/0': Int32Array.of(2, -7),
  rounds: Int32Array.of(1),
};

let made = 0;
/**
 * A Worker as pages know it, in this thread, with the real script. `answer` sees what it posts.
 * @param {(message: any) => any} [answer] @param {(message: any) => any} [ask]
 */
function worker(answer = (message) => message, ask = (message) => message) {
  /** @type {any} */
  const self = {
    terminate() {
      self.ended = true;
    },
    async postMessage(message, transfer) {
      const data = ask(carried(message, transfer));
      (await posted)(data);
    },
  };
  const posted = (async () => {
    globalThis.postMessage = (message, transfer) => {
      const data = answer(carried(message, transfer));
      if (!self.ended) queueMicrotask(() => self.onmessage({ data }));
    };
    await import(`../src/worker.js?${made++}`);
    const { onmessage } = globalThis;
    return (data) => onmessage({ data });
  })();
  return self;
}

/** A message on the other side; Node's structuredClone has no place for a module. */
function carried(message, transfer) {
  const { module } = message.args?.[0] ?? {};
  if (!module) return structuredClone(message, { transfer });
  const [{ module: _, ...rest }, ...others] = message.args;
  const copy = structuredClone({ ...message, args: [rest, ...others] }, { transfer });
  copy.args[0].module = module;
  return copy;
}

const place = (made) => ({ backend: 'wasm', threads: 1, worker: () => made });

test('a model in a worker', async () => {
  const model = await load(folder, place(worker()));
  for (let turn = 0; turn < 3; turn++) {
    const { y, 'total:0': total } = await model.run(feed);
    assert.deepEqual(y.data, Float32Array.of(-1, 5, 7));
    assert.deepEqual(total.data, BigInt64Array.of(-5n));
  }
  assert.deepEqual((await model.stored()).y_reversed.data, Float32Array.of(7, 5, -1));
  assert.equal((await model.profile(feed)).length, 2);
  await model.reset();
  model.dispose();
});

test('an error of the worker keeps its code and message', async () => {
  const error = { code: 'kernel', message: 'the kernel is broken' };
  const broken = worker(({ id, value }) => (value?.outputs ? { id, error } : { id, value }));
  const model = await load(folder, place(broken));
  await assert.rejects(model.run(feed), error);
});

const STRANGE = [
  ...[undefined, null, 0, 'hello', [], {}, { id: 'x' }, { id: -1 }, { type: 'ready' }],
  ...[{ id: 0 }, { id: 0, error: {} }, { id: 0, error: { code: 3 } }, { id: 1e9, value: 1 }],
];

test('an answer that is none ends the model with one error, and the worker', async () => {
  const random = seeded(5);
  for (let i = 0; i < 50; i++) {
    const bad = random(9); // which of its answers
    let count = 0;
    const stranger = worker((message) => {
      if (count++ !== bad) return message;
      const strange = STRANGE[random(STRANGE.length)];
      // `{ id: 0 }` is what a call without a value is answered with.
      return strange?.id === 0 && message.id === 0 ? null : strange;
    });
    await assert.rejects(
      async () => {
        const model = await load(folder, place(stranger));
        for (;;) await model.run(feed);
      },
      { code: 'worker', message: /^a worker's message: .*expected .*same version of the run/ },
    );
    assert.ok(stranger.ended);
  }
});

test('values of another kind are refused', async () => {
  for (const value of [1, null, {}, { outputs: [], inputs: 3 }, { outputs: [1], inputs: [] }]) {
    const other = worker((message) => (message.value?.outputs ? { ...message, value } : message));
    const model = await load(folder, place(other));
    await assert.rejects(model.run(feed), { code: 'worker', message: /^a worker's answer: / });
  }
});

test('the worker answers every message, whatever it is', async () => {
  const calls = [
    ...STRANGE,
    { id: 0, name: 'run', args: [] },
    { id: 0, name: 'own', args: [] },
    { id: 0, name: 'own', args: [{}] },
    { id: 0, name: 'own', args: [{ model: { format: 1 }, module: {} }] },
    { id: 0, name: 'join', args: [{ module: 1, memory: 2, layout: 3, thread: 4 }] },
    { id: 0, name: '__proto__', args: [] },
    { id: 0, name: 'toString', args: [] },
    { id: 0, name: 'own', args: 'x' },
  ];
  for (const call of calls) {
    /** @type {any} */
    let answer;
    const asked = worker(
      (message) => (answer = message),
      () => call,
    );
    asked.onmessage = () => {};
    await asked.postMessage({});
    assert.equal(answer.error?.code, 'worker', JSON.stringify(call));
    assert.match(answer.error.message, /^a message to the worker: .*expected/);
  }
});
