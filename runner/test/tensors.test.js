import assert from 'node:assert/strict';
import test from 'node:test';

import { bind, elements, fill, gather, publish } from '../src/tensors.js';

/** A dtype's public array through memory and back. */
function through(dtype, storage, data, near) {
  const memory = elements(storage, data.length);
  fill(memory, data, { dtype, name: 'x', near });
  return { memory, out: publish(memory, dtype) };
}

test('every dtype goes in and comes out as its own array', () => {
  for (const [dtype, storage, data, returned = data] of [
    ['float32', 'f32', Float32Array.of(1.5, -0, NaN, Infinity)],
    ['float16', 'f32', Float32Array.of(0.5, 2)],
    ['float64', 'f32', Float64Array.of(0.1), Float64Array.of(Math.fround(0.1))],
    ['int8', 'i32', Int8Array.of(-128, 127)],
    ['uint8', 'i32', Uint8Array.of(0, 255)],
    ['uint8', 'i32', Uint8ClampedArray.of(0, 255), Uint8Array.of(0, 255)],
    ['int16', 'i32', Int16Array.of(-32768, 32767)],
    ['uint16', 'i32', Uint16Array.of(0, 65535)],
    ['int32', 'i32', Int32Array.of(-(2 ** 31), 2 ** 31 - 1)],
    ['uint32', 'u32', Uint32Array.of(0, 2 ** 32 - 1)],
    ['int64', 'i32', BigInt64Array.of(-(2n ** 31n), 2n ** 31n - 1n)],
    ['int64', 'i32', Int32Array.of(-1, 7), BigInt64Array.of(-1n, 7n)],
    ['uint64', 'u32', BigUint64Array.of(0n, 2n ** 32n - 1n)],
    ['uint64', 'i32', Uint32Array.of(0, 2 ** 31 - 1), BigUint64Array.of(0n, 2n ** 31n - 1n)],
    ['bool', 'i32', Uint8Array.of(0, 1, 255), Uint8Array.of(0, 1, 1)],
  ]) {
    const { memory, out } = through(dtype, storage, data);
    assert.equal(memory.BYTES_PER_ELEMENT, 4);
    assert.deepEqual(out, returned, dtype);
  }
  assert.deepEqual(through('bool', 'i32', Uint8Array.of(255)).memory, Int32Array.of(1));
});

test('64-bit integers that do not fit are refused, and named', () => {
  for (const [dtype, storage, data, found] of [
    ['int64', 'i32', BigInt64Array.of(0n, 2n ** 31n), '2147483648 at element 1'],
    ['int64', 'i32', BigInt64Array.of(-(2n ** 31n) - 1n), '-2147483649 at element 0'],
    ['uint64', 'i32', BigUint64Array.of(2n ** 31n), '2147483648'],
    ['uint64', 'u32', BigUint64Array.of(2n ** 32n), '4294967296'],
    ['uint64', 'i32', Uint32Array.of(2 ** 31), '2147483648'],
  ])
    assert.throws(
      () => through(dtype, storage, data),
      (error) => error.code === 'range' && error.message.includes(found),
      dtype,
    );
});

test('numbers that the model could add up beyond 32 bits are refused, and named', () => {
  for (const [dtype, data] of [
    ['int64', BigInt64Array.of(7n, -100n)],
    ['int64', Int32Array.of(7, -100)],
    ['int32', Int32Array.of(7, -100)],
  ]) {
    assert.equal(through(dtype, 'i32', data, 100).memory[1], -100);
    assert.throws(
      () => through(dtype, 'i32', data, 99),
      (error) => error.code === 'range' && /from -99 to 99.* -100 at element 1/.test(error.message),
    );
  }
});

test('integers of two words are read as 64 bits', () => {
  const words = Int32Array.of(1410065408, 2, -7, -1, 5, 0).subarray(0, 4);
  assert.deepEqual(publish(words, 'int64', 2), BigInt64Array.of(10_000_000_000n, -7n));
});

const dims = [
  { name: 'T', min: 1, max: 128 },
  { name: 'h', min: 2, max: 64 },
];
const signature = [
  { name: 'ids', dtype: 'int64', shape: [1, 'T'] },
  { name: 'mask', dtype: 'int64', shape: [1, 'T'] },
  { name: 'image', dtype: 'float32', shape: ['h', ['*', 2, 'h'], 3] },
];
const none = () => undefined;
const call = (changes) =>
  bind(
    signature,
    dims,
    {
      ids: new Int32Array(16),
      mask: new BigInt64Array(16),
      image: { data: new Float32Array(24), shape: [2, 4, 3] },
      ...changes,
    },
    none,
  );

test('dimensions come from shapes, or from the one count that is left', () => {
  const { dims: found, bound } = call({});
  assert.deepEqual(found, { T: 16, h: 2 });
  assert.deepEqual(
    bound.map(({ length }) => length),
    [16, 16, 24],
  );
});

test('what cannot be, says what was expected and found', () => {
  for (const [changes, code, message] of [
    [
      { mask: new Int32Array(15) },
      'shape',
      /"mask": expected shape \[1, T\] with T = 1..128, found 15 elements where \[1, 16\] has 16/,
    ],
    [
      { mask: { data: new Int32Array(15), shape: [1, 15] } },
      'shape',
      /"ids".*found 16 elements where \[1, 15\] has 15/,
    ],
    [
      {
        ids: { data: new Int32Array(16), shape: [1, 16] },
        mask: { data: new Int32Array(15), shape: [1, 15] },
      },
      'dimension',
      /"T" is 16 in input "ids", axis 1, but 15 in input "mask", axis 1/,
    ],
    [
      { ids: new Int32Array(129) },
      'dimension',
      /"T": expected 1..128, found 129 in input "ids" \(129 elements\)/,
    ],
    [
      { image: new Float32Array(24) },
      'dimension',
      /"h" is not given: pass input "image" as \{data, shape\} with shape \[h, \(2 \* h\), 3\]/,
    ],
    [
      { image: { data: new Float32Array(18), shape: [2, 3, 3] } },
      'shape',
      /\[h, \(2 \* h\), 3\] with h = 2..64, found \[2, 3, 3\] where .* is \[2, 4, 3\]/,
    ],
    [{ image: { data: new Float32Array(24), shape: [2.5, 5, 3] } }, 'dimension', /found 2.5/],
    [
      { image: { data: new Float32Array(24), shape: 24 } },
      'shape',
      /"shape" to be an array of sizes, found Number/,
    ],
    [
      { image: { data: new Float32Array(24), dtype: 'float64', shape: [2, 4, 3] } },
      'dtype',
      /expected dtype float32, found a tensor of dtype float64/,
    ],
    [{ image: null }, 'dtype', /found null/],
    [{ image: 3 }, 'dtype', /expected Float32Array \(float32\), or \{data, shape\}, found 3/],
    [{ image: { shape: [1] } }, 'dtype', /found Object/],
    [{ image: new DataView(new ArrayBuffer(96)) }, 'dtype', /found DataView/],
    [{ picture: 1 }, 'input', /no input "picture"; its inputs are "ids", "mask", "image"/],
    [{ ids: undefined, mask: undefined }, 'input', /missing "ids" \(\w+ \[1, T\]\), "mask" \(/],
    [{ image: new (class HTMLImageElement {
      get [Symbol.toStringTag]() { return 'HTMLImageElement'; }
    })() }, 'dtype', /found HTMLImageElement\. To hand it pictures, transpile with --input image:rgb$/],
  ]) {
    assert.throws(
      () => call(changes),
      (error) => {
        assert.equal(error.code, code, error.message);
        assert.match(error.message, message);
        return true;
      },
    );
  }
  class Picture {
    get [Symbol.toStringTag]() {
      return 'HTMLImageElement';
    }
  }
  assert.throws(() => bind(signature, dims, undefined, none), {
    code: 'input',
    message: /an object with the inputs "ids" \(\w+ \[1, T\]\), .*, found nothing$/,
  });
  for (const inputs of [new Float32Array(3), new Picture(), null]) {
    assert.throws(() => bind(signature, dims, inputs, none), {
      code: 'input',
      message: /an object with the inputs "ids" .*, "mask" .*, "image" .*, found \w+$/,
    });
  }
});

test('strided values are gathered in order', () => {
  const source = Float32Array.from({ length: 12 }, (_, i) => i);
  assert.deepEqual(gather(source, [3, 4], [4, 1], 0), source);
  assert.deepEqual(
    gather(source, [4, 3], [1, 4], 0),
    Float32Array.of(0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11),
  );
  assert.deepEqual(gather(source, [2, 2], [4, -1], 3), Float32Array.of(3, 2, 7, 6));
  assert.deepEqual(gather(source, [2, 3], [0, 1], 1), Float32Array.of(1, 2, 3, 1, 2, 3));
  assert.deepEqual(gather(source, [], [], 5), Float32Array.of(5));
  assert.deepEqual(gather(source, [0, 3], [3, 1], 0), new Float32Array(0));
});

test('sizes may be 0, go in steps, and follow from others', () => {
  const dims = [
    { name: 'past', min: 0, max: 16 },
    { name: 's', min: 4, max: 12, step: 4 },
  ];
  const signature = [
    { name: 'ids', dtype: 'int64', shape: [1, 's'] },
    { name: 'mask', dtype: 'int64', shape: [1, ['+', 'past', 's']] },
    { name: 'keys', dtype: 'float32', shape: [1, 2, 'past', 8] },
  ];
  const given = (past, s, total) => ({
    ids: new Int32Array(s),
    mask: new Int32Array(total),
    keys: new Float32Array(16 * past),
  });
  const call = (...sizes) => bind(signature, dims, given(...sizes), none);
  assert.deepEqual(call(0, 8, 8).dims, { past: 0, s: 8 });
  assert.deepEqual(
    call(5, 4, 9).bound.map(({ length }) => length),
    [4, 9, 80],
  );
  assert.throws(() => call(0, 6, 6), /"s": expected 4..12 in steps of 4, found 6 in input "ids"/);
  assert.throws(
    () => call(5, 4, 8),
    /"mask": expected shape \[1, \(past \+ s\)\] with past = 0..16, s = 4..12 in steps of 4, found 8 el/,
  );
  const empty = { name: 'x', dtype: 'float32', shape: ['past', 's'] };
  assert.throws(
    () => bind([empty], dims, { x: new Float32Array(0) }, none),
    /size of dimension "past" is not given: pass input "x" as \{data, shape\}/,
  );
});
