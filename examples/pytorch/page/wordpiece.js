/**
 * Sentences to the numbers of their word pieces, as BERT's uncased models were trained with.
 *
 *     const tokenizer = wordPiece(await (await fetch('vocab.txt')).text());
 *     tokenizer('Hello, wörld!');   // [101, 7592, 1010, 2088, 999, 102]: [CLS] hello , world ! [SEP]
 *
 * The text is cleaned, put into small letters without accents, and parted at white space,
 * punctuation and Chinese characters; of each word the longest pieces that the vocabulary has are
 * taken from the left (github.com/google-research/bert, tokenization.py says what is what). What looks
 * like a special token, as [SEP], is text like any other.
 */

const LONGEST_WORD = 100; // characters; a longer one is unknown

// ASCII's symbols count as punctuation, too ($, +, <, ^, ` …), which Unicode calls otherwise.
const PUNCTUATION = /[\u0021-\u002f\u003a-\u0040\u005b-\u0060\u007b-\u007e\p{P}]/u;
const CHINESE = new RegExp(
  '[\\u{4e00}-\\u{9fff}\\u{3400}-\\u{4dbf}\\u{20000}-\\u{2a6df}\\u{2a700}-\\u{2b73f}' +
  '\\u{2b740}-\\u{2b81f}\\u{2b820}-\\u{2ceaf}\\u{f900}-\\u{faff}\\u{2f800}-\\u{2fa1f}]', 'u');

/**
 * @param {string} vocabulary  a piece a line; its number is the line's, from 0
 * @returns {(text: string, longest?: number) => number[]}  longest: of the result, its ends included
 */
export function wordPiece(vocabulary) {
  /** @type {Map<string, number>} */
  const pieces = new Map(vocabulary.split(/\r?\n/).map((piece, number) => [piece, number]));
  /** @param {string} name */
  const special = (name) => {
    const number = pieces.get(name);
    if (number === undefined) throw new Error(`the vocabulary lacks ${name}`);
    return number;
  };
  const [unknown, begin, end] = ['[UNK]', '[CLS]', '[SEP]'].map(special);

  /** @param {string} word */
  function parts(word) {
    const characters = [...word];
    if (characters.length > LONGEST_WORD) return [unknown];
    const found = [];
    for (let from = 0; from < characters.length; ) {
      let to = characters.length;
      let number;
      for (; to > from; to--) {
        number = pieces.get((from ? '##' : '') + characters.slice(from, to).join(''));
        if (number !== undefined) break;
      }
      if (number === undefined) return [unknown];
      found.push(number);
      from = to;
    }
    return found;
  }

  return (text, longest = 512) => {
    const numbers = words(text).flatMap(parts).slice(0, longest - 2);
    return [begin, ...numbers, end];
  };
}

/** Words, punctuation and Chinese characters, each alone. @param {string} text */
function words(text) {
  // Control and format characters, and what could not be decoded, are nothing.
  const clean = text.replace(/[\t\n\r]/g, ' ').replace(/[\0\ufffd\p{Cc}\p{Cf}\p{Co}\p{Cs}]/gu, '');
  const plain = clean.normalize('NFD').replace(/\p{Mn}/gu, '');
  let spaced = '';
  // Each character for itself: a whole word would get a final sigma.
  for (const c of plain) spaced += PUNCTUATION.test(c) || CHINESE.test(c) ? ` ${c} ` : c.toLowerCase();
  return spaced.split(/\s+/u).filter(Boolean);
}
