"""What is compiled in around a model: pictures as inputs, names of classes."""
