/**
 * Kernels: WGSL texts as pipelines, compiled asynchronously, all at once.
 *
 * @typedef {import('../descriptor.js').Kernel} Kernel
 * @typedef {{
 *   name: string, origin: string, group: GPUBindGroupLayout, uniform: boolean,
 *   features: string[], pipeline: Promise<GPUComputePipeline>,
 * }} Compiled  uniform: whether it has parameters. features: the optional ones that it uses
 */
import { declared } from '../descriptor.js';
import { WebDNNError, blame } from '../errors.js';
import { driverError } from './device.js';

const COMPUTE = 4; // of GPUShaderStage

/**
 * The best text of a kernel for these features: of its variants, named `feature+feature`, the most
 * demanding that fits.
 * @param {Kernel} kernel
 * @param {(feature: string) => boolean} has
 */
function pick(kernel, has) {
  let best = { code: kernel.code, features: /** @type {string[]} */ ([]) };
  for (const [name, code] of Object.entries(kernel.variants ?? {})) {
    const features = name.split('+');
    if (features.every(has) && features.length > best.features.length) best = { code, features };
  }
  return best;
}

/**
 * Starts compiling all kernels. Equal lists of bindings share a layout.
 * @param {GPUDevice} device
 * @param {Kernel[]} kernels
 * @param {(feature: string) => boolean} has  whether kernels may use an optional feature
 * @returns {Compiled[]}
 */
export function compile(device, kernels, has) {
  /** @type {Map<string, { group: GPUBindGroupLayout, layout: GPUPipelineLayout }>} */
  const layouts = new Map();
  return kernels.map((kernel) => {
    const { name, origin = '' } = kernel;
    const { code, features } = pick(kernel, has);
    const kinds = declared(code);
    let shared = layouts.get(`${kinds}`);
    if (!shared) {
      const group = device.createBindGroupLayout({
        entries: kinds.map((kind, binding) => ({
          binding,
          visibility: COMPUTE,
          buffer: {
            type: kind === '' ? 'uniform' : kind === 'read' ? 'read-only-storage' : 'storage',
          },
        })),
      });
      shared = { group, layout: device.createPipelineLayout({ bindGroupLayouts: [group] }) };
      layouts.set(`${kinds}`, shared);
    }
    const { group, layout } = shared;
    const module = device.createShaderModule({ code, label: name });
    const pipeline = device
      .createComputePipelineAsync({
        label: name,
        layout,
        compute: { module, entryPoint: 'main' },
      })
      .catch(async (error) => {
        const { messages } = await module.getCompilationInfo();
        const { what, whose } = blame(kernel);
        const invalid = messages.some(({ type }) => type === 'error');
        if (error.reason === 'internal' && !invalid)
          throw driverError(`, ${what}`, error);
        const lines = messages.map(({ lineNum, message }) => `line ${lineNum}: ${message}`);
        const text = `${what} did not compile: ${[error.message, ...lines].join('; ')}`;
        throw new WebDNNError('kernel', `${text}. ${whose}`, error);
      });
    return { name, origin, group, uniform: kinds.includes(''), features, pipeline };
  });
}
