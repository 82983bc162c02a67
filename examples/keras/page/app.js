/**
 * Face emotion: what belongs to WebDNN is `load`, `page.run` and `model.top`.
 *
 * Query parameters: ?backend=wasm, ?photo=chelsea.
 */
import { load } from './emotion/model.js';
import { element, fail, frame, make, pictures } from './frame.js';

/** Where the face is in the page's own photographs, and its side: parts of width, height, width. */
const FACES = [[0.44, 0.235, 0.23], [0.47, 0.3, 0.44]];
const PHOTOS = { 'photos/astronaut.png': 'An astronaut', 'photos/chelsea.png': 'A cat' };

const canvas = element('picture', HTMLCanvasElement);
const side = element('side', HTMLInputElement);
const face = document.createElement('canvas'); // what the model gets
/** @type {ImageBitmap | null} */
let photo = null;
let centre = { x: 0, y: 0 };
let busy = false;
let stale = false;

const page = frame(load, update);

/** @param {HTMLCanvasElement} of @returns {CanvasRenderingContext2D} */
function drawing(of) {
  const context = of.getContext('2d');
  if (!context) throw new Error('this browser gives no 2D canvas');
  return context;
}

/** The square in pixels of the photograph: its corner and side. @param {ImageBitmap} picture */
function square({ width, height }) {
  const length = Math.round((Number(side.value) / 100) * Math.min(width, height));
  const at = (/** @type {number} */ middle, /** @type {number} */ end) =>
    Math.round(Math.min(Math.max(middle - length / 2, 0), end - length));
  return { x: at(centre.x, width), y: at(centre.y, height), length };
}

function draw() {
  if (!photo) return;
  const { x, y, length } = square(photo);
  Object.assign(canvas, { width: photo.width, height: photo.height });
  const context = drawing(canvas);
  context.drawImage(photo, 0, 0);
  context.fillStyle = '#0007';
  context.beginPath();
  context.rect(0, 0, photo.width, photo.height);
  context.rect(x, y, length, length);
  context.fill('evenodd');
  context.strokeStyle = '#fff';
  context.lineWidth = Math.max(2, photo.width / 250);
  context.strokeRect(x, y, length, length);
}

/** Reads the face in the square; while it runs, only the newest square is kept. */
async function update() {
  draw();
  stale = true;
  if (busy || !photo) return;
  busy = true;
  try {
    while (stale && page.model) {
      stale = false;
      const { x, y, length } = square(photo);
      face.width = face.height = length;
      drawing(face).drawImage(photo, -x, -y);
      const { model } = page;
      const outputs = await page.run({ input_1: face });
      if (outputs) showScores(model.top(outputs, 7));
    }
  } catch (error) {
    fail(error);
  } finally {
    busy = false;
  }
}

/** @param {import('./emotion/model.js').Scored[]} scores */
function showScores(scores) {
  element('scores', HTMLElement).replaceChildren(...scores.flatMap(({ label, score }) => [
    make('dt', {}, label),
    make('meter', { value: score, ariaLabel: label }),
    make('dd', {}, `${Math.round(100 * score)} %`),
  ]));
}

/** @param {PointerEvent} event */
function move({ offsetX, offsetY }) {
  if (!photo) return;
  centre = {
    x: (offsetX / canvas.clientWidth) * photo.width,
    y: (offsetY / canvas.clientHeight) * photo.height,
  };
  update();
}
canvas.addEventListener('pointerdown', (event) => {
  canvas.setPointerCapture(event.pointerId);
  move(event);
});
canvas.addEventListener('pointermove', (event) => { if (event.buttons) move(event); });
canvas.addEventListener('keydown', (event) => {
  const [dx, dy] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key] ?? [0, 0];
  if (!photo || (!dx && !dy)) return;
  event.preventDefault();
  centre.x += (dx * photo.width) / 50;
  centre.y += (dy * photo.height) / 50;
  update();
});
side.addEventListener('input', update);

await pictures({
  photos: PHOTOS,
  stage: element('stage', HTMLElement),
  chosen: async (picture) => {
    photo = picture;
    const chosen = document.querySelector('#photos [aria-pressed="true"]');
    const own = chosen ? [...element('photos', HTMLElement).children].indexOf(chosen) : -1;
    const [x, y, part] = FACES[own] ?? [0.5, 0.5, 0.6];
    centre = { x: x * picture.width, y: y * picture.height };
    side.value = String(Math.round((100 * part * picture.width) / Math.min(picture.width, picture.height)));
    await update();
  },
});
