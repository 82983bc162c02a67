/**
 * Gives a model every kind of picture: the page's half of tests/test_image_browser.py.
 *
 * The descriptor echoes the pixels that it is given; what comes back is each source's result, or the
 * code and message of its error.
 */

/** @param {string} address @returns {Promise<HTMLImageElement>} */
async function image(address, crossOrigin = '') {
  const element = new Image();
  if (crossOrigin) element.crossOrigin = crossOrigin;
  element.src = address;
  await element.decode();
  return element;
}

/** @param {any} source */
function canvasOf(source, make = (w, h) => Object.assign(document.createElement('canvas'), { width: w, height: h })) {
  const canvas = make(source.naturalWidth ?? source.width, source.naturalHeight ?? source.height);
  canvas.getContext('2d').drawImage(source, 0, 0);
  return canvas;
}

/** A video that plays what is on a canvas. @param {HTMLCanvasElement} canvas */
async function videoOf(canvas) {
  const video = Object.assign(document.createElement('video'), { muted: true, playsInline: true });
  const context = canvas.getContext('2d');
  const again = setInterval(() => context.drawImage(canvas, 0, 0), 30);
  video.srcObject = canvas.captureStream(30);
  await video.play();
  await new Promise((resolve) => setTimeout(resolve, 300));
  clearInterval(again);
  return video;
}

/** @type {Record<string, (files: any) => Promise<any>>} */
const SOURCES = {
  'image': ({ png }) => image(png),
  'blob image': async ({ png }) => image(URL.createObjectURL(await (await fetch(png)).blob())),
  'revoked image': async (files) => {
    const element = await SOURCES['blob image'](files);
    URL.revokeObjectURL(element.src);
    return element;
  },
  'canvas': async ({ png }) => canvasOf(await image(png)),
  'offscreen canvas': async ({ png }) => canvasOf(await image(png), (w, h) => new OffscreenCanvas(w, h)),
  'webgl canvas': async ({ png }) => {
    const source = canvasOf(await image(png));
    const canvas = new OffscreenCanvas(source.width, source.height);
    const gl = canvas.getContext('webgl', { preserveDrawingBuffer: true });
    gl.clearColor(1, 0, 0, 1);
    gl.clear(gl.COLOR_BUFFER_BIT);
    return canvas;
  },
  'bitmap': async ({ png }) => createImageBitmap(await image(png)),
  'image data': async ({ png }) => {
    const canvas = canvasOf(await image(png));
    return canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
  },
  'blob': async ({ png }) => (await fetch(png)).blob(),
  'file': async ({ png }) => new File([await (await fetch(png)).blob()], 'photo.png'),
  'raster': async ({ png }) => {
    const canvas = canvasOf(await image(png));
    const { data, width, height } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
    return { data: new Uint8Array(data), width, height };
  },
  'video frame': async ({ png }) => new VideoFrame(canvasOf(await image(png)), { timestamp: 0 }),
  'video': async ({ smooth }) => videoOf(canvasOf(await image(smooth))),
  'turned image': ({ turned }) => image(turned),
  'turned blob': async ({ turned }) => (await fetch(turned)).blob(),
  'transparent image': ({ transparent }) => image(transparent),
  'svg': ({ svg }) => image(svg),
  'pixels': async () => new Uint32Array(24 * 32).fill(0xff030201),
  // what is no picture
  'unloaded image': async ({ png }) => Object.assign(new Image(), { src: `${png}?later` }),
  'broken image': async ({ text }) => {
    const element = new Image();
    element.src = text;
    await element.decode().catch(() => {});
    return element;
  },
  'unloaded video': async () => document.createElement('video'),
  'closed frame': async ({ png }) => {
    const frame = new VideoFrame(canvasOf(await image(png)), { timestamp: 0 });
    frame.close();
    return frame;
  },
  'closed bitmap': async ({ png }) => {
    const bitmap = await createImageBitmap(await image(png));
    bitmap.close();
    return bitmap;
  },
  'empty canvas': async () => new OffscreenCanvas(0, 5),
  'text blob': async ({ text }) => (await fetch(text)).blob(),
  'element': async () => document.createElement('p'),
  'text': async () => 'photo.png',
  'nothing': async () => null,
  'object': async () => ({ src: 'photo.png' }),
  'short raster': async () => ({ data: new Uint8ClampedArray(3 * 4 * 5), width: 4, height: 5 }),
  'wide colours': async () => new ImageData(4, 5, { colorSpace: 'display-p3' }),
  'foreign image': ({ foreign }) => image(foreign),
  'foreign image with leave': ({ foreign }) => image(foreign, 'anonymous'),
};

/** @param {{ options: object, files: object, sources: string[] }} argument @param {any} io */
export default async function ({ options, files, sources }, io) {
  const { load } = await import('/model/model.js');
  const model = await load(options);
  /** @type {Record<string, any>} */
  const results = {};
  let reads = 0; // of pixels, by this thread
  const read = OffscreenCanvasRenderingContext2D.prototype.getImageData;
  OffscreenCanvasRenderingContext2D.prototype.getImageData = function (...part) {
    reads++;
    return read.apply(this, part);
  };
  let decoded = ''; // what this thread had decoded last
  const decode = globalThis.createImageBitmap;
  globalThis.createImageBitmap = (source, ...rest) => {
    decoded = source.constructor.name;
    return decode(source, ...rest);
  };
  let imports = 0; // into the GPU
  const bring = globalThis.GPUDevice?.prototype.importExternalTexture;
  if (bring)
    GPUDevice.prototype.importExternalTexture = function (...what) {
      const found = bring.apply(this, what);
      imports++;
      return found;
    };
  for (const name of sources) {
    const source = await SOURCES[name](files);
    reads = imports = 0;
    try {
      const { pixels } = await model.run({ photo: source });
      await io.write(name, pixels.data);
      results[name] = { shape: pixels.shape, reads, imports, decoded };
    } catch (error) {
      results[name] = { code: error.code, message: error.message };
    }
  }
  if (!sources.includes('file')) return { results };
  // Runs are in order and take their inputs when they are called, files and all.
  const raster = await SOURCES.raster(files);
  const blob = await SOURCES.blob(files);
  const runs = [model.run({ photo: blob }), model.run({ photo: raster })];
  raster.data.forEach((_, i) => { raster.data[i] = i % 4 === 3 ? 255 : 7; });
  runs.push(model.run({ photo: raster }));
  const order = [];
  await Promise.all(runs.map((run, i) => run.then(() => order.push(i))));
  const [a, b, c] = (await Promise.all(runs)).map(({ pixels }) => pixels.data);
  const controller = new AbortController();
  const aborted = model.run({ photo: blob }, { signal: controller.signal }).catch((error) => error.code);
  controller.abort();
  const top = model.top({ scores: (await model.run({ photo: blob })).scores }, 2);
  const disposed = model.run({ photo: blob }).catch((error) => error.code);
  const code = await aborted;
  model.dispose();
  const after = await model.run({ photo: raster }).catch((error) => error.code);
  return {
    results,
    order,
    same: a.every((value, i) => value === b[i]),
    later: c.every((value) => Math.abs(value - 7) < 1e-3),
    aborted: code,
    disposed: [await disposed, after],
    top,
    inputs: model.inputs,
    outputs: model.outputs,
  };
}
