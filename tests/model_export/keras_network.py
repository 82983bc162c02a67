"""Make a network of Keras with seeded weights as an ONNX and as a TensorFlow Lite file.

    python keras_network.py MobileNetV2 224 OUT.onnx OUT.tflite

One network in both formats is what a fair comparison with LiteRT.js needs. Input: float32
[1, 224, 224, 3], or of another side; output: float32 [1, 1000]. The variables are frozen into the
graph first: without that the converter writes a file that holds no weights. Needs
requirements-keras.txt.
"""

import math
import os
import sys
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"

import keras
import numpy as np
import tensorflow as tf
import tf2onnx
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

# What kernels are scaled by. Where every block adds to what went in, full weights make the sum grow
# until softmax is one class; where blocks are gated by sigmoids, they halve it.
GAINS = {"ResNet": 0.6, "DenseNet": 0.6, "EfficientNet": 1.06}


def seeded_network(name: str, side: int) -> keras.Model:
    """An architecture of `keras.applications` with random weights that keep the activations' scale.

    Keras' own initialisation shrinks them layer by layer, until the output no longer depends on
    the input.
    """
    network = getattr(keras.applications, name)(weights=None, input_shape=(side, side, 3))
    gain = next((gain for kind, gain in GAINS.items() if name.startswith(kind)), 1.0)
    rng = np.random.default_rng(7)
    for layer in network.layers:
        weights = layer.get_weights()
        depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
        if isinstance(layer, keras.layers.BatchNormalization):
            size = weights[0].shape
            parts = [rng.uniform(0.8, 1.2, size)] if layer.scale else []
            variance = rng.uniform(0.6, 1.4, size)
            parts += [rng.normal(0, 0.1, size)] if layer.center else []
            layer.set_weights([*parts, rng.normal(0, 0.1, size), variance])
        elif weights and (depthwise or hasattr(layer, "kernel")):
            kernel = weights[0].shape
            fan_in = math.prod(kernel[:2] if depthwise else kernel[:-1])
            drawn = rng.normal(0, gain * math.sqrt(2 / fan_in), kernel)
            layer.set_weights([drawn, *weights[1:]])
    return network


def main(name: str, side: int, onnx_file: Path, tflite_file: Path) -> None:
    network = seeded_network(name, side)
    signature = [tf.TensorSpec((1, side, side, 3), tf.float32, name="image")]
    call = tf.function(lambda image: network(image, training=False), input_signature=signature)
    frozen = convert_variables_to_constants_v2(call.get_concrete_function())
    tflite = tf.lite.TFLiteConverter.from_concrete_functions([frozen]).convert()
    model, _ = tf2onnx.convert.from_graph_def(
        frozen.graph.as_graph_def(),
        input_names=[tensor.name for tensor in frozen.inputs],
        output_names=[tensor.name for tensor in frozen.outputs],
        opset=17,
    )
    tflite_file.write_bytes(tflite)
    onnx_file.write_bytes(model.SerializeToString(deterministic=True))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]), Path(sys.argv[4]))
