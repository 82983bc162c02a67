/**
 * Style transfer: what belongs to WebDNN is `load`, below, and `page.run`, in `stylise`.
 *
 * Query parameters preset the controls: ?backend=wasm, ?size=384, ?style=7:0.6,19:0.4, ?photo=chelsea.
 */
import { element, fail, frame, make, pictures, query, show } from './frame.js';
import { load } from './model/model.js';

/** @typedef {Awaited<ReturnType<typeof load>>} Model */

const STYLES = 26; // which the network's package does not name: they have numbers
const PHOTOS = {
  'photos/astronaut.png': 'An astronaut',
  'photos/chelsea.png': 'A cat',
  'photos/coffee.png': 'A cup of coffee',
  'photos/rocket.jpg': 'A rocket',
};
const SMALLEST = 64; // side that the model was transpiled for
const THUMBNAIL = 96;

const original = element('original', HTMLCanvasElement);
const stylised = element('stylised', HTMLCanvasElement);
const sizes = element('size', HTMLSelectElement);
const stage = element('stage', HTMLElement);

/** Style number → its share, 0..1. @type {Map<number, number>} */
let mix = new Map([[19, 1]]);
/** @type {ImageBitmap | null} */
let photo = null;
let busy = false;
let stale = false; // something changed while the model was running
/** @type {ImageBitmap | null} */
let thumbnailsOf = null;
/** @type {HTMLCanvasElement[]} */
const thumbnails = [];

const page = frame(load, update);

/** @param {HTMLCanvasElement} canvas @returns {CanvasRenderingContext2D} */
function drawing(canvas) {
  const context = canvas.getContext('2d', { willReadFrequently: true });
  if (!context) throw new Error('this browser gives no 2D canvas');
  return context;
}

/** What a style is called. @param {number} style */
const named = (style) => `Style ${style + 1}`;

/** Draws the photograph with its longer side so long. @param {HTMLCanvasElement} canvas @param {number} longest */
function drawPhoto(canvas, longest) {
  const { width, height } = /** @type {ImageBitmap} */ (photo);
  const scale = longest / Math.max(width, height);
  // Multiples of four: the network halves its picture twice.
  const side = (/** @type {number} */ n) => Math.max(SMALLEST, Math.round((n * scale) / 4) * 4);
  canvas.width = side(width);
  canvas.height = side(height);
  drawing(canvas).drawImage(/** @type {ImageBitmap} */ (photo), 0, 0, canvas.width, canvas.height);
}

/** Gives a style its share; the others keep their proportions, and all sum to 1. @param {number} style @param {number} share */
function give(style, share) {
  const others = [...mix].filter(([one]) => one !== style);
  const rest = others.reduce((sum, [, value]) => sum + value, 0);
  const left = others.length ? 1 - share : 0;
  for (const [one, value] of others) mix.set(one, rest ? (value / rest) * left : left / others.length);
  mix.set(style, 1 - left);
}

/** Each style's weight; they sum to 1. */
function weights() {
  const values = new Float32Array(STYLES);
  const sum = [...mix.values()].reduce((a, b) => a + b, 0) || 1;
  for (const [style, share] of mix) values[style] = share / sum;
  return values;
}

/** Stylises the picture as the controls stand; while it runs, only the newest change is kept. */
async function update() {
  stale = true;
  if (busy || !page.model || !photo) return;
  busy = true;
  try {
    let runs = 0;
    while (stale && page.model) {
      stale = false;
      show('running');
      drawPhoto(original, Number(sizes.value));
      const begin = performance.now();
      // The canvas is the input: the model was transpiled to take pictures.
      const outputs = await page.run({ image: original, style_weights: weights() });
      if (!outputs) continue; // another target was chosen meanwhile
      await page.model?.draw(stylised, outputs);
      element('dimensions', HTMLElement).textContent = `${original.width} × ${original.height}`;
      // The first run warms up: show what the next ones take.
      if (!runs++ && performance.now() - begin < 3000 && !query.has('size')) stale = true;
    }
    if (page.model) show('ready');
  } catch (error) {
    fail(error);
  } finally {
    busy = false;
  }
  drawThumbnails();
}

/** Each style's button shows that style on the very picture; the larger picture has priority. */
async function drawThumbnails() {
  const { model } = page;
  if (!model || !photo || busy || thumbnailsOf === photo) return;
  const mine = photo;
  const small = document.createElement('canvas');
  drawPhoto(small, THUMBNAIL);
  busy = true;
  document.documentElement.toggleAttribute('data-later', true);
  try {
    for (const [style, canvas] of thumbnails.entries()) {
      const only = new Float32Array(STYLES);
      only[style] = 1;
      await model.draw(canvas, await model.run({ image: small, style_weights: only }));
      showMix(false);
      if (stale || page.model !== model || photo !== mine) return;
    }
    thumbnailsOf = mine;
    document.documentElement.toggleAttribute('data-later', false);
  } catch (error) {
    if (page.model === model) fail(error); // else it was disposed of under way
  } finally {
    busy = false;
    if (stale || page.model !== model || photo !== mine) update();
  }
}

/** Marks the chosen styles and lists their shares. @param {boolean} rebuild */
function showMix(rebuild) {
  for (const [style, canvas] of thumbnails.entries())
    canvas.parentElement?.setAttribute('aria-pressed', String(mix.has(style)));
  const list = element('mix', HTMLElement);
  if (rebuild) list.replaceChildren(...[...mix].map(mixed));
  const shares = weights();
  for (const row of list.children) {
    if (!(row instanceof HTMLElement)) continue;
    const style = Number(row.dataset.style);
    const [canvas, value] = [row.querySelector('canvas'), row.querySelector('output')];
    const slider = row.querySelector('input');
    if (slider) slider.value = String(Math.round(100 * shares[style])); // as the others moved it
    if (value) value.textContent = `${Math.round(100 * shares[style])} %`;
    if (canvas) {
      canvas.width = thumbnails[style].width;
      canvas.height = thumbnails[style].height;
      drawing(canvas).drawImage(thumbnails[style], 0, 0);
    }
  }
}

/** A style's row in the list of shares. @param {[style: number, share: number]} entry */
function mixed([style, share]) {
  const slider = /** @type {HTMLInputElement} */ (make('input', {
    type: 'range', min: '0', max: '100', value: String(Math.round(share * 100)),
    ariaLabel: `Share of ${named(style)}`,
  }));
  slider.addEventListener('input', () => {
    give(style, Number(slider.value) / 100);
    showMix(false);
    update();
  });
  const remove = make('button', {
    type: 'button', textContent: '×', ariaLabel: `Remove ${named(style)}`, disabled: mix.size === 1,
  });
  remove.addEventListener('click', () => { give(style, 0); mix.delete(style); showMix(true); update(); });
  const row = make('div', { className: 'mixed' }, make('canvas'), make('span', { textContent: named(style) }), slider, make('output'), remove);
  row.dataset.style = String(style);
  return row;
}

function buildControls() {
  element('styles', HTMLElement).append(...Array.from({ length: STYLES }, (_, style) => {
    const canvas = document.createElement('canvas');
    canvas.width = canvas.height = THUMBNAIL;
    thumbnails.push(canvas);
    const number = make('span', { textContent: String(style + 1) });
    const button = make('button', { type: 'button', ariaLabel: named(style) }, canvas, number);
    button.addEventListener('click', () => { mix = new Map([[style, 1]]); showMix(true); update(); });
    const add = make('button', {
      type: 'button', className: 'add', textContent: '+', title: 'Mix in', ariaLabel: `Mix in ${named(style)}`,
    });
    add.addEventListener('click', () => { give(style, 1 / (mix.size + 1)); showMix(true); update(); });
    return make('div', { className: 'style' }, button, add);
  }));
  const split = element('split', HTMLInputElement);
  split.addEventListener('input', () => stage.style.setProperty('--split', `${split.value}%`));
  sizes.addEventListener('change', update);
  const size = query.get('size');
  if (size && [...sizes.options].some((option) => option.value === size)) sizes.value = size;
  const styles = query.get('style');
  if (styles) {
    mix = new Map(styles.split(',').map((part) => {
      const [style, share = '1'] = part.split(':');
      return [Math.min(STYLES, Math.max(1, Number(style) || 1)) - 1, Number(share) || 0];
    }));
  }
  showMix(true);
}

buildControls();
await pictures({
  photos: PHOTOS,
  stage,
  chosen: async (picture) => { photo = picture; await update(); },
});
