import assert from 'node:assert/strict';
import test from 'node:test';

import { evaluate, show } from '../src/int.js';

const dims = { h: 65, w: 7 };

test('sizes from dimensions', () => {
  for (const [int, expected] of [
    [5, 5],
    ['h', 65],
    [['+', 'h', 1], 66],
    [['-', 1, 'h'], -64],
    [['*', 'h', 'w'], 455],
    [['//', 'h', 2], 32],
    [['//', ['-', 0, 'h'], 2], -33],
    [['//', 'h', -2], -33],
    [['%', 'h', 8], 1],
    [['%', ['-', 0, 'h'], 8], 7],
    [['%', 'h', -8], -7],
    [['//', 3, 0], 0],
    [['%', 3, 0], 0],
    [['min', 'h', 'w'], 7],
    [['max', 'h', 'w'], 65],
    [['select', ['<', 'w', 'h'], 1, 2], 1],
    [['select', ['<=', 'h', 'h'], 1, 2], 1],
    [['select', ['==', 'h', 'w'], 1, 2], 2],
    [['select', ['!=', 'h', 'w'], 1, 2], 1],
    [['select', ['&&', ['<', 'w', 'h'], ['<', 'h', 'w']], 1, 2], 2],
    [['select', ['||', ['<', 'w', 'h'], ['<', 'h', 'w']], 1, 2], 1],
  ])
    assert.equal(evaluate(int, dims), expected, JSON.stringify(int));
});

test('sizes as people read them', () => {
  assert.equal(show(['*', 3, ['//', 'h', 2]]), '(3 * (h // 2))');
  assert.equal(show(['max', 'h', 1]), 'max(h, 1)');
});
