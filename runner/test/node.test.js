/** The runner in Node: wasm with plain SIMD, in the calling thread. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { cpSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import test from 'node:test';
import { pathToFileURL } from 'node:url';

import { instantiate, load, prepare, requirements } from '../src/index.js';
import { tiny } from '../testing/tiny.js';

const folder = tiny();

const feed = (...x) => ({
  x: Float32Array.from(x),
  'k/0': Int32Array.of(2, -7),
  rounds: Int32Array.of(1),
});

test('runs from a folder, a file URL and a plain path', async () => {
  for (const where of [folder, pathToFileURL(folder), `${pathToFileURL(folder)}/model.json`]) {
    const model = await load(where);
    const { y, mask, 'total:0': total } = await model.run(feed(-1, 2, 3));
    assert.deepEqual(y, { dtype: 'float32', shape: [1, 3], data: Float32Array.of(-1, 5, 7) });
    assert.deepEqual(mask, { dtype: 'bool', shape: [3], data: Uint8Array.of(0, 1, 1) });
    assert.deepEqual(total, { dtype: 'int64', shape: [1], data: BigInt64Array.of(-5n) });
    assert.deepEqual(model.runSync(feed(0)).y.data, Float32Array.of(1));
    model.dispose();
  }
});

test('a descriptor runs by itself', async () => {
  const { load: own, WebDNNError } = await import(pathToFileURL(join(folder, 'model.js')).href);
  const model = await own();
  assert.deepEqual((await model.run(feed(1))).y.data, Float32Array.of(3));
  await assert.rejects(own({ backend: 'webgpu' }), WebDNNError);
});

test('says what runs, and why nothing better', async () => {
  const { backend, inputs, outputs, dims, viewKind, name } = await load(folder);
  assert.deepEqual(
    [backend.name, backend.variant, backend.threads, viewKind, name],
    ['wasm', 'plain', 1, 'direct', 'tiny'],
  );
  const codes = Object.fromEntries(backend.rejected.map((r) => [r.name, r.code]));
  assert.equal(codes.webgpu, 'no-webgpu');
  assert.equal(codes['plain-threads'], 'no-worker');
  assert.deepEqual(inputs[0], { name: 'x', dtype: 'float32', shape: [1, 'n'] });
  assert.deepEqual(
    outputs.map((o) => o.name),
    ['y', 'total:0', 'mask', 'done'],
  );
  assert.deepEqual(dims, { n: { min: 1, max: 1024, step: 1 } });
  await assert.rejects(load(folder, { backend: 'webgpu' }), {
    code: 'no-webgpu',
    name: 'WebDNNError',
  });
});

test('a kit crosses threads and runs at once', async () => {
  const kit = await prepare(folder, { variant: 'plain' });
  assert.ok(kit.module instanceof WebAssembly.Module);
  const { module, ...rest } = kit; // Node's structuredClone has no place to put a module; postMessage has
  const model = instantiate({ ...structuredClone(rest), module });
  assert.deepEqual(model.runSync(feed(4)).y.data, Float32Array.of(9));
  const view = model.view('x');
  view[0] = 5;
  assert.deepEqual(
    model.runSync({ ...feed(), x: { data: view.subarray(0, 1), shape: [1, 1] } }).y.data,
    Float32Array.of(11),
  );
  // Not awaited, or lost on its way.
  for (const [wrong, found] of [[prepare(folder), 'Promise'], [undefined, 'Undefined']])
    assert.throws(() => instantiate(wrong), { code: 'option', message: new RegExp(`awaited, found ${found}`) });
});

test('requirements are what requestDevice takes', async () => {
  assert.deepEqual(await requirements(folder), {
    requiredFeatures: [],
    requiredLimits: { maxStorageBuffersPerShaderStage: 5, maxStorageBufferBindingSize: 4096 },
    optionalFeatures: ['subgroups', 'shader-f16', 'timestamp-query'],
  });
});

test('files that are missing, cut or changed', async () => {
  const copy = `${folder}-damaged`;
  const shard = readdirSync(folder).find((name) => name.startsWith('weights-1'));
  const refuses = async (expected, change) => {
    cpSync(folder, copy, { recursive: true });
    change(join(copy, shard));
    await assert.rejects(load(copy), expected);
    rmSync(copy, { recursive: true });
  };
  const bytes = readFileSync(join(folder, shard));
  await refuses({ code: 'missing-file', message: /weights-1.*404 ENOENT/ }, (file) => rmSync(file));
  await refuses({ code: 'truncated', message: /expected 256 bytes, found 10\./ }, (file) =>
    writeFileSync(file, bytes.subarray(0, 10)),
  );
  await refuses(
    { code: 'corrupted', message: /expected SHA-256 [0-9a-f]{64}, found [0-9a-f]{64}/ },
    (file) =>
      writeFileSync(
        file,
        bytes.map((byte, i) => byte ^ +(i === 77)),
      ),
  );
  await assert.rejects(load(`${folder}/nothing`), { code: 'missing-file' });
});

test('weights that come damaged are asked for once more, though they were taken already', async () => {
  for (const times of [1, 2]) {
    const asked = {};
    /** A page's fetch; each shard is damaged the first `times` that it is asked for. */
    const fetch = async (url, { cache }) => {
      const bytes = readFileSync(new URL(url));
      if (!/weights-/.test(url)) return new Response(bytes);
      asked[url] = [...(asked[url] ?? []), cache];
      return new Response(bytes.map((byte) => byte ^ +(asked[url].length <= times)));
    };
    const loading = load(`${pathToFileURL(folder)}/`, { fetch });
    if (times === 2) {
      await assert.rejects(loading, { code: 'corrupted' });
      continue;
    }
    const model = await loading;
    assert.deepEqual((await model.run(feed(-1, 2, 3))).y.data, Float32Array.of(-1, 5, 7));
    const counts = Object.values(asked);
    assert.ok(counts.length > 1);
    for (const caches of counts) assert.deepEqual(caches, [undefined, 'reload']);
  }
});

test("a page's program compiles against the generated types, strictly", () => {
  const consumer = join(folder, 'consumer.ts');
  const program = (lines) => `import { load, type Model } from './model.js';\n${lines}\n`;
  const tsc = createRequire(import.meta.url)
    .resolve('typescript/package.json')
    .replace('package.json', 'bin/tsc');
  writeFileSync(
    join(folder, 'tsconfig.json'),
    JSON.stringify({
      compilerOptions: {
        strict: true,
        skipLibCheck: false,
        noEmit: true,
        target: 'es2022',
        module: 'esnext',
        moduleResolution: 'bundler',
        lib: ['es2022', 'dom'],
        types: [],
      },
      files: ['consumer.ts'],
    }),
  );
  const compile = (text) => {
    writeFileSync(consumer, program(text));
    try {
      execFileSync(process.execPath, [tsc, '--project', folder], { stdio: 'pipe' });
      return '';
    } catch (error) {
      return String(error.stdout);
    }
  };
  assert.equal(
    compile(`
    const model: Model = await load({ threads: 2, progress: ({ loaded, total }) => console.log(loaded / total) });
    const x = new Float32Array(3);
    const out = await model.run({ x: { data: x, shape: [1, 3] }, 'k/0': BigInt64Array.of(1n, 2n), rounds: Int32Array.of(1) });
    const y: Float32Array<ArrayBuffer> = out.y.data;
    const n: number = out.y.shape[1];
    const one: 1 = out.y.shape[0];
    const total: BigInt64Array<ArrayBuffer> = out['total:0'].data;
    const mask: 'bool' = out.mask.dtype;
    const view: Float32Array = model.view('x');
    const seen: Int32Array = model.view('total:0');
    const kept = await model.run({ x: view, 'k/0': new Int32Array(2), rounds: model.view('rounds') }, { outputs: 'gpu' });
    const buffer: GPUBuffer = kept.y.data;
    console.log(y, n, one, total, mask, seen, buffer, model.backend.rejected.map((r) => r.code === 'not-isolated'));
    model.dispose();
  `),
    '',
  );
  for (const [wrong, message] of [
    ['(await load()).run({ x: new Float32Array(1), rounds: new Int32Array(1) });', /k\/0/],
    [
      "(await load()).run({ x: new Float64Array(1), 'k/0': new Int32Array(2), rounds: new Int32Array(1) });",
      /Float64Array/,
    ],
    [
      "(await load()).run({ x: { data: new Float32Array(1), shape: [2, 1] }, 'k/0': new Int32Array(2), rounds: new Int32Array(1) });",
      /'2'|Type '2'|\[1, number\]/,
    ],
    [
      "(await (await load()).run({ x: new Float32Array(1), 'k/0': new Int32Array(2), rounds: new Int32Array(1) })).z;",
      /'z'/,
    ],
    ["(await load()).view('image');", /"image"/],
    ["await load({ backend: 'webgl' });", /webgl/],
  ])
    assert.match(compile(wrong), message, wrong);
});

test('the codes of errors are documented, each once', () => {
  const types = readFileSync(new URL('../src/types.d.ts', import.meta.url), 'utf8');
  const [, comment, union] = types.match(/\/\*\*((?:(?!\/\*\*)[^])*?)\*\/\nexport type ErrorCode =([^;]+);/);
  const rows = [...comment.matchAll(/^ \* ((?:[a-z-]+, )*[a-z-]+)  +\S/gm)];
  const documented = rows.flatMap(([, codes]) => codes.split(', '));
  assert.deepEqual(documented, [...union.matchAll(/'([a-z-]+)'/g)].map(([, code]) => code));
});
