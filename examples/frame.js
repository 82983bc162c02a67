/**
 * What the pages of the examples share: the choice of the target, states, figures, the last run.
 *
 *     import { load } from './model/model.js';
 *     import { frame } from './frame.js';
 *
 *     const page = frame(load, async (model) => { … await page.run({ image }); … });
 *
 * A page holds `<p id="message">`, `<progress id="progress">` and `<section id="frame">`, which is
 * filled here: what runs, how fast, and the choice between the targets (`?backend=wasm` presets it).
 * `html[data-state]` is loading, running, ready (after a run) or failed.
 *
 * `example.lastRun()` is for the examples' tests: what went in and came out, as base64.
 */

export const query = new URLSearchParams(location.search);

/** @template {Element} T @param {string} id @param {new () => T} type @returns {T} */
export function element(id, type) {
  const found = document.getElementById(id);
  if (!(found instanceof type)) throw new Error(`no ${type.name} with id ${id}`);
  return found;
}

/** @param {string} tag @param {object} [properties] @param {...(Node | string)} children */
export function make(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

/** @param {'loading' | 'running' | 'ready' | 'failed'} state @param {string} [message] */
export function show(state, message) {
  document.documentElement.dataset.state = state;
  if (message !== undefined) element('message', HTMLElement).textContent = message;
}

/** Shows what went wrong instead of the result. @param {unknown} error */
export function fail(error) {
  console.error(error);
  show('failed', error instanceof Error ? error.message : String(error));
}

/** @param {number} ms */
export const milliseconds = (ms) =>
  ms < 10 ? `${ms.toFixed(1)} ms` : ms < 10000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`;

/**
 * Loads the model for the chosen target and keeps the figures.
 * @template {{ backend: any, run(inputs: any): Promise<any>, dispose(): void }} Model
 * @param {(options: any) => Promise<Model>} load  of the descriptor's model.js
 * @param {(model: Model) => Promise<void>} ready  called with each model that is loaded
 * @param {object} [options]  further ones for `load`
 */
export function frame(load, ready, options = {}) {
  /** @type {Model | null} */
  let model = null;
  /** @type {{ inputs: Record<string, any>, outputs: Record<string, any>, ms: number } | null} */
  let last = null;
  let turn = 0; // counts loads, so that an overtaken one is dropped
  let first = true;
  const [latency, warmup, loaded] = ['latency', 'first', 'loaded'].map((id) => make('dd', { id }, '–'));
  const target = make('p', { id: 'target' }, '…');
  const reasons = make('ul', { id: 'reasons' });
  const choice = make('div', { className: 'choice', role: 'radiogroup', ariaLabel: 'Target' });
  for (const [value, name] of [['', 'best'], ['webgpu', 'WebGPU'], ['wasm', 'WebAssembly']]) {
    const input = /** @type {HTMLInputElement} */ (make('input', { type: 'radio', name: 'target', value }));
    input.checked = value === (query.get('backend') ?? '');
    input.addEventListener('change', () => start(value));
    choice.append(make('label', {}, input, make('span', {}, name)));
  }
  element('frame', HTMLElement).append(
    make('dl', { className: 'figures' },
      make('div', {}, make('dt', {}, 'this run'), latency),
      make('div', {}, make('dt', {}, 'first run'), warmup),
      make('div', {}, make('dt', {}, 'model loaded in'), loaded)),
    target, choice, reasons);

  /** @param {string} backend */
  async function start(backend) {
    const mine = ++turn;
    const bar = element('progress', HTMLProgressElement);
    show('loading', 'Loading the model …');
    model?.dispose();
    model = last = null;
    try {
      const begin = performance.now();
      const fresh = await load({
        ...options,
        ...(backend ? { backend } : {}),
        progress: (/** @type {{ loaded: number, total: number }} */ p) => { bar.value = p.loaded / p.total; },
      });
      if (mine !== turn) return fresh.dispose();
      model = fresh;
      first = true;
      warmup.textContent = latency.textContent = '–';
      loaded.textContent = milliseconds(performance.now() - begin);
      describe(fresh.backend);
      show('running', 'Running …');
      await ready(fresh); // runs it, if there is something to run it on by now
    } catch (error) {
      if (mine === turn) fail(error);
    }
  }

  /** @param {{ name: 'webgpu' | 'wasm', variant: string, threads: number, reason: string, rejected: any[] }} backend */
  function describe({ name, variant, threads, reason, rejected }) {
    const detail = name === 'wasm'
      ? [variant.startsWith('relaxed') ? 'relaxed SIMD' : 'SIMD', `${threads} ${threads === 1 ? 'thread' : 'threads'}`]
      : [variant].filter((features) => features !== 'plain');
    target.textContent = [{ webgpu: 'WebGPU', wasm: 'WebAssembly' }[name], ...detail].join(' · ');
    const lines = [reason, ...rejected.map((one) => `not ${one.name}: ${one.reason}`)];
    reasons.replaceChildren(...lines.filter(Boolean).map((line) => make('li', {}, line)));
  }

  /**
   * Runs the model and shows how long it took. Undefined if another model was loaded meanwhile.
   * @param {Record<string, any>} inputs @returns {Promise<any>}
   */
  async function run(inputs) {
    const mine = model;
    if (!mine) return undefined;
    const begin = performance.now();
    const outputs = await mine.run(inputs).catch((error) => {
      if (mine === model) throw error;
    });
    if (mine !== model || !outputs) return undefined;
    const ms = performance.now() - begin;
    if (first) warmup.textContent = milliseconds(ms);
    first = false;
    latency.textContent = milliseconds(ms);
    last = { inputs, outputs, ms };
    show('ready');
    return outputs;
  }

  Object.assign(globalThis, {
    example: {
      lastRun: () => last && {
        backend: model?.backend,
        ms: last.ms,
        inputs: packed(last.inputs),
        outputs: packed(last.outputs),
      },
    },
  });
  start(query.get('backend') ?? '');
  return { run, get model() { return model; } };
}

/** Arrays, tensors and pictures as plain data. @param {Record<string, any>} values */
function packed(values) {
  return Object.fromEntries(Object.entries(values).map(([name, value]) => {
    const raster = ArrayBuffer.isView(value) || value.shape ? value : rasterOf(value);
    const data = ArrayBuffer.isView(raster) ? raster : raster.data;
    const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
    let text = '';
    for (let i = 0; i < bytes.length; i += 8192) text += String.fromCharCode(...bytes.subarray(i, i + 8192));
    const shape = raster.shape ?? (raster.width ? [raster.height, raster.width, 4] : [data.length]);
    return [name, { type: data.constructor.name, shape, base64: btoa(text) }];
  }));
}

/** The pixels of what can be drawn. @param {any} source */
function rasterOf(source) {
  if (source instanceof ImageData) return source;
  const width = source.naturalWidth ?? source.videoWidth ?? source.width;
  const height = source.naturalHeight ?? source.videoHeight ?? source.height;
  const context = new OffscreenCanvas(width, height).getContext('2d');
  if (!context) throw new Error('this browser gives no 2D canvas');
  context.drawImage(source, 0, 0, width, height);
  return context.getImageData(0, 0, width, height);
}

/**
 * Lets the visitor choose a picture: photographs of the page's own, a file, one dropped on `stage`.
 * @param {{ photos: Record<string, string>, stage: HTMLElement, chosen: (picture: ImageBitmap) => Promise<void> }} options
 *   photos: description by address; `#photos` is filled with them, `#file` is the input for files
 */
export async function pictures({ photos, stage, chosen }) {
  const list = element('photos', HTMLElement);
  /** @param {Blob} blob @param {Element} [button] */
  async function choose(blob, button) {
    let picture;
    try {
      picture = await createImageBitmap(blob);
    } catch {
      return fail(new Error('this file is not a picture that the browser can read'));
    }
    for (const other of list.children) other.setAttribute('aria-pressed', String(other === button));
    await chosen(picture).catch(fail);
  }
  /** @param {string} address @param {Element} button */
  async function open(address, button) {
    const response = await fetch(address);
    if (!response.ok) throw new Error(`${address}: ${response.status}`);
    await choose(await response.blob(), button);
  }
  for (const [address, alt] of Object.entries(photos)) {
    const button = make('button', { type: 'button', title: alt }, make('img', { src: address, alt }));
    button.addEventListener('click', () => open(address, button).catch(fail));
    list.append(button);
  }
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
  const wanted = Object.keys(photos).findIndex((address) => address.includes(query.get('photo') ?? '/'));
  const at = Math.max(0, wanted);
  await open(Object.keys(photos)[at], list.children[at]).catch(fail);
}
