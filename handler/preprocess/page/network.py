"""Inference of small convolutional networks with numpy.

The weights are `.npz` files in this package, written by `bench.orientation.train`.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources

import numpy as np
import numpy.typing as npt

__all__ = [
    "Floats",
    "Weights",
    "classify_features",
    "convolve",
    "load_weights",
    "max_pool",
]

Floats = npt.NDArray[np.float32]
Weights = Mapping[str, Floats]


def load_weights(name: str) -> Weights:
    """Read the weights of the network `name` from its file in the package.

    Returns arrays w1, b1, w2, b2 and so on: weight and bias of each layer.
    """
    path = resources.files("handler.preprocess.page") / f"{name}.npz"
    with path.open("rb") as file, np.load(file) as arrays:
        return {key: arrays[key].astype(np.float32) for key in arrays.files}


def convolve(values: Floats, weights: Weights, number: int, stride: int = 1) -> Floats:
    """Apply layer `number`, a convolution without padding, and a ReLU.

    `values` has the shape (images, rows, columns, channels), and the layer's weight has
    the shape (side * side * channels, output channels).
    """
    weight, bias = weights[f"w{number}"], weights[f"b{number}"]
    channels = values.shape[3]
    side = round((len(weight) / channels) ** 0.5)
    windows = np.lib.stride_tricks.sliding_window_view(values, (side, side), (1, 2))
    windows = windows[:, ::stride, ::stride].transpose(0, 1, 2, 4, 5, 3)
    patches = windows.reshape(-1, side * side * channels)
    result: Floats = patches @ weight
    result += bias
    return np.maximum(result, 0, out=result).reshape(*windows.shape[:3], len(bias))


def max_pool(values: Floats) -> Floats:
    """Apply max pooling of 2 x 2 values; the last row or column is dropped if odd."""
    rows, columns = values.shape[1] // 2 * 2, values.shape[2] // 2 * 2
    values = np.maximum(values[:, :rows:2], values[:, 1:rows:2])
    result: Floats = np.maximum(values[:, :, :columns:2], values[:, :, 1:columns:2])
    return result


def classify_features(features: Floats, weights: Weights, number: int) -> Floats:
    """Apply layer `number`, the last one, and softmax.

    Returns probabilities of shape (images, classes) for features of shape (images,
    features).
    """
    logits = features @ weights[f"w{number}"] + weights[f"b{number}"]
    exponentials = np.exp(logits - logits.max(1, keepdims=True))
    result: Floats = exponentials / exponentials.sum(1, keepdims=True)
    return result
