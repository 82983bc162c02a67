/**
 * What a page may hand over as a picture: which kinds there are, what each must have, and the error
 * that says what it lacks.
 *
 * @typedef {{ data: Uint8Array | Uint8ClampedArray, width: number, height: number }} Raster  RGBA
 */
import { WebDNNError, say } from '../errors.js';
import { typeName } from '../tensors.js';

/** What has a size and can be drawn: where its width and height are, and what it lacks unloaded. */
const DRAWABLE = /** @type {Record<string, [string, string, string]>} */ ({
  HTMLImageElement: ['naturalWidth', 'naturalHeight', 'wait for its decode(), or its load event'],
  HTMLVideoElement: ['videoWidth', 'videoHeight', 'wait for its loadeddata event'],
  HTMLCanvasElement: ['width', 'height', 'give it a width and a height'],
  OffscreenCanvas: ['width', 'height', 'give it a width and a height'],
  ImageBitmap: ['width', 'height', 'it was closed'],
  VideoFrame: ['displayWidth', 'displayHeight', 'it was closed'],
});

const EXPECTED =
  'an image, canvas, video, ImageBitmap, VideoFrame, ImageData, Blob, or RGBA bytes as ' +
  '{data, width, height}';

/** @param {unknown} value @returns {value is Blob} */
export const isBlob = (value) => ['Blob', 'File'].includes(typeName(value));

/** Whether a value is meant as numbers rather than as a picture. @param {any} value */
export const isTensor = (value) =>
  ArrayBuffer.isView(value) ||
  typeName(value) === 'GPUBuffer' ||
  (typeName(value) === 'Object' && 'data' in value && !('width' in value));

/**
 * A Blob as something that can be read at once.
 * @param {string} name @param {Blob} blob @returns {Promise<ImageBitmap>}
 */
export async function decode(name, blob) {
  if (typeof createImageBitmap !== 'function') {
    throw new WebDNNError(
      'image',
      `input "${name}": a ${typeName(blob)} needs a browser to decode it; expected RGBA bytes as ` +
        '{data, width, height} here',
    );
  }
  try {
    return await createImageBitmap(blob); // turned as the photograph says: that is the default
  } catch (error) {
    throw new WebDNNError(
      'image',
      `input "${name}": expected a file with a picture that this browser can read, found ` +
        `${blob.size} bytes of type "${blob.type}" (${say(error)})`,
      error,
    );
  }
}

/**
 * What is read of a picture: its size, and its bytes where it consists of them. Raises the error of
 * what cannot be read.
 * @param {string} name @param {any} value
 * @returns {{ width: number, height: number, data?: Raster['data'] }}
 */
export function sized(name, value) {
  const type = typeName(value);
  if (DRAWABLE[type]) return drawable(name, value, type);
  const { data, width, height, colorSpace, pixelFormat } = value ?? {};
  if (isBlob(value)) {
    throw new WebDNNError(
      'option',
      `input "${name}": a ${type} must be decoded first, which takes a moment: pass it to run(), ` +
        'or what createImageBitmap makes of it to runSync()',
    );
  }
  const bytes = data instanceof Uint8Array || data instanceof Uint8ClampedArray;
  if (!['ImageData', 'Object'].includes(type) || width === undefined) {
    throw new WebDNNError('dtype', `input "${name}": expected ${EXPECTED}, found ${found(value)}`);
  }
  const whole = (/** @type {any} */ n) => Number.isInteger(n) && n > 0;
  if (!bytes || !whole(width) || !whole(height) || data.length !== 4 * width * height) {
    const length = data?.length === undefined ? '' : ` of length ${data.length}`;
    throw new WebDNNError(
      'image',
      `input "${name}": expected data to be a Uint8ClampedArray of 4 · width · height bytes ` +
        `(RGBA), found ${typeName(data)}${length} for ${width} × ${height} pixels` +
        (pixelFormat && pixelFormat !== 'rgba-unorm8' ? ` of ${pixelFormat}` : ''),
    );
  }
  if (colorSpace && colorSpace !== 'srgb') {
    throw new WebDNNError(
      'image',
      `input "${name}": expected ImageData in the colour space srgb, found ${colorSpace}; read ` +
        "it with getImageData(…, {colorSpace: 'srgb'})",
    );
  }
  return { data, width, height };
}

/** The size of what can be drawn. @param {string} name @param {any} value @param {string} type */
function drawable(name, value, type) {
  const [wide, high, remedy] = DRAWABLE[type];
  const [width, height] = [value[wide], value[high]];
  const unloaded = type === 'HTMLVideoElement' && value.readyState < 2;
  if (!width || !height || unloaded) {
    const svg = type === 'HTMLImageElement' && value.complete && value.src;
    throw new WebDNNError(
      'image',
      `input "${name}": expected a picture with pixels, found ` +
        (svg
          ? `an image without a size of its own, or one that could not be loaded (${value.src})`
          : `${article(type)} ${unloaded ? 'without a frame yet' : `of ${width} × ${height}`}; ${remedy}`),
    );
  }
  return { width, height };
}

/** @param {any} value */
function found(value) {
  if (typeof value === 'string') return `the text ${JSON.stringify(value.slice(0, 40))}`;
  if (value === null || typeof value !== 'object') return String(value);
  return typeName(value) === 'Object' ? `an object with ${Object.keys(value).join(', ')}` : typeName(value);
}

/** @param {string} type */
export const article = (type) => `${/^[AEHIO]/.test(type) ? 'an' : 'a'} ${type}`;
