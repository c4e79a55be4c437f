#!/usr/bin/env python3
"""Takes labelled frames from recordings and writes them as a folder that train.py
takes beside the data set: pictures and a manifest.csv.

What each recording shows, and how often a frame is taken, is in footage.csv: an
empty field says that the recording has no label for that head. Every recording
is a group and a collection of its own. ffmpeg decodes.

usage: footage.py RECORDINGS OUT
"""

import argparse
import csv
import pathlib
import subprocess

from PIL import Image

from dataset import HEADS

TABLE = pathlib.Path(__file__).with_name("footage.csv")
SHORTER_SIDE = 224  # as in the data set


def frames(recording, stream, every_s, folder):
    """Writes a JPEG every so many seconds and returns their paths. Damaged frames are left out by ffmpeg."""
    name = f"{recording.stem}-{stream}"
    size = f"{SHORTER_SIDE}:{SHORTER_SIDE}:force_original_aspect_ratio=increase"
    subprocess.run(
        ["ffmpeg", "-v", "fatal", "-y", "-i", recording, "-map", f"0:V:{stream}"]
        # Pixels become square first, so that a frame has the shape that people see.
        + ["-vf", f"fps=1/{every_s},scale=trunc(iw*sar/2)*2:ih,setsar=1,scale={size}", "-q:v", "3"]
        + [folder / f"{name}-%03d.jpg"],
        check=False,  # a recording that is cut short still has frames
    )
    return sorted(folder.glob(f"{name}-[0-9]*.jpg"))


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("recordings", type=pathlib.Path)
    arguments.add_argument("out", type=pathlib.Path)
    given = arguments.parse_args()
    images = given.out / "images"
    images.mkdir(parents=True, exist_ok=True)
    with TABLE.open(encoding="utf-8", newline="") as table, (given.out / "manifest.csv").open("w", newline="") as out:
        manifest = csv.writer(out)
        manifest.writerow(["path", "task", "cls", "split", "group", "source", "w", "h"])
        for row in csv.DictReader(table):
            recording = given.recordings / row["file"]
            if not recording.is_file():
                raise SystemExit(f"{recording} is missing; footage.csv names it")
            found = frames(recording, row["stream"], row["every_s"], images)
            print(f"{row['file']}, stream {row['stream']}: {len(found)} frames", flush=True)
            for path in found:
                with Image.open(path) as picture:
                    shape = picture.size
                for head, (task, _) in HEADS.items():
                    if row[head]:
                        group = f"{recording.stem}-{row['stream']}"
                        manifest.writerow([f"images/{path.name}", task, row[head], "train", group, group, *shape])


if __name__ == "__main__":
    main()
