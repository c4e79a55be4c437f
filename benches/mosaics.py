#!/usr/bin/env python3
"""Makes pictures in which it is known what is where, for the pointing game and the
energy in boxes: four labelled pictures each in a square of two by two. Of two
classes each has two of the places, of more classes four have one each, by lot; no
picture is used twice. (Böhle et al., Convolutional Dynamic Alignment Networks,
CVPR 2021, call it the grid pointing game.)

usage: mosaics.py DATASET TASK OUT [MOST]      needs pillow

DATASET has a manifest.csv; of it the `val` rows of TASK are taken. OUT gets the
pictures, manifest.csv and boxes.csv, for

    heatcast eval OUT/manifest.csv --head HEAD --faithfulness --boxes OUT/boxes.csv
"""

import csv
import pathlib
import random
import sys

from PIL import Image, ImageOps

TILE = (192, 112)  # a quarter of the network's input: nothing is resized again
PLACES = [(x * TILE[0], y * TILE[1]) for y in (0, 1) for x in (0, 1)]


def tile(path):
    with Image.open(path) as image:
        return ImageOps.exif_transpose(image).convert("RGB").resize(TILE, Image.Resampling.BILINEAR)


def main():
    if len(sys.argv) < 4:
        raise SystemExit(__doc__)
    dataset, task, out = pathlib.Path(sys.argv[1]), sys.argv[2], pathlib.Path(sys.argv[3])
    most = int(sys.argv[4]) if len(sys.argv) > 4 else 50
    lot = random.Random(0)
    piles = {}
    with (dataset / "manifest.csv").open(encoding="utf-8", newline="") as table:
        for row in csv.DictReader(table):
            if row["task"] == task and row["split"] == "val":
                piles.setdefault(row["cls"], []).append(row["path"])
    if len(piles) < 2:
        raise SystemExit(f"{dataset} has no val rows of two classes of {task}")
    for pile in piles.values():
        lot.shuffle(pile)
    out.mkdir(parents=True)
    pictures, boxes = [["path", "label"]], [["path", "label", "x", "y", "w", "h"]]
    for number in range(most):
        # The classes with most pictures left, of equals those that the lot says.
        order = sorted(sorted(piles), key=lambda c: (-len(piles[c]), lot.random()))
        classes = order * 2 if len(piles) == 2 else order[:4]
        if any(len(piles[c]) < classes.count(c) for c in classes):
            break
        lot.shuffle(classes)
        mosaic, name = Image.new("RGB", (2 * TILE[0], 2 * TILE[1])), f"{number:03}.png"
        for cls, (x, y) in zip(classes, PLACES):
            mosaic.paste(tile(dataset / piles[cls].pop()), (x, y))
            boxes.append([name, cls, x, y, *TILE])
        mosaic.save(out / name)
        pictures.append([name, classes[0]])
    for name, rows in (("manifest.csv", pictures), ("boxes.csv", boxes)):
        with (out / name).open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows(rows)
    print(f"{len(pictures) - 1} pictures in {out}")


if __name__ == "__main__":
    main()
