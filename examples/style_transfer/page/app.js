/**
 * The demo's page. What belongs to WebDNN is in `loadModel` and `stylise`; the rest is its controls.
 *
 * Query parameters preset the controls: ?backend=wasm, ?size=384, ?style=7:0.6,19:0.4, ?photo=chelsea.png.
 */
import { load } from './model/model.js';

/** @typedef {Awaited<ReturnType<typeof load>>} Model */
/** @typedef {{ width: number, height: number, data: Float32Array<ArrayBuffer> }} Planes three planes, R G B, in 0..1 */

const STYLES = 26;
const PHOTOS = ['astronaut.png', 'chelsea.png', 'coffee.png', 'rocket.jpg'];
const SMALLEST = 64; // side that the model was transpiled for
const THUMBNAIL = 96;

/** @template {Element} T @param {string} id @param {new () => T} type @returns {T} */
function element(id, type) {
  const found = document.getElementById(id);
  if (!(found instanceof type)) throw new Error(`no ${type.name} with id ${id}`);
  return found;
}
const original = element('original', HTMLCanvasElement);
const stylised = element('stylised', HTMLCanvasElement);
const sizes = element('size', HTMLSelectElement);
const stage = element('stage', HTMLElement);

const query = new URLSearchParams(location.search);
const state = {
  /** @type {Model | null} */ model: null,
  /** @type {ImageBitmap | null} */ photo: null,
  /** Style number → its share, 0..1. @type {Map<number, number>} */ mix: new Map([[19, 1]]),
  target: query.get('backend') ?? '',
  loading: 0, // counts loads, so that an overtaken one is dropped
  busy: false,
  stale: false, // something changed while the model was running
};

/** @param {'loading' | 'running' | 'ready' | 'failed'} name @param {string} [message] */
function show(name, message) {
  document.documentElement.dataset.state = name;
  if (message !== undefined) element('message', HTMLElement).textContent = message;
}

/** @param {unknown} error */
function fail(error) {
  console.error(error);
  show('failed', error instanceof Error ? error.message : String(error));
}

/** Loads the model for the chosen target; `backend` left out means the best that this browser has. */
async function loadModel() {
  const turn = ++state.loading;
  const bar = element('progress', HTMLProgressElement);
  show('loading', 'Loading the model …');
  await state.model?.dispose();
  state.model = null;
  const begin = performance.now();
  const model = await load({
    ...(state.target === 'webgpu' || state.target === 'wasm' ? { backend: state.target } : {}),
    progress: ({ loaded, total }) => { bar.value = loaded / total; },
  });
  if (turn !== state.loading) return model.dispose();
  element('loaded', HTMLElement).textContent = milliseconds(performance.now() - begin);
  element('first', HTMLElement).textContent = '–';
  state.model = model;
  describeBackend(model);
  await update();
}

/** @param {Model} model @param {Planes} image @param {Float32Array} weights */
async function stylise(model, image, weights) {
  const begin = performance.now();
  const { stylized } = await model.run({
    image: { data: image.data, shape: [1, 3, image.height, image.width] },
    style_weights: weights,
  });
  const [, , height, width] = stylized.shape;
  return { ms: performance.now() - begin, planes: { width, height, data: stylized.data } };
}

/** @param {Model} model */
function describeBackend({ backend }) {
  const names = { webgpu: 'WebGPU', wasm: 'WebAssembly' };
  const detail = backend.name === 'wasm'
    ? [backend.variant.startsWith('relaxed') ? 'relaxed SIMD' : 'SIMD', `${backend.threads} ${backend.threads === 1 ? 'thread' : 'threads'}`]
    : [backend.variant].filter((features) => features !== 'plain');
  element('backend', HTMLElement).textContent = [names[backend.name], ...detail].join(' · ');
  const reasons = [backend.reason, ...backend.rejected.map(({ name, reason }) => `not ${name}: ${reason}`)];
  element('reasons', HTMLElement).replaceChildren(...reasons.filter(Boolean).map((text) => {
    const item = document.createElement('li');
    item.textContent = text;
    return item;
  }));
}

/** @param {ImageBitmap} photo @param {number} longest */
function fitted(photo, longest) {
  const scale = longest / Math.max(photo.width, photo.height);
  // Multiples of four: the network halves its image twice.
  const side = (/** @type {number} */ pixels) => Math.max(SMALLEST, Math.round(pixels * scale / 4) * 4);
  return { width: side(photo.width), height: side(photo.height) };
}

/** @param {HTMLCanvasElement} canvas @returns {CanvasRenderingContext2D} */
function drawing(canvas) {
  const context = canvas.getContext('2d', { willReadFrequently: true });
  if (!context) throw new Error('this browser gives no 2D canvas');
  return context;
}

/** @param {HTMLCanvasElement} canvas @returns {Planes} */
function readPlanes(canvas) {
  const { width, height } = canvas;
  const pixels = drawing(canvas).getImageData(0, 0, width, height).data;
  const count = width * height;
  const data = new Float32Array(3 * count);
  for (let i = 0; i < count; i++) {
    data[i] = pixels[4 * i] / 255;
    data[count + i] = pixels[4 * i + 1] / 255;
    data[2 * count + i] = pixels[4 * i + 2] / 255;
  }
  return { width, height, data };
}

/** @param {HTMLCanvasElement} canvas @param {Planes} planes */
function drawPlanes(canvas, { width, height, data }) {
  canvas.width = width;
  canvas.height = height;
  const image = new ImageData(width, height);
  const count = width * height;
  for (let i = 0; i < count; i++) {
    image.data[4 * i] = 255 * data[i];
    image.data[4 * i + 1] = 255 * data[count + i];
    image.data[4 * i + 2] = 255 * data[2 * count + i];
    image.data[4 * i + 3] = 255;
  }
  drawing(canvas).putImageData(image, 0, 0);
}

function weights() {
  const values = new Float32Array(STYLES);
  const sum = [...state.mix.values()].reduce((a, b) => a + b, 0) || 1;
  for (const [style, share] of state.mix) values[style] = share / sum;
  return values;
}

/** Stylises the picture as the controls stand; while it runs, only the newest change is kept. */
async function update() {
  state.stale = true;
  if (state.busy || !state.model || !state.photo) return;
  state.busy = true;
  try {
    while (state.stale && state.model) {
      state.stale = false;
      /** @type {Model} */
      const model = state.model;
      show('running');
      const { width, height } = fitted(state.photo, Number(sizes.value));
      original.width = width;
      original.height = height;
      drawing(original).drawImage(state.photo, 0, 0, width, height);
      const image = readPlanes(original);
      const styles = weights();
      const { ms, planes } = await stylise(model, image, styles);
      if (model !== state.model) continue; // another target was chosen meanwhile
      drawPlanes(stylised, planes);
      const first = element('first', HTMLElement);
      if (first.textContent === '–') {
        first.textContent = milliseconds(ms);
        state.stale ||= ms < 3000; // the first run warms up: show what the next ones take
      }
      element('latency', HTMLElement).textContent = milliseconds(ms);
      element('dimensions', HTMLElement).textContent = `${planes.width} × ${planes.height}`;
      lastRun = { image, styles, result: planes, ms };
    }
    if (state.model) show('ready');
  } catch (error) {
    fail(error);
  } finally {
    state.busy = false;
  }
  await thumbnails();
}

/** What the last run took and gave: `make demo HEADLESS=1` compares it with the reference. */
let lastRun = /** @type {{ image: Planes, styles: Float32Array, result: Planes, ms: number } | null} */ (null);
Object.assign(globalThis, {
  demo: {
    get lastRun() { return lastRun; },
    get backend() { return state.model?.backend; },
    get thumbnailsDone() { return thumbnailsOf !== null && thumbnailsOf === state.photo; },
  },
});

/** Each style's button shows that style, applied to the very picture; the larger picture has priority. */
async function thumbnails() {
  const { model, photo } = state;
  if (!model || !photo || state.busy || thumbnailsOf === photo) return;
  const small = document.createElement('canvas');
  const size = fitted(photo, THUMBNAIL);
  Object.assign(small, size);
  drawing(small).drawImage(photo, 0, 0, size.width, size.height);
  const image = readPlanes(small);
  state.busy = true;
  try {
    for (const [style, canvas] of pictures.entries()) {
      const only = new Float32Array(STYLES);
      only[style] = 1;
      drawPlanes(canvas, (await stylise(model, image, only)).planes);
      showMix(false);
      if (state.stale || state.model !== model || state.photo !== photo) return;
    }
    thumbnailsOf = photo;
  } catch (error) {
    if (state.model === model) fail(error); // else it was disposed of under way
  } finally {
    state.busy = false;
    if (state.stale) update();
  }
}
let thumbnailsOf = /** @type {ImageBitmap | null} */ (null);
/** @type {HTMLCanvasElement[]} */
const pictures = [];

/** @param {Blob} blob */
async function choose(blob) {
  try {
    state.photo = await createImageBitmap(blob);
  } catch {
    fail(new Error('this file is not a picture that the browser can read'));
    return;
  }
  for (const button of document.querySelectorAll('#photos button')) button.setAttribute('aria-pressed', 'false');
  await update();
}

/** @param {string} name */
async function choosePhoto(name) {
  const response = await fetch(`photos/${name}`);
  if (!response.ok) throw new Error(`photos/${name}: ${response.status}`);
  await choose(await response.blob());
  document.querySelector(`#photos button[data-name="${CSS.escape(name)}"]`)?.setAttribute('aria-pressed', 'true');
}

/** Marks the chosen styles and lists their shares. @param {boolean} rebuild */
function showMix(rebuild) {
  for (const [style, canvas] of pictures.entries()) {
    canvas.parentElement?.setAttribute('aria-pressed', String(state.mix.has(style)));
  }
  const list = element('mix', HTMLElement);
  if (rebuild) {
    list.replaceChildren(...[...state.mix].map(([style, share]) => {
      const row = document.createElement('div');
      row.className = 'mixed';
      row.dataset.style = String(style);
      const slider = Object.assign(document.createElement('input'), { type: 'range', min: '0', max: '100', value: String(Math.round(share * 100)) });
      slider.ariaLabel = `Share of style ${style + 1}`;
      const value = document.createElement('output');
      slider.addEventListener('input', () => {
        state.mix.set(style, Number(slider.value) / 100);
        showMix(false);
        update();
      });
      const remove = Object.assign(document.createElement('button'), { type: 'button', textContent: '×' });
      remove.ariaLabel = `Remove style ${style + 1}`;
      remove.disabled = state.mix.size === 1;
      remove.addEventListener('click', () => { state.mix.delete(style); showMix(true); update(); });
      row.append(document.createElement('canvas'), slider, value, remove);
      return row;
    }));
  }
  const shares = weights();
  for (const row of list.children) {
    if (!(row instanceof HTMLElement)) continue;
    const style = Number(row.dataset.style);
    const [canvas, value] = [row.querySelector('canvas'), row.querySelector('output')];
    if (value) value.textContent = `${Math.round(100 * shares[style])} %`;
    if (canvas) {
      canvas.width = pictures[style].width;
      canvas.height = pictures[style].height;
      drawing(canvas).drawImage(pictures[style], 0, 0);
    }
  }
}

/** @param {number} ms */
const milliseconds = (ms) => (ms < 10 ? `${ms.toFixed(1)} ms` : ms < 10000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`);

function buildControls() {
  element('photos', HTMLElement).append(...PHOTOS.map((name) => {
    const button = Object.assign(document.createElement('button'), { type: 'button' });
    button.dataset.name = name;
    button.append(Object.assign(document.createElement('img'), { src: `photos/${name}`, alt: name.replace(/\..*/, '') }));
    button.addEventListener('click', () => choosePhoto(name).catch(fail));
    return button;
  }));
  element('styles', HTMLElement).append(...Array.from({ length: STYLES }, (_, style) => {
    const box = document.createElement('div');
    box.className = 'style';
    const button = Object.assign(document.createElement('button'), { type: 'button', title: `Style ${style + 1}` });
    button.ariaLabel = `Style ${style + 1}`;
    const canvas = document.createElement('canvas');
    canvas.width = canvas.height = THUMBNAIL;
    pictures.push(canvas);
    button.append(canvas);
    button.addEventListener('click', () => { state.mix = new Map([[style, 1]]); showMix(true); update(); });
    const add = Object.assign(document.createElement('button'), { type: 'button', className: 'add', textContent: '+', title: 'Mix in' });
    add.ariaLabel = `Mix in style ${style + 1}`;
    add.addEventListener('click', () => { state.mix.set(style, 1); showMix(true); update(); });
    box.append(button, add);
    return box;
  }));

  const split = element('split', HTMLInputElement);
  split.addEventListener('input', () => stage.style.setProperty('--split', `${split.value}%`));
  sizes.addEventListener('change', () => update());
  const file = element('file', HTMLInputElement);
  file.addEventListener('change', () => { if (file.files?.[0]) choose(file.files[0]); });
  stage.addEventListener('dragover', (event) => { event.preventDefault(); stage.classList.add('drop'); });
  stage.addEventListener('dragleave', () => stage.classList.remove('drop'));
  stage.addEventListener('drop', (event) => {
    event.preventDefault();
    stage.classList.remove('drop');
    const dropped = event.dataTransfer?.files[0];
    if (dropped) choose(dropped);
  });
  for (const radio of /** @type {NodeListOf<HTMLInputElement>} */ (document.querySelectorAll('#targets input'))) {
    radio.checked = radio.value === state.target;
    radio.addEventListener('change', () => { state.target = radio.value; loadModel().catch(fail); });
  }
  const size = query.get('size');
  if (size && [...sizes.options].some((option) => option.value === size)) sizes.value = size;
  const styles = query.get('style');
  if (styles) {
    state.mix = new Map(styles.split(',').map((part) => {
      const [style, share = '1'] = part.split(':');
      return [Math.min(STYLES, Math.max(1, Number(style) || 1)) - 1, Number(share) || 0];
    }));
  }
  showMix(true);
}

buildControls();
const photo = query.get('photo') ?? '';
await Promise.all([choosePhoto(PHOTOS.includes(photo) ? photo : PHOTOS[0]), loadModel()]).catch(fail);
