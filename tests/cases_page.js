/**
 * Runs a descriptor like `webdnn check` does, with guard words behind every storage buffer of the GPU.
 *
 * The argument is that of /__page__/execute.js; the reply's `overwritten` counts buffers whose guards changed.
 */
import execute from '/__page__/execute.js';

const GUARD = 256;
const WORD = 0x5afe5afe;

/** @type {{ device: GPUDevice, buffer: GPUBuffer, at: number }[]} */
const guarded = [];

if (globalThis.GPUDevice) {
  const create = GPUDevice.prototype.createBuffer;
  GPUDevice.prototype.createBuffer = function (wanted) {
    if (!(wanted.usage & GPUBufferUsage.STORAGE)) return create.call(this, wanted);
    const usage = wanted.usage | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST;
    const buffer = create.call(this, { ...wanted, usage, size: wanted.size + GUARD });
    this.queue.writeBuffer(buffer, wanted.size, new Uint32Array(GUARD / 4).fill(WORD));
    guarded.push({ device: this, buffer, at: wanted.size });
    const destroy = buffer.destroy.bind(buffer);
    buffer.destroy = () => {}; // the guards are read after the model is gone
    guarded.at(-1).destroy = destroy;
    return buffer;
  };
  GPUDevice.prototype.destroy = () => {};
  // A whole buffer that is cleared is one without its guard.
  const clear = GPUCommandEncoder.prototype.clearBuffer;
  GPUCommandEncoder.prototype.clearBuffer = function (buffer, at = 0, size = undefined) {
    return clear.call(this, buffer, at, size ?? guarded.find((g) => g.buffer === buffer)?.at);
  };
}

async function overwritten() {
  if (!guarded.length) return 0;
  const { device } = guarded[0];
  const staging = device.createBuffer({ size: guarded.length * GUARD, usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST });
  const encoder = device.createCommandEncoder();
  guarded.forEach(({ buffer, at }, i) => encoder.copyBufferToBuffer(buffer, at, staging, i * GUARD, GUARD));
  device.queue.submit([encoder.finish()]);
  await staging.mapAsync(GPUMapMode.READ);
  const words = new Uint32Array(staging.getMappedRange());
  let count = 0;
  for (let i = 0; i < guarded.length; i++) {
    if (words.subarray(i * GUARD / 4, (i + 1) * GUARD / 4).some((word) => word !== WORD)) count++;
  }
  guarded.forEach(({ destroy }) => destroy());
  guarded.length = 0;
  return count;
}

export default async function (argument, io) {
  guarded.length = 0;
  const reply = await execute(argument, io);
  return { ...reply, guarded: guarded.length, overwritten: await overwritten() };
}
