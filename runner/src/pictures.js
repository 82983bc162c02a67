/**
 * The worker that reads and resizes pictures for a page (picture/aside.js), in the way in which
 * the page's own thread would (picture/image.js).
 */
import { Pictures } from './picture/image.js';
import { READER } from './picture/messages.js';
import { decode, isBlob } from './picture/source.js';
import { serve } from './serve.js';

const pictures = new Pictures();

/** @type {import('./wasm/messages.js').Operations<typeof READER>} */
const operations = {
  ready: () => {
    // Not every browser's workers can draw: then the page reads.
    if (!new OffscreenCanvas(1, 1).getContext('2d')) throw new Error('no canvas');
  },
  async read({ signature, source, type, dims, spare }) {
    const picture = isBlob(source) ? await decode(signature.name, source) : source;
    try {
      const { data, shape } = pictures.read(signature, picture, dims, type, spare);
      const own = data.buffer === spare ? data : data.slice();
      return { data: own, shape, bytes: source.data };
    } finally {
      picture.close?.();
    }
  },
};

serve(
  () => [READER, operations],
  (value) => [value?.data, value?.bytes],
);
