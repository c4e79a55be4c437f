"""Tunes the upper part of the network for the heads that gain from it.

The heads start as logistic regressions on the published network, then both are
trained together (Kumar et al., Fine-Tuning can Distort Pretrained Features and
Underperform Out-of-Distribution, ICLR 2022). Batch normalisation stays folded
with its published statistics. Pictures of the other heads hold the network back:
it is to make of them what the published one makes (Li and Hoiem, Learning without
Forgetting, ECCV 2016, asks this of the outputs). And a picture between bars is to
give what it gives without them. The layers trained here are dropped: train.py fits
final ones to the network.
"""

import importlib.util
import math
import pathlib
import time

import numpy as np
import onnx
import torch
import torch.nn.functional as f
from onnx import numpy_helper

import heads
import trunk

# Share of the drawn samples a head; `content` is left out, see the model card.
SHARES = {"action": 0.35, "sport": 0.5, "animation": 0.15}
EPOCHS = 3
BATCH = 32
KEPT, KEPT_WEIGHT = 8, 2  # further pictures a step that are to stay as they are
BAR_SHARES = {"letterbox": 3, "pillarbox": 2}  # of the draws: views with bars, beside 1 for every other
BARS_WEIGHT = 2  # of what bars change in the embedding
TRUNK_RATE, HEAD_RATE = 1.5e-4, 1e-3
WEIGHT_DECAY = 0.02
DROPOUT = 0.3
LABEL_SMOOTHING = 0.05
WARM_UP = 0.05  # of all steps
START_STRENGTH = 0.1  # of the regularisation of the heads it starts with


def gains():
    """What batch normalisation multiplies the outputs of each convolution by."""
    place = pathlib.Path(__file__).resolve().parents[1] / "imagenet" / "build.py"
    spec = importlib.util.spec_from_file_location("build", place)
    build = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(build)
    package = importlib.util.find_spec(build.CHECKPOINT_PACKAGE)
    tensors = build.read_checkpoint(pathlib.Path(package.submodule_search_locations[0]) / build.CHECKPOINT)

    def gain(norm):
        return tensors[f"{norm}.weight"] / np.sqrt(tensors[f"{norm}.running_var"] + build.BATCH_NORM_EPSILON)

    found = {"features": gain("_bn1")}
    for index in range(16):
        for i, part in enumerate(("expand", "depthwise", "project")):
            if f"_blocks.{index}._bn{i}.weight" in tensors:
                found[f"block{index}.{part}"] = gain(f"_blocks.{index}._bn{i}")
    return found


class Depthwise(torch.autograd.Function):
    """A depthwise convolution with a fixed kernel. Its gradient is one, too: with
    the kernel turned round, over the gradients spread out by the stride. PyTorch's
    own takes ten times as long on a processor."""

    @staticmethod
    def forward(context, x, kernel, bias, stride, pads):
        context.kernel, context.stride, context.pads, context.shape = kernel, stride, pads, x.shape
        top, left, bottom, right = pads
        return f.conv2d(f.pad(x, (left, right, top, bottom)), kernel, bias, stride, groups=len(kernel))

    @staticmethod
    def backward(context, gradient):
        (rows, columns), side = context.shape[2:], context.kernel.shape[-1] - 1
        top, left = side - context.pads[0], side - context.pads[1]
        spread = gradient.new_zeros(*context.shape[:2], rows + side, columns + side)
        down, right = context.stride
        spread[:, :, top : top + rows : down, left : left + columns : right] = gradient
        back = f.conv2d(spread, context.kernel.flip(2, 3), groups=len(context.kernel))
        return back, None, gradient.sum((0, 2, 3)), None, None


class Upper(torch.nn.Module):
    """The upper part, its convolutions with the gain of batch normalisation apart,
    so that a step has the size that it would have in the published network. All
    but the depthwise kernels (4 % of the weights) are trained."""

    def __init__(self, onnx_path):
        super().__init__()
        graph = trunk.upper(onnx_path).graph
        tensors = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
        gain = gains()
        self.gain, self.weight, self.bias = {}, torch.nn.ParameterDict(), torch.nn.ParameterDict()
        self.steps = []
        for node in graph.node:
            at = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
            self.steps.append((node.op_type, list(node.input), node.output[0], at))
            if node.op_type == "Conv":
                name = node.input[1].removesuffix(".weight")
                key = name.replace(".", "_")
                scale = torch.tensor(gain[name].astype(np.float32))[:, None, None, None]
                self.gain[name] = scale
                self.weight[key] = torch.nn.Parameter(
                    torch.tensor(tensors[f"{name}.weight"]) / scale, requires_grad=at["group"] == 1
                )
                self.bias[key] = torch.nn.Parameter(torch.tensor(tensors[f"{name}.bias"]))

    def folded(self, name):
        key = name.replace(".", "_")
        return self.weight[key] * self.gain[name], self.bias[key]

    def forward(self, x):
        """The embedding."""
        values = {trunk.SPLIT: x}
        for kind, inputs, output, at in self.steps:
            x = values[inputs[0]]
            if kind == "Conv":
                weight, bias = self.folded(inputs[1].removesuffix(".weight"))
                if at["group"] > 1:
                    x = Depthwise.apply(x, weight, bias, at["strides"], at["pads"])
                else:
                    x = f.conv2d(x, weight, bias)
            elif kind == "Clip":
                x = f.relu6(x)
            elif kind == "Add":
                x = x + values[inputs[1]]
            elif kind == "GlobalAveragePool":
                x = x.mean((2, 3))
            elif kind != "Flatten":
                raise SystemExit(f"the recipe does not know {kind}")
            values[output] = x
        return x

    def tensors(self):
        """The weights by their names in the ONNX file."""
        found = {}
        with torch.no_grad():
            for name in self.gain:
                weight, bias = self.folded(name)
                found[f"{name}.weight"], found[f"{name}.bias"] = weight.numpy().copy(), bias.numpy().copy()
        return found


def tune(onnx_path, labels, rows, files, plain, title, seed=0):
    """The tuned weights by name. `labels`: head -> Labels; `rows`: head -> the
    rows to train on; `files`: view -> file of activations; `plain`: embeddings
    of the plain view by the published network; `title`: what progress is told under.
    One thread: the order of sums stays."""
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    rng = np.random.default_rng(seed)
    upper, published = Upper(onnx_path), Upper(onnx_path)
    kept = np.concatenate([labels[name].picture[rows[name]] for name in labels if name not in SHARES])
    factor = float(10 / np.linalg.norm(plain - plain.mean(0), axis=1).mean())

    layers, chances, count = torch.nn.ModuleDict(), {}, set()
    for name in SHARES:
        mine, chosen = labels[name], rows[name]
        weight = heads.row_weights(mine.label[chosen], mine.group[chosen], mine.source[chosen], 0.6, 1)
        start = heads.fit(
            plain[mine.picture[chosen]] * factor,
            mine.label[chosen],
            weight,
            len(mine.names),
            1 / (START_STRENGTH * len(chosen)),
        )
        layer = torch.nn.Linear(plain.shape[1], len(mine.names))
        with torch.no_grad():
            layer.weight.copy_(torch.tensor(start))
            layer.bias.zero_()
        layers[name] = layer
        chances[name] = weight / weight.sum()
        count.update(mine.picture[chosen])

    trained = [p for p in upper.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(
        [{"params": trained, "lr": TRUNK_RATE}, {"params": layers.parameters(), "lr": HEAD_RATE}],
        weight_decay=WEIGHT_DECAY,
    )
    steps = EPOCHS * len(count) // BATCH

    def rate(step):
        warm = WARM_UP * steps
        return (step + 1) / warm if step < warm else 0.5 * (1 + math.cos(math.pi * (step - warm) / (steps - warm)))

    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, rate)
    tables = [np.load(file, mmap_mode="r") for file in files.values()]
    often = np.array([BAR_SHARES.get(view, 1) for view in files])
    often = often / often.sum()
    barred, bare = [i for i, view in enumerate(files) if view in BAR_SHARES], list(files).index("plain")

    def taken(some):
        return torch.tensor(np.stack([tables[v][i] for v, i in some]).astype(np.float32))

    mean, began = {}, time.monotonic()
    for step in range(steps):
        drawn = rng.multinomial(BATCH, list(SHARES.values()))
        pictures, targets = [], []
        for name, n in zip(SHARES, drawn):
            mine = rows[name][rng.choice(len(rows[name]), n, p=chances[name])]
            pictures += list(labels[name].picture[mine])
            targets.append(torch.tensor(labels[name].label[mine]))
        pictures += list(rng.choice(kept, KEPT))
        view = rng.choice(len(tables), len(pictures), p=often)
        batch = taken(zip(view, pictures))
        out = upper(batch)
        within = np.flatnonzero(np.isin(view[:BATCH], barred))
        with torch.no_grad():
            aim = published(batch[BATCH:])
            free = upper(taken((bare, pictures[i]) for i in within)) if len(within) else out[within]
        parts = (f.dropout(out[:BATCH], DROPOUT) * factor).split(list(drawn))
        losses = {
            name: f.cross_entropy(layers[name](part), target, label_smoothing=LABEL_SMOOTHING, reduction="sum")
            for name, part, target in zip(SHARES, parts, targets)
            if len(target)
        }
        change = ((out[BATCH:] - aim) * factor / 10).square().sum(1).mean()
        bars = ((out[within] - free) * factor / 10).square().sum() / BATCH
        loss = sum(losses.values()) / BATCH + KEPT_WEIGHT * change + BARS_WEIGHT * bars
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        for name, value, n in zip(losses, losses.values(), drawn[drawn > 0]):
            mean[name] = 0.98 * mean.get(name, float(value) / n) + 0.02 * float(value) / n
        for name, value in (("change", change), ("bars", bars)):
            mean[name] = 0.98 * mean.get(name, 0) + 0.02 * float(value)
        if (step + 1) % 50 == 0 or step + 1 == steps:
            shown = ", ".join(f"{k} {v:.3f}" for k, v in mean.items())
            print(f"  {title}: step {step + 1} of {steps} after {time.monotonic() - began:.0f} s: {shown}", flush=True)
    return upper.tensors()
