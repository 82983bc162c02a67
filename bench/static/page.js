/**
 * The page that races engines in whichever browser opens it, and that shows the results of
 * `python -m bench`. bench/page.py writes the folder that it lies in; networks.json tells what is
 * raced. Each race runs in a frame of its own, whose end frees the engines' threads and memory.
 *
 * @typedef {{ name: string, shape: number[], dtype: string, file: string }} Tensor
 * @typedef {{
 *   name: string, about: string, gflop: number, dims: Record<string, number>,
 *   inputs: Tensor[], outputs: Tensor[], onnx: string, tflite: string | null, descriptor: string,
 *   files: string[],
 * }} Network
 * @typedef {{ backend: 'wasm' | 'webgpu', threads: number }} Way
 * @typedef {{
 *   model: string, backend: string, threads: number, engine: string, gflop: number, ceiling: number | null,
 *   minimum: number | null, median: number | null, first: number | null, relative_error: number | null,
 *   code_gzip?: number, failure: string,
 * }} Row
 * @typedef {{ when: string, machine: string, rows: Row[] }} Results
 */

const NAMES = /** @type {Record<string, string>} */ ({
  ours: 'WebDNN', ort: 'ONNX Runtime Web', litert: 'LiteRT.js',
});
const WRONG = 1e-3; // an output further off, relative to its largest magnitude, voids a time

/** @template {HTMLElement} T @param {string} id @param {new () => T} type */
function part(id, type) {
  const found = document.getElementById(id);
  if (!(found instanceof type)) throw new Error(`no ${type.name} is called ${id}`);
  return found;
}

/** @param {string} tag @param {string} text @param {object} properties */
function element(tag, text = '', properties = {}) {
  return Object.assign(document.createElement(tag), { textContent: text }, properties);
}

const valid = (/** @type {Row} */ row) => !row.failure && row.minimum !== null
  && row.relative_error !== null && row.relative_error <= WRONG;

/** What is run where, in words. @param {{ backend: string, threads: number }} way */
function where({ backend, threads }) {
  if (backend === 'webgpu') return 'WebGPU';
  return `WebAssembly, ${threads} ${threads === 1 ? 'thread' : 'threads'}`;
}

// ---- what was found ----------------------------------------------------------------------------

/** One race: a row with a bar for each engine. @param {Row[]} rows */
function panel(rows) {
  const longest = Math.max(...rows.filter(valid).map((row) => row.minimum ?? 0));
  const ours = rows.find((row) => row.engine === 'ours' && valid(row))?.minimum;
  const panel = element('section', '', { className: 'panel' });
  const title = element('h2', rows[0].model);
  title.append(element('small', `${where(rows[0])} · ${rows[0].gflop.toFixed(2)} GFLOP`));
  const table = element('table');
  const head = element('tr');
  for (const text of ['', '', 'ms', 'median', '÷ ours', 'first ms', 'error']) head.append(element('th', text));
  const body = element('tbody');
  for (const row of rows) {
    const line = element('tr', '', { className: row.engine === 'ours' ? 'ours' : '' });
    line.append(element('th', NAMES[row.engine]));
    if (row.failure || row.minimum === null) {
      line.append(element('td', row.failure, { className: 'words', colSpan: 6 }));
    } else if (!valid(row)) {
      const off = row.relative_error?.toExponential(1) ?? 'not comparable';
      line.append(element('td', `its outputs are wrong: ${off}`, { className: 'words', colSpan: 6 }));
    } else {
      const bar = element('td', '', { className: 'bar' });
      const fill = element('i');
      fill.style.width = `${100 * row.minimum / longest}%`;
      bar.append(fill);
      line.append(bar);
      for (const text of [
        row.minimum.toFixed(2), row.median?.toFixed(2) ?? '', ours ? (row.minimum / ours).toFixed(2) : '',
        row.first?.toFixed(0) ?? '', row.relative_error?.toExponential(1) ?? '',
      ]) line.append(element('td', text));
    }
    body.append(line);
  }
  const thead = element('thead');
  thead.append(head);
  table.append(thead, body);
  const scroll = element('div', '', { className: 'scroll' });
  scroll.append(table);
  panel.append(title, scroll);
  return panel;
}

/** How many times ours each peer takes, over all races of a kind. @param {Row[]} rows */
function means(rows) {
  const lines = [];
  for (const [kind, some] of Object.entries(Object.groupBy(rows, where))) {
    for (const engine of Object.keys(NAMES).slice(1)) {
      /** @type {number[]} */ const ratios = [];
      for (const race of Object.values(Object.groupBy(some ?? [], (row) => row.model))) {
        const ours = race?.find((row) => row.engine === 'ours' && valid(row))?.minimum;
        const peer = race?.find((row) => row.engine === engine && valid(row))?.minimum;
        if (ours && peer) ratios.push(peer / ours);
      }
      if (!ratios.length) continue;
      const mean = Math.exp(ratios.reduce((sum, ratio) => sum + Math.log(ratio), 0) / ratios.length);
      const words = `${kind}: ${NAMES[engine]} takes ${mean.toFixed(2)} times as long as WebDNN`;
      const least = ratios.length > 1 ? ` (${ratios.length} networks, the least ${Math.min(...ratios).toFixed(2)})` : '';
      lines.push(element('p', words + least));
    }
  }
  return lines;
}

/** @param {Results} results */
function show({ rows, machine, when }) {
  const races = Object.values(Object.groupBy(rows, (row) => `${row.model} ${where(row)}`));
  part('results', HTMLElement).replaceChildren(...races.map((race) => panel(race ?? [])));
  part('means', HTMLElement).replaceChildren(...means(rows));
  part('machine', HTMLElement).textContent = `${machine}. ${when}.`;
  const text = JSON.stringify({ when, machine, rows }, null, 1);
  part('download', HTMLAnchorElement).href = `data:application/json,${encodeURIComponent(text)}`;
  part('copy', HTMLButtonElement).onclick = () => navigator.clipboard.writeText(text);
  part('summary', HTMLElement).hidden = !rows.length;
}

// ---- racing ------------------------------------------------------------------------------------

/**
 * The largest error relative to its output's largest magnitude; infinite where one is missing.
 * Outputs are matched by name, or, where a format renamed them, to the nearest one of that size.
 * @param {[string, ArrayBufferView][]} found @param {[string, ArrayBufferView][]} expected
 */
function error(found, expected) {
  const left = new Map(expected);
  let worst = 0;
  for (const [name, data] of [...found].sort((a, b) => Number(left.has(b[0])) - Number(left.has(a[0])))) {
    /** @type {[string, number][]} */ const off = [];
    for (const [key, want] of left) {
      if ((left.has(name) && name !== key) || want.byteLength !== data.byteLength) continue;
      const a = /** @type {any} */ (data), b = /** @type {any} */ (want);
      let most = 0, scale = 0;
      for (let i = 0; i < b.length; i++) {
        const difference = Math.abs(Number(a[i]) - Number(b[i]));
        if (!(difference <= most)) most = difference;
        scale = Math.max(scale, Math.abs(Number(b[i])));
      }
      off.push([key, most / scale]);
    }
    if (!off.length) return Infinity;
    const [key, most] = off.reduce((best, next) => (next[1] < best[1] ? next : best));
    left.delete(key);
    if (!(most <= worst)) worst = most;
  }
  return left.size ? Infinity : worst;
}

const TYPES = { float32: Float32Array, int32: Int32Array, int64: BigInt64Array, uint8: Uint8Array };

/** @param {Tensor} tensor */
async function read({ file, dtype }) {
  const response = await fetch(file);
  if (!response.ok) throw new Error(`${file}: ${response.status}`);
  return new (TYPES[/** @type {keyof typeof TYPES} */ (dtype)])(await response.arrayBuffer());
}

/** @param {Network} network @param {Way} way @param {(share: number) => void} progress @param {AbortSignal} signal */
async function race(network, { backend, threads }, progress, signal) {
  for (const file of network.files) { // once here, so that no engine's first output waits for them
    await fetch(file, { signal }).then((response) => response.arrayBuffer());
  }
  const frame = element('iframe', '', { src: 'race.html', hidden: true });
  try {
    await new Promise((resolve, reject) => {
      signal.addEventListener('abort', reject);
      frame.addEventListener('load', resolve);
      document.body.append(frame);
    });
    const { compare } = /** @type {any} */ (/** @type {HTMLIFrameElement} */ (frame).contentWindow);
    /** @type {Map<string, ArrayBufferView>} */ const written = new Map();
    const task = {
      engines: Object.keys(NAMES).filter((engine) => engine !== 'litert' || network.tflite),
      backend, threads, rounds: 8, burst: 3, pause: 40, patience: 15_000, inputs: network.inputs, dims: network.dims,
      onnx: `../${network.onnx}`, tflite: network.tflite && `../${network.tflite}`,
      descriptor: `../${network.descriptor}`, peak: '../peak/peak.wasm',
    };
    const io = {
      read: async (/** @type {string} */ name) => (await read(network.inputs[Number(name.split('-')[1])])).buffer,
      write: async (/** @type {string} */ name, /** @type {ArrayBufferView} */ data) => { written.set(name, data); },
      progress: (/** @type {number} */ done, /** @type {number} */ of) => progress(done / of),
    };
    const found = await Promise.race([
      compare(task, io),
      new Promise((_, reject) => { signal.addEventListener('abort', () => reject(signal.reason)); }),
    ]);
    /** @type {[string, ArrayBufferView][]} */ const expected = [];
    for (const output of network.outputs) expected.push([output.name, await read(output)]);
    return found.engines.map((/** @type {any} */ report) => /** @type {Row} */ ({
      model: network.name, backend, threads, engine: report.name, gflop: network.gflop,
      ceiling: Math.max(...found.ceiling), failure: report.error ?? '',
      minimum: report.error ? null : Math.min(...report.times),
      median: report.error ? null : report.times.sort((/** @type {number} */ a, /** @type {number} */ b) => a - b)[report.times.length >> 1],
      first: report.first ?? null,
      relative_error: report.error ? null : error(
        report.outputs.map((/** @type {string} */ name, /** @type {number} */ i) => [name, written.get(`${report.name}-${i}`)]), expected),
    }));
  } finally {
    frame.remove();
  }
}

/** What this browser can run on, and why not on more. */
async function ways() {
  const cores = navigator.hardwareConcurrency;
  /** @type {Way[]} */ const found = [{ backend: 'wasm', threads: 1 }];
  const lacking = [];
  if (!crossOriginIsolated) lacking.push('Threads need a page that is cross-origin isolated: `webdnn serve` sends the headers.');
  else if (cores > 1) found.push({ backend: 'wasm', threads: Math.min(8, Math.max(2, cores >> 1)) });
  const adapter = await navigator.gpu?.requestAdapter();
  if (adapter) found.push({ backend: 'webgpu', threads: 1 });
  else lacking.push('This browser has no WebGPU here.');
  const gpu = adapter ? [adapter.info.vendor, adapter.info.architecture].filter(Boolean).join(' ') : '';
  return { found, lacking, machine: `${navigator.userAgent}, ${cores} cores${gpu ? `, ${gpu}` : ''}` };
}

/** @param {HTMLElement} box @param {string} label @param {boolean} checked */
function choice(box, label, checked) {
  const input = element('input', '', { type: 'checkbox', checked });
  const line = element('label', '', { className: 'check' });
  line.append(input, label);
  box.append(line);
  return /** @type {HTMLInputElement} */ (input);
}

async function offer() {
  /** @type {Network[]} */ const networks = await fetch('networks.json').then((response) => response.json());
  const { found, lacking, machine } = await ways();
  const picked = networks.map((network) => ({
    network, box: choice(part('networks', HTMLElement), `${network.name}: ${network.about}`, true),
  }));
  const on = found.map((way) => ({ way, box: choice(part('ways', HTMLElement), where(way), true) }));
  const status = part('status', HTMLElement), progress = part('progress', HTMLProgressElement);
  status.textContent = lacking.join(' ');
  const form = part('form', HTMLFormElement), run = part('run', HTMLButtonElement), stop = part('stop', HTMLButtonElement);
  form.hidden = false;
  form.onsubmit = async (event) => {
    event.preventDefault();
    const races = picked.filter(({ box }) => box.checked).flatMap(({ network }) => on
      .filter(({ box }) => box.checked).map(({ way }) => ({ network, way })));
    if (!races.length) { status.textContent = 'Nothing is chosen.'; return; }
    const controller = new AbortController();
    stop.onclick = () => controller.abort(new Error('stopped'));
    run.disabled = true;
    stop.hidden = progress.hidden = false;
    /** @type {Results} */ const results = { when: new Date().toISOString(), machine, rows: [] };
    try {
      for (const [i, { network, way }] of races.entries()) {
        status.textContent = `${network.name} on ${where(way)} …`;
        const step = (/** @type {number} */ share) => { progress.value = (i + share) / races.length; };
        step(0);
        results.rows.push(...await race(network, way, step, controller.signal));
        show(results);
      }
      status.textContent = 'Done.';
    } catch (problem) {
      status.textContent = controller.signal.aborted ? 'Stopped.' : `${problem}`;
    } finally {
      run.disabled = false;
      stop.hidden = progress.hidden = true;
    }
  };
}

const given = JSON.parse(part('given', HTMLElement).textContent ?? 'null');
if (given) show(given); else await offer();

export {};
