/**
 * Face detection: what belongs to WebDNN is `load` and `page.run`.
 *
 * Query parameters: ?backend=wasm, ?photo=chelsea.
 */
import { element, fail, frame, make, pictures } from './frame.js';
import { load } from './model/model.js';

const PHOTOS = {
  'photos/astronaut.png': 'An astronaut',
  'photos/chelsea.png': 'A cat',
  'photos/rocket.jpg': 'A rocket',
};

const canvas = element('picture', HTMLCanvasElement);
const least = element('least', HTMLInputElement);
const webcam = element('webcam', HTMLButtonElement);
const video = document.createElement('video');
/** What is looked at. @type {ImageBitmap | HTMLVideoElement | null} */
let source = null;
/** @type {{ score: number, box: number[] }[]} */
let faces = [];
let busy = false;
let stale = false;

const page = frame(load, update);

/** A picture's size. @param {ImageBitmap | HTMLVideoElement} picture */
const sizeOf = (picture) =>
  picture instanceof HTMLVideoElement
    ? { width: picture.videoWidth, height: picture.videoHeight }
    : { width: picture.width, height: picture.height };

/** Looks for faces; of a video, in frame after frame. */
async function update() {
  stale = true;
  if (busy) return;
  busy = true;
  try {
    while ((stale || source === video) && source && page.model) {
      stale = false;
      const looked = source;
      const outputs = await page.run({ data: looked });
      if (!outputs) continue; // another target was chosen meanwhile
      // Rows of: image, label, score, left, top, right, bottom; the last four as parts of the picture.
      const rows = outputs.detection_out;
      faces = [];
      for (let i = 0; i < rows.data.length; i += 7) {
        faces.push({ score: rows.data[i + 2], box: [...rows.data.subarray(i + 3, i + 7)] });
      }
      if (looked === source) draw();
      if (source === video) await new Promise(requestAnimationFrame);
    }
  } catch (error) {
    fail(error);
  } finally {
    busy = false;
  }
}

/** Draws the picture and the boxes of the faces that are sure enough. */
function draw() {
  if (!source) return;
  const { width, height } = sizeOf(source);
  Object.assign(canvas, { width, height });
  const context = canvas.getContext('2d');
  if (!context) throw new Error('this browser gives no 2D canvas');
  context.drawImage(source, 0, 0, width, height);
  const unit = Math.max(width, height) / 512;
  const seen = faces.filter(({ score }) => 100 * score >= Number(least.value));
  context.lineWidth = 3 * unit;
  context.font = `600 ${15 * unit}px system-ui, "Liberation Sans", sans-serif`;
  for (const { score, box: [left, top, right, bottom] } of seen) {
    const [x, y] = [left * width, top * height];
    const text = `${(100 * score).toFixed(0)} %`;
    const label = { width: context.measureText(text).width + 12 * unit, height: 22 * unit };
    context.strokeStyle = context.fillStyle = '#5ccfc0';
    context.strokeRect(x, y, (right - left) * width, (bottom - top) * height);
    const above = Math.max(y - label.height, 0);
    context.fillRect(x - context.lineWidth / 2, above, label.width, label.height);
    context.fillStyle = '#0d1c1a';
    context.fillText(text, x + 5 * unit, above + 16 * unit);
  }
  element('count', HTMLElement).textContent =
    { 0: 'No face', 1: 'One face' }[seen.length] ?? `${seen.length} faces`;
  element('scores', HTMLElement).replaceChildren(...seen.slice(0, 6).flatMap(({ score, box }, i) => [
    make('dt', {}, `face ${i + 1}`),
    make('meter', { value: score, ariaLabel: `face ${i + 1}` }),
    make('dd', { title: box.map((part) => part.toFixed(3)).join(', ') }, `${(100 * score).toFixed(0)} %`),
  ]));
}

function stopWebcam() {
  const stream = /** @type {MediaStream | null} */ (video.srcObject);
  for (const track of stream?.getTracks() ?? []) track.stop();
  video.srcObject = null;
  webcam.setAttribute('aria-pressed', 'false');
}

async function startWebcam() {
  if (!navigator.mediaDevices) throw new Error('this browser gives pages no webcam (or only over https)');
  video.srcObject = await navigator.mediaDevices.getUserMedia({ video: { width: 640 } });
  video.muted = true;
  await video.play();
  webcam.setAttribute('aria-pressed', 'true');
  for (const button of element('photos', HTMLElement).children) button.setAttribute('aria-pressed', 'false');
  source = video;
  await update();
}

webcam.addEventListener('click', () => {
  if (video.srcObject) stopWebcam();
  else startWebcam().catch(fail);
});
least.addEventListener('input', () => {
  element('surely', HTMLOutputElement).value = `${least.value} %`;
  draw();
});

await pictures({
  photos: PHOTOS,
  stage: element('stage', HTMLElement),
  chosen: async (picture) => {
    stopWebcam();
    source = picture;
    await update();
  },
});
