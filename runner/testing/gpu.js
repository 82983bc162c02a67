/**
 * A GPUDevice that computes nothing: it looks at every call as the WebGPU specification says, and
 * keeps a record of what was dispatched. What it finds wrong comes out of `popErrorScope`, and what
 * a browser's bindings refuse is thrown, as in a browser. Shaders are not compiled.
 */

const MOST = Number.MAX_SAFE_INTEGER;

/** @param {unknown} n @param {number} most  what WebIDL's [EnforceRange] lets through */
function whole(n, most) {
  if (typeof n !== 'number' || !(n >= 0 && n <= most)) throw new TypeError(`${n} is out of range`);
  return Math.trunc(n);
}

/** @param {Record<string, number>} [limits] */
export function checkingDevice(limits) {
  const most = {
    maxBufferSize: 2 ** 28,
    maxStorageBufferBindingSize: 2 ** 27,
    minStorageBufferOffsetAlignment: 256,
    minUniformBufferOffsetAlignment: 256,
    maxComputeWorkgroupsPerDimension: 65535,
    ...limits,
  };
  /** @type {string[][]} */
  const scopes = [];
  /** @param {boolean} holds @param {string} what */
  const need = (holds, what) => {
    if (!holds) scopes.at(-1)?.push(what);
  };
  /** @type {string[]} */
  const log = [];
  /** What reads of one word give, in turn; then, and else, they are zero. @type {number[]} */
  const words = [];
  const word = (n) => n % 4 === 0;

  function buffer({ size, usage }) {
    whole(size, MOST);
    need(size <= most.maxBufferSize, `a buffer of ${size} bytes`);
    let mapped;
    return {
      size,
      usage,
      destroy() {},
      async mapAsync(mode, offset = 0, length = size - offset) {
        need(offset % 8 === 0 && length % 4 === 0 && offset + length <= size, 'mapAsync');
        mapped = new ArrayBuffer(Math.min(length, 2 ** 20));
        if (length === 4) new Uint32Array(mapped)[0] = words.shift() ?? 0;
      },
      getMappedRange: (offset = 0, length = size - offset) => mapped.slice(offset, offset + length),
      unmap() {},
    };
  }

  function encoder() {
    return {
      beginComputePass: () => {
        let pipeline;
        let group;
        return {
          setPipeline(p) {
            pipeline = p;
          },
          setBindGroup(_, g) {
            group = g;
          },
          dispatchWorkgroups(...grid) {
            for (const n of grid)
              need(whole(n, 2 ** 32 - 1) <= most.maxComputeWorkgroupsPerDimension, `grid ${grid}`);
            need(group.layout === pipeline.group, 'a bind group of another layout');
            log.push(`${pipeline.label} ${grid}`);
          },
          dispatchWorkgroupsIndirect({ size, usage }, offset) {
            need(usage & 256 && word(whole(offset, MOST)) && offset + 12 <= size, 'a grid there');
            need(group.layout === pipeline.group, 'a bind group of another layout');
            log.push(`${pipeline.label} at ${offset}`);
          },
          end() {},
        };
      },
      copyBufferToBuffer(from, at, to, place, size) {
        for (const n of [at, place, size]) need(word(whole(n, MOST)), `a copy of ${n}`);
        need(at + size <= from.size && place + size <= to.size, `a copy of ${size} bytes`);
      },
      clearBuffer() {},
      finish: () => ({}),
    };
  }

  const queue = {
    submit() {},
    async onSubmittedWorkDone() {},
    writeBuffer(target, offset, { byteLength }) {
      need(word(offset) && word(byteLength), `a write of ${byteLength} bytes at ${offset}`);
      need(offset + byteLength <= target.size, `a write of ${byteLength} bytes at ${offset}`);
    },
  };
  return {
    log,
    words,
    limits: most,
    features: new Set(),
    lost: new Promise(() => {}),
    queue,
    destroy() {},
    createBuffer: buffer,
    createBindGroupLayout: ({ entries }) => ({ entries }),
    createPipelineLayout: ({ bindGroupLayouts: [group] }) => ({ group }),
    createShaderModule: () => ({ getCompilationInfo: async () => ({ messages: [] }) }),
    createComputePipelineAsync: async ({ label, layout: { group } }) => ({ label, group }),
    createBindGroup({ layout, entries }) {
      need(entries.length === layout.entries.length, `${entries.length} bindings`);
      entries.forEach(({ binding, resource }) => {
        const { buffer: target, offset = 0, size = target.size - offset } = resource;
        whole(size, MOST);
        need(layout.entries[binding] !== undefined, `binding ${binding}`);
        need(whole(offset, MOST) % 256 === 0, `a binding at ${offset}`);
        need(size > 0 && word(size) && offset + size <= target.size, `a binding of ${size} bytes`);
      });
      return { layout };
    },
    createCommandEncoder: encoder,
    pushErrorScope() {
      scopes.push([]);
    },
    async popErrorScope() {
      const found = scopes.pop() ?? [];
      return found.length ? { message: found.join('; ') } : null;
    },
  };
}
