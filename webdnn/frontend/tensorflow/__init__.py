"""TensorFlow's functions and operators, by its names.

    functions   tf.math.add, tf.concat ...: Python's functions
    nodes       AddV2, ConcatV2 ...: the operators of its graphs
    images      how TensorFlow resizes images

No importer of TensorFlow's own files is here yet, and nothing here reads one: `keras` uses these
for models of tf.keras, in which each call of a function of TensorFlow stands as a layer.
"""
