#!/usr/bin/env python3
"""Class activation heatmaps on a video, the way one writes it in Python today.

OpenCV reads the frames, ONNX Runtime classifies them, NumPy makes the class
activation map, OpenCV resizes, colours and blends it (as show_cam_on_image of
pytorch-grad-cam does), and ffmpeg encodes, with the sound of the input.

usage: naive.py INPUT OUTPUT [--model FOLDER] [--every N]

Prints one line of JSON: {"frames": ..., "wall_s": ..., "cpu_s": ...}; cpu_s is
that of this process and of ffmpeg. Both include the imports and the model.
"""

import argparse
import json
import pathlib
import resource
import subprocess
import time
import tomllib

START = time.perf_counter()

import cv2  # noqa: E402  (imports are part of what is timed)
import numpy as np  # noqa: E402
import onnx  # noqa: E402
import onnxruntime  # noqa: E402
from onnx import numpy_helper  # noqa: E402

DEFAULT_MODEL = pathlib.Path(__file__).resolve().parents[2] / "models" / "imagenet"


class Classifier:
    def __init__(self, folder):
        settings = tomllib.loads((folder / "model.toml").read_text(encoding="utf-8"))
        self.size = (settings["input"]["width"], settings["input"]["height"])
        self.mean = np.array(settings["input"]["mean"], np.float32)
        self.std = np.array(settings["input"]["std"], np.float32)
        head = settings["head"][0]
        self.output = head["output"]
        self.scale = head["explain_scale"]
        self.labels = (folder / head["labels_file"]).read_text(encoding="utf-8").splitlines()

        path = folder / "model.onnx"
        self.session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        self.input = self.session.get_inputs()[0].name
        self.weight = next(
            numpy_helper.to_array(tensor)
            for tensor in onnx.load(path).graph.initializer
            if tensor.name == "fc.weight"
        )

    def explain(self, frame):
        """Label, probability and activation map, 0 to 1, of the best class."""
        image = cv2.resize(frame, self.size, interpolation=cv2.INTER_AREA)
        image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
        image = (image.astype(np.float32) - self.mean) / self.std
        image = np.ascontiguousarray(image.transpose(2, 0, 1)[None])
        logits, features = self.session.run([self.output, "features"], {self.input: image})

        odds = np.exp(logits[0] - logits[0].max())
        odds /= odds.sum()
        best = int(odds.argmax())
        channels, rows, columns = features[0].shape
        activation_map = (self.weight[best] @ features[0].reshape(channels, -1)).reshape(rows, columns)
        activation_map = np.clip(activation_map / self.scale, 0, 1)
        return self.labels[best], float(odds[best]), activation_map


def show_cam_on_image(frame, mask, weight=0.5):
    """Blends a heatmap over a frame: JET, floats from 0 to 1, as is usual."""
    heatmap = cv2.applyColorMap(np.uint8(255 * mask), cv2.COLORMAP_JET)
    heatmap = np.float32(heatmap) / 255
    image = np.float32(frame) / 255
    blended = (1 - weight) * heatmap + weight * image
    blended = blended / np.max(blended)
    return np.uint8(255 * blended)


def encoder(source, output, width, height, rate):
    command = ["ffmpeg", "-v", "error", "-y"]
    command += ["-f", "rawvideo", "-pix_fmt", "bgr24", "-s", f"{width}x{height}", "-r", f"{rate:.6f}", "-i", "-"]
    command += ["-i", source, "-map", "0:v:0", "-map", "1:a?", "-c:a", "copy"]
    command += ["-c:v", "libx264", "-preset", "veryfast", "-crf", "20", "-pix_fmt", "yuv420p", output]
    return subprocess.Popen(command, stdin=subprocess.PIPE)


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("input")
    arguments.add_argument("output")
    arguments.add_argument("--model", type=pathlib.Path, default=DEFAULT_MODEL)
    arguments.add_argument("--every", type=int, default=1, metavar="N", help="classify every Nth frame only")
    given = arguments.parse_args()

    classifier = Classifier(given.model)
    video = cv2.VideoCapture(given.input)
    if not video.isOpened():
        raise SystemExit(f"cannot open {given.input}")
    width = int(video.get(cv2.CAP_PROP_FRAME_WIDTH))
    height = int(video.get(cv2.CAP_PROP_FRAME_HEIGHT))
    ffmpeg = encoder(given.input, given.output, width, height, video.get(cv2.CAP_PROP_FPS))

    frames = 0
    while True:
        more, frame = video.read()
        if not more:
            break
        if frames % given.every == 0:
            label, probability, activation_map = classifier.explain(frame)
            mask = cv2.resize(activation_map, (width, height), interpolation=cv2.INTER_LINEAR)
        frame = show_cam_on_image(frame, mask)
        text = f"{label} {probability:.0%}"
        cv2.putText(frame, text, (width // 20, height // 10), cv2.FONT_HERSHEY_SIMPLEX, height / 720, (255, 255, 255), 2)
        ffmpeg.stdin.write(frame.tobytes())
        frames += 1
    ffmpeg.stdin.close()
    if ffmpeg.wait() != 0:
        raise SystemExit("ffmpeg failed")
    video.release()

    usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    print(
        json.dumps(
            {
                "frames": frames,
                "wall_s": round(time.perf_counter() - START, 3),
                "cpu_s": round(sum(u.ru_utime + u.ru_stime for u in usage), 3),
            }
        )
    )


if __name__ == "__main__":
    main()
