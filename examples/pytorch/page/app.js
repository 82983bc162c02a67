/**
 * Sentence search: what belongs to WebDNN is `load`, below, and `run`, in `embed`.
 *
 * Query parameters preset the controls: ?backend=wasm, ?query=…, ?few searches six sentences only.
 */
import { element, fail, frame, make, query } from './frame.js';
import { load } from './model/model.js';
import { wordPiece } from './wordpiece.js';

const LONGEST = 128; // tokens that the model was transpiled for
const SHOWN = 12;

const SENTENCES = [
  'Going to bed at the same hour every night helps against insomnia.',
  'The museum opens at ten and is closed on Mondays.',
  'Our flight was cancelled because of the storm.',
  'She baked a chocolate cake for her birthday.',
  'The stock market fell sharply after the announcement.',
  'A balanced diet with fruit and vegetables keeps the heart healthy.',
  'The goalkeeper saved a penalty in the last minute.',
  'You should avoid coffee late in the day if you want a good rest.',
  'He forgot the password of his email account.',
  'The new phone has a brighter screen and a larger battery.',
  'My train to Vienna leaves from platform seven.',
  'The scientists discovered a planet that orbits two suns.',
  'Water the plants twice a week, but not in full sunlight.',
  'The orchestra rehearsed the symphony until midnight.',
  'The bank raised its interest rates again.',
  'A dark, cool and quiet room makes it easier to doze off.',
  'The children built a castle out of sand.',
  'Restart the computer and install the latest update.',
  'The recipe needs two eggs, flour and a pinch of salt.',
  'Astronauts aboard the station repaired a solar panel.',
  'The team won the championship for the third time.',
  'Turn left at the church and follow the river.',
  'The doctor advised him to walk half an hour a day.',
  'Tickets for the concert were sold out within minutes.',
];
const IDEAS = ['Something to eat', 'News about space', 'I cannot log in', 'Getting around by rail', 'Money'];

const asked = element('query', HTMLInputElement);
const list = element('sentences', HTMLTextAreaElement);
const results = element('results', HTMLOListElement);

/** Sentence → its embedding, so that only what is new is computed. @type {Map<string, any>} */
const known = new Map();
let busy = false;
let stale = false; // something changed while the model was running

asked.value = query.get('query') ?? asked.value;
list.value = SENTENCES.slice(0, query.has('few') ? 6 : undefined).join('\n');
const vocabulary = fetch('vocab.txt').then((response) => {
  if (!response.ok) throw new Error(`vocab.txt: ${response.status}`);
  return response.text();
});
const tokenizer = vocabulary.then(wordPiece);
tokenizer.catch(fail);

const page = frame(load, async () => { known.clear(); await update(); });

/**
 * A sentence's point, 384 numbers of length one; undefined if another target was chosen meanwhile.
 * @param {string} sentence
 * @param {(inputs: { tokens: any }) => Promise<any>} run  the model's, or that which shows how long it took
 */
async function embed(sentence, run) {
  const tokens = (await tokenizer)(sentence, LONGEST);
  const outputs = await run({ tokens: { dtype: 'int64', shape: [1, tokens.length], data: Int32Array.from(tokens) } });
  element('tokens', HTMLElement).textContent = String(tokens.length);
  return /** @type {Float32Array | undefined} */ (outputs?.embedding.data);
}

/** The cosine of the angle between two points of length one. @param {Float32Array} a @param {Float32Array} b */
const likeness = (a, b) => a.reduce((sum, x, i) => sum + x * b[i], 0);

/** Ranks the sentences as the controls stand; while it runs, only the newest change is kept. */
async function update() {
  stale = true;
  if (busy || !page.model) return;
  busy = true;
  const { model } = page;
  try {
    while (stale && page.model === model) {
      stale = false;
      const sentences = [...new Set(list.value.split('\n').map((line) => line.trim()).filter(Boolean))];
      for (const sentence of sentences)
        if (!known.has(sentence)) known.set(sentence, await embed(sentence, (inputs) => model.run(inputs)));
      const point = await embed(asked.value, page.run);
      if (point && !stale) rank(sentences, point);
    }
  } catch (error) {
    if (page.model === model) fail(error); // else it was disposed of under way
  } finally {
    busy = false;
  }
  if (page.model !== model) update();
}

/** @param {string[]} sentences @param {Float32Array} point */
function rank(sentences, point) {
  const scored = sentences
    .map((sentence) => ({ sentence, score: likeness(known.get(sentence), point) }))
    .sort((a, b) => b.score - a.score);
  element('count', HTMLElement).textContent = `of ${scored.length} sentences`;
  results.replaceChildren(...scored.slice(0, SHOWN).map(({ sentence, score }) => make('li', {},
    make('span', { textContent: sentence }),
    make('meter', { min: 0, max: 1, value: Math.max(0, score), ariaLabel: 'likeness' }),
    make('output', { textContent: score.toFixed(2) }))));
}

element('ideas', HTMLElement).append(...IDEAS.map((idea) => {
  const button = make('button', { type: 'button', textContent: idea });
  button.addEventListener('click', () => { asked.value = idea; update(); });
  return button;
}));
element('search', HTMLFormElement).addEventListener('submit', (event) => { event.preventDefault(); update(); });
asked.addEventListener('input', update);
list.addEventListener('input', update);
