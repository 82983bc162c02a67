/**
 * Random damage to JSON documents: what a bad disk, a merge or an edit by hand might do.
 *
 *     const random = seeded(7);
 *     const { what, text } = damaged(JSON.stringify(model, null, 1), random);
 */

/** Whole numbers below n, the same for the same seed. @param {number} seed */
export function seeded(seed) {
  let state = seed;
  return (n) => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return Math.floor((((t ^ (t >>> 14)) >>> 0) / 2 ** 32) * n);
  };
}

/** The holder and key of every value of a document. */
function places(value, found = []) {
  if (value && typeof value === 'object') {
    for (const key of Object.keys(value)) {
      found.push([value, key]);
      places(value[key], found);
    }
  }
  return found;
}

const STRANGE = [
  ...[null, true, '', 'x', '1', [], [1], {}, { a: 1 }],
  ...[0, -1, 1, 0.5, 2 ** 31, 2 ** 32, 2 ** 53, 1e300],
];
const copy = (value) => JSON.parse(JSON.stringify(value));

const KINDS = {
  deleted([holder, key]) {
    if (Array.isArray(holder)) holder.splice(+key, 1);
    else delete holder[key];
  },
  replaced([holder, key], random) {
    holder[key] = copy(STRANGE[random(STRANGE.length)]);
  },
  swapped([holder, key], random, all) {
    const [other, at] = all[random(all.length)];
    [holder[key], other[at]] = [copy(other[at]), copy(holder[key])];
  },
  shortened([holder, key], random) {
    holder[key].length = random(holder[key].length);
  },
  repeated([holder, key], random) {
    holder[key].push(copy(holder[key][random(holder[key].length)]));
  },
  counted([holder, key], random) {
    const n = holder[key];
    const changed = [n + 1, n - 1, -n, n + 4, n + 256, 2 * n, n + 0.5, n * 1e6, 2 ** 32, 1e30];
    holder[key] = changed[random(changed.length)];
  },
  mistyped([holder, key], random) {
    const text = holder[key];
    const at = random(text.length);
    holder[key] = text.slice(0, at) + ['', '?', 'a', '0'][random(4)] + text.slice(at + 1);
  },
};
/** Which values each kind is for; the others are for all. */
const FITS = {
  shortened: (value) => Array.isArray(value) && value.length > 0,
  repeated: (value) => Array.isArray(value) && value.length > 0,
  counted: (value) => typeof value === 'number',
  mistyped: (value) => typeof value === 'string' && value !== '',
};

/**
 * The text with one damage, and what it is; never the same text.
 * @param {string} text @param {(n: number) => number} random
 */
export function damaged(text, random) {
  for (;;) {
    const kind = ['cut', ...Object.keys(KINDS)][random(8)];
    if (kind === 'cut') {
      const end = random(text.length);
      return { what: `cut at ${end}`, text: text.slice(0, end) };
    }
    const document = JSON.parse(text);
    const all = places(document);
    const fit = all.filter(([holder, key]) => (FITS[kind] ?? (() => true))(holder[key]));
    const place = fit[random(fit.length)];
    const what = `${kind} ${place[1]}: ${JSON.stringify(place[0][place[1]]).slice(0, 80)}`;
    KINDS[kind](place, random, all);
    const changed = JSON.stringify(document, null, 1);
    if (changed !== text) return { what, text: changed };
  }
}
