/** The page's half of bench/pictures.py: how long its thread is blocked by handing over pictures. */

const wait = (ms) => new Promise((resolve) => { setTimeout(resolve, ms); });

/** Watches the event loop; the function it returns gives the longest time without a turn. */
function watch() {
  const { port1, port2 } = new MessageChannel();
  let last = performance.now();
  let longest = 0;
  const turn = () => {
    const now = performance.now();
    longest = Math.max(longest, now - last);
    last = now;
  };
  port1.onmessage = () => {
    turn();
    port2.postMessage(0);
  };
  port2.postMessage(0);
  return () => {
    turn();
    port1.close();
    return longest;
  };
}

const middle = (list) => list.sort((a, b) => a - b)[list.length >> 1];
const round = (ms) => Math.round(ms * 10) / 10;

/** @param {() => Promise<unknown>} run @param {number} times */
async function blocked(run, times) {
  const calls = [];
  const gaps = [];
  const whole = [];
  for (let i = 0; i < times; i++) {
    await wait(25);
    const gap = watch();
    await wait(5);
    const start = performance.now();
    const running = run();
    calls.push(performance.now() - start);
    await running;
    whole.push(performance.now() - start);
    gaps.push(gap());
  }
  return { call: round(middle(calls)), gap: round(middle(gaps)), whole: round(middle(whole)) };
}

/** A video that plays the canvas's moving picture. @param {HTMLCanvasElement} canvas */
async function playing(canvas) {
  const context = canvas.getContext('2d');
  let n = 0;
  context.fillStyle = 'rgb(90 140 60)';
  setInterval(() => context.fillRect((n += 7) % canvas.width, 20, 40, 40), 33);
  const video = Object.assign(document.createElement('video'), { muted: true, playsInline: true });
  video.srcObject = canvas.captureStream(30);
  await video.play();
  await wait(400);
  return video;
}

/** @param {{ options: object, times: number }} argument */
export default async function ({ options, times }) {
  const { load } = await import('/model/model.js');
  const blob = await (await fetch('/files/photo.jpg')).blob();
  const canvas = Object.assign(document.createElement('canvas'), { width: 1920, height: 1080 });
  const bitmap = await createImageBitmap(blob);
  canvas.getContext('2d').drawImage(bitmap, 0, 0, 1920, 1080);
  const model = await load(options);
  const found = { backend: model.backend.name, 'nothing': await blocked(() => wait(20), times) };
  const sources = { '1080p video': await playing(canvas), '12-megapixel file': blob, '12-megapixel bitmap': bitmap };
  const image = Object.assign(new Image(), { src: '/files/photo.jpg' });
  await image.decode();
  sources['12-megapixel img'] = image;
  for (const [name, source] of Object.entries(sources)) {
    const run = () => model.run({ photo: source });
    for (let i = 0; i < 3; i++) await run();
    found[name] = await blocked(run, name.startsWith('12') ? Math.ceil(times / 5) : times);
  }
  return found;
}
