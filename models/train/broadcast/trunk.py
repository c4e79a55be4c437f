"""The network in two parts: the lower one, which stays as published, and the
upper one, which is tuned."""

import functools

import onnx
from onnx import numpy_helper
from onnx.utils import Extractor

SPLIT = "block10.sum"  # [N, 112, 14, 24], what the lower part hands on


@functools.cache
def extractor(path):
    return Extractor(onnx.shape_inference.infer_shapes(onnx.load(path)))


def lower(path):
    """`image` to SPLIT."""
    return extractor(str(path)).extract_model(["image"], [SPLIT])


def upper(path):
    """SPLIT to `features` and `embedding`."""
    return extractor(str(path)).extract_model([SPLIT], ["features", "embedding"])


def blended(model, tuned, share):
    """A copy of the model whose weights are `share` of the tuned ones and for the
    rest the published ones."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for tensor in copy.graph.initializer:
        if tensor.name in tuned:
            value = numpy_helper.to_array(tensor)
            value = (value + share * (tuned[tensor.name] - value)).astype(value.dtype)
            tensor.CopyFrom(numpy_helper.from_array(value, tensor.name))
    return copy
