#!/usr/bin/env python3
"""How far the decoded JPEG pictures of `heatcast model check` are from Pillow's, in
levels of 255: the inputs of the network `broadcast` by both are compared.

usage: jpeg.py FOLDER      pictures *.jpg, of which 20 are taken evenly; needs
                           numpy and pillow 11.3 and target/release/heatcast
"""

import pathlib
import subprocess
import sys
import tempfile

import numpy as np
from PIL import Image, ImageOps

ROOT = pathlib.Path(__file__).resolve().parents[1]
PICTURES = 20


def ours(program, picture, tensor):
    command = [program, "model", "check", "broadcast", "--json", "--image", picture, "--tensor", tensor]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=ROOT)
    return np.load(tensor)[0].transpose(1, 2, 0) * 128 + 127


def pillows(picture):
    with Image.open(picture) as image:
        upright = ImageOps.exif_transpose(image).convert("RGB")
    return np.asarray(upright.resize((384, 224), Image.Resampling.BILINEAR), np.float32)


def main():
    if len(sys.argv) < 2:
        raise SystemExit(__doc__)
    program = sys.argv[2] if len(sys.argv) > 2 else ROOT / "target/release/heatcast"
    found = sorted(pathlib.Path(sys.argv[1]).glob("*.jpg"))
    found = found[:: max(1, len(found) // PICTURES)][:PICTURES]
    with tempfile.TemporaryDirectory() as folder:
        tensor = pathlib.Path(folder) / "t.npy"
        gaps = [np.abs(ours(program, picture, tensor) - pillows(picture)) for picture in found]
    if not gaps:
        raise SystemExit(f"{sys.argv[1]} holds no *.jpg")
    print(f"{len(gaps)} pictures: largest {max(g.max() for g in gaps):.0f} levels, mean "
          f"{np.mean([g.mean() for g in gaps]):.2f}, 99th percentile {np.percentile(np.stack(gaps), 99):.0f}")


if __name__ == "__main__":
    main()
