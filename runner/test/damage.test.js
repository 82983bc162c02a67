/**
 * Damaged descriptors: each of a thousand random damages is one clear error.
 *
 * `model.json` has its own SHA-256, and the WebGPU program's is in it, so that no damage passes on
 * a secure origin. Elsewhere, what is let through must still run, or fail with one of our errors:
 * nothing may crash, hang, or reach a browser's API with nonsense.
 */
import assert from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';
import test from 'node:test';

import { check, checkProgram } from '../src/descriptor.js';
import { WebDNNError, instantiate, load, prepare, requirements } from '../src/index.js';
import { build } from '../src/webgpu/engine.js';
import { damaged, seeded } from '../testing/damage.js';
import { checkingDevice } from '../testing/gpu.js';
import { tiny } from '../testing/tiny.js';

const DAMAGES = 1000;
const folder = tiny();
const files = Object.fromEntries(
  readdirSync(folder)
    .filter((name) => /\.(json|wasm|bin)$/.test(name))
    .map((name) => [name, readFileSync(`${folder}/${name}`)]),
);
const sealed = `${files['model.json']}`;
const bare = JSON.stringify({ ...JSON.parse(sealed), sha256: undefined }, null, 1);
const name = (url) => url.slice(url.lastIndexOf('/') + 1);
/** A page's fetch, with another model.json. */
const serving = (text) => ({
  fetch: async (url) => {
    const body = name(url) === 'model.json' ? text : files[name(url)];
    return new Response(body, { status: body === undefined ? 404 : 200 });
  },
});
const WHERE = 'https://example.org/tiny/';
const feed = (...x) => ({
  x: Float32Array.from(x),
  'k/0': Int32Array.of(2, -7),
  rounds: Int32Array.of(0),
});

/** A run of the WebGPU engine. */
const job = (n, gpu = false) => ({
  dims: { n },
  inputs: [new Float32Array(n), new Int32Array(2), new Int32Array(1)],
  counts: [n, 1, n, 1],
  hidden: [false, false, false, false],
  gpu,
});

/** What comes of some work: its error, or undefined; what takes ten seconds hangs. */
async function failure(work) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error('it hangs')), 10_000);
  });
  try {
    await Promise.race([work(), late]);
    return undefined;
  } catch (error) {
    return error;
  } finally {
    clearTimeout(timer);
  }
}

/** Fails unless an error is ours, says where and what, and what to do. */
function clear(error, what) {
  assert.ok(error instanceof WebDNNError, `${what}: ${error?.stack ?? 'no error'}`);
  if (error.code === 'format') return;
  assert.equal(error.code, 'descriptor', `${what}: ${error.message}`);
  const place = /(: [\w.[\]?/:-]*.*)?: expected .+, found .+\. Transpile the model again\.$/;
  const whole = /expected JSON, found|its text was changed after it was written/;
  assert.ok(place.test(error.message) || whole.test(error.message), `${what}: ${error.message}`);
}

test('no damage to model.json is let through where its SHA-256 can be computed', async () => {
  const random = seeded(1);
  const entries = [load, prepare, requirements];
  await entries[1](WHERE, serving(sealed));
  await entries[1](WHERE, serving(sealed.replaceAll('\n', '\r\n'))); // as git may check it out
  await entries[1](WHERE, serving(bare)); // who means a change removes it
  for (let i = 0; i < DAMAGES; i++) {
    const { what, text } = damaged(sealed, random);
    if (JSON.stringify(tryParse(text)) === JSON.stringify(JSON.parse(bare))) continue;
    clear(await failure(() => entries[i % 3](WHERE, serving(text))), what);
  }
});

const tryParse = (text) => {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
};

test('without it, what is let through runs or says why not', async () => {
  const { compile } = WebAssembly;
  const kit = await prepare(WHERE, serving(bare));
  WebAssembly.compile = async () => kit.module; // once is enough
  try {
    const random = seeded(2);
    let passed = 0;
    for (let i = 0; i < DAMAGES; i++) {
      const { what, text } = damaged(bare, random);
      const json = tryParse(text);
      const found = await failure(() => check(json, 'model.json'));
      if (found) {
        clear(found, what);
        if (json) clear(await failure(() => instantiate({ ...kit, descriptor: json })), what);
        continue;
      }
      passed++;
      const error = await failure(async () => {
        const model = await load(WHERE, serving(text));
        for (const x of [[1], [1, 2, 3], Array(1024).fill(-1)]) await model.run(feed(...x));
        await model.profile(feed(1));
        await model.stored();
        for (const { name } of [...model.inputs, ...model.outputs]) model.view(name);
        await model.reset();
        model.dispose();
      });
      assert.ok(!error || error instanceof WebDNNError, `${what}: ${error?.stack}`);
    }
    assert.ok(passed < DAMAGES / 4, `${passed} let through`);
  } finally {
    WebAssembly.compile = compile;
  }
});

/** What `settle` finds. */
const chosen = ({ targets }, device) => ({
  target: targets.webgpu,
  precision: 'f32',
  device,
  own: false,
  reason: '',
});

test('the WebGPU program asks for nothing that the API refuses', async () => {
  const model = check(JSON.parse(bare), 'model.json');
  const text = JSON.stringify(JSON.parse(`${files[model.targets.webgpu.file]}`), null, 1);
  const weights = new Uint8Array(model.weights.bytes);
  const device = checkingDevice();
  const runs = async (program) => {
    device.log.length = 0;
    const served = {
      program: async () => program,
      weights: async (_, write) => write(0, weights),
      preparing() {},
    };
    const engine = await build(model, chosen(model, device), served, {});
    for (const gpu of [false, true]) await engine.run(job(3, gpu));
    await engine.run(job(1024));
    await engine.profile(job(1));
    await engine.reset();
    for (const entry of Object.values(engine.stored ?? {})) await engine.read(entry, 0, 3);
    engine.dispose();
  };
  await runs(checkProgram(JSON.parse(text), 'webgpu.json', model));
  assert.deepEqual(device.log.slice(0, 3), [
    'product__1 1,1,1',
    'scale_shift__64 1,1,1',
    'total__1 1,1,1',
  ]);

  const random = seeded(3);
  let passed = 0;
  for (let i = 0; i < DAMAGES; i++) {
    const { what, text: changed } = damaged(text, random);
    const json = tryParse(changed);
    const found = await failure(() => checkProgram(json, 'webgpu.json', model));
    if (found) {
      clear(found, what);
      continue;
    }
    passed++;
    const error = await failure(() => runs(json));
    assert.ok(!error || error instanceof WebDNNError, `${what}: ${error?.stack}`);
    // What a device may lack, and what only its shader compiler sees.
    assert.ok(!error || /a buffer of/.test(error.message), `${what}: ${error?.message}`);
  }
  assert.ok(passed < DAMAGES / 3, `${passed} let through`);
});

test('steps are a tree: loops go on as long as the device says', async () => {
  const model = check(JSON.parse(bare), 'model.json');
  const program = JSON.parse(`${files[model.targets.webgpu.file]}`);
  const [step] = program.steps;
  for (const [other, message] of [
    [{ loop: 3, body: [step] }, /steps\[1\]: expected kernel or while, found/],
    [{ while: 2, body: [{ ...step, kernel: 3 }] }, /steps\[1\]\.body\[0\]\.kernel: expected/],
    [{ while: 99, body: [] }, /steps\[1\]\.while: expected a whole number from 0 to 7/],
  ])
    assert.throws(() => checkProgram({ ...program, steps: [step, other] }, 'webgpu.json', model), {
      code: 'descriptor',
      message,
    });

  const device = checkingDevice();
  const outer = [step, { while: 2, body: [step, step] }];
  const steps = [step, { while: 2, body: [step] }, { while: 2, body: outer }, step];
  const served = {
    program: async () => checkProgram({ ...program, steps }, 'webgpu.json', model),
    weights: async () => {},
    preparing() {},
  };
  const engine = await build(model, chosen(model, device), served, {});
  device.log.length = 0;
  device.words.push(1, 0, 1, 0, 0); // the first loop goes on once; the outer one does, its inner not
  await engine.run(job(3));
  const { name } = program.kernels[step.kernel];
  const plain = device.log[0];
  assert.deepEqual(device.log, [
    plain,
    ...Array(4 + 8).fill(['gate 1', `${name} at 0`]).flat(),
    plain,
    ...Array(4).fill(['gate 1', `${name} at 0`, `${name} at 12`]).flat(),
    plain,
  ]);
  device.log.length = 0;
  device.words.push(1, 1, 0);
  const times = await engine.profile(job(3));
  assert.deepEqual(device.log, Array(4).fill(plain)); // one by one
  assert.equal(times.length, 6);
});

test('what is wrong is said with its place', () => {
  const model = JSON.parse(bare);
  const refuses = (change, message) => {
    const json = structuredClone(model);
    change(json);
    assert.throws(() => check(json, 'model.json'), { code: 'descriptor', message });
  };
  const wasm = (m) => m.targets.wasm;
  assert.throws(() => check({ ...model, format: 2 }, 'model.json'), {
    code: 'format',
    message: /^model.json has format 2 \(written by webdnn, by hand\).* reads format 1\. Run /,
  });
  refuses((m) => delete m.format, /^model.json: format: expected a whole number, 1, found nothing/);
  for (const [change, message] of [
    [
      (m) => (wasm(m).memory.bytes = 'x'),
      /: targets.wasm.memory.bytes: expected a whole number from 0 .*, found "x"\. Transpile/,
    ],
    [
      (m) => (m.inputs[0].shape[1] = ['**', 'n', 2]),
      /: inputs\[0\].shape\[1\]: expected an expression such as/,
    ],
    [
      (m) => (m.inputs[0].shape[1] = ['*', 'm', 2]),
      /: inputs\[0\].shape\[1\]\[1\]: expected a whole number or n, found "m"/,
    ],
    [
      (m) => (m.outputs[2].dtype = 'complex64'),
      /: outputs\[2\].dtype: expected float32 or .*found "complex64"/,
    ],
    [
      (m) => (wasm(m).outputs[3].offset = 14336),
      /: targets.wasm.outputs\[3\].offset: expected a multiple of 4 from 0 to 14332, found 14336/,
    ],
    [(m) => wasm(m).inputs.pop(), /: targets.wasm.inputs: expected a list of 3/],
    [
      (m) => (wasm(m).inputs[0].dtype = 'f16'),
      /: targets.wasm.inputs\[0\].dtype: expected f32, found "f16"/,
    ],
    [
      (m) => m.weights.shards.push('w.bin'),
      /: weights.shards\[3\]: expected a name in files, found "w.bin"/,
    ],
    [
      (m) => m.files[m.weights.shards[0]].bytes--,
      /: weights.shards\[1\]: expected a multiple of 4 from 0 to 520, found 259/,
    ],
    [(m) => (m.weights.bytes += 4), /: weights.bytes: expected a whole number, 520, found 524/],
  ])
    refuses(change, message);
});
