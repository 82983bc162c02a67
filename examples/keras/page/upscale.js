/**
 * Super-resolution: what belongs to WebDNN is `load` and `page.run`.
 *
 * Query parameters: ?backend=wasm, ?size=96, ?photo=chelsea.
 */
import { element, fail, frame, pictures, query, show } from './frame.js';
import { load } from './upscale/model.js';

const PHOTOS = {
  'photos/chelsea.png': 'A cat',
  'photos/astronaut.png': 'An astronaut',
  'photos/coffee.png': 'A cup of coffee',
};
const TIMES = 4;
const SMALLEST = 16; // side that the model was transpiled for

const small = element('small', HTMLCanvasElement);
const before = element('before', HTMLCanvasElement);
const after = element('after', HTMLCanvasElement);
const sizes = element('size', HTMLSelectElement);
const stage = element('stage', HTMLElement);
/** @type {ImageBitmap | null} */
let photo = null;
let busy = false;
let stale = false;

const page = frame(load, update);

/** @param {HTMLCanvasElement} canvas @param {number} width @param {number} height */
function cleared(canvas, width, height) {
  Object.assign(canvas, { width, height });
  const context = canvas.getContext('2d');
  if (!context) throw new Error('this browser gives no 2D canvas');
  context.imageSmoothingQuality = 'high';
  return context;
}

/** Enlarges the picture as the controls stand; while it runs, only the newest change is kept. */
async function update() {
  stale = true;
  if (busy || !photo || !page.model) return;
  busy = true;
  try {
    while (stale && page.model) {
      stale = false;
      show('running');
      const scale = Number(sizes.value) / Math.max(photo.width, photo.height);
      const [width, height] = [photo.width, photo.height].map((n) => Math.max(SMALLEST, Math.round(n * scale)));
      cleared(small, width, height).drawImage(photo, 0, 0, width, height);
      cleared(before, TIMES * width, TIMES * height).drawImage(small, 0, 0, TIMES * width, TIMES * height);
      const outputs = await page.run({ LR: small });
      if (!outputs) continue; // another target was chosen meanwhile
      await page.model.draw(after, outputs);
      const [wide, high] = [after.width, after.height];
      element('dimensions', HTMLElement).textContent = `${width} × ${height} became ${wide} × ${high}.`;
    }
    if (page.model) show('ready');
  } catch (error) {
    fail(error);
  } finally {
    busy = false;
  }
}

element('split', HTMLInputElement).addEventListener('input', ({ target }) => {
  stage.style.setProperty('--split', `${/** @type {HTMLInputElement} */ (target).value}%`);
});
sizes.addEventListener('change', update);
const size = query.get('size');
if (size && [...sizes.options].some((option) => option.value === size)) sizes.value = size;

await pictures({
  photos: PHOTOS,
  stage,
  chosen: async (picture) => { photo = picture; await update(); },
});
