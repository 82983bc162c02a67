/**
 * Pictures that are read and resized on the GPU: frames of a video and canvases, which are there
 * already. Two passes compute what picture/resample.js computes, in the same whole numbers with the
 * same weights, and write the words that the model takes into a buffer; nothing is read back.
 *
 *     const painter = await Painter.on(device);
 *     painter.paint(signature, video, dims);   // { data: GPUBuffer, shape: [224, 224] }
 *
 * Loaded by models on WebGPU that take pictures. What a browser cannot bring to the GPU, or brings
 * there with other colours than it should, is found when the painter is made, and read elsewhere.
 *
 * @typedef {import('./descriptor.js').Signature} Signature
 * @typedef {import('./descriptor.js').Dimension} Dimension
 * @typedef {import('./picture/resample.js').Taps} Taps
 * @typedef {'imported' | 'copied'} Way
 * @typedef {{ buffer: GPUBuffer, group: GPUBindGroup }} Result
 * @typedef {{
 *   key: string, out: readonly [number, number], made: { destroy(): void }[],
 *   across: GPUBindGroupEntry[], down: GPUBindGroupEntry[], between: readonly [number, number],
 *   texture?: GPUTexture, group?: GPUBindGroup, spare: Result[],
 * }} Place  what one input needs for pictures of one size: `across` without the picture itself, and
 *   `down` without the result; the two for a texture
 */
import { WebDNNError, say } from './errors.js';
import { planned } from './picture/geometry.js';
import { triangle } from './picture/resample.js';
import { sized } from './picture/source.js';
import { typeName } from './tensors.js';

const SIDE = 8; // of a workgroup
const USAGE = { MAP_READ: 1, COPY_SRC: 4, COPY_DST: 8, UNIFORM: 64, STORAGE: 128 };
const FILTERS = /** @type {const} */ (['validation', 'out-of-memory']);
const TEXTURE = { COPY_DST: 2, TEXTURE_BINDING: 4, RENDER_ATTACHMENT: 16 };

/** How each kind of picture comes to the GPU; the last two from the page's memory. */
const WAYS = /** @type {Record<string, Way>} */ ({
  HTMLVideoElement: 'imported',
  VideoFrame: 'imported',
  HTMLCanvasElement: 'copied',
  OffscreenCanvas: 'copied',
  ImageBitmap: 'copied',
  HTMLImageElement: 'copied',
});
const UPLOADED = ['ImageBitmap', 'HTMLImageElement'];

const COMMON = /* wgsl */ `
struct Plan {
  source: vec2u,   // the picture's width and height
  between: vec2u,  // columns and rows after the first pass,
  corner: vec2u,   // which begin at this column of the result and this row of the picture
  out: vec2u,
  part: vec2u,     // columns and rows of the result that show the picture,
  at: vec2u,       // which begin here
  top: u32,        // and show it from this row on
  pad: u32,
  white: u32,      // whether it lies on white
}

/** Of the 22 bits of a weight's fraction, half of the last bit that stays. */
const HALF = vec4u(1u << 21u);

fn packed(sum: vec4u) -> u32 {
  let c = sum >> vec4u(22u);
  return c.r | (c.g << 8u) | (c.b << 16u) | (c.a << 24u);
}
`;

/**
 * Columns. The colours of an imported texture are times their alpha; those of a copied one are not.
 * @param {Way} way
 */
const across = (way) => /* wgsl */ `${COMMON}
@group(0) @binding(0) var picture: ${way === 'imported' ? 'texture_external' : 'texture_2d<f32>'};
@group(0) @binding(1) var<storage, read> taps: array<u32>;
@group(0) @binding(2) var<uniform> plan: Plan;
@group(0) @binding(3) var<storage, read_write> between: array<u32>;

fn pixel(at: vec2u) -> vec4u {
${
  way === 'imported'
    ? `
  let place = at * textureDimensions(picture) / plan.source;
  let c = vec4u(saturate(textureLoad(picture, place)) * 255.0 + 0.5);
  if (plan.white == 0u) { return c; }
  return vec4u(min(c.rgb + (255u - c.a), vec3u(255u)), 255u);`
    : `
  let c = vec4u(textureLoad(picture, at, 0) * 255.0 + 0.5);
  if (plan.white != 0u) {
    return vec4u((c.rgb * c.a + 255u * (255u - c.a) + 127u) / 255u, 255u);
  }
  let product = c.rgb * c.a + 128u;
  return vec4u((product + (product >> vec3u(8u))) >> vec3u(8u), c.a);`
}
}

@compute @workgroup_size(${SIDE}, ${SIDE})
fn main(@builtin(global_invocation_id) id: vec3u) {
  if (any(id.xy >= plan.between)) { return; }
  let entry = 1u + (id.x + plan.corner.x) * (taps[0] + 2u);
  let first = vec2u(taps[entry], id.y + plan.corner.y);
  var sum = HALF;
  for (var i = 0u; i < taps[entry + 1u]; i++) {
    sum += pixel(first + vec2u(i, 0u)) * taps[entry + 2u + i];
  }
  between[id.y * plan.between.x + id.x] = packed(sum);
}
`;

/** Rows, and what is around the picture. */
const DOWN = /* wgsl */ `${COMMON}
@group(0) @binding(0) var<storage, read> between: array<u32>;
@group(0) @binding(1) var<storage, read> taps: array<u32>;
@group(0) @binding(2) var<uniform> plan: Plan;
@group(0) @binding(3) var<storage, read_write> out: array<u32>;

@compute @workgroup_size(${SIDE}, ${SIDE})
fn main(@builtin(global_invocation_id) id: vec3u) {
  if (any(id.xy >= plan.out)) { return; }
  let to = id.y * plan.out.x + id.x;
  let place = id.xy - plan.at; // very large to the left and above
  if (any(place >= plan.part)) {
    out[to] = plan.pad;
    return;
  }
  let entry = 1u + (place.y + plan.top) * (taps[0] + 2u);
  let first = taps[entry] - plan.corner.y;
  var sum = HALF;
  for (var i = 0u; i < taps[entry + 1u]; i++) {
    let word = between[(first + i) * plan.between.x + place.x];
    let c = (vec4u(word) >> vec4u(0u, 8u, 16u, 24u)) & vec4u(255u);
    sum += c * taps[entry + 2u + i];
  }
  let word = packed(sum);
  let alpha = word >> 24u;
  if (plan.white != 0u) {
    out[to] = word | 0xff000000u;
  } else if (alpha == 0u || alpha == 255u) {
    out[to] = word;
  } else {
    let c = (vec3u(word) >> vec3u(0u, 8u, 16u)) & vec3u(255u);
    let plain = min(255u * c / alpha, vec3u(255u));
    out[to] = plain.r | (plain.g << 8u) | (plain.b << 16u) | (alpha << 24u);
  }
}
`;

/** A table of taps as the kernels read it: the most of a pixel, then each pixel's. @param {Taps} taps */
function table({ first, count, weights, widest }) {
  const out = new Uint32Array(1 + first.length * (widest + 2));
  out[0] = widest;
  for (let k = 0; k < first.length; k++) {
    out.set([first[k], count[k]], 1 + k * (widest + 2));
    out.set(weights.subarray(k * widest, (k + 1) * widest), 3 + k * (widest + 2));
  }
  return out;
}

/** @param {GPUDevice} device @param {string} label @param {string} code */
const pipeline = (device, label, code) =>
  device.createComputePipelineAsync({
    label,
    layout: 'auto',
    compute: { module: device.createShaderModule({ code, label }), entryPoint: 'main' },
  });

/** What a painter is tried with: colours that tell channels, places and transparency apart. */
const TRIAL = {
  signature: /** @type {Signature} */ ({
    ...{ name: 'trial', dtype: 'uint32', shape: [2, 2] },
    image: { channels: 'rgb', fit: 'stretch', resize: [2, 2] },
  }),
  colours: ['rgb(250 30 90)', 'rgb(20 200 60)', 'rgb(128 64 192)'],
  words: [0xff5a1efa, 0xff3cc814, 0xffc04080, 0xffffffff],
};

export class Painter {
  #device;
  #down;
  /** @type {Map<Way, { pipeline: GPUComputePipeline, layout: GPUBindGroupLayout }>} */
  #across = new Map();
  /** Of each input, for the size of its last picture. @type {Map<string, Place>} */
  #places = new Map();
  /** What a buffer is a result of, and whether that was made. */
  #results = /** @type {WeakMap<object, {
    *   result: Result, place: Place, error: () => Promise<GPUError | null | undefined> }>} */ (
    new WeakMap()
  );

  /** @param {GPUDevice} device @param {GPUComputePipeline} down */
  constructor(device, down) {
    this.#device = device;
    this.#down = down;
  }

  /** A painter that was tried out. @param {GPUDevice} device */
  static async on(device) {
    const painter = new Painter(device, await pipeline(device, 'picture rows', DOWN));
    const canvas = new OffscreenCanvas(2, 2);
    const context = /** @type {OffscreenCanvasRenderingContext2D} */ (canvas.getContext('2d'));
    TRIAL.colours.forEach((colour, i) => {
      context.fillStyle = colour;
      context.fillRect(i % 2, i >> 1, 1, 1);
    });
    await painter.#try('copied', canvas);
    if (typeof VideoFrame === 'function' && 'importExternalTexture' in device) {
      context.globalCompositeOperation = 'destination-over';
      context.fillStyle = 'white';
      context.fillRect(0, 0, 2, 2);
      const frame = new VideoFrame(canvas, { timestamp: 0 });
      await painter.#try('imported', frame);
      frame.close();
    }
    return painter;
  }

  /** Takes a way up, if it leads where it should. @param {Way} way @param {any} source */
  async #try(way, source) {
    const device = this.#device;
    try {
      const made = await pipeline(device, `picture columns, ${way}`, across(way));
      this.#across.set(way, { pipeline: made, layout: made.getBindGroupLayout(0) });
      const { data } = this.#paint(way, TRIAL.signature, source, 2, 2, []);
      const { error } = /** @type {any} */ (this.#results.get(data));
      const target = device.createBuffer({ size: 16, usage: USAGE.MAP_READ | USAGE.COPY_DST });
      const encoder = device.createCommandEncoder();
      encoder.copyBufferToBuffer(data, 0, target, 0, 16);
      device.queue.submit([encoder.finish()]);
      await target.mapAsync(1);
      const found = new Uint8Array(target.getMappedRange());
      const wanted = new Uint8Array(Uint32Array.from(TRIAL.words).buffer);
      if (!(await error()) && found.every((level, i) => Math.abs(level - wanted[i]) <= 2)) return;
    } catch {
      // Then it does not.
    }
    this.#across.delete(way);
  }

  /**
   * A picture as the model's input takes it, in a buffer; undefined where it is to be read elsewhere.
   * @param {Signature} signature @param {any} value @param {readonly Dimension[]} dims
   * @param {boolean} uploaded  whether also what is in this thread's memory
   */
  paint(signature, value, dims, uploaded) {
    const type = typeName(value);
    const way = WAYS[type];
    if (!this.#across.has(way) || (!uploaded && UPLOADED.includes(type))) return undefined;
    const { width, height } = sized(signature.name, value);
    if (Math.max(width, height) > this.#device.limits.maxTextureDimension2D) return undefined;
    try {
      return this.#paint(way, signature, value, width, height, dims);
    } catch (error) {
      if (error instanceof WebDNNError) throw error; // of the picture's size
      return undefined; // another origin's, for example: who reads it says so
    }
  }

  /**
   * @param {Way} way @param {Signature} signature @param {any} source
   * @param {number} width @param {number} height @param {readonly Dimension[]} dims
   */
  #paint(way, signature, source, width, height, dims) {
    const device = this.#device;
    const { pipeline: across, layout } = /** @type {any} */ (this.#across.get(way));
    const place = this.#place(signature, width, height, dims);
    const group = (/** @type {GPUBindingResource} */ resource) =>
      device.createBindGroup({
        layout,
        entries: [{ binding: 0, resource }, ...place.across],
      });
    const draw = () => {
      if (way === 'imported') return group(device.importExternalTexture({ source }));
      if (!place.texture) {
        const usage = TEXTURE.COPY_DST | TEXTURE.TEXTURE_BINDING | TEXTURE.RENDER_ATTACHMENT;
        place.texture = device.createTexture({
          ...{ size: [width, height], format: 'rgba8unorm', usage },
        });
        place.made.push(place.texture);
        place.group = group(place.texture.createView());
      }
      // As a canvas gives its pixels: sRGB, not times alpha; what is transparent is dealt with later.
      device.queue.copyExternalImageToTexture({ source }, { texture: place.texture }, [width, height]);
      return /** @type {GPUBindGroup} */ (place.group);
    };
    const resize = () => {
      const drawn = draw();
      const result = place.spare.pop() ?? this.#result(place);
      const encoder = device.createCommandEncoder();
      const pass = encoder.beginComputePass();
      for (const [pipeline, bound, [w, h]] of /** @type {const} */ ([
        [across, drawn, place.between],
        [this.#down, result.group, place.out],
      ])) {
        pass.setPipeline(pipeline);
        pass.setBindGroup(0, bound);
        pass.dispatchWorkgroups(Math.ceil(w / SIDE), Math.ceil(h / SIDE));
      }
      pass.end();
      device.queue.submit([encoder.finish()]);
      return result;
    };
    for (const filter of FILTERS) device.pushErrorScope(filter);
    /** @type {Promise<GPUError | null | undefined>} */
    let error = Promise.resolve(undefined);
    try {
      const result = resize();
      const { buffer } = result;
      this.#results.set(buffer, { result, place, error: () => error });
      return { data: buffer, shape: [place.out[1], place.out[0]] };
    } finally {
      error = Promise.all(FILTERS.map(() => device.popErrorScope())).then(
        (found) => found.find(Boolean),
        () => undefined, // a lost device, of which the run hears
      );
    }
  }

  /** @param {Place} place @returns {Result} */
  #result({ out, down }) {
    const device = this.#device;
    const size = 4 * out[0] * out[1];
    const buffer = device.createBuffer({ size, usage: USAGE.STORAGE | USAGE.COPY_SRC });
    const group = device.createBindGroup({
      layout: this.#down.getBindGroupLayout(0),
      entries: [...down, { binding: 3, resource: { buffer } }],
    });
    return { buffer, group };
  }

  /**
   * @param {Signature} signature @param {number} width @param {number} height
   * @param {readonly Dimension[]} dims
   */
  #place(signature, width, height, dims) {
    const device = this.#device;
    const { name, image } = signature;
    const key = `${width} ${height}`;
    const kept = this.#places.get(name);
    if (kept?.key === key) return kept;
    const { out, box, whole, part, at, pad = 0 } = planned(signature, width, height, dims);
    const [left, top, right, bottom] = part;
    const columns = triangle(width, box[0], box[2], whole[0]);
    const rows = triangle(height, box[1], box[3], whole[1]);
    const firstRow = rows.first[top];
    const lastRow = rows.first[bottom - 1] + rows.count[bottom - 1];
    const between = /** @type {const} */ ([right - left, lastRow - firstRow]);
    /** @type {GPUBuffer[]} */
    const made = [];
    /** @param {number} size @param {number} usage @param {Uint32Array<ArrayBuffer>} [data] */
    const room = (size, usage, data) => {
      const buffer = device.createBuffer({ size, usage: usage | USAGE.COPY_DST });
      if (data) device.queue.writeBuffer(buffer, 0, data);
      made.push(buffer);
      return { buffer };
    };
    const plan = Uint32Array.of(
      ...[width, height, ...between, left, firstRow, ...out, right - left, bottom - top, ...at],
      ...[top, pad, Number(image?.channels !== 'rgba'), 0],
    );
    const data = [table(columns), table(rows)];
    const [acrossTaps, downTaps] = data.map((d) => room(d.byteLength, USAGE.STORAGE, d));
    const uniform = room(plan.byteLength, USAGE.UNIFORM, plan);
    const middle = room(4 * between[0] * between[1], USAGE.STORAGE);
    /** @type {Place} */
    const place = {
      ...{ key, out, made, between, spare: [] },
      across: [
        { binding: 1, resource: acrossTaps },
        { binding: 2, resource: uniform },
        { binding: 3, resource: middle },
      ],
      down: [
        { binding: 0, resource: middle },
        { binding: 1, resource: downTaps },
        { binding: 2, resource: uniform },
      ],
    };
    if (kept) this.#leave(kept);
    this.#places.set(name, place);
    return place;
  }

  /** @param {Place} place  which no further picture needs */
  #leave({ made, spare }) {
    for (const resource of made) resource.destroy();
    for (const { buffer } of spare) buffer.destroy();
  }

  /**
   * Takes the results among these inputs back, after their run. Raises what went wrong with them.
   * @param {readonly object[]} inputs
   */
  async again(inputs) {
    for (const input of inputs) {
      const found = this.#results.get(input);
      if (!found) continue;
      this.#results.delete(input);
      if ([...this.#places.values()].includes(found.place)) found.place.spare.push(found.result);
      else found.result.buffer.destroy();
      const error = await found.error();
      if (!error) continue;
      this.#across.clear(); // the next ones are read elsewhere
      throw new WebDNNError(
        'driver',
        `the graphics driver could not resize the picture: ${say(error)}. Run it again: pictures ` +
          'are resized by the processor from now on.',
        error,
      );
    }
  }

  dispose() {
    for (const place of this.#places.values()) this.#leave(place);
    this.#places.clear();
  }
}
