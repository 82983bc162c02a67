"""Keras, for users: `webdnn.keras.register` says what a layer of one's own computes."""

from .frontend.keras import register

__all__ = ["register"]
