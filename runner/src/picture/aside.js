/**
 * Pictures read aside, in a worker (pictures.js), so that the page goes on meanwhile. The page takes
 * hold of a picture as it is when `run` is called, which copies no pixels, and gets those that the
 * model takes. Where the worker cannot be had, the calling thread reads, as it does in a page's own
 * workers and in Node.
 *
 * @typedef {import('../descriptor.js').Signature} Signature
 * @typedef {import('../descriptor.js').Dimension} Dimension
 * @typedef {import('./image.js').Pictures} Pictures
 * @typedef {{ data: Uint32Array<ArrayBuffer>, shape: number[] }} Pixels
 * @typedef {{ calls: ((...call: any[]) => Promise<any>)[], failed: Promise<unknown>,
 *   dismiss(): void }} Crew
 */
import { WebDNNError, say } from '../errors.js';
import { typeName } from '../tensors.js';
import { READER } from './messages.js';
import { decode, isBlob, sized } from './source.js';

/** Milliseconds that a first picture waits for the worker to start. */
const START = 2000;

/**
 * A picture as it is now, in the cheapest way of its kind. Frames can be moved without a copy; but
 * not every browser turns a frame as its video, nor knows that the colours of an ImageBitmap may be
 * times their alpha already.
 * @param {any} value @returns {any}
 */
function hold(value) {
  const type = typeName(value);
  if (type === 'VideoFrame') return value.clone();
  const bitmap = type === 'ImageBitmap';
  if (typeof VideoFrame === 'function' && (bitmap || type === 'HTMLVideoElement')) {
    const frame = new VideoFrame(value, bitmap ? { timestamp: 0 } : {});
    const { displayWidth, displayHeight, format } = frame;
    const whole = displayWidth === value.videoWidth && displayHeight === value.videoHeight;
    if (bitmap ? format && !format.includes('A') : whole) return frame;
    frame.close();
  }
  return createImageBitmap(value);
}

/**
 * What an `<img>` of a blob's address shows: elements are decoded by the thread that reads them, files
 * are not.
 * @param {HTMLImageElement} image
 */
async function unpacked({ currentSrc, naturalWidth, naturalHeight }) {
  const bitmap = await createImageBitmap(await (await fetch(currentSrc)).blob());
  if (bitmap.width === naturalWidth && bitmap.height === naturalHeight) return bitmap;
  bitmap.close();
  throw new Error('another size'); // as the element's density says
}

/** Whether nothing is left of what was posted. @param {any} source */
const gone = (source) =>
  source.data ? !source.data.length : !isBlob(source) && !(source.displayWidth ?? source.width);

export class Aside {
  #hire;
  #here;
  /** @type {Crew | undefined} */ #crew;
  /** @type {Crew['calls'][number] | undefined} */ #call;
  /** @type {Promise<unknown> | undefined} */ #started;
  /** Whether files of images cannot be had. */ #sealed = false;
  /** Buffers to be used again, by what they were for. @type {Map<string, ArrayBuffer[]>} */
  #spare = new Map();
  /** The results that the model has not done with. @type {WeakMap<Uint32Array, string>} */
  #results = new WeakMap();

  /** @param {() => Crew} hire  one worker @param {Pictures} here  of the calling thread */
  constructor(hire, here) {
    this.#hire = hire;
    this.#here = here;
  }

  /**
   * The pixels of a picture as it is now. Raises at once what can be seen at once.
   * @param {Signature} signature @param {any} value @param {readonly Dimension[]} dims
   * @returns {Promise<Pixels>}
   */
  read(signature, value, dims) {
    const type = typeName(value);
    if (isBlob(value)) return this.#read(signature, value, dims, type);
    const { data, width, height } = sized(signature.name, value);
    if (data) {
      const spare = this.#take(`bytes ${data.length}`);
      const bytes = spare ? new Uint8ClampedArray(spare) : new Uint8ClampedArray(data.length);
      bytes.set(data);
      return this.#read(signature, { data: bytes, width, height }, dims, type);
    }
    const here = () => copied(this.#here.read(signature, value, dims));
    try {
      const held = type === 'HTMLImageElement' ? this.#unpack(signature.name, value) : hold(value);
      if (!held.then) return this.#read(signature, held, dims, type);
      return held.then(
        (/** @type {any} */ bitmap) => this.#read(signature, bitmap, dims, type),
        (/** @type {unknown} */ error) => {
          if (error instanceof WebDNNError) throw error;
          return here(); // which says what is wrong with it
        },
      );
    } catch {
      return Promise.resolve(here());
    }
  }

  /** What an `<img>` shows now. @param {string} name @param {HTMLImageElement} image */
  #unpack(name, image) {
    const { currentSrc: src } = image;
    if (this.#sealed || !src.startsWith('blob:')) return createImageBitmap(image);
    return unpacked(image).catch((error) => {
      this.#sealed = true; // the address was revoked, or a policy is against it
      if (image.currentSrc === src && image.complete) return createImageBitmap(image);
      throw new WebDNNError(
        'image',
        `input "${name}": the <img> shows another picture by now, and the file of the one before ` +
          `cannot be read (${say(error)}). Wait for run() before you change it`,
        error,
      );
    });
  }

  /** @param {Signature} signature @param {any} source @param {readonly Dimension[]} dims @param {string} type */
  async #read(signature, source, dims, type) {
    await (this.#started ??= this.#start());
    const { name, shape, image } = signature;
    const { data } = source;
    if (this.#call) {
      const spare = this.#take(name);
      try {
        const call = {
          ...{ signature: { name, shape, image }, source, type, dims },
          ...(spare && { spare }),
        };
        const moved = isBlob(source) ? [] : [data ? data.buffer : source];
        const answer = await this.#call(READER, 'read', [call], spare ? [...moved, spare] : moved);
        if (answer.bytes) this.#give(`bytes ${answer.bytes.length}`, answer.bytes.buffer);
        this.#results.set(answer.data, name);
        return answer;
      } catch (error) {
        // A picture of another origin is not let through: reading it here says so.
        if (/** @type {any} */ (error).code !== 'worker' || gone(source)) throw error;
      }
    }
    const picture = isBlob(source) ? await decode(name, source) : source;
    try {
      return copied(this.#here.read(signature, picture, dims, type));
    } finally {
      picture.close?.();
    }
  }

  /** Starts the worker; ends when it is ready, when there is none, or when that takes too long. */
  #start() {
    const starting = async () => {
      const crew = (this.#crew = this.#hire());
      const [call] = crew.calls;
      await call(READER, 'ready', []);
      this.#call = call;
      crew.failed.then(() => {
        this.#call = undefined;
      });
    };
    return Promise.race([
      starting().catch(() => this.#crew?.dismiss()),
      new Promise((resolve) => {
        setTimeout(resolve, START);
      }),
    ]);
  }

  /** @param {string} what */
  #take(what) {
    return this.#spare.get(what)?.pop();
  }

  /** @param {string} what @param {ArrayBuffer} buffer */
  #give(what, buffer) {
    const found = this.#spare.get(what) ?? [];
    this.#spare.set(what, found);
    found.push(buffer);
  }

  /** Takes results back, once they are copied. @param {Record<string, any>} inputs */
  again(inputs) {
    for (const { data } of Object.values(inputs)) {
      const name = data && this.#results.get(data);
      if (name === undefined) continue;
      this.#results.delete(data);
      this.#give(name, data.buffer);
    }
  }

  dispose() {
    this.#crew?.dismiss();
    this.#call = undefined;
  }
}

/** @param {Pixels} pixels  in memory that the next picture takes @returns {Pixels} */
const copied = ({ data, shape }) => ({ data: data.slice(), shape });
