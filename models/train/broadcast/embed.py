"""What the lower part of the network makes of views of pictures, computed once
and kept on disk; and embeddings, which the upper part makes of that."""

import concurrent.futures
import functools
import hashlib
import pathlib

import numpy as np
import onnxruntime

import trunk
import views

BATCH = 4
CHUNK = 256


def session(model, threads=1):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


@functools.cache
def lower_session(onnx):
    return session(trunk.lower(onnx).SerializeToString())


@functools.cache
def upper_session(model):
    return session(model)


def run_lower(onnx, paths, numbers, name):
    """[pictures, channels, rows, columns] for one chunk of pictures."""
    out = []
    for start in range(0, len(numbers), BATCH):
        batch = [
            views.tensor(views.view(views.load(paths[i]), name, int(i)))
            for i in numbers[start : start + BATCH]
        ]
        out.append(lower_session(onnx).run(None, {"image": np.stack(batch)})[0].astype(np.float16))
    return np.concatenate(out)


def activations(onnx, data, cache, names, jobs=2, pictures=None):
    """Yields (name, [pictures, channels, rows, columns] float16), a file mapped
    into memory, with a row for each of `pictures`."""
    onnx, cache = str(onnx), pathlib.Path(cache)
    cache.mkdir(parents=True, exist_ok=True)
    recipe = pathlib.Path(views.__file__).read_bytes() + pathlib.Path(onnx).read_bytes() + trunk.SPLIT.encode()
    pictures = np.arange(len(data)) if pictures is None else np.asarray(pictures)
    key = hashlib.sha256(recipe + "\n".join(data.paths).encode() + pictures.tobytes()).hexdigest()[:12]
    chunks = [pictures[i : i + CHUNK] for i in range(0, len(pictures), CHUNK)]
    with concurrent.futures.ProcessPoolExecutor(jobs) as pool:
        for name in names:
            file = cache / f"{key}-{name}.npy"
            if not file.is_file():
                work = functools.partial(run_lower, onnx, data.paths, name=name)
                part, whole, done = file.with_suffix(".part"), None, 0
                for found in pool.map(work, chunks):
                    if whole is None:
                        shape = (len(pictures), *found.shape[1:])
                        whole = np.lib.format.open_memmap(part, "w+", np.float16, shape)
                    whole[done : done + len(found)] = found
                    done += len(found)
                whole.flush()
                part.rename(file)
            yield name, np.load(file, mmap_mode="r")


def run_upper(model, file, start):
    """[pictures, channels] for one chunk of a file of activations."""
    table = np.load(file, mmap_mode="r")[start : start + CHUNK]
    out = [
        upper_session(model).run(["embedding"], {trunk.SPLIT: table[i : i + BATCH].astype(np.float32)})[0]
        for i in range(0, len(table), BATCH)
    ]
    return np.concatenate(out).astype(np.float16)


def embeddings(model, tables, jobs=2):
    """View -> [pictures, channels] float16, by the upper part `model` (bytes)."""
    with concurrent.futures.ProcessPoolExecutor(jobs) as pool:
        return {
            name: np.concatenate(
                list(pool.map(functools.partial(run_upper, model, table.filename), range(0, len(table), CHUNK)))
            )
            for name, table in tables.items()
        }
