/** Audio through the tiny model: 2 x + 1, 128 samples at a time. */
import { instantiate } from '/tiny/runner/worklet.js';

registerProcessor(
  'tiny',
  class extends AudioWorkletProcessor {
    constructor({ processorOptions: { kit } }) {
      super();
      try {
        this.model = instantiate(kit);
      } catch (error) {
        this.port.postMessage(String(error.stack));
      }
    }

    process([[input]], [[output]]) {
      if (!input) return true;
      const x = this.model.view('x');
      x.set(input);
      const { y } = this.model.runSync({
        x: { data: x.subarray(0, input.length), shape: [1, input.length] },
        'k/0': new Int32Array(2),
        rounds: Int32Array.of(1),
      });
      output.set(y.data);
      return true;
    }
  },
);
