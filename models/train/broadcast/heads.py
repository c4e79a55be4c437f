"""Linear heads on embeddings: fitting, cross-validation over sources, calibration, measures."""

import numpy as np
from scipy.optimize import minimize, minimize_scalar


def softmax(logits):
    e = np.exp(logits - logits.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def fit(x, y, weight, classes, strength):
    """Multinomial logistic regression without a bias: minimises the weighted mean
    of the cross-entropy plus strength / 2 times the squared weights. Returns the
    weights [classes, channels]; over the classes they add up to 0."""
    n, channels = x.shape
    x = np.ascontiguousarray(x, np.float32)
    weight = (weight / weight.sum()).astype(np.float32)
    rows = np.arange(n)

    def loss(flat):
        w = flat.reshape(classes, channels).astype(np.float32)
        p = softmax(x @ w.T)
        value = -np.dot(weight, np.log(np.maximum(p[rows, y], 1e-30)))
        p[rows, y] -= 1
        gradient = (p * weight[:, None]).T @ x + strength * w
        return float(value) + 0.5 * strength * float(flat @ flat), gradient.ravel().astype(np.float64)

    found = minimize(loss, np.zeros(classes * channels), jac=True, method="L-BFGS-B", options={"maxiter": 300, "ftol": 1e-6})
    return found.x.reshape(classes, channels)


def row_weights(labels, groups, sources, group_power, source_power):
    """One weight a row. A group of n rows counts as n ** group_power, a source
    whose groups count g as g ** source_power; then classes count alike."""
    weight = np.ones(len(labels))
    for keys, power in ((groups, group_power), (sources, source_power)):
        # A source can hold several classes: each (source, class) is balanced by itself.
        keys = np.array([f"{k}\n{label}" for k, label in zip(keys, labels)])
        _, inverse = np.unique(keys, return_inverse=True)
        total = np.bincount(inverse, weight)
        weight = weight * total[inverse] ** (power - 1)
    return weight / np.bincount(labels, weight)[labels] * len(labels) / len(np.unique(labels))


def folds(units, labels, count, seed):
    """The fold of each row. Rows of one unit stay together; units are dealt,
    large ones first, to the fold that has least of their classes."""
    rng = np.random.default_rng(seed)
    names, inverse = np.unique(units, return_inverse=True)
    table = np.zeros((len(names), labels.max() + 1))
    np.add.at(table, (inverse, labels), 1)
    table /= table.sum(0)
    held = np.zeros((count, table.shape[1]))
    fold = np.zeros(len(names), int)
    noisy = table.max(1) * np.exp(rng.normal(0, 0.3, len(names)))
    for unit in np.argsort(-noisy):
        costs = ((held + table[unit]) ** 2 - held**2).sum(1)
        fold[unit] = rng.choice(np.flatnonzero(costs <= costs.min() + 1e-12))
        held[fold[unit]] += table[unit]
    return fold[inverse]


def balanced_accuracy(labels, predicted, weight=None):
    weight = np.ones(len(labels)) if weight is None else weight
    recalls = [weight[(labels == c) & (predicted == c)].sum() / weight[labels == c].sum() for c in np.unique(labels)]
    return float(np.mean(recalls))


def auc(labels, score, weight=None):
    """Area under the ROC curve of `score` for label 1; ties count half."""
    weight = np.ones(len(labels)) if weight is None else weight
    order = np.argsort(score, kind="stable")
    _, tie = np.unique(score[order], return_inverse=True)
    positive = np.bincount(tie, weight[order] * (labels[order] == 1))
    negative = np.bincount(tie, weight[order] * (labels[order] != 1))
    below = np.cumsum(negative) - negative
    return float((positive * (below + negative / 2)).sum() / (positive.sum() * negative.sum()))


def calibration_error(labels, probabilities, bins=15):
    """Expected calibration error of the winning class, equal-width bins."""
    confidence, right = probabilities.max(1), probabilities.argmax(1) == labels
    index = np.minimum((confidence * bins).astype(int), bins - 1)
    gap = np.bincount(index, right, bins) - np.bincount(index, confidence, bins)
    return float(np.abs(gap).sum() / len(labels))


def temperature(labels, logits, weight=None):
    """The divisor of the logits with the least cross-entropy."""
    weight = np.ones(len(labels)) if weight is None else weight
    rows = np.arange(len(labels))

    def loss(log_t):
        p = softmax(logits / np.exp(log_t))
        return -np.average(np.log(np.maximum(p[rows, labels], 1e-12)), weights=weight)

    return float(np.exp(minimize_scalar(loss, bounds=(-2, 3), method="bounded").x))


def measures(labels, logits, groups=None, plain=None, draws=1000, seed=0):
    """Balanced accuracy, AUC (two classes) and ECE, each with the 95 % interval
    of a bootstrap over groups when groups are given. `plain`: logits before
    calibration, for the AUC: where parts are calibrated apart, the order between
    them is that of the calibrations."""
    probabilities = softmax(logits)
    plain = logits if plain is None else plain

    def all_of(rows):
        y, p = labels[rows], probabilities[rows]
        found = {"balanced_accuracy": balanced_accuracy(y, p.argmax(1)), "ece": calibration_error(y, p)}
        if p.shape[1] == 2:
            found["auc"] = auc(y, plain[rows, 1] - plain[rows, 0])
        return found

    found = all_of(np.arange(len(labels)))
    if groups is None:
        return found
    rng = np.random.default_rng(seed)
    names, inverse = np.unique(groups, return_inverse=True)
    members = [np.flatnonzero(inverse == i) for i in range(len(names))]
    drawn = []
    while len(drawn) < draws:
        rows = np.concatenate([members[i] for i in rng.integers(0, len(names), len(names))])
        if len(np.unique(labels[rows])) == len(np.unique(labels)):
            drawn.append(all_of(rows))
    return {k: (v, *np.percentile([d[k] for d in drawn], [2.5, 97.5])) for k, v in found.items()}
