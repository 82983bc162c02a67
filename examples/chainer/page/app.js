/**
 * Classification: what belongs to WebDNN is `load`, `page.run` and `model.top`.
 *
 * Query parameters preset the controls: ?backend=wasm, ?photo=coffee.
 */
import { element, fail, frame, make, pictures, show } from './frame.js';
import { load } from './model/model.js';

const PHOTOS = {
  'photos/chelsea.png': 'A cat',
  'photos/astronaut.png': 'An astronaut',
  'photos/coffee.png': 'A cup of coffee',
  'photos/rocket.jpg': 'A rocket',
};

const canvas = element('picture', HTMLCanvasElement);
/** @type {ImageBitmap | null} */
let photo = null;
let busy = false;
let stale = false; // another picture or target was chosen while the model was running

const page = frame(load, classify);

/** Names the picture; while the model runs, only the newest choice is kept. */
async function classify() {
  stale = true;
  if (busy || !page.model || !photo) return;
  busy = true;
  try {
    while (stale && page.model && photo) {
      stale = false;
      show('running');
      // The picture as it is: size, channels and mean were compiled into the model.
      const outputs = await page.run({ image: photo });
      if (outputs && page.model) showScores(page.model.top(outputs));
    }
    if (page.model) show('ready');
  } catch (error) {
    fail(error);
  } finally {
    busy = false;
  }
}

/** @param {{ label: string, score: number }[]} best */
function showScores(best) {
  const rows = best.flatMap(({ label, score }) => [
    make('dt', { title: label }, label),
    make('meter', { value: score, ariaLabel: label }),
    make('dd', {}, `${Math.round(100 * score)}\u00a0%`),
  ]);
  element('scores', HTMLElement).replaceChildren(...rows);
}

pictures({
  photos: PHOTOS,
  stage: element('stage', HTMLElement),
  chosen: async (picture) => {
    photo = picture;
    Object.assign(canvas, { width: picture.width, height: picture.height });
    canvas.getContext('2d')?.drawImage(picture, 0, 0);
    await classify();
  },
}).catch(fail);
