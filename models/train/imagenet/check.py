#!/usr/bin/env python3
"""Prints what the model sees in a few pictures that come with scikit-image,
and fails where the expected class is not the best."""

import argparse
import pathlib

import numpy as np
import onnxruntime
import skimage.data
from PIL import Image

MODEL = pathlib.Path(__file__).resolve().parents[2] / "imagenet"
PICTURES = {
    "chelsea.png": {"tabby", "tiger cat", "Egyptian cat"},
    "coffee.png": {"espresso", "cup", "coffee mug", "eggnog"},
    "motorcycle_left.png": {"moped", "motor scooter", "crash helmet", "disk brake"},
}


def main():
    argparse.ArgumentParser(description=__doc__).parse_args()
    labels = (MODEL / "labels.txt").read_text(encoding="utf-8").splitlines()
    session = onnxruntime.InferenceSession(MODEL / "model.onnx", providers=["CPUExecutionProvider"])
    height, width = session.get_inputs()[0].shape[2:]
    wrong = []
    for name, expected in PICTURES.items():
        picture = Image.open(pathlib.Path(skimage.data.data_dir) / name).convert("RGB")
        pixels = np.asarray(picture.resize((width, height), Image.Resampling.BOX), np.float32)
        image = ((pixels - 127) / 128).transpose(2, 0, 1)[None]
        logits = session.run(["logits"], {"image": image})[0][0].astype(np.float64)
        odds = np.exp(logits - logits.max())
        odds /= odds.sum()
        best = odds.argsort()[::-1][:3]
        print(f"{name:20}", ", ".join(f"{labels[c]} {odds[c]:.2f}" for c in best))
        if labels[best[0]] not in expected:
            wrong.append(name)
    if wrong:
        raise SystemExit(f"not as expected: {', '.join(wrong)}")


if __name__ == "__main__":
    main()
