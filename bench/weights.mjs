// Times descriptors in Node, in turns: node bench/weights.mjs SECONDS FOLDER...
// Prints one JSON list: for each folder the fewest milliseconds of processor time that a run took. Processor time of one
// thread is what other programs on the machine change least.
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

const ARRAYS = { float32: Float32Array, int32: Int32Array, int64: BigInt64Array };
const [seconds, ...folders] = process.argv.slice(2);

const models = [];
for (const folder of folders) {
  const { load } = await import(pathToFileURL(join(folder, 'model.js')).href);
  const model = await load();
  const inputs = {};
  for (const { name, dtype, shape } of model.inputs) {
    const sizes = shape.map((d) => (typeof d === 'number' ? d : Math.min(256, model.dims[d].max)));
    const data = new ARRAYS[dtype](sizes.reduce((a, b) => a * b, 1));
    if (dtype === 'float32') data.forEach((_, k) => (data[k] = Math.sin(k)));
    else data.fill(dtype === 'int64' ? 1n : 1);
    inputs[name] = { data, shape: sizes };
  }
  model.runSync(inputs);
  models.push({ model, inputs, ms: Infinity });
}
const end = performance.now() + 1000 * Number(seconds) * models.length;
do {
  for (const entry of models) {
    for (let k = 0; k < 2; k++) {
      const before = process.cpuUsage();
      entry.model.runSync(entry.inputs);
      const { user, system } = process.cpuUsage(before);
      entry.ms = Math.min(entry.ms, (user + system) / 1000);
    }
  }
} while (performance.now() < end);
console.log(JSON.stringify(models.map(({ ms }) => ms)));
