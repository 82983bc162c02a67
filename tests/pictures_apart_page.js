/**
 * Reads pictures in the calling thread, and apart from it: the page's half of
 * tests/test_pictures_apart.py. The runner's modules are those of `runner/src`.
 */
import { Aside } from '/src/picture/aside.js';
import { Pictures } from '/src/picture/image.js';
import { Painter } from '/src/pictures-gpu.js';
import * as doors from '/src/start.js';
import { hire } from '/src/wasm/workers.js';

/** What a page may hold of these pixels. */
const KINDS = {
  raster: (image) => image,
  canvas: (image) => {
    const canvas = new OffscreenCanvas(image.width, image.height);
    canvas.getContext('2d').putImageData(image, 0, 0);
    return canvas;
  },
  bitmap: (image) => createImageBitmap(KINDS.canvas(image)),
  frame: (image) => new VideoFrame(KINDS.canvas(image), { timestamp: 0 }),
};

/** Workers that are none. */
const LAME = {
  refused: () => {
    throw new Error('no workers today');
  },
  'of another script': () => hire(1, () => new Worker(doors.worker.script, { type: 'module' })),
  missing: () => hire(1, () => new Worker('/src/missing.js', { type: 'module' })),
};

/** What is in a buffer of the GPU. @param {GPUDevice} device */
async function readBack(device, { data, shape }) {
  const size = 4 * shape[0] * shape[1];
  const target = device.createBuffer({ size, usage: 9 });
  const encoder = device.createCommandEncoder();
  encoder.copyBufferToBuffer(data, 0, target, 0, size);
  device.queue.submit([encoder.finish()]);
  await target.mapAsync(1);
  return new Uint32Array(target.getMappedRange().slice(0));
}

/** @param {{ cases: any[], gpu: boolean }} argument @param {any} io */
export default async function ({ cases, gpu }, io) {
  const device = gpu && (await (await navigator.gpu.requestAdapter()).requestDevice());
  const painter = gpu && (await Painter.on(device));
  const pictures = new Pictures();
  const aside = new Aside(() => hire(1, undefined, doors.pictures), pictures);
  const bytes = new Uint8ClampedArray(await io.read('sources'));
  let at = 0;
  const found = [];
  const parts = [];
  for (const { image, shape, dims, width, height } of cases) {
    const signature = { name: 'x', dtype: 'uint32', shape, image };
    const pixels = new ImageData(bytes.slice(at, (at += 4 * width * height)), width, height);
    const result = {};
    for (const [kind, make] of Object.entries(KINDS)) {
      const source = await make(pixels);
      try {
        parts.push(pictures.read(signature, source, dims).data.slice());
        const apart = await aside.read(signature, source, dims);
        parts.push(apart.data.slice());
        aside.again({ x: apart }); // the next result lies in the same memory
        if (gpu && kind !== 'raster') {
          const drawn = painter.paint(signature, source, dims, true);
          parts.push(await readBack(device, drawn));
          await painter.again([drawn.data]);
        }
        result[kind] = apart.shape;
      } catch (error) {
        result[kind] = error.message;
      }
    }
    found.push(result);
  }
  const size = parts.reduce((sum, { length }) => sum + length, 0);
  const words = new Uint32Array(size);
  parts.reduce((to, part) => (words.set(part, to), to + part.length), 0);
  await io.write('words', words);

  const signature = { name: 'x', dtype: 'uint32', shape: [3, 4], image: { channels: 'rgb', fit: 'stretch', resize: [4, 3] } };
  const red = () => new ImageData(new Uint8ClampedArray(8 * 8 * 4).map((_, i) => (i % 4 && i % 4 < 3 ? 0 : 255)), 8, 8);
  const isRed = ({ data }) => data.every((word) => word === 0xff0000ff);
  const lame = [];
  for (const [name, worker] of Object.entries(LAME))
    if (isRed(await new Aside(worker, pictures).read(signature, KINDS.frame(red()), []))) lame.push(name);
  // What is handed over is read as it was.
  const [canvas, bitmap, frame, raster] = [KINDS.canvas(red()), await KINDS.bitmap(red()), KINDS.frame(red()), red()];
  const reading = [canvas, bitmap, frame, raster].map((source) => aside.read(signature, source, []));
  canvas.getContext('2d').clearRect(0, 0, 8, 8);
  bitmap.close();
  frame.close();
  raster.data.fill(0);
  const taken = (await Promise.all(reading)).map(isRed);
  aside.dispose();
  return { found, lame, taken };
}
