/**
 * Pixels of a buffer on the device, RGBA words, onto a canvas of the same device: copied where they
 * are opaque; else multiplied by their alpha first, because that is what such a canvas holds.
 */
const SIDE = 64; // of a workgroup, which is a row
const WIDEST = 65535 * SIDE; // invocations along one axis
const USAGE = { COPY_SRC: 4, STORAGE: 128 };
const [COPY_DST, RENDERED] = [2, 16]; // of a texture

const MULTIPLIED = /* wgsl */ `
@group(0) @binding(0) var<storage, read> words: array<u32>;
@group(0) @binding(1) var<storage, read_write> out: array<u32>;
@compute @workgroup_size(${SIDE})
fn main(@builtin(global_invocation_id) at: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let i = at.x + at.y * groups.x * ${SIDE}u;
  if (i >= arrayLength(&words)) { return; }
  let pixel = unpack4x8unorm(words[i]);
  out[i] = pack4x8unorm(vec4f(pixel.rgb * pixel.a, pixel.a));
}`;

import { WebDNNError, say } from '../errors.js';

/** @param {import('./device.js').Held} held */
export function shower({ device, scoped }) {
  /** @type {GPUComputePipeline | undefined} */
  let pipeline;
  /** @param {GPUCommandEncoder} encoder @param {GPUBuffer} data @param {number} count */
  function multiplied(encoder, data, count) {
    pipeline ??= device.createComputePipeline({
      layout: 'auto',
      compute: { module: device.createShaderModule({ code: MULTIPLIED }), entryPoint: 'main' },
    });
    const out = device.createBuffer({ size: 4 * count, usage: USAGE.STORAGE | USAGE.COPY_SRC });
    const pass = encoder.beginComputePass();
    pass.setPipeline(pipeline);
    pass.setBindGroup(
      0,
      device.createBindGroup({
        layout: pipeline.getBindGroupLayout(0),
        entries: [
          { binding: 0, resource: { buffer: data, size: 4 * count } },
          { binding: 1, resource: { buffer: out } },
        ],
      }),
    );
    const across = Math.min(count, WIDEST);
    pass.dispatchWorkgroups(Math.ceil(across / SIDE), Math.ceil(count / across));
    pass.end();
    return out;
  }

  /**
   * @param {any} context @param {GPUBuffer} data @param {number} width @param {number} height
   * @param {boolean} opaque
   */
  function show(context, data, width, height, opaque) {
    const alphaMode = opaque ? 'opaque' : 'premultiplied';
    const now = context.getConfiguration?.(); // another model may have drawn here since
    if (now?.device !== device || now.alphaMode !== alphaMode)
      context.configure({ device, format: 'rgba8unorm', usage: COPY_DST | RENDERED, alphaMode });
    const encoder = device.createCommandEncoder();
    const buffer = opaque ? data : multiplied(encoder, data, width * height);
    const texture = context.getCurrentTexture();
    if (width % 64 === 0)
      encoder.copyBufferToTexture({ buffer, bytesPerRow: 4 * width }, { texture }, [width, height]);
    else
      for (let y = 0; y < height; y++) // a copy of several rows wants them 256 bytes apart
        encoder.copyBufferToTexture(
          { buffer, offset: 4 * width * y },
          { texture, origin: [0, y] },
          [width, 1],
        );
    device.queue.submit([encoder.finish()]);
    if (buffer !== data) buffer.destroy();
  }

  /** @param {Parameters<typeof show>} what */
  return (...what) =>
    scoped(() => show(...what)).catch((error) => {
      if (error.code !== 'kernel') throw error;
      const text =
        `draw: the GPU refused: ${say(error.cause)}. Outputs are drawn before they are destroyed, ` +
        'by the model that made them or one on the same device: load({ device })';
      throw new WebDNNError('option', text, error.cause);
    });
}
