#!/usr/bin/env python3
"""Measures explain_scale: how strong the evidence for the best class gets.

Over every frame of a video: the values of the best class's activation map, 0
where none is positive. Printed are percentiles of these values, and of the
highest value of each frame. `explain_scale` is the 99.5th of the values.

usage: calibrate.py VIDEO
"""

import argparse
import pathlib
import subprocess

import numpy as np
import onnx
import onnxruntime
from onnx import numpy_helper

MODEL = pathlib.Path(__file__).resolve().parents[2] / "imagenet" / "model.onnx"


def frames(video, width, height):
    command = ["ffmpeg", "-v", "error", "-i", video, "-map", "0:v:0"]
    command += ["-vf", f"scale={width}:{height}:flags=area", "-pix_fmt", "rgb24", "-f", "rawvideo", "-"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as ffmpeg:
        while data := ffmpeg.stdout.read(width * height * 3):
            yield np.frombuffer(data, np.uint8).reshape(height, width, 3)
    if ffmpeg.returncode:
        raise SystemExit(ffmpeg.returncode)


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("video")
    given = arguments.parse_args()

    weights = {t.name: numpy_helper.to_array(t) for t in onnx.load(MODEL).graph.initializer}
    weight = weights["fc.weight"]
    session = onnxruntime.InferenceSession(MODEL, providers=["CPUExecutionProvider"])
    height, width = session.get_inputs()[0].shape[2:]

    values, peaks = [], []
    for frame in frames(given.video, width, height):
        image = ((frame.astype(np.float32) - 127) / 128).transpose(2, 0, 1)[None]
        logits, features = session.run(["logits", "features"], {"image": image})
        activation_map = np.tensordot(weight[logits[0].argmax()], features[0], 1)
        values.append(np.maximum(activation_map, 0).ravel())
        peaks.append(float(values[-1].max()))
    values = np.concatenate(values)
    print(f"{len(peaks)} frames; percentile, values, peaks")
    for percentile in (50, 90, 95, 99, 99.5, 100):
        print(f"{percentile:5} %  {np.percentile(values, percentile):6.2f}  {np.percentile(peaks, percentile):6.2f}")


if __name__ == "__main__":
    main()
