"""What TypeScript thinks of a model that takes pictures and has labels."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from webdnn.descriptor.module_js import model_dts

ROOT = Path(__file__).resolve().parents[1]

MODEL = {
    "name": "net",
    "generator": "webdnn",
    "runner": "runner",
    "dims": [{"name": "h", "min": 1, "max": 9}, {"name": "w", "min": 1, "max": 9}],
    "inputs": [
        {"name": "image", "dtype": "uint32", "shape": [224, 224], "image": {"channels": "rgb"}},
        {"name": "open", "dtype": "uint32", "shape": ["h", "w"], "image": {"channels": "rgb"}},
        {"name": "x", "dtype": "float32", "shape": [1, 3]},
    ],
    "outputs": [{"name": "y", "dtype": "float32", "shape": [1, 2], "labels": ["cat", "dog"]}],
}

BOTH = """
import { load, type ImageSource, type Scored } from './model.js';
const model = await load();
const raster = { data: new Uint8ClampedArray(4), width: 1, height: 1 };
const x = new Float32Array(3);
const { y } = await model.run({ image: raster, open: raster, x });
const pixels = new Uint32Array(4);
await model.run({ image: pixels, open: { data: pixels, shape: [2, 2] }, x });
const best: Scored[] = model.top({ y }, 3, 'y');
const label: string = best[0].label;
const also: ImageSource = raster;
const kind: 'rgb' | 'bgr' | 'gray' | 'rgba' | undefined = model.inputs[0].image?.channels;
const names: readonly string[] | undefined = model.outputs[0].labels;
// @ts-expect-error
await model.run({ image: 'photo.png', open: raster, x });
// @ts-expect-error
await model.run({ image: x, open: raster, x });
// @ts-expect-error
await model.run({ image: raster, open: raster, x: raster });
// @ts-expect-error
model.top({ z: y });
export { label, also, kind, names };
"""

PAGE = """
import { load } from './model.js';
const model = await load();
const x = new Float32Array(3);
declare const sources: {
  a: HTMLImageElement, b: HTMLCanvasElement, c: HTMLVideoElement, d: OffscreenCanvas,
  e: ImageBitmap, f: VideoFrame, g: ImageData, h: Blob, i: File,
};
for (const source of Object.values(sources)) await model.run({ image: source, open: source, x });
declare const paragraph: HTMLParagraphElement;
// @ts-expect-error
await model.run({ image: paragraph, open: sources.a, x });
// @ts-expect-error
await model.run({ image: sources.a, open: sources.a, x: sources.a });
"""


@pytest.mark.parametrize("place", ["page", "worker"])
def test_types(place: str, tmp_path: Path) -> None:
    tsc = ROOT / "runner" / "node_modules" / ".bin" / "tsc"
    if not tsc.exists() and not os.environ.get("CI"):
        pytest.skip("make types installs the TypeScript compiler")
    (tmp_path / "runner").mkdir()
    shutil.copyfile(ROOT / "runner" / "src" / "types.d.ts", tmp_path / "runner" / "types.d.ts")
    (tmp_path / "model.d.ts").write_text(model_dts(MODEL))
    (tmp_path / "model.js").write_text("")
    (tmp_path / "both.ts").write_text(BOTH)
    if place == "page":
        (tmp_path / "page.ts").write_text(PAGE)
    options = {
        "strict": True,
        "noEmit": True,
        "target": "ES2022",
        "lib": ["ES2024", *(["DOM", "DOM.Iterable"] if place == "page" else ["WebWorker"])],
        "module": "ES2022",
        "moduleResolution": "bundler",
        "types": [],
    }
    config = {"compilerOptions": options, "include": ["*.ts"]}
    (tmp_path / "tsconfig.json").write_text(json.dumps(config))
    (tmp_path / "package.json").write_text('{ "type": "module" }')
    done = subprocess.run(
        [str(tsc), "--project", str(tmp_path)], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stdout
