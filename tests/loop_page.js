/**
 * `model.loop` on what pages have: the page's half of tests/test_loop.py. The model takes a picture,
 * `image`, and a number, `k`; `y` is the mean of all channels, and k.
 */
const after = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const SIDE = 8;

/** A canvas whose grey goes up by one with each turn; `at()` is its grey. */
function rising(ms = 10) {
  const canvas = document.createElement('canvas');
  canvas.width = canvas.height = SIDE;
  const context = canvas.getContext('2d');
  let grey = 0;
  const paint = () => {
    grey += 1;
    context.fillStyle = `rgb(${grey % 256} ${grey % 256} ${grey % 256})`;
    context.fillRect(0, 0, SIDE, SIDE);
  };
  paint();
  const turn = setInterval(paint, ms);
  return { canvas, at: () => grey, end: () => clearInterval(turn) };
}

const grey = (level) => new ImageData(new Uint8ClampedArray(SIDE * SIDE * 4).fill(255).map((v, i) => (i % 4 === 3 ? v : level)), SIDE, SIDE);

/** The message of what a promise rejects with, or 'resolved'. */
const told = (promise) => promise.then(() => 'resolved', (error) => `${error.code ?? error.name}: ${error.message}`);

const SCENARIOS = {
  /** The page is slower than the canvas: each result is of the canvas as it is then. */
  async canvas(model) {
    const source = rising();
    const stop = new AbortController();
    const found = [];
    let since = 0;
    const ended = await told(
      model.loop(
        source.canvas,
        async ({ y }, frame) => {
          found.push({ y: [...y.data], since, same: frame === source.canvas });
          await after(60);
          since = source.at();
          if (found.length === 6) stop.abort();
        },
        { signal: stop.signal, inputs: { k: Float32Array.of(5) } },
      ),
    );
    source.end();
    return { found, ended };
  },

  /** A camera's frames are closed when the page is done with them; the end of its track is the loop's. */
  async camera(model) {
    const source = rising(30);
    const stream = source.canvas.captureStream(30);
    const [track] = stream.getVideoTracks();
    const found = [];
    const frames = [];
    const ended = await told(
      model.loop(
        stream,
        ({ y }, frame) => {
          frames.push(frame);
          found.push({ y: y.data[0], at: source.at(), open: frame.readyState > 1 || frame.format !== null });
          if (found.length === 5) track.stop();
        },
        { inputs: { k: Float32Array.of(0) } },
      ),
    );
    source.end();
    return { found, ended, kind: frames[0]?.constructor.name, closed: frames.every((f) => f.format === null) };
  },

  /** A video is waited for while it is paused; one that has ended ends the loop. */
  async video(model) {
    const source = rising(30);
    const video = document.createElement('video');
    video.muted = true;
    video.srcObject = source.canvas.captureStream(30);
    await video.play();
    const stop = new AbortController();
    const found = [];
    const looping = told(
      model.loop(
        video,
        ({ y }, frame) => {
          found.push({ y: y.data[0], same: frame === video });
          if (found.length === 3) video.pause();
        },
        { signal: stop.signal, inputs: { k: Float32Array.of(0) } },
      ),
    );
    while (found.length < 3) await after(10);
    await after(250);
    const paused = found.length;
    await video.play();
    while (found.length < paused + 2) await after(10);
    video.srcObject.getTracks().forEach((track) => track.stop());
    const ended = await Promise.race([looping, after(3000).then(() => stop.abort() || 'waited in vain')]);
    source.end();
    return { found, paused, ended };
  },

  /** Every item of a stream, in order; a function makes the inputs. */
  async items(model) {
    const found = [];
    let cleaned = false;
    async function* items() {
      try {
        for (let level = 0; level < 5; level++) yield level * 10;
      } finally {
        cleaned = true;
      }
    }
    const inputs = (level) => ({ image: grey(level), k: Float32Array.of(level) });
    const ended = await told(model.loop(items(), ({ y }, level) => found.push([...y.data, level]), { inputs }));
    const stream = new ReadableStream({
      async start(controller) {
        for (const level of [3, 4]) controller.enqueue(await createImageBitmap(grey(level)));
        controller.close();
      },
    });
    const bitmaps = [];
    await model.loop(stream, ({ y }, bitmap) => bitmaps.push(bitmap) && found.push([...y.data, bitmap.width]), {
      inputs: { k: Float32Array.of(1) },
    });
    return { found, ended, cleaned, closed: bitmaps.every(({ width }) => width === 0) };
  },

  /** Nothing runs while the page is hidden. */
  async hidden(model) {
    let state = 'hidden';
    Object.defineProperty(document, 'visibilityState', { configurable: true, get: () => state });
    const stop = new AbortController();
    let runs = 0;
    const source = rising();
    const options = { signal: stop.signal, inputs: { k: Float32Array.of(0) } };
    const looping = told(model.loop(source.canvas, () => void (runs += 1), options));
    await after(150);
    const before = runs;
    state = 'visible';
    document.dispatchEvent(new Event('visibilitychange'));
    while (runs < 3) await after(10);
    state = 'hidden';
    await after(100);
    const then = runs;
    await after(150);
    const still = runs === then;
    stop.abort();
    const ended = await looping;
    delete document.visibilityState;
    source.end();
    return { before, still, ended };
  },

  /** What ends a loop, and how. */
  async ends(model) {
    const k = Float32Array.of(0);
    const { canvas, end } = rising();
    const stopped = AbortSignal.abort();
    const never = { [Symbol.asyncIterator]: () => ({ next: () => new Promise(() => {}) }) };
    async function* broken() {
      yield grey(1);
      throw new TypeError('the camera caught fire');
    }
    const found = {
      already: await told(model.loop(canvas, () => {}, { signal: stopped, inputs: { k } })),
      waiting: await told(model.loop(never, () => {}, { signal: AbortSignal.timeout(50), inputs: { k } })),
      running: await told(model.loop(canvas, () => {}, { signal: AbortSignal.timeout(100), inputs: { k } })),
      page: await told(
        model.loop(canvas, () => { throw new RangeError('of the page'); }, { inputs: { k } }),
      ),
      source: await told(model.loop(broken(), () => {}, { inputs: { k } })),
      input: await told(model.loop(canvas, () => {})),
      option: await told(model.loop(canvas, () => {}, { input: { k } })),
      nothing: await told(model.loop(undefined, () => {}, { inputs: { k } })),
      image: await told(model.loop(new Image(), () => {}, { inputs: { k } })),
      callback: await told(model.loop(canvas, undefined, { inputs: { k } })),
      twice: await told(model.loop(canvas, () => {}, { inputs: { k, image: canvas } })),
    };
    const stop = new AbortController();
    let results = 0;
    const inputs = (image) => {
      queueMicrotask(() => stop.abort()); // the run is under way by then
      return { image, k };
    };
    const amid = model.loop(canvas, () => void (results += 1), { inputs, signal: stop.signal });
    found.amid = [await told(amid), results];
    const locked = new ReadableStream();
    locked.getReader();
    found.locked = await told(model.loop(locked, () => {}, { inputs: { k } }));
    const sound = new AudioContext().createMediaStreamDestination().stream;
    found.silent = await told(model.loop(sound, () => {}, { inputs: { k } }));
    found.audio = await told(model.loop(sound.getTracks()[0], () => {}, { inputs: { k } }));
    end();
    return found;
  },

  /** The end of the model is the end of its loops, whether a frame comes or not. The last scenario. */
  async disposed(model) {
    const never = { [Symbol.asyncIterator]: () => ({ next: () => new Promise(() => {}) }) };
    const inputs = { k: Float32Array.of(0) };
    const { canvas, end } = rising();
    const waiting = told(model.loop(never, () => {}, { inputs }));
    const amid = told(model.loop(canvas, () => after(100), { inputs }));
    await after(30);
    model.dispose();
    const ended = await Promise.race([Promise.all([waiting, amid]), after(2000).then(() => 'waited in vain')]);
    end();
    return ended;
  },

  /** Bytes of the heap that 6000 frames leave behind and 2000 do not. */
  async garbage(model) {
    const image = grey(7);
    async function* frames(count) {
      for (let i = 0; i < count; i++) yield image;
    }
    const options = { signal: new AbortController().signal, inputs: { k: Float32Array.of(0) } };
    const used = async (count) => {
      await model.loop(frames(count), () => {}, options);
      globalThis.gc();
      await after(20);
      globalThis.gc();
      return performance.memory.usedJSHeapSize;
    };
    await used(2000);
    const before = await used(2000);
    return (await used(6000)) - before;
  },
};

/** @param {{ scenarios: string[], options: object }} argument */
export default async function ({ scenarios, options }) {
  const { load } = await import('/model/model.js');
  const model = await load(options);
  const found = {};
  for (const name of scenarios) found[name] = await SCENARIOS[name](model);
  model.dispose();
  return found;
}
