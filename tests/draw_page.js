/** `model.draw` on canvases: the page's half of tests/test_draw.py. */
const told = (drawing) =>
  drawing.then(
    () => 'drawn',
    (error) => `${error.code}: ${error.message}`,
  );

/** The pixels of a 2D canvas. @param {HTMLCanvasElement} canvas */
const read = async (canvas) => canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;

/**
 * A canvas of WebGPU whose texture can be copied back: software browsers do not show it.
 * Gives the pixels, colours times alpha, as such a texture holds them.
 */
function readable(device) {
  const canvas = document.createElement('canvas');
  const context = canvas.getContext('webgpu');
  const configure = context.configure.bind(context);
  context.configure = (options) => configure({ ...options, usage: options.usage | 1 });
  canvas.read = async () => {
    const { width, height } = canvas;
    const stride = Math.ceil(width / 64) * 256;
    const buffer = device.createBuffer({ size: stride * height, usage: 1 | 8 });
    const encoder = device.createCommandEncoder();
    const texture = context.getCurrentTexture();
    encoder.copyTextureToBuffer({ texture }, { buffer, bytesPerRow: stride }, [width, height]);
    device.queue.submit([encoder.finish()]);
    await buffer.mapAsync(1);
    const bytes = new Uint8Array(buffer.getMappedRange());
    const out = new Uint8Array(4 * width * height);
    for (let y = 0; y < height; y++) out.set(bytes.subarray(y * stride, y * stride + 4 * width), 4 * width * y);
    return out;
  };
  return canvas;
}

/** @param {{ backend: string, sizes: number[][] }} argument @param {any} io */
export default async function ({ backend, sizes }, io) {
  const { load } = await import('/model/model.js');
  const adapter = backend === 'webgpu' && (await navigator.gpu.requestAdapter());
  const device = adapter ? await adapter.requestDevice() : undefined;
  const model = await load({ backend, device });
  const names = model.outputs.filter(({ drawn }) => drawn).map(({ name }) => name);
  const ways = backend === 'webgpu' ? ['cpu', 'gpu'] : ['cpu'];
  const canvases = Object.fromEntries(
    ways.flatMap((way) => names.map((name) => [way + name, way === 'gpu' ? readable(device) : document.createElement('canvas')])),
  );
  let run = 0;
  for (const [height, width] of sizes) {
    const data = new Float32Array(await io.read(`x${run}`));
    for (const outputs of ways) {
      const found = await model.run({ x: { data, shape: [1, 3, height, width] } }, { outputs });
      for (const name of names) {
        const canvas = canvases[outputs + name]; // used again at each size
        model.draw(canvas, found, name);
        const pixels = await (canvas.read?.() ?? read(canvas));
        await io.write(`${outputs}.${name}.${run}`, pixels);
      }
      if (outputs === 'gpu') for (const { data } of Object.values(found)) data.destroy();
    }
    run += 1;
  }
  const some = await model.run({ x: { data: new Float32Array(3), shape: [1, 3, 1, 1] } });
  const taken = document.createElement('canvas');
  taken.getContext('webgl2') ?? taken.getContext('bitmaprenderer');
  const transferred = document.createElement('canvas');
  transferred.transferControlToOffscreen();
  const wrong = {
    several: await told(model.draw(new OffscreenCanvas(1, 1), some)),
    none: await told(model.draw(new OffscreenCanvas(1, 1), some, 'plain')),
    canvas: await told(model.draw(document.body, some, 'rgb')),
    outputs: await told(model.draw(new OffscreenCanvas(1, 1), {}, 'rgb')),
    taken: await told(model.draw(taken, some, 'rgb')),
    fine: await told(model.draw(new OffscreenCanvas(1, 1), some, 'rgb')),
    odd: await told(model.draw(new OffscreenCanvas(1, 1), { rgb: { data: some.rgb.data, shape: [-1, -1] } }, 'rgb')),
    transferred: await told(model.draw(transferred, some, 'rgb')),
  };
  if (backend === 'webgpu') {
    const { alpha } = await model.run({ x: { data: new Float32Array(3), shape: [1, 3, 1, 1] } }, { outputs: 'gpu' });
    const other = await load({ backend: 'wasm' });
    wrong.elsewhere = await told(other.draw(readable(device), { alpha }, 'alpha'));
    other.dispose();
    alpha.data.destroy();
    wrong.gone = await told(model.draw(readable(device), { alpha }, 'alpha'));
    const own = await load({ backend });
    const made = await own.run({ x: { data: new Float32Array(3), shape: [1, 3, 1, 1] } }, { outputs: 'gpu' });
    wrong.foreign = await told(model.draw(readable(device), made, 'alpha'));
    wrong.again = await told(own.draw(new OffscreenCanvas(1, 1), made, 'alpha'));
    const drawing = told(own.draw(new OffscreenCanvas(1, 1), made, 'alpha'));
    own.dispose();
    wrong.ended = await drawing;
  }
  const info = Object.fromEntries(model.outputs.map(({ name, drawn, dtype }) => [name, { drawn, dtype }]));
  model.dispose();
  wrong.disposed = await told(model.draw(new OffscreenCanvas(1, 1), some, 'rgb'));
  return { wrong, info };
}
