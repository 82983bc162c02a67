/**
 * What a page sees of the descriptor runner. Written by hand: the runner's modules are checked
 * against it, and a descriptor's `model.d.ts` builds on it. Needs no other type package.
 */

export type DType =
  | 'float32'
  | 'float16'
  | 'float64'
  | 'bfloat16'
  | 'float8_e4m3fn'
  | 'float8_e4m3fnuz'
  | 'float8_e5m2'
  | 'float8_e5m2fnuz'
  | 'float8_e8m0fnu'
  | 'float4_e2m1fn'
  | 'int2'
  | 'uint2'
  | 'int4'
  | 'uint4'
  | 'int8'
  | 'uint8'
  | 'int16'
  | 'uint16'
  | 'int32'
  | 'uint32'
  | 'int64'
  | 'uint64'
  | 'bool';

/**
 * The array in which each dtype is returned. Narrower floats cross as 32-bit
 * floats, integers of 2 and 4 bits as one of 8 each, bool as 0 and 1.
 */
export interface DataOf {
  float32: Float32Array<ArrayBuffer>;
  float16: Float32Array<ArrayBuffer>;
  float64: Float64Array<ArrayBuffer>;
  bfloat16: Float32Array<ArrayBuffer>;
  float8_e4m3fn: Float32Array<ArrayBuffer>;
  float8_e4m3fnuz: Float32Array<ArrayBuffer>;
  float8_e5m2: Float32Array<ArrayBuffer>;
  float8_e5m2fnuz: Float32Array<ArrayBuffer>;
  float8_e8m0fnu: Float32Array<ArrayBuffer>;
  float4_e2m1fn: Float32Array<ArrayBuffer>;
  int2: Int8Array<ArrayBuffer>;
  uint2: Uint8Array<ArrayBuffer>;
  int4: Int8Array<ArrayBuffer>;
  uint4: Uint8Array<ArrayBuffer>;
  int8: Int8Array<ArrayBuffer>;
  uint8: Uint8Array<ArrayBuffer>;
  int16: Int16Array<ArrayBuffer>;
  uint16: Uint16Array<ArrayBuffer>;
  int32: Int32Array<ArrayBuffer>;
  uint32: Uint32Array<ArrayBuffer>;
  int64: BigInt64Array<ArrayBuffer>;
  uint64: BigUint64Array<ArrayBuffer>;
  bool: Uint8Array<ArrayBuffer>;
}

/**
 * The arrays that each dtype accepts. 64-bit integers must fit into 32 bits, and some inputs' into
 * 31: that is checked.
 */
export interface AcceptedOf {
  float32: Float32Array;
  float16: Float32Array;
  float64: Float64Array;
  bfloat16: Float32Array;
  float8_e4m3fn: Float32Array;
  float8_e4m3fnuz: Float32Array;
  float8_e5m2: Float32Array;
  float8_e5m2fnuz: Float32Array;
  float8_e8m0fnu: Float32Array;
  float4_e2m1fn: Float32Array;
  int2: Int8Array;
  uint2: Uint8Array;
  int4: Int8Array;
  uint4: Uint8Array;
  int8: Int8Array;
  uint8: Uint8Array | Uint8ClampedArray;
  int16: Int16Array;
  uint16: Uint16Array;
  int32: Int32Array;
  uint32: Uint32Array;
  int64: BigInt64Array | Int32Array;
  uint64: BigUint64Array | Uint32Array;
  bool: Uint8Array;
}

/** How each dtype lies in the model's memory: what `view` shows. */
export interface ViewOf {
  float32: Float32Array;
  float16: Float32Array;
  /** as which it is computed: Float64Array on wasm, Float32Array on WebGPU */
  float64: Float64Array | Float32Array;
  bfloat16: Float32Array;
  float8_e4m3fn: Float32Array;
  float8_e4m3fnuz: Float32Array;
  float8_e5m2: Float32Array;
  float8_e5m2fnuz: Float32Array;
  float8_e8m0fnu: Float32Array;
  float4_e2m1fn: Float32Array;
  int2: Int32Array;
  uint2: Int32Array;
  int4: Int32Array;
  uint4: Int32Array;
  int8: Int32Array;
  uint8: Int32Array;
  int16: Int32Array;
  uint16: Int32Array;
  int32: Int32Array;
  uint32: Uint32Array;
  int64: Int32Array;
  uint64: Int32Array | Uint32Array;
  bool: Int32Array;
}

type Global<Name extends string, Otherwise> =
  typeof globalThis extends Record<Name, { prototype: infer T }> ? T : Otherwise;

/** The page's own GPUBuffer and GPUDevice types where it has them, so that none is needed. */
export type GpuBuffer = Global<
  'GPUBuffer',
  { readonly size: number; readonly usage: number; destroy(): void }
>;
export type GpuDevice = Global<
  'GPUDevice',
  { readonly limits: object; readonly queue: object; destroy(): void }
>;

export interface Spec {
  readonly dtype: DType;
  readonly shape: readonly number[];
  /** Whether this input takes pictures. */
  readonly image?: true;
}
export type Specs = Record<string, Spec>;

export interface Tensor<
  D extends DType = DType,
  S extends readonly number[] = readonly number[],
  Data = DataOf[D],
> {
  readonly dtype: D;
  readonly shape: S;
  readonly data: Data;
}

/**
 * An input: its numbers alone where the shape follows from their count, or with a shape. A
 * GPUBuffer (WebGPU only; usage COPY_SRC; of the model's device, which is another for each model but
 * those that are loaded with the same `device`) holds the elements as 32-bit numbers, as `view`
 * describes; whether they are too large, nobody looks at.
 */
export type Input<T extends Spec = Spec> =
  | AcceptedOf[T['dtype']]
  | GpuBuffer
  | {
      readonly dtype?: T['dtype'];
      readonly shape?: T['shape'];
      readonly data: AcceptedOf[T['dtype']] | ViewOf[T['dtype']] | GpuBuffer;
    };

export type Inputs<I extends Specs> = {
  readonly [K in keyof I]:
    | Input<I[K]>
    | ViewOf[I[K]['dtype']]
    | (I[K] extends { readonly image: true } ? ImageSource : never);
};
export type Outputs<O extends Specs> = { [K in keyof O]: Tensor<O[K]['dtype'], O[K]['shape']> };
export type GpuOutputs<O extends Specs> = {
  [K in keyof O]: Tensor<O[K]['dtype'], O[K]['shape'], GpuBuffer>;
};

/** RGBA bytes, row by row: the one kind of picture that also Node and worklets know. */
export interface Raster {
  readonly data: Uint8ClampedArray | Uint8Array;
  readonly width: number;
  readonly height: number;
}

/**
 * A picture for an input that takes them, of any size. What is transparent is laid on white, unless
 * the model takes the alpha channel. A photograph's orientation is respected.
 */
export type ImageSource =
  | Global<'HTMLImageElement', never>
  | Global<'HTMLCanvasElement', never>
  | Global<'HTMLVideoElement', never>
  | Global<'OffscreenCanvas', never>
  | Global<'ImageBitmap', never>
  | Global<'VideoFrame', never>
  | Global<'ImageData', never>
  | Global<'Blob', never>
  | Raster;

/** How a picture becomes an input: docs/preprocessing.md. Sizes are [width, height]. */
export interface ImageSpec {
  readonly channels: 'rgb' | 'bgr' | 'gray' | 'rgba';
  readonly fit: 'stretch' | 'contain' | 'cover';
  readonly resize?: readonly [number, number];
  readonly shorter?: number;
  readonly crop?: readonly [number, number];
  readonly longest?: number;
  readonly multiple?: number;
  readonly pad?: readonly [number, number, number];
  /** 'fast': the browser halves what is much too large before it is read. */
  readonly resample?: 'fast';
}

/** What the pixels of an output are: docs/preprocessing.md. */
export interface DrawnSpec {
  readonly channels: 'rgb' | 'bgr' | 'gray' | 'rgba' | 'mask';
  /** Of a mask: #rrggbbaa, one for each class. */
  readonly colors?: readonly string[];
}

/** A class of an output that has labels. */
export interface Scored {
  readonly label: string;
  readonly score: number;
  readonly index: number;
}

export interface RunOptions {
  /**
   * Removes a queued run, or rejects a running one at once. What follows waits until it has stopped:
   * on wasm with one thread until it is done, so a loop without an end is ended by `dispose` alone.
   */
  signal?: AbortSignal;
  /**
   * Where the results are wanted. 'gpu' gives buffers (STORAGE, COPY_SRC, COPY_DST) that you
   * destroy. Of an output whose length the run finds, `shape` is the true one, but the buffer holds
   * the largest: its axes keep the strides of that. An int64 output that may need 64 bits lies there
   * as two words each, the low one first. Where either makes other numbers of it, it is refused as an
   * input.
   */
  outputs?: 'cpu' | 'gpu';
}

/** What `loop` reads frames from. Its elements stay the page's; frames of streams are closed. */
export type FrameSource<F = unknown> =
  | Global<'HTMLVideoElement', never>
  | Global<'HTMLCanvasElement', never>
  | Global<'OffscreenCanvas', never>
  | Global<'MediaStream', never>
  | Global<'MediaStreamTrack', never>
  | Global<'ReadableStream', never>
  | AsyncIterable<F>;

export interface LoopOptions<I extends Specs = Specs> {
  /** Ends the loop, also amid a run: its promise resolves. */
  signal?: AbortSignal;
  /**
   * The inputs beside the frame, which goes to the one that takes pictures, or the only one, and is
   * not named here; or all of them, as a function of the frame.
   */
  inputs?: Partial<Inputs<I>> | ((frame: any) => Inputs<I>);
  /** As in `run`. */
  outputs?: 'cpu' | 'gpu';
}

export type BackendName = 'webgpu' | 'wasm';
/** Half precision (`f16`) stores most values as halves; sums are float32 in both. */
export type Precision = 'f32' | 'f16';

/** Why something better was not used. `name` is a backend or a variant of one. */
export interface Rejection {
  readonly name: string;
  readonly code: ErrorCode;
  readonly reason: string;
}

export interface Backend {
  readonly name: BackendName;
  /**
   * wasm: plain, relaxed, plain-threads or relaxed-threads. webgpu: plain, or the features in use.
   */
  readonly variant: string;
  /** What it computes in: `f16` on WebGPU where the model was transpiled with `--precision f16`. */
  readonly precision: Precision;
  readonly threads: number;
  readonly reason: string;
  readonly rejected: readonly Rejection[];
}

/** Bytes that a model takes on its target, at its largest sizes. */
export interface Memory {
  /** As they were downloaded. */
  readonly weights: number;
  /** What is computed on the way, states, and weights in another order, beside the memory of `weights`. */
  readonly activations: number;
  /** Inputs and outputs. */
  readonly io: number;
  /** All of it: on wasm with the module's own data and the threads' stacks. */
  readonly total: number;
}

export interface TensorInfo {
  readonly name: string;
  readonly dtype: DType;
  /** A symbolic dimension is its name, or an expression of such names. */
  readonly shape: readonly (number | string)[];
  /** Of an input that takes pictures. */
  readonly image?: ImageSpec;
  /** Of an output that is a picture: its elements are pixels, RGBA with R in the lowest byte. */
  readonly drawn?: DrawnSpec;
  /** Of an output whose classes have names. */
  readonly labels?: readonly string[];
}

export interface StepTime {
  readonly name: string;
  readonly origin: string;
  readonly ms: number;
  /** Floating-point operations, on WebGPU. */
  readonly flops?: number;
}

export interface Model<I extends Specs = Specs, O extends Specs = Specs> {
  readonly name: string;
  readonly backend: Backend;
  readonly memory: Memory;
  readonly inputs: readonly TensorInfo[];
  readonly outputs: readonly TensorInfo[];
  /** What the model remembers from run to run, such as the state of a recurrent layer. */
  readonly states: readonly TensorInfo[];
  /** The sizes that each symbolic dimension may have: min, min + step, ... up to max. */
  readonly dims: Readonly<
    Record<string, { readonly min: number; readonly max: number; readonly step: number }>
  >;
  /** Runs on one model are queued in order. Arrays are copied when `run` is called. */
  run(inputs: Inputs<I>, options?: RunOptions & { outputs?: 'cpu' }): Promise<Outputs<O>>;
  run(inputs: Inputs<I>, options: RunOptions & { outputs: 'gpu' }): Promise<GpuOutputs<O>>;
  /**
   * Runs on one frame of a stream after another: always the newest, as soon as the run before it
   * and what `onresult` returned are done. Nothing runs while the page is hidden. Resolves when the
   * stream ends or `signal` is aborted; rejects with the error of a frame, a run or `onresult`, and
   * at the model's end. Not in worklets.
   */
  loop<F = any>(
    source: FrameSource<F>,
    onresult: (outputs: Outputs<O>, frame: F) => unknown,
    options?: LoopOptions<I> & { outputs?: 'cpu' },
  ): Promise<void>;
  loop<F = any>(
    source: FrameSource<F>,
    onresult: (outputs: GpuOutputs<O>, frame: F) => unknown,
    options: LoopOptions<I> & { outputs: 'gpu' },
  ): Promise<void>;
  /**
   * The same at once, in the calling thread: only with `worker: false` on wasm, and from
   * `instantiate`.
   */
  runSync(inputs: Inputs<I>): Outputs<O>;
  /**
   * Makes all states zero, as they are after `load`, when the runs queued before it are done; with
   * `worker: false` at once. What an aborted run leaves of the states is undefined: reset them. A
   * model loaded anew after a lost device begins with zeros too.
   */
  reset(): Promise<void>;
  /**
   * The memory of an input or output, at its largest size, valid until `dispose`. Fill an input's
   * view and pass it (or `{data: view.subarray(0, n), shape}`) to `run`; read an output's after a
   * run. An int64 input or output that may need 64 bits lies there as two numbers each, the low one
   * first.
   */
  view<K extends (keyof I | keyof O) & string>(
    name: K,
  ): K extends keyof I ? ViewOf[I[K]['dtype']] : K extends keyof O ? ViewOf[O[K]['dtype']] : never;
  /** Whether a view aliases the model's memory (unshared or shared) or is copied at each run. */
  readonly viewKind: 'direct' | 'direct-shared' | 'staging';
  /**
   * The `k` best classes of an output that has labels, best first; `name` where several have.
   * Scores are the model's own numbers. NaN is left out.
   */
  top(outputs: Partial<Outputs<O>>, k?: number, name?: keyof O & string): Scored[];
  /**
   * Draws an output that is a picture; `name` where several are. The canvas takes its size. Outputs
   * on the GPU (`outputs: 'gpu'`) go to the canvas without leaving it, and need one without another
   * kind of context; you destroy their buffers afterwards, as ever. It is drawn at once; the promise
   * rejects where it could not be.
   */
  draw(
    canvas: Global<'HTMLCanvasElement', never> | Global<'OffscreenCanvas', never>,
    outputs: Partial<Outputs<O>> | Partial<GpuOutputs<O>>,
    name?: keyof O & string,
  ): Promise<void>;
  /** Runs once and returns the milliseconds of each step, as if it ran among the others. */
  profile(inputs: Inputs<I>): Promise<StepTime[]>;
  /**
   * After a run: the values of the imported model that are still in memory (`webdnn check
   * --layers`).
   */
  stored(): Promise<Record<string, Tensor<'float32' | 'int32' | 'uint32'>>>;
  /**
   * Resolves with the error that ended the model, for another reason than `dispose`: its device was
   * lost, a worker broke, a kernel trapped. Load it again then.
   */
  readonly lost: Promise<WebDNNError>;
  /** Rejects what is pending, ends workers, frees GPU buffers. May be called again. */
  dispose(): void;
}

export interface Progress {
  /**
   * Bytes so far, of `total`; as the descriptor counts them, whatever compression the server uses.
   */
  readonly loaded: number;
  readonly total: number;
  /**
   * `prepare` once all has arrived: what remains are the kernels, where the browser still compiles them, and
   * weights that have another form in memory. Then `load` is done.
   */
  readonly stage: 'download' | 'prepare';
}

/** Others are refused. */
export interface LoadOptions {
  /**
   * The only one to consider; by default WebGPU on a hardware adapter, and WebAssembly where there
   * is none or where it fails while the model is built.
   */
  backend?: BackendName;
  /**
   * The only one to consider of a model that was transpiled with `--precision f16`; by default half
   * precision where the device has it.
   */
  precision?: Precision;
  /**
   * Run on the page's device; ask for what `requirements` returns when creating it. Models that
   * hand each other GPUBuffers need the same: each has a device of its own otherwise.
   */
  device?: GpuDevice;
  /**
   * true: a lost GPU device is replaced, with the weights from the browser's cache, and the run in
   * flight is done once more. Runs of a model with states are rejected instead (`device-lost`),
   * because these are zero then. A second loss within 10 seconds is the end.
   */
  recover?: boolean;
  /**
   * true: a run rejects with the code `range` where an operator reads or writes at a position
   * beyond its axis, which else is clamped, or not written. Where the model computes positions, it
   * must be one that was transpiled with `--debug`.
   */
  debug?: boolean;
  /**
   * Threads on wasm, 1 to 64. By default half the cores, but 8 at most, and no fewer than 4 or all
   * there are. More than one needs an isolated page.
   */
  threads?: number;
  /**
   * false: in the calling thread; so too, unless true is given, where a worker does not start, and
   * where browsers allow none: in sandboxed frames, and with a runner from another origin, which
   * 'blob' (`worker-src blob:`) imports into a worker, if it is not bundled. A function makes one worker from the address that
   * it is given: that of the runner's worker.js, or pictures.js.
   */
  worker?: boolean | 'blob' | ((script: string) => Worker);
  /**
   * The address of the model's folder. Needed where `model.js` has no address of its own, as a part
   * of a script that is no module, or from a `blob:`. Relative addresses are those of the page.
   */
  base?: string | URL;
  progress?: (progress: Progress) => void;
  signal?: AbortSignal;
  /**
   * Replaces fetch for every file: authorisation, caches, other protocols. `data:` URLs are read
   * without. `init` asks past the browser's cache (`cache: 'reload'`) where a file came damaged, or not
   * at all.
   */
  fetch?: (
    url: string,
    init: { signal: AbortSignal; cache?: RequestCache },
  ) => Promise<Response>;
  /**
   * Milliseconds for which nothing may happen, 20000 by default: no byte arrives, no worker, kernel
   * or adapter answers. Then loading goes on without WebGPU, or fails.
   */
  timeout?: number;
  /** For tests: a wasm variant by name; on webgpu 'plain' uses no optional device feature. */
  variant?: string;
}

export interface Requirements {
  readonly requiredFeatures: string[];
  readonly requiredLimits: Record<string, number>;
  readonly optionalFeatures: string[];
}

/** What `prepare` returns: it can be posted to a worker or worklet. */
export interface Kit {
  readonly descriptor: object;
  readonly variant: string;
  readonly module: WebAssembly.Module;
  readonly weights: ArrayBuffer;
  readonly rejected: readonly Rejection[];
}

/**
 * option             an option or call that this model or place cannot honour
 * format             the descriptor has another format number than this runner reads
 * descriptor         model.json or webgpu.json is damaged
 * missing-file       the server does not have a file
 * server             the server failed: a status from 500
 * not-modified       status 304, without the file
 * html               a web page instead of a file
 * newer-version      the server has a newer version of the model: reload the page
 * network            a file that could not be fetched, or ended early
 * truncated          a file of another length than the descriptor says
 * corrupted          a file with another SHA-256 than the descriptor says
 * not-in-descriptor  the descriptor was written without this target or variant
 * insecure-origin    WebGPU needs https:// or localhost
 * no-webgpu          this browser has no WebGPU
 * no-adapter         WebGPU is there, but no graphics adapter
 * fallback-adapter   the adapter is software: WebAssembly is faster
 * features, limits   the adapter or device lacks what the descriptor requires
 * no-wasm            there is no WebAssembly
 * no-simd            WebAssembly without 128-bit SIMD
 * no-relaxed-simd    WebAssembly without relaxed SIMD
 * not-isolated       the page is not cross-origin isolated: no shared memory
 * no-shared-memory   the page is isolated, but the browser has no SharedArrayBuffer
 * no-worker          no Worker in this place or frame: runs in the calling thread
 * single-thread      one thread was asked for, or the machine has one core
 * worker             a worker script did not start, or does not answer
 * policy             the page's Content-Security-Policy forbids it; the message has the line to add
 * input              a wrong or missing input name; a GPUBuffer that the model's device cannot copy
 * dtype, shape       an input of another type or shape
 * dimension          a symbolic dimension out of range, unknown or contradicted
 * range              an integer that does not fit into 32 bits, or is too large for the model
 * image              a picture that cannot be read: not loaded, another origin's, no picture
 * memory             memory for weights and activations could not be had
 * kernel             a kernel did not compile or trapped: a bug of ours, or of a plugin that is named
 * driver             the graphics driver failed at work that is valid
 * device-lost        the GPU device is gone
 * aborted            the signal said so (name is AbortError)
 * disposed           the model was disposed
 * internal           anything else
 */
export type ErrorCode =
  | 'option'
  | 'format'
  | 'descriptor'
  | 'missing-file'
  | 'server'
  | 'not-modified'
  | 'html'
  | 'newer-version'
  | 'network'
  | 'truncated'
  | 'corrupted'
  | 'not-in-descriptor'
  | 'insecure-origin'
  | 'no-webgpu'
  | 'no-adapter'
  | 'fallback-adapter'
  | 'features'
  | 'limits'
  | 'no-wasm'
  | 'no-simd'
  | 'no-relaxed-simd'
  | 'not-isolated'
  | 'no-shared-memory'
  | 'no-worker'
  | 'single-thread'
  | 'worker'
  | 'policy'
  | 'input'
  | 'dtype'
  | 'shape'
  | 'dimension'
  | 'range'
  | 'image'
  | 'memory'
  | 'kernel'
  | 'driver'
  | 'device-lost'
  | 'aborted'
  | 'disposed'
  | 'internal';

export class WebDNNError extends Error {
  constructor(code: ErrorCode, message: string, cause?: unknown);
  readonly code: ErrorCode;
}

/** The number of the descriptor format that this runner reads. */
export const FORMAT: number;

/**
 * Where a descriptor is: the URL of its folder or model.json, or of each of its files by name. For
 * `model.json` that may be its text instead.
 */
export type Where = string | URL | Readonly<Record<string, string | URL>>;

export function load<I extends Specs = Specs, O extends Specs = Specs>(
  where: Where,
  options?: LoadOptions,
): Promise<Model<I, O>>;

/**
 * What a GPUDevice must have to run the descriptor: pass it to `adapter.requestDevice`. Kernels are
 * faster with the optional features: add those that are in `adapter.features`.
 */
export function requirements(
  where: Where,
  options?: Pick<LoadOptions, 'base' | 'fetch' | 'signal' | 'timeout'>,
): Promise<Requirements>;

/** Fetches all that `instantiate` needs (single-threaded wasm). */
export function prepare(
  where: Where,
  options?: Pick<LoadOptions, 'base' | 'fetch' | 'signal' | 'timeout' | 'progress' | 'variant'>,
): Promise<Kit>;

/** A model from a kit, at once and in this thread; works in worklets. */
export function instantiate<I extends Specs = Specs, O extends Specs = Specs>(
  kit: Kit,
): Omit<Model<I, O>, 'loop'>;
