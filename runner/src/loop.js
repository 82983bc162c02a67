/**
 * A model on a stream of frames: `model.loop(video, (outputs) => …)`.
 *
 * A frame is asked for when the model and the page are done with the one before. What comes meanwhile
 * is left out, so that nothing queues up; while the page is hidden none is asked for.
 *
 * @typedef {{ signal?: AbortSignal, outputs?: 'cpu' | 'gpu', inputs?: any }} Options
 * @typedef {{ next(): Promise<{ value?: any, done?: boolean }>, end(): void }} Frames
 */
import { WebDNNError } from './errors.js';
import { Model, disposed } from './model.js';
import { RUN, options as checked } from './options.js';
import { article } from './picture/source.js';
import { is } from './rules.js';
import { typeName } from './tensors.js';

const LOOP = {
  ...RUN,
  inputs: is(
    'an object, or a function of the frame',
    (value) => typeof value === 'function' || (typeof value === 'object' && value !== null),
  ),
};

/** @param {string} message */
const wrong = (message) => new WebDNNError('option', `loop: ${message}`);

/** The input that frames go to. @param {Model} model @returns {string} */
function only({ inputs }) {
  const pictures = inputs.filter(({ image }) => image);
  const found = pictures.length ? pictures : inputs;
  if (found.length === 1) return found[0].name;
  const names = inputs.map(({ name }) => `"${name}"`).join(', ');
  throw wrong(`which input takes the frame? The model has ${names}; give {inputs: (frame) => ({…})}`);
}

/** Those that the stream made are the loop's to close. @param {any} frame */
const close = (frame) => {
  if (['VideoFrame', 'ImageBitmap'].includes(typeName(frame))) frame.close();
};

/**
 * The frames of an element that always shows one: the same element, as soon as it shows another.
 * @param {any} element @param {AbortSignal} signal  ends the listening
 * @returns {Frames}
 */
function shown(element, signal) {
  const video = typeName(element) === 'HTMLVideoElement';
  let fresh = !video || (element.readyState > 1 && !element.ended);
  let over = !!element.ended;
  let last = -1;
  /** @type {() => void} */
  let wake = () => {};
  const change = () => {
    fresh = !element.requestVideoFrameCallback && video ? element.currentTime !== last : true;
    if (!fresh) ask(); // of browsers that do not tell: a video that is paused
    wake();
  };
  // Asked for before a frame is run, so that one which comes during the run is not missed.
  const ask = () => {
    last = element.currentTime;
    if (element.requestVideoFrameCallback) element.requestVideoFrameCallback(change);
    else if (!signal.aborted) requestAnimationFrame(change);
  };
  if (video) {
    const ends = () => {
      over = true;
      wake();
    };
    for (const name of ['ended', 'error']) element.addEventListener(name, ends, { signal });
    // Chromium's word for a camera that was turned off; the standard's is `ended` of the video.
    element.srcObject?.addEventListener('inactive', ends, { signal });
    if (!fresh) ask();
  }
  return {
    async next() {
      while (!fresh && !over)
        await new Promise((resolve) => {
          wake = () => resolve(undefined);
        });
      if (element.error) throw new WebDNNError('image', `loop: the video failed: ${element.error.message}`);
      if (!fresh) return { done: true };
      fresh = false;
      ask();
      return { value: element };
    },
    end() {},
  };
}

/** @param {any} track  of a camera, say @param {AbortSignal} signal @returns {Frames} */
function tracked(track, signal) {
  if (track.kind !== 'video')
    throw wrong(`expected a video track, found one of ${track.kind}, which goes through an AudioWorklet`);
  const { MediaStreamTrackProcessor } = /** @type {any} */ (globalThis);
  if (MediaStreamTrackProcessor)
    return pulled(new MediaStreamTrackProcessor({ track, maxBufferSize: 1 }).readable);
  const video = document.createElement('video');
  video.muted = video.playsInline = true;
  video.srcObject = new MediaStream([track]);
  const frames = shown(video, signal);
  video.play().catch(() => {}); // its frames or its end say more
  return {
    ...frames,
    end() {
      video.srcObject = null;
    },
  };
}

/** @param {any} stream  or another async iterable @returns {Frames} */
function pulled(stream) {
  if (stream.locked) throw wrong('the stream is locked: something else reads it');
  const reader = stream.getReader?.();
  const from = reader ?? stream[Symbol.asyncIterator]();
  /** @type {Promise<any> | undefined} */
  let pending;
  return {
    async next() {
      pending = reader ? reader.read() : from.next();
      const found = await pending;
      pending = undefined;
      return found;
    },
    end() {
      pending?.then(({ value }) => close(value)).catch(() => {}); // nobody waits for it
      Promise.resolve(reader ? reader.cancel() : from.return?.()).catch(() => {});
    },
  };
}

/** @param {any} source @param {AbortSignal} signal @returns {Frames} */
function frames(source, signal) {
  const type = typeName(source);
  if (/^(HTMLVideoElement|HTMLCanvasElement|OffscreenCanvas)$/.test(type)) return shown(source, signal);
  if (type.endsWith('MediaStream')) {
    const [track] = source.getVideoTracks();
    if (!track) throw wrong('the MediaStream has no video track');
    return tracked(track, signal);
  }
  if (type.endsWith('Track')) return tracked(source, signal);
  if (source?.getReader || source?.[Symbol.asyncIterator]) return pulled(source);
  throw wrong(
    'expected a video, a canvas, a MediaStream or a video track of one, a ReadableStream or another ' +
      `async iterable, found ${source === null || typeof source !== 'object' ? source : article(type)}`,
  );
}

/** A model as a page has it; worklets have the rest. */
export class PageModel extends Model {
  /** What each loop does at the model's end. @type {Set<(error: WebDNNError) => void>} */
  #loops = new Set();
  #watched = false;

  /** @override */
  dispose() {
    super.dispose();
    this.#over(disposed());
  }

  /** @param {WebDNNError} error */
  #over(error) {
    for (const end of this.#loops) end(error);
  }

  /**
   * @param {any} source
   * @param {(outputs: any, frame: any) => unknown} onresult @param {Options} [given]
   * @returns {Promise<void>}
   */
  async loop(source, onresult, given = {}) {
    const { signal, outputs, inputs = {} } = checked('loop', LOOP, given);
    if (typeof onresult !== 'function') throw wrong(`expected a function for the outputs, found ${onresult}`);
    const name = typeof inputs === 'function' ? '' : only(this);
    if (name && inputs[name] !== undefined)
      throw wrong(`"${name}" is the frame's: leave it out of inputs, or give {inputs: (frame) => ({…})}`);
    const feed = name ? (/** @type {any} */ frame) => ({ ...inputs, [name]: frame }) : inputs;
    if (signal?.aborted) return;
    const listening = new AbortController();
    /** @type {(value: undefined) => void} */
    let stop = () => {};
    /** @type {WebDNNError | undefined} */
    let over;
    const end = (/** @type {WebDNNError} */ error) => {
      over = error;
      stop(undefined);
    };
    this.#loops.add(end);
    if (!this.#watched) this.lost.then((error) => this.#over(error));
    this.#watched = true;
    signal?.addEventListener('abort', () => stop(undefined), { signal: listening.signal });
    /** What comes of it, or undefined once the loop is to end. @template T @param {Promise<T>} coming @returns {Promise<T | undefined>} */
    const until = (coming) =>
      new Promise((resolve, reject) => {
        stop = resolve;
        coming.then(resolve, reject);
      });
    const from = frames(source, listening.signal);
    /** @type {any} */
    let frame;
    try {
      for (;;) {
        if (over) throw over;
        const page = globalThis.document;
        if (page?.visibilityState === 'hidden') {
          const turn = new Promise((resolve) =>
            page.addEventListener('visibilitychange', resolve, { once: true, signal: listening.signal }),
          );
          await until(turn);
          if (!signal?.aborted) continue;
        }
        const found = signal?.aborted ? undefined : await until(from.next());
        if (over) throw over;
        if (!found || found.done) return;
        frame = found.value;
        await onresult(await this.run(feed(frame), { signal, outputs }), frame);
        close(frame);
        frame = undefined;
      }
    } catch (error) {
      if (!signal?.aborted || /** @type {any} */ (error)?.code !== 'aborted') throw error;
    } finally {
      this.#loops.delete(end);
      close(frame);
      listening.abort();
      from.end();
    }
  }
}
