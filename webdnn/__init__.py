"""WebDNN: a compiler that makes trained neural networks run in a web page."""

__version__ = "0.1.0"
