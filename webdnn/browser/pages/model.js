/**
 * The page of a model in `webdnn serve`: runs it on pictures, sounds, arrays or random numbers.
 *
 * Each input is random until it is given. The model runs at once, and anew with every change; the
 * newest change wins. `html[data-state]` is loading, running, ready (after a run) or failed, and
 * `#message` says in words what went wrong.
 *
 * @typedef {import('./arrays.js').Spec} Spec
 * @typedef {{
 *   spec: Spec, box: HTMLElement, given: null | { value: any, shape?: number[] },
 *   take(file: File): Promise<void>, say(text: string, bad?: boolean): void,
 * }} Field  `given`: what takes the place of random numbers
 */
import { count, isNpy, isSound, npy, random, shaped, size, sound, typed } from './arrays.js';

const RUNS = 9; // that are timed
const ENOUGH = 1000; // milliseconds of them
const FEW = 32; // numbers of an input that are typed rather than kept in a file
const BEST = 5;

/** @param {string} id @returns {any} */
const element = (id) => document.getElementById(id);

/** @param {string} tag @param {object} [properties] @param {...(Node | string)} children @returns {any} */
function make(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

/** @param {string} state @param {string} [message] */
function show(state, message = '') {
  document.documentElement.dataset.state = state;
  element('message').textContent = message;
}

/** @param {unknown} error */
const words = (error) => (error instanceof Error ? error.message : String(error));

/** @param {unknown} error */
function fail(error) {
  console.error(error);
  show('failed', words(error));
}

/** @param {number} ms */
const milliseconds = (ms) =>
  ms < 10 ? `${ms.toFixed(1)} ms` : ms < 10000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`;

/** @param {number} bytes */
const megabytes = (bytes) =>
  bytes < 1e5 ? `${(bytes / 1e3).toFixed(1)} kB` : `${(bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0)} MB`;

/** @param {number} value */
const number = (value) => String(Number(value.toPrecision(5)));

/** @param {readonly unknown[]} shape */
const sizes = (shape) => (shape.length ? `[${shape.join(', ')}]` : 'scalar');

/** @type {any} */ let signature = { inputs: [], dims: [] }; // model.json
/** @type {any} */ let model = null;
/** @type {Field[]} */ let fields = [];
let turn = 0; // counts loads, so that an overtaken one is dropped
let busy = false;
let stale = false; // something changed while the model was running

// ---- inputs -------------------------------------------------------------------------------------

/** The sizes of the dimensions: of what is given, else those in the page. */
function dimensions() {
  /** @type {Record<string, number>} */
  const dims = {};
  for (const { name } of signature.dims) {
    const box = element(`size-${name}`);
    dims[name] = box.valueAsNumber;
    box.disabled = false;
  }
  for (const { spec, given } of fields) {
    given?.shape?.forEach((one, axis) => {
      const name = spec.shape[axis];
      if (typeof name !== 'string') return;
      dims[name] = one;
      Object.assign(element(`size-${name}`), { value: one, disabled: true });
    });
    // A picture brings its own size, which the model settles.
    if (given && spec.image) for (const name of spec.shape.flat(Infinity)) if (name in dims) element(`size-${name}`).disabled = true;
  }
  return dims;
}

/** What the model is run on. */
function inputs() {
  const dims = dimensions();
  for (const { name } of signature.dims) {
    const box = element(`size-${name}`);
    if (!box.disabled && !box.checkValidity()) throw new Error(`size of ${name}: ${box.validationMessage}`);
  }
  return Object.fromEntries(fields.map(({ spec, given, say }) => {
    if (given) return [spec.name, given.value];
    const shape = spec.shape.map((one) => size(one, dims));
    const value = random(spec, shape);
    say(spec.image ? `a random picture, ${shape[1]} × ${shape[0]}`
      : `random: ${firsts(value.data)}`);
    return [spec.name, value];
  }));
}

/** The first numbers of an array. @param {any} data */
const firsts = (data) =>
  Array.from(data.slice(0, 6), (one) => number(Number(one))).join(', ') + (data.length > 6 ? ', …' : '');

/** What an input takes, or an output gives, as its heading says it. @param {any} info  of model.inputs */
const kind = ({ dtype, shape, image, drawn }) => {
  const channels = (image ?? drawn)?.channels.replace('gray', 'grey');
  return `${channels ? `${channels} picture` : dtype} ${sizes(shape)}`;
};

/** The controls of one input. @param {Spec} spec @param {any} info @returns {Field} */
function field(spec, info) {
  const note = make('p', { className: 'quiet' });
  const preview = make('img', { hidden: true, alt: '' });
  const least = count(info.shape.map((/** @type {unknown} */ one) => (typeof one === 'number' ? one : 1)));
  const text = make('input', { type: 'text', className: 'wide numbers', placeholder: 'random; or numbers: 1, 2, 3', ariaLabel: `Numbers for ${spec.name}` });
  const rate = make('input', { type: 'number', min: 8000, max: 96000, step: 1, value: 16000, ariaLabel: `Sample rate of ${spec.name}` });
  const rates = make('label', { className: 'field', hidden: true }, 'at', rate, 'Hz');
  const accept = spec.image ? 'image/*' : isSound(spec) ? 'audio/*,.npy,.json' : '.npy,.json';
  const file = make('input', { type: 'file', accept, ariaLabel: `File for ${spec.name}` });
  const what = spec.image ? 'Picture …' : isSound(spec) ? 'Sound or array …' : 'Array …';
  const chance = make('button', { type: 'button', ariaPressed: 'true' }, 'Random');
  const controls = make('div', { className: 'row' }, chance, make('label', { className: 'button' }, what, file), rates);
  if (!spec.image && least <= FEW) controls.append(text);
  const box = make('fieldset', { className: 'panel input' },
    make('legend', {}, spec.name, make('small', {}, kind(info))), controls, preview, note);
  /** @type {File | null} */ let sounding = null;

  /** @type {Field} */
  const made = {
    spec, box, given: null,
    say(text, bad = false) {
      note.textContent = text;
      note.classList.toggle('bad', bad);
    },
    async take(chosen) {
      sounding = null;
      try {
        const given = await read(chosen);
        give(given, chosen.type.startsWith('image/') ? chosen : null);
      } catch (error) {
        give(null, null, `${chosen.name}: ${words(error)}`);
      }
    },
  };

  /** @param {Field['given']} given @param {Blob | null} picture @param {string} [wrong] */
  function give(given, picture, wrong) {
    made.given = given;
    chance.ariaPressed = String(!given);
    rates.hidden = !sounding;
    if (preview.src) URL.revokeObjectURL(preview.src);
    preview.hidden = !picture;
    if (picture) Object.assign(preview, { src: URL.createObjectURL(picture), alt: `The picture for ${spec.name}` });
    else preview.removeAttribute('src');
    if (wrong === undefined) update();
    else {
      made.say(wrong, true);
      show('failed', `Input ${spec.name}: ${wrong}`);
    }
  }

  /** What a file gives this input. @param {File} chosen @returns {Promise<Field['given']>} */
  async function read(chosen) {
    const buffer = await chosen.arrayBuffer();
    if (spec.image) {
      if (isNpy(buffer) || /json$/.test(chosen.type)) throw new Error('expected a picture, found numbers');
      const { width, height } = await createImageBitmap(chosen).catch(() => {
        throw new Error('expected a picture that this browser can read');
      });
      made.say(`${chosen.name}, ${width} × ${height}, made the size that the model takes`);
      return { value: chosen };
    }
    if (chosen.type.startsWith('image/'))
      throw new Error(`this input takes numbers. To hand it pictures, transpile with --input ${spec.name}:rgb (docs/preprocessing.md)`);
    if (isNpy(buffer)) {
      const { data, shape, found } = npy(buffer, spec.dtype);
      made.say(`${chosen.name}: ${found} ${sizes(shape)}${found === spec.dtype ? '' : `, as ${spec.dtype}`}`);
      return { value: { data, shape }, shape };
    }
    if (/json$/.test(chosen.type)) return numbers(new TextDecoder().decode(buffer), `${chosen.name}: `);
    if (!isSound(spec)) throw new Error('expected an array: a .npy file, or numbers as .json');
    return listen(chosen, buffer);
  }

  /** @param {string} written @param {string} [from] */
  function numbers(written, from = '') {
    const { data, shape = shaped(spec.shape, data.length) } = typed(written, spec.dtype);
    made.say(`${from}${spec.dtype} ${shape ? sizes(shape) : `× ${data.length}`}`);
    return { value: shape ? { data, shape } : data, shape };
  }

  /** As many samples of a sound as the model takes. @param {File} chosen @param {ArrayBuffer} buffer */
  async function listen(chosen, buffer) {
    if (!rate.checkValidity()) throw new Error(`sample rate: ${rate.validationMessage}`);
    const hertz = rate.valueAsNumber;
    const { samples, channels, seconds } = await sound(buffer, hertz);
    sounding = chosen;
    const last = spec.shape[spec.shape.length - 1];
    const { min, max, step = 1 } = typeof last === 'number' ? { min: last, max: last }
      : signature.dims.find((/** @type {any} */ dim) => dim.name === last);
    const length = Math.max(min, Math.min(max, min + Math.floor((samples.length - min) / step) * step));
    const data = new Float32Array(length);
    data.set(samples.subarray(0, length));
    const fit = length < samples.length ? `, of which the first ${number(length / hertz)} s go in`
      : length > samples.length ? `, and silence up to ${number(length / hertz)} s` : '';
    made.say(`${chosen.name}: decoded at ${hertz} Hz${channels > 1 ? `, ${channels} channels mixed to one` : ''}, ${number(seconds)} s${fit}`);
    const shape = [...spec.shape.slice(0, -1).map(Number), length];
    return { value: { data, shape }, shape };
  }

  chance.addEventListener('click', () => { text.value = ''; sounding = null; give(null, null); });
  file.addEventListener('change', () => {
    const [chosen] = file.files;
    file.value = ''; // so that the same one may be chosen again
    if (chosen) made.take(chosen);
  });
  rate.addEventListener('change', () => sounding && made.take(sounding));
  text.addEventListener('change', () => {
    sounding = null;
    try {
      give(text.value.trim() ? numbers(text.value) : null, null);
    } catch (error) {
      give(null, null, words(error));
    }
  });
  return made;
}

/** Files that are dropped: on an input, or on the page, for the first input of their kind. */
function dropping() {
  /** @param {DragEvent} event */
  const target = (event) => fields.find(({ box }) => box.contains(/** @type {Node} */ (event.target)));
  /** @param {Field} [over] */
  const mark = (over) => fields.forEach((one) => one.box.classList.toggle('drop', one === over));
  addEventListener('dragover', (event) => { event.preventDefault(); mark(target(event)); });
  addEventListener('dragleave', () => mark());
  addEventListener('drop', (event) => {
    event.preventDefault();
    mark();
    const [file] = event.dataTransfer?.files ?? [];
    if (!file) return;
    const fits = fields.find(({ spec }) =>
      file.type.startsWith('image/') ? spec.image : file.type.startsWith('audio/') ? isSound(spec) : !spec.image);
    (target(event) ?? fits ?? fields[0])?.take(file);
  });
}

/** A number field for each open dimension. */
function openSizes() {
  for (const { name, min, max, step = 1 } of signature.dims) {
    const box = make('input', { type: 'number', id: `size-${name}`, required: true, min, max, step, value: min });
    box.addEventListener('change', update);
    element('sizes').append(make('label', { className: 'field' }, name, box,
      make('small', {}, `${min} to ${max}${step > 1 ? ` in steps of ${step}` : ''}`)));
  }
  element('sizes').hidden = !signature.dims.length;
}

// ---- outputs ------------------------------------------------------------------------------------

/** What a run gave. @param {Record<string, any>} outputs */
function results(outputs) {
  element('outputs').replaceChildren(...model.outputs.map((/** @type {any} */ info) => {
    const { shape, data } = outputs[info.name];
    const box = make('div', {}, make('h3', {}, info.name, make('small', {}, kind({ ...info, shape }))));
    if (info.drawn) {
      const canvas = make('canvas', { role: 'img', ariaLabel: `The picture in ${info.name}` });
      model.draw(canvas, outputs, info.name).catch(fail);
      box.append(canvas);
      return box;
    }
    const scores = best(outputs, info, data, shape);
    if (scores.length) box.append(bars(scores, data));
    box.append(make('p', { className: 'quiet' }, summary(data)));
    return box;
  }));
}

/** The best classes, by label where there are labels. @param {any} outputs @param {any} info @param {any} data @param {number[]} shape */
function best(outputs, { name, labels }, data, shape) {
  if (labels?.length === data.length) return model.top(outputs, BEST, name);
  const vector = data instanceof Float32Array && data.length >= 10 && shape[shape.length - 1] === data.length;
  return vector && !labels
    ? Array.from(data, (score, index) => ({ label: `#${index}`, score }))
      .sort((a, b) => b.score - a.score).slice(0, BEST)
    : [];
}

/** @param {{ label: string, score: number }[]} scores @param {any} data */
function bars(scores, data) {
  const [low, high] = extremes(data);
  const zero = low >= 0 && high <= 1; // probabilities are shown as what they are
  return make('dl', { className: 'scores' }, ...scores.flatMap(({ label, score }) => [
    make('dt', {}, label),
    make('dd', {}, make('meter', { min: 0, max: 1, value: zero ? score : (score - low) / (high - low || 1), ariaLabel: label })),
    make('dd', {}, number(score)),
  ]));
}

/** The least and the greatest, the sum and the number of those that count. @param {any} data */
function extremes(data) {
  let [low, high, sum, finite] = [Infinity, -Infinity, 0, 0];
  for (let i = 0; i < data.length; i++) {
    const value = Number(data[i]);
    if (!Number.isFinite(value)) continue;
    if (value < low) low = value;
    if (value > high) high = value;
    sum += value;
    finite++;
  }
  return [low, high, sum, finite];
}

/** @param {any} data */
function summary(data) {
  if (!data.length) return 'empty: this run found none';
  const [low, high, sum, finite] = extremes(data);
  const odd = finite < data.length ? `${data.length - finite} of ${data.length} are NaN or infinite; ` : '';
  const range = finite ? `from ${number(low)} to ${number(high)}, mean ${number(sum / finite)}; ` : '';
  return data.length === 1 ? String(data[0]) : `${odd}${range}first: ${firsts(data)}`;
}

/** @param {Record<string, string | [string, string]>} values */
function figures(values) {
  element('figures').replaceChildren(...Object.entries(values).map(([name, value]) => {
    const [text, small] = [value].flat();
    return make('div', {}, make('dt', {}, name), make('dd', {}, text, ...(small ? [make('small', {}, small)] : [])));
  }));
}

// ---- running ------------------------------------------------------------------------------------

/** Runs the model on what the page holds now; while it runs, only the newest change is kept. */
async function update() {
  stale = true;
  if (busy || !model) return;
  busy = true;
  while (stale && model) {
    stale = false;
    const mine = model;
    try {
      const values = inputs();
      show('running', 'Running …');
      /** @type {number[]} */
      const times = [];
      const timed = async () => {
        const begin = performance.now();
        const outputs = await mine.run(values);
        times.push(performance.now() - begin);
        return outputs;
      };
      results(await timed());
      // A run of a model with states changes them: it is done once.
      for (const begin = performance.now(); !mine.states.length && times.length <= RUNS && performance.now() - begin < ENOUGH && !stale;)
        await timed();
      if (mine !== model) continue;
      const [first, ...rest] = times;
      const warm = (rest.length ? rest : times).sort((a, b) => a - b);
      const { weights, activations, io, total } = mine.memory;
      figures({
        [rest.length > 1 ? `a run (median of ${rest.length})` : 'this run']: milliseconds(warm[warm.length >> 1]),
        ...(rest.length ? { 'the first': milliseconds(first) } : {}),
        'loaded in': milliseconds(loadTime),
        memory: [megabytes(total), `weights ${megabytes(weights)}, activations ${megabytes(activations)}, inputs and outputs ${megabytes(io)}`],
      });
      show('ready');
    } catch (error) {
      if (mine === model) fail(error);
    }
  }
  busy = false;
}

let loadTime = 0;

/** Loads the model for a backend, or the best. @param {string} backend */
async function start(backend) {
  const mine = ++turn;
  show('loading', 'Loading the model …');
  model?.dispose();
  model = null;
  try {
    const begin = performance.now();
    const { load } = await import(new URL('model.js', location.href).href);
    const fresh = await load({
      ...(backend ? { backend } : {}),
      progress: (/** @type {{ loaded: number, total: number }} */ p) => { element('progress').value = p.loaded / p.total; },
    });
    if (mine !== turn) return fresh.dispose();
    model = fresh;
    loadTime = performance.now() - begin;
    describe(fresh.backend);
    fresh.lost.then((/** @type {Error} */ error) => { if (model === fresh) fail(error); });
    element('reset').hidden = !fresh.states.length;
    if (!fields.length) {
      fields = signature.inputs.map((/** @type {Spec} */ spec, /** @type {number} */ i) => field(spec, fresh.inputs[i]));
      element('inputs').append(...fields.map(({ box }) => box));
    }
    await update();
  } catch (error) {
    if (mine === turn) fail(error);
  }
}

/** @param {{ name: 'webgpu' | 'wasm', variant: string, threads: number, reason: string, rejected: any[] }} backend */
function describe({ name, variant, threads, reason, rejected }) {
  const detail = name === 'wasm'
    ? [variant.startsWith('relaxed') ? 'relaxed SIMD' : 'SIMD', `${threads} ${threads === 1 ? 'thread' : 'threads'}`]
    : [variant].filter((features) => features !== 'plain');
  element('target').textContent = [{ webgpu: 'WebGPU', wasm: 'WebAssembly' }[name], ...detail].join(' · ');
  const lines = [reason === detail.join(', ') ? '' : reason, ...rejected.map((one) => `not ${one.name}: ${one.reason}`)];
  element('reasons').replaceChildren(...lines.filter(Boolean).map((line) => make('li', {}, line)));
}

for (const [value, name] of [['', 'best'], ['webgpu', 'WebGPU'], ['wasm', 'WebAssembly']]) {
  const input = make('input', { type: 'radio', name: 'backend', value, checked: !value });
  input.addEventListener('change', () => start(value));
  element('backends').append(make('label', {}, input, make('span', {}, name)));
}
element('form').noValidate = true; // said in the page instead
element('form').addEventListener('submit', (/** @type {Event} */ event) => { event.preventDefault(); update(); });
element('reset').addEventListener('click', () => model?.reset().then(() => show('ready', 'The states are as after loading.'), fail));
element('copy').addEventListener('click', async () => {
  const done = await navigator.clipboard.writeText(element('code').textContent).then(() => 'Copied', () => 'Select it below');
  element('copy').textContent = done;
  setTimeout(() => { element('copy').textContent = 'Copy'; }, 2000);
});
dropping();
try {
  const response = await fetch('model.json');
  if (!response.ok) throw new Error(`model.json: the server answers ${response.status}`);
  signature = await response.json().catch((error) => {
    throw new Error(`model.json is damaged (${words(error)}): transpile the model again`);
  });
  openSizes();
  await start('');
} catch (error) {
  fail(error);
}
