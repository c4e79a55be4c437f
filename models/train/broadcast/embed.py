"""Embeddings of views of pictures, computed once and kept on disk."""

import concurrent.futures
import functools
import hashlib
import os
import pathlib

import numpy as np
import onnxruntime

import views

BATCH = 4
CHUNK = 256


@functools.cache
def session(onnx):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(onnx, options, providers=["CPUExecutionProvider"])


def run(onnx, folder, paths, numbers, name):
    """[pictures, channels] for one chunk of pictures."""
    out = []
    for start in range(0, len(numbers), BATCH):
        batch = [
            views.tensor(views.view(views.load(os.path.join(folder, paths[i])), name, int(i)))
            for i in numbers[start : start + BATCH]
        ]
        out.append(session(onnx).run(["embedding"], {"image": np.stack(batch)})[0])
    return np.concatenate(out).astype(np.float16)


def embed(onnx, data, cache, names, jobs=2, pictures=None):
    """Yields (name, [pictures, channels] float16); rows of unasked pictures are NaN."""
    onnx, cache = str(onnx), pathlib.Path(cache)
    cache.mkdir(parents=True, exist_ok=True)
    recipe = pathlib.Path(views.__file__).read_bytes() + pathlib.Path(onnx).read_bytes()
    pictures = np.arange(len(data)) if pictures is None else np.asarray(pictures)
    key = hashlib.sha256(recipe + "\n".join(data.paths).encode() + pictures.tobytes()).hexdigest()[:12]
    with concurrent.futures.ProcessPoolExecutor(jobs) as pool:
        for name in names:
            file = cache / f"{key}-{name}.npy"
            if not file.is_file():
                chunks = [pictures[i : i + CHUNK] for i in range(0, len(pictures), CHUNK)]
                work = functools.partial(run, onnx, data.folder, data.paths, name=name)
                found = np.concatenate(list(pool.map(work, chunks)))
                whole = np.full((len(data), found.shape[1]), np.nan, np.float16)
                whole[pictures] = found
                part = file.with_suffix(".part")
                with part.open("wb") as out:
                    np.save(out, whole)
                part.rename(file)
            yield name, np.load(file)
