/** Which of the runner's modules may import which. */
import assert from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';
import { posix } from 'node:path';
import test from 'node:test';

const source = new URL('../src/', import.meta.url);

/** The modules that each module imports, without those that are named for their types only. */
const imports = Object.fromEntries(
  readdirSync(source, { recursive: true })
    .map((name) => name.replaceAll('\\', '/'))
    .filter((name) => name.endsWith('.js'))
    .map((name) => {
      const text = readFileSync(new URL(name, source), 'utf8');
      const found = [...text.matchAll(/^(?:import|export)\b[^;]*?\bfrom '(\.[^']+)'/gm)];
      return [name, found.map(([, path]) => posix.join(posix.dirname(name), path))];
    }),
);

test('the backends and pictures do not know one another', () => {
  const rooms = new Set(Object.keys(imports).map(posix.dirname));
  assert.deepEqual([...rooms].sort(), ['.', 'picture', 'wasm', 'webgpu']);
  for (const [name, used] of Object.entries(imports)) {
    for (const other of used) assert.ok(imports[other], `${name} imports a missing ${other}`);
    const room = posix.dirname(name);
    if (room === '.') continue;
    const foreign = used.filter((other) => ![room, '.'].includes(posix.dirname(other)));
    assert.deepEqual(foreign, [], name);
    // Nor what is built on them: a loaded model, and the entries.
    assert.ok(!used.some((other) => /^(index|model|worker|worklet)\.js$/.test(other)), name);
  }
});

test('a worklet loads nothing that needs what worklets lack', () => {
  const reached = new Set(['worklet.js']);
  for (const name of reached) for (const other of imports[name]) reached.add(other);
  assert.ok(reached.has('wasm/instance.js'));
  assert.ok(![...reached].some((name) => /^(webgpu|fetch|index)/.test(name)), [...reached].join());
});

test('no module imports in a circle', () => {
  /** @type {Set<string>} */
  const done = new Set();
  const visit = (name, path) => {
    assert.ok(!path.includes(name), [...path, name].join(' -> '));
    if (done.has(name)) return;
    for (const other of imports[name]) visit(other, [...path, name]);
    done.add(name);
  };
  for (const name of Object.keys(imports)) visit(name, []);
});
