/** What is checked in is what the sources give. */
import assert from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';
import test from 'node:test';
import { gzipSync } from 'node:zlib';

import { bundles, sources } from '../build.js';

const read = (/** @type {string} */ name) =>
  readFileSync(new URL(`../dist/${name}`, import.meta.url), 'utf8');

test('dist/ is built from src/: else `make runner`', async (t) => {
  const built = await bundles();
  assert.deepEqual(Object.keys(built).sort(), [
    ...['bound.js', 'index.js', 'loops-gpu.js', 'pictures-gpu.js', 'pictures.js'],
    ...['worker.js', 'worklet.js'],
  ]);
  for (const [name, text] of Object.entries(built)) {
    assert.equal(read(name), text, name);
    t.diagnostic(`${name}: ${gzipSync(text, { level: 9 }).length} bytes, gzipped`);
  }
  assert.equal(read('sources').trim(), sources());
  assert.equal(
    read('types.d.ts'),
    readFileSync(new URL('../src/types.d.ts', import.meta.url), 'utf8'),
  );
  assert.deepEqual(readdirSync(new URL('../dist/', import.meta.url)).sort(), [
    ...['bound.js', 'index.js', 'loops-gpu.js', 'pictures-gpu.js', 'pictures.js'],
    ...['sources', 'types.d.ts', 'worker.js', 'worklet.js'],
  ]);
});
