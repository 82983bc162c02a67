/** The page's half of bench/pictures.py: hands over pictures, and marks in the trace when. */

const wait = (ms) => new Promise((resolve) => { setTimeout(resolve, ms); });

let model;
/** What is handed over, by its kind. */
const sources = {};

/** A video of a canvas's moving picture: a file, because a canvas that is captured costs the thread itself. */
async function video(canvas) {
  const context = canvas.getContext('2d');
  const stream = canvas.captureStream(30);
  const recorder = new MediaRecorder(stream, { mimeType: 'video/webm;codecs=vp8' });
  const parts = [];
  recorder.ondataavailable = ({ data }) => parts.push(data);
  let n = 0;
  context.fillStyle = 'rgb(90 140 60)';
  const turn = setInterval(() => context.fillRect((n += 7) % canvas.width, 20, 40, 40), 33);
  recorder.start(300);
  while (parts.reduce((sum, { size }) => sum + size, 0) < 3e5 && parts.length < 60) await wait(100);
  const stopped = new Promise((resolve) => { recorder.onstop = resolve; });
  recorder.stop();
  await stopped;
  clearInterval(turn);
  for (const track of stream.getTracks()) track.stop();
  const src = URL.createObjectURL(new Blob(parts, { type: 'video/webm' }));
  const element = Object.assign(document.createElement('video'), { muted: true, loop: true, src });
  await element.play();
  return element;
}

/** Loads the model and makes the pictures; its backend's name. @param {object} options */
export async function start(options) {
  const { load } = await import('/model/model.js');
  model = await load(options);
  const file = await (await fetch('/photo.jpg')).blob();
  const bitmap = await createImageBitmap(file);
  const canvas = Object.assign(document.createElement('canvas'), { width: 1920, height: 1080 });
  canvas.getContext('2d').drawImage(bitmap, 0, 0, 1920, 1080);
  const img = Object.assign(new Image(), { src: URL.createObjectURL(file) });
  await img.decode();
  Object.assign(sources, {
    '1080p video': await video(canvas),
    '12-megapixel file': file,
    '12-megapixel bitmap': bitmap,
    '12-megapixel img': img,
  });
  return model.backend.name;
}

/** @param {string} kind */
async function once(kind) {
  const source = sources[kind];
  do await wait(30);
  while (kind.includes('video') && source.readyState < 2); // it begins again
  performance.mark('begin');
  const begin = performance.now();
  const running = model.run({ photo: source });
  const call = performance.now() - begin;
  await running;
  performance.mark('end');
  return { call, whole: performance.now() - begin };
}

/** @param {string} kind */
export async function warm(kind) {
  for (let i = 0; i < 3; i++) await once(kind);
}

/** @param {string} kind @param {number} times */
export async function runs(kind, times) {
  const found = { call: [], whole: [] };
  for (let i = 0; i < times; i++) {
    const { call, whole } = await once(kind);
    found.call.push(call);
    found.whole.push(whole);
  }
  return found;
}
