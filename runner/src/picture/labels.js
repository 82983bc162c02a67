/**
 * The best classes of an output that has labels: what a page shows.
 *
 *     model.top(await model.run({ image }), 3);   // [{ label: 'tabby', score: 0.81, index: 281 }, …]
 *
 * Scores are the model's own numbers: probabilities where it ends in a softmax.
 *
 * @typedef {import('../descriptor.js').Signature} Signature
 * @typedef {import('../types.d.ts').Scored} Scored
 */
import { WebDNNError } from '../errors.js';

/**
 * @param {readonly Signature[]} signature  the model's outputs
 * @param {Record<string, any>} outputs  what a run returned
 * @param {number} k
 * @param {string} [name]  of the output; needed where several have labels
 * @returns {Scored[]}
 */
export function top(signature, outputs, k, name) {
  const labelled = signature.filter(({ drawn, labels }) => labels && !drawn);
  const list = labelled.map((spec) => `"${spec.name}"`).join(', ');
  if (!labelled.length || (name === undefined && labelled.length > 1)) {
    throw new WebDNNError(
      'option',
      labelled.length
        ? `top: several outputs have labels (${list}); say which as the third argument`
        : 'top: no output of this model has labels; transpile it with --labels FILE',
    );
  }
  const spec = name === undefined ? labelled[0] : labelled.find((one) => one.name === name);
  if (!spec) throw new WebDNNError('option', `top: the outputs with labels are ${list}, not "${name}"`);
  const tensor = outputs?.[spec.name];
  const labels = /** @type {string[]} */ (spec.labels);
  const scores = tensor?.data;
  if (!ArrayBuffer.isView(scores)) {
    throw new WebDNNError(
      'option',
      `top: expected what run() returned, with "${spec.name}" in it on the CPU, found ` +
        (tensor ? 'a GPUBuffer or another value there' : `${Object.keys(outputs ?? {}).join(', ') || outputs}`),
    );
  }
  const numbers = /** @type {Float32Array} */ (scores);
  if (numbers.length !== labels.length) {
    throw new WebDNNError(
      'shape',
      `top: expected one score for each of ${labels.length} labels, found ${numbers.length} in ` +
        `"${spec.name}" of shape [${tensor.shape.join(', ')}]`,
    );
  }
  if (!Number.isInteger(k) || k < 1)
    throw new WebDNNError('option', `top: expected a whole number from 1, found ${k}`);
  return Array.from(numbers, (score, index) => ({ label: labels[index], score: Number(score), index }))
    .filter(({ score }) => !Number.isNaN(score))
    .sort((a, b) => b.score - a.score || a.index - b.index)
    .slice(0, k);
}
