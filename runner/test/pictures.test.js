/** Pictures and labels where there is no browser: what is accepted, what is refused and how. */
import assert from 'node:assert/strict';
import test from 'node:test';

import { Pictures } from '../src/picture/image.js';
import { top } from '../src/picture/labels.js';
import { decode, isTensor } from '../src/picture/source.js';

const input = (image, shape = [2, 2]) => ({
  name: 'x',
  dtype: 'uint32',
  shape,
  image: { channels: 'rgb', fit: 'stretch', ...image },
});
const raster = (width, height, ...bytes) => ({
  data: Uint8ClampedArray.from({ length: 4 * width * height }, (_, i) => bytes[i % bytes.length]),
  width,
  height,
});

test('a picture of the right size is its own pixels', () => {
  const { data, shape } = new Pictures().read(
    input({ resize: [3, 2] }),
    raster(3, 2, 1, 2, 3, 255),
    [],
  );
  assert.deepEqual([...data], Array(6).fill(0xff030201));
  assert.deepEqual(shape, [2, 3]);
});

test('one model may take several pictures of one size', () => {
  const pictures = new Pictures();
  const a = pictures.read({ ...input({ resize: [2, 2] }), name: 'a' }, raster(4, 4, 9, 9, 9, 255), []);
  const b = pictures.read({ ...input({ resize: [2, 2] }), name: 'b' }, raster(4, 4, 5, 5, 5, 255), []);
  assert.equal(a.data[0], 0xff090909);
  assert.equal(b.data[0], 0xff050505);
});

test('open sizes are found within their ranges', () => {
  const range = (min, max) => [
    { name: 'h', min, max },
    { name: 'w', min, max },
  ];
  const at = (image, dims, width, height) =>
    new Pictures().read(input(image, ['h', 'w']), raster(width, height, 0, 0, 0, 255), dims).shape;
  assert.deepEqual(at({}, range(1, 100), 40, 30), [30, 40]);
  assert.deepEqual(at({}, range(1, 20), 40, 30), [15, 20]);
  assert.deepEqual(at({}, range(60, 100), 40, 30), [60, 80]);
  assert.deepEqual(at({ longest: 16 }, range(1, 100), 40, 30), [12, 16]);
  assert.deepEqual(at({ multiple: 8 }, range(1, 100), 40, 30), [32, 40]);
  assert.throws(() => at({}, range(30, 40), 40, 10), {
    code: 'dimension',
    message: 'input "x": expected a picture that scales to 30..40 by 30..40 pixels, found 40 × 10',
  });
});

test('a picture that is too small for its crop is refused', () => {
  assert.throws(() => new Pictures().read(input({ crop: [3, 3] }), raster(3, 2, 0), []), {
    code: 'image',
    message: /expected a picture of at least 3 × 3 pixels, found 3 × 2/,
  });
});

test('what is no picture is refused, numbers are none', async () => {
  for (const value of [{ width: 2, height: 2, data: [1, 2] }, 'photo.png', null, new Date(), {}])
    assert.throws(() => new Pictures().read(input({}), value, []), /^WebDNNError: input "x": /);
  for (const value of [new Uint32Array(4), { data: new Uint32Array(4), shape: [2, 2] }])
    assert.ok(isTensor(value));
  assert.ok(!isTensor(raster(1, 1, 0)));
  assert.throws(() => new Pictures().read(input({}), new Blob(['a']), []), {
    code: 'option',
    message: /a Blob must be decoded first, .* pass it to run\(\)/,
  });
  await assert.rejects(decode('x', new Blob(['a'])), { code: 'image', message: /needs a browser/ });
});

const outputs = [
  { name: 'a', dtype: 'float32', shape: [1, 3], labels: ['cat', 'dog', 'bird'] },
  { name: 'b', dtype: 'int64', shape: [2], labels: ['no', 'yes'] },
  { name: 'c', dtype: 'float32', shape: [1] },
];
const results = {
  a: { dtype: 'float32', shape: [1, 3], data: Float32Array.of(0.25, 0.5, 0.25) },
  b: { dtype: 'int64', shape: [2], data: BigInt64Array.of(3n, 9n) },
};

test('the best classes, best first, earlier ones before equals', () => {
  assert.deepEqual(top(outputs, results, 5, 'a'), [
    { label: 'dog', score: 0.5, index: 1 },
    { label: 'cat', score: 0.25, index: 0 },
    { label: 'bird', score: 0.25, index: 2 },
  ]);
  assert.deepEqual(top(outputs, results, 1, 'b'), [{ label: 'yes', score: 9, index: 1 }]);
  assert.deepEqual(top(outputs.slice(0, 1), results, 1), [{ label: 'dog', score: 0.5, index: 1 }]);
  const holes = { a: { shape: [3], data: Float32Array.of(NaN, -Infinity, 1) } };
  assert.deepEqual(
    top(outputs, holes, 5, 'a').map(({ index }) => index),
    [2, 1],
  );
});

test('what has no classes is said', () => {
  const wrong = (call, message) => assert.throws(call, message);
  wrong(() => top(outputs, results, 5), /several outputs have labels \("a", "b"\)/);
  wrong(() => top(outputs.slice(2), results, 5), /transpile it with --labels FILE/);
  wrong(() => top(outputs, results, 5, 'c'), /the outputs with labels are "a", "b", not "c"/);
  wrong(() => top(outputs, {}, 5, 'a'), /expected what run\(\) returned, with "a" in it/);
  wrong(() => top(outputs, { a: { data: {} } }, 5, 'a'), /on the CPU, found a GPUBuffer/);
  wrong(() => top(outputs, results, 0, 'a'), /expected a whole number from 1, found 0/);
  const many = { a: { shape: [2, 3], data: new Float32Array(6) } };
  wrong(() => top(outputs, many, 1, 'a'), /each of 3 labels, found 6 in "a" of shape \[2, 3\]/);
});
