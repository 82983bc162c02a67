/**
 * The page's half of race.py: two engines on one network and one graphics card, taking turns.
 *
 * @typedef {import('./engines.mjs').Entrant & { kind: 'ours' | 'ort', set: string }} Given
 * @typedef {{ entrants: Given[], rounds: number, burst: number, queued: number, pause: number }} Task
 * @typedef {{ read(name: string): Promise<ArrayBuffer>, write(name: string, data: ArrayBufferView): Promise<void> }} Io
 * @typedef {import('./engines.mjs').Engine} Engine
 */
import { ARRAYS, ENGINES, clock, counts, instrument, recorder, sleep, timed } from './engines.mjs';

/** @param {Engine} engine */
async function done(engine) {
  const free = await engine.resident();
  await engine.device.queue.onSubmittedWorkDone();
  return free;
}

/** @param {Engine} engine @param {number} runs started without waiting for the device */
async function queue(engine, runs) {
  const started = [];
  for (let i = 0; i < runs; i++) {
    const run = engine.resident();
    started.push(run);
    if (engine.oneAtATime) await run;
  }
  const outputs = await Promise.all(started);
  await engine.device.queue.onSubmittedWorkDone();
  return outputs;
}

/**
 * One turn: adds to `times`, each in milliseconds of one run.
 * @param {Engine} engine @param {ReturnType<typeof recorder>} record @param {Task} task
 * @param {Record<'busy' | 'done' | 'full' | 'queued', number[]>} times
 */
async function turn(engine, record, { burst, queued, pause }, times) {
  await sleep(pause);
  for (let i = 0; i < 2; i++) (await done(engine))(); // the clock comes up
  for (let i = 0; i < burst; i++) times.busy.push(await record(async () => (await done(engine))()));
  for (let i = 0; i < 2 * burst; i++) {
    const { ms, value: free } = await timed(() => done(engine));
    free();
    times.done.push(ms);
  }
  for (let i = 0; i < 2 * burst; i++) times.full.push((await timed(() => engine.full())).ms);
  const { ms, value } = await timed(() => queue(engine, queued));
  for (const free of value) free();
  times.queued.push(ms / queued);
}

/** @param {Task} task @param {Io} io */
export default async function race(task, io) {
  if (!navigator.gpu) throw new Error('this browser has no WebGPU');
  let adapter = null; // a browser that has just started may answer null
  for (let i = 0; i < 50 && !adapter; i++) {
    adapter = await navigator.gpu.requestAdapter({ powerPreference: 'high-performance' });
    if (!adapter) await sleep(200);
  }
  if (!adapter) throw new Error('no graphics adapter');
  if (!adapter.features.has('timestamp-query')) throw new Error('the graphics adapter has no timestamps');
  const { vendor, architecture, description } = adapter.info;
  instrument();

  /** @type {Record<string, ArrayBufferView[]>} */
  const arrays = {};
  for (const { set, inputs } of task.entrants) {
    arrays[set] ??= await Promise.all(inputs.map(async ({ dtype }, i) => new ARRAYS[dtype](await io.read(`${set}-${i}`))));
  }
  await sleep(500); // the browser settles: what follows is the first thing that it is asked for

  /** @type {any[]} */
  const reports = [];
  /** @type {{ kind: string, engine: Engine, record: ReturnType<typeof recorder>, times: any, report: any }[]} */
  const racers = [];
  for (const given of task.entrants) {
    const { kind, set } = given;
    try {
      const { ms: first, value: engine } = await timed(async () => {
        const engine = await ENGINES[kind](given, arrays[set]);
        await engine.all();
        return engine;
      });
      // Only the one that opens first finds a browser that has done nothing else.
      const report = { kind, first: reports.length ? null : first, notes: engine.notes, times: { busy: [], done: [], full: [], queued: [] } };
      reports.push(report);
      racers.push({ kind, engine, record: recorder(engine.device), times: report.times, report });
    } catch (error) {
      reports.push({ kind, error: `opening: ${error}` });
    }
  }
  const clocks = [];
  if (racers.length === task.entrants.length) {
    const own = await adapter.requestDevice({ requiredFeatures: ['timestamp-query'] });
    const record = recorder(own);
    const groups = architecture === 'swiftshader' ? 16 : 4096;
    clocks.push(await clock(own, record, groups));
    const warming = { busy: [], done: [], full: [], queued: [] };
    for (let round = -1; round < task.rounds; round++) {
      for (const racer of racers) {
        if (racer.report.error) continue;
        try {
          await turn(racer.engine, racer.record, task, round < 0 ? warming : racer.times);
        } catch (error) {
          racer.report.error = `round ${round + 1}: ${error}`;
        }
      }
    }
    clocks.push(await clock(own, record, groups));
    own.destroy();
    for (const { kind, engine, report } of racers) {
      if (report.error) continue;
      try {
        Object.assign(counts, { dispatches: 0, passes: 0, submits: 0 });
        (await done(engine))();
        report.counts = { ...counts };
        const outputs = await engine.all(); // of a run like those that were timed
        report.outputs = outputs.map(({ name }) => name);
        for (const [i, { data }] of outputs.entries()) await io.write(`${kind}-${i}`, data);
      } catch (error) {
        report.error = `last run: ${error}`;
      }
    }
  }
  for (const { engine } of racers) {
    try { await engine.close(); } catch { /* it has failed before */ }
  }
  return { adapter: { vendor, architecture, description }, clocks, engines: reports };
}
