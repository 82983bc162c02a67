"""The recipes of docs/video-audio.md, in Chromium, whose camera and microphone are not real."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import webdnn
from tests.chromium import driven
from tests.packages import Package, Pinned, fetch_file
from tests.test_bundlers import write_blocks
from webdnn.browser.server import running

ROOT = Path(__file__).resolve().parents[1]
DEVICES = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
RECIPES = (ROOT / "docs" / "video-audio.md").read_text().partition("\n## ")[2]
VAD = Pinned(
    Package("pypi", "silero-vad", "6.2.3"),
    "silero_vad/data/silero_vad.onnx",
    "1a153a22f4509e292a94e67d6f9b85e8deb25b4988682b7e174c65279d8788e3",
)
_OFFLINE = """async (samples) => {
  const { prepare } = await import('/models/vad/model.js');
  const context = new OfflineAudioContext(1, samples.length, 16000);
  await context.audioWorklet.addModule('/voice.js');
  const options = { processorOptions: { kit: await prepare() } };
  const voice = new AudioWorkletNode(context, 'voice', options);
  const found = [];
  voice.port.onmessage = ({ data }) => found.push(data);
  const buffer = context.createBuffer(1, samples.length, 16000);
  buffer.copyToChannel(Float32Array.from(samples), 0);
  const source = new AudioBufferSourceNode(context, { buffer });
  source.connect(voice).connect(context.destination);
  source.start();
  const begin = performance.now();
  await context.startRendering();
  const ms = performance.now() - begin;
  while (found.length < samples.length / 512) await new Promise((done) => setTimeout(done, 10));
  return [found, ms];
}"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The recipes, and a model whose classes are the colours."""
    path = tmp_path_factory.mktemp("site")
    write_blocks(RECIPES, path)
    graph = onnx.parser.parse_graph(
        "g (float[1, 3, 4, 4] image) => (float[1, 3] y) "
        "{ y = ReduceMean<axes=[2, 3], keepdims=0>(image) }"
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)])
    webdnn.transpile(
        model, path / "models" / "name", inputs={"image": "rgb"}, labels=["red", "green", "blue"]
    )
    return path


@pytest.mark.parametrize("recipe", ["camera", "worker", "track"])
def test_camera(recipe: str, site: Path) -> None:
    """The camera that Chromium pretends is green; it is looked at again and again."""
    with driven(*DEVICES) as page, running({"/": site}) as server:
        page.goto(f"{server.url}{recipe}.html")
        page.evaluate(
            "globalThis.shown = 0; new MutationObserver(() => { shown += 1; })"
            ".observe(document.querySelector('p'), { childList: true })"
        )
        page.wait_for_function("shown > 4", timeout=60_000)
        assert page.inner_text("p") == "green"


def heard(samples: np.ndarray[Any, Any]) -> list[float]:
    """What onnxruntime makes of the same samples."""
    import onnxruntime

    session = onnxruntime.InferenceSession(fetch_file(VAD), providers=["CPUExecutionProvider"])
    state = np.zeros((2, 1, 128), np.float32)
    padded = np.concatenate([np.zeros(64, np.float32), samples])
    found = []
    for start in range(0, len(samples), 512):
        feeds = {"input": padded[None, start : start + 576], "state": state, "sr": np.array(16000)}
        output, state = session.run(["output", "stateN"], feeds)
        found.append(float(output[0, 0]))
    return found


def spoken() -> np.ndarray[Any, Any]:
    """Noise, then vowels as a throat makes them, then noise: float32 [48128] of 16 kHz."""
    rng = np.random.default_rng(0)
    count, rate = 94 * 512, 16000
    at = np.arange(count) / rate
    pitch = 120 + 25 * np.sin(2 * np.pi * 2.5 * at)
    phase = np.cumsum(pitch) / rate
    wave = np.zeros(count)
    for harmonic in range(1, 30):
        first = 500 + 250 * np.sin(2 * np.pi * 3 * at)
        level = sum(
            np.exp(-(((harmonic * pitch - centre) / width) ** 2)) * weight
            for centre, width, weight in ((first, 120, 1), (1500, 200, 0.5), (2500, 250, 0.25))
        )
        wave += level * np.sin(2 * np.pi * harmonic * phase)
    syllables = np.clip(np.sin(2 * np.pi * 4 * at) + 0.4, 0, 1)
    wave *= syllables * ((at > 1) & (at < 2))
    wave = 0.3 * wave / np.abs(wave).max() + 0.002 * rng.standard_normal(count)
    return wave.astype(np.float32)


@pytest.mark.models
def test_microphone(tmp_path: Path) -> None:
    """The worklet hears what onnxruntime hears; the page listens when it is told to."""
    site = tmp_path
    write_blocks(RECIPES, site)
    webdnn.transpile(
        fetch_file(VAD),
        site / "models" / "vad",
        targets=["wasm"],
        dims={"input.0": 1, "input.1": 576, "state.1": 1},
        fixed={"sr": 16000},
    )
    (runner,) = (site / "models" / "vad").glob("runner.*")
    voice = site / "voice.js"
    voice.write_text(voice.read_text().replace("runner.9f2ab01c7d", runner.name))
    samples = spoken()
    expected = heard(samples)
    assert max(expected) > 0.5 > 0.2 > min(expected), "one of them is not what its name says"
    with driven(*DEVICES, "--autoplay-policy=no-user-gesture-required") as page:
        with running({"/": site}) as server:
            page.goto(f"{server.url}voice.html")
            found, ms = page.evaluate(_OFFLINE, samples.tolist())
            print(f"{ms / len(samples) * 128:.3f} ms of the 8 that 128 samples last")
            np.testing.assert_allclose(found, expected, atol=1e-4)
            page.click("button")
            page.wait_for_function("document.querySelector('meter').value > 0", timeout=60_000)
