"""Make Keras' MobileNetV2 with seeded weights as an ONNX and as a TensorFlow Lite file.

    python keras_mobilenetv2.py OUT.onnx OUT.tflite

One network in both formats is what a fair comparison with LiteRT.js needs. Input: float32
[1, 224, 224, 3] in -1..1; output: float32 [1, 1000]. The variables are frozen into the graph first:
without that the converter writes a file that holds no weights. Needs requirements-keras.txt.
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


def seeded_network() -> keras.Model:
    """The architecture with random weights that keep the scale of the activations.

    Keras' own initialisation shrinks them layer by layer, until the output no longer depends on
    the input.
    """
    network = keras.applications.MobileNetV2(weights=None, input_shape=(224, 224, 3))
    rng = np.random.default_rng(7)
    for layer in network.layers:
        weights = layer.get_weights()
        if isinstance(layer, keras.layers.BatchNormalization):
            size = weights[0].shape
            scale, variance = rng.uniform(0.8, 1.2, size), rng.uniform(0.6, 1.4, size)
            shift, mean = rng.normal(0, 0.1, size), rng.normal(0, 0.1, size)
            layer.set_weights([scale, shift, mean, variance])
        elif weights:
            kernel = weights[0].shape
            depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
            fan_in = math.prod(kernel[:2] if depthwise else kernel[:-1])
            layer.set_weights([rng.normal(0, math.sqrt(2 / fan_in), kernel), *weights[1:]])
    return network


def main(onnx_file: Path, tflite_file: Path) -> None:
    network = seeded_network()
    signature = [tf.TensorSpec((1, 224, 224, 3), tf.float32, name="image")]
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
    main(Path(sys.argv[1]), Path(sys.argv[2]))
