#!/usr/bin/env python3
"""Checks models/broadcast after train.py, and prints tables for the model card.

From the held-out logits in the cache folder: what black bars, JPEG, logos and
a cut to the middle square do to each head, and how far the shape of the picture
alone would get. From the model: agreement with PyTorch, the cost of the heads,
and where the heat lies.

usage: check.py DATASET [--model FOLDER] [--cache FOLDER]
"""

import argparse
import pathlib
import time

import numpy as np
import onnx
import onnxruntime
import torch
import torch.nn.functional as f
from onnx import numpy_helper

import heads
import views
from dataset import Dataset
from train import CHECKED_VIEWS, MODELS, RECIPES, Labels

PICTURES = 240  # a head, for the map and agreement checks
SHAPE_FOLDS = 5
MOST_DROP = 0.02  # of balanced accuracy, by black bars
MOST_COST = 0.05  # of the trunk's time, by all heads together


def session(model):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def disfigured(name, labels, cache):
    """Balanced accuracy of held-out rows, by view."""
    with np.load(cache / f"heldout-{name}.npz") as file:
        for unit in RECIPES[name].units:
            plain = file[f"{unit} plain"]
            cells = []
            for view in CHECKED_VIEWS:
                logits = file[f"{unit} {view}"]
                rows = np.isfinite(logits).all(1)
                one, other = (heads.balanced_accuracy(labels.label[rows], t[rows].argmax(1)) for t in (plain, logits))
                wrong = view in ("letterbox", "pillarbox") and one - other > MOST_DROP
                cells.append(f"{view} {other:.3f} ({other - one:+.3f}{' TOO MUCH' if wrong else ''})")
            base = heads.balanced_accuracy(labels.label, plain.argmax(1))
            print(f"  {name}, by {unit}: plain {base:.3f}; " + ", ".join(cells))


def shape_alone(name, labels, data):
    """Balanced accuracy of a model that sees only width, height and aspect."""
    w, h = np.array([data.shapes[i] for i in labels.picture], float).T
    x = np.stack([np.log(w / h), np.log(w * h), np.ones(len(w))], 1)
    x[:, :2] = (x[:, :2] - x[:, :2].mean(0)) / x[:, :2].std(0)
    x = np.concatenate([x, x[:, :2] ** 2, x[:, :1] * x[:, 1:2]], 1)
    recipe, predicted = RECIPES[name], np.zeros(len(w), int)
    fold = heads.folds(labels.group, labels.label, SHAPE_FOLDS, 0)
    for k in range(SHAPE_FOLDS):
        rows = np.flatnonzero(fold != k)
        weight = heads.fit(x[rows], labels.label[rows], labels.weights(recipe, rows), len(labels.names), 1e-3)
        predicted[fold == k] = (x[fold == k] @ weight.T).argmax(1)
    return heads.balanced_accuracy(labels.label, predicted)


def torch_outputs(path, image):
    """The outputs by name, computed by PyTorch instead of ONNX Runtime."""
    model = onnx.load(path)
    values = {t.name: torch.tensor(numpy_helper.to_array(t)) for t in model.graph.initializer}
    values["image"] = torch.tensor(image)
    for node in model.graph.node:
        at = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        x, *more = (values[i] for i in node.input)
        if node.op_type == "Conv":
            top, left, bottom, right = at["pads"]
            y = f.conv2d(f.pad(x, (left, right, top, bottom)), *more, stride=at["strides"], groups=at["group"])
        elif node.op_type == "Clip":
            y = x.clamp(*more)
        elif node.op_type == "Add":
            y = x + more[0]
        elif node.op_type == "GlobalAveragePool":
            y = x.mean((2, 3), keepdim=True)
        elif node.op_type == "Flatten":
            y = x.flatten(1)
        elif node.op_type == "Gemm":
            y = f.linear(x, *more)
        else:
            raise SystemExit(f"the check does not know {node.op_type}")
        values[node.output[0]] = y
    return {o.name: values[o.name].numpy() for o in model.graph.output}


def agreement(path, images):
    ours = session(path)
    names = [o.name for o in ours.get_outputs()]
    worst = dict.fromkeys(names, 0.0)
    for image in images:
        theirs = torch_outputs(path, image)
        for name, value in zip(names, ours.run(names, {"image": image})):
            gap = np.abs(value - theirs[name]).max() / np.abs(theirs[name]).max()
            worst[name] = max(worst[name], float(gap))
    print("  largest difference / largest value: " + ", ".join(f"{n} {v:.1e}" for n, v in worst.items()))


def cost(path, image, rounds=300):
    """Processor time of one thread with and without the heads. Rounds alternate
    and the 10th percentile counts, so that other programs matter little."""
    model = onnx.load(path)
    bare = onnx.ModelProto()
    bare.CopyFrom(model)
    for part, kept in (
        (bare.graph.node, [n for n in model.graph.node if n.op_type != "Gemm"]),
        (bare.graph.output, [o for o in model.graph.output if not o.name.endswith("_logits")]),
        (bare.graph.initializer, [t for t in model.graph.initializer if t.name.split(".")[0] not in RECIPES]),
    ):
        del part[:]
        part.extend(kept)
    runs = [session(bare.SerializeToString()), session(model.SerializeToString())]
    taken = [[], []]
    for _ in range(rounds):
        for i, one in enumerate(runs):
            began = time.thread_time()
            one.run(None, {"image": image})
            taken[i].append(time.thread_time() - began)
    best = [np.percentile(t, 10) for t in taken]
    share = best[1] / best[0] - 1
    print(f"  trunk {best[0] * 1e3:.2f} ms, with heads {best[1] * 1e3:.2f} ms: {share:+.1%}"
          + (" TOO MUCH" if share > MOST_COST else ""))


def heat(name, labels, data, run, weight, seed=0):
    """Shares of the heat of the shown class in the rim and the corners of the map,
    beside the shares that even heat would have."""
    rng = np.random.default_rng(seed)
    rows = rng.permutation(len(labels.picture))[:PICTURES]
    total = None
    for i in labels.picture[rows]:
        image = views.tensor(views.stretch(views.load(data.paths[i])))[None]
        logits, features = run.run([f"{name}_logits", "features"], {"image": image})
        found = np.maximum(np.einsum("c,chw->hw", weight[logits[0].argmax()], features[0]), 0)
        found = found / max(found.sum(), 1e-9)
        total = found if total is None else total + found
    total = total / total.sum()
    rim = np.ones(total.shape, bool)
    rim[1:-1, 1:-1] = False
    corners = np.zeros(total.shape, bool)
    for rows_ in (slice(0, 2), slice(-2, None)):
        for columns in (slice(0, 3), slice(-3, None)):
            corners[rows_, columns] = True
    low = np.zeros(total.shape, bool)
    low[-2:] = True
    parts = {"rim": rim, "corners": corners, "lowest two rows": low}
    print(f"  {name}: " + ", ".join(f"{k} {total[m].sum():.2f} (even: {m.mean():.2f})" for k, m in parts.items()))


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("dataset", type=pathlib.Path, nargs="+", help="folders with a manifest.csv")
    arguments.add_argument("--model", type=pathlib.Path, default=MODELS / "broadcast")
    arguments.add_argument("--cache", type=pathlib.Path, default=MODELS.parent / "target" / "broadcast")
    given = arguments.parse_args()
    data = Dataset(*given.dataset)
    path = given.model / "model.onnx"
    labels = {name: Labels(data.rows[name], data.labels[name]) for name in RECIPES}
    images = [
        views.tensor(views.stretch(views.load(data.paths[i])))[None]
        for i in np.random.default_rng(1).integers(0, len(data), 12)
    ]

    print("Balanced accuracy of held-out rows when pictures are disfigured")
    for name in RECIPES:
        disfigured(name, labels[name], given.cache)
    print("Balanced accuracy from width and height alone, held out by group")
    print("  " + ", ".join(f"{name} {shape_alone(name, labels[name], data):.3f}" for name in RECIPES))
    print("ONNX Runtime against PyTorch")
    agreement(path, images)
    print("Cost of the heads, one thread")
    cost(path, images[0])
    print("Where the heat lies (own pictures)")
    weights = {t.name: numpy_helper.to_array(t) for t in onnx.load(path).graph.initializer}
    run = session(path)
    for name in RECIPES:
        heat(name, labels[name], data, run, weights[f"{name}.weight"])


if __name__ == "__main__":
    main()
