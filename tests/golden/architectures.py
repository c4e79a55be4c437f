"""Compares `heatcast explain` with PyTorch's autograd on real architectures.

Builds networks of torchvision with random weights, exports each with both
exporters, computes the maps of every method from feature map and gradient, and
prints how far the program's maps are off, relative to the map's largest value.
Ends with exit code 1 when a map is off by more than 1e-4 (flattened heads with
max pooling, whose maxima may tie: 1e-3).

    pip install torch torchvision onnx onnxscript numpy
    python tests/golden/architectures.py --heatcast target/release/heatcast
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
import torchvision.models as zoo


def pooled(head):
    return lambda m, a: head(m, torch.flatten(F.adaptive_avg_pool2d(a, 1), 1))


def resnet_features(m, x):
    x = m.maxpool(m.relu(m.bn1(m.conv1(x))))
    return m.layer4(m.layer3(m.layer2(m.layer1(x))))


def swin_features(m, x):
    return m.permute(m.norm(m.features(x)))


# Name: picture size, feature map of a picture, logits of a feature map.
CASES = {
    "resnet50": (224, resnet_features, pooled(lambda m, z: m.fc(z))),
    "densenet121": (224, lambda m, x: F.relu(m.features(x)), pooled(lambda m, z: m.classifier(z))),
    "mobilenet_v2": (224, lambda m, x: m.features(x), pooled(lambda m, z: m.classifier(z))),
    "mobilenet_v3_small": (224, lambda m, x: m.features(x), pooled(lambda m, z: m.classifier(z))),
    "efficientnet_b0": (224, lambda m, x: m.features(x), pooled(lambda m, z: m.classifier(z))),
    "shufflenet_v2_x0_5": (
        224,
        lambda m, x: m.conv5(m.stage4(m.stage3(m.stage2(m.maxpool(m.conv1(x)))))),
        pooled(lambda m, z: m.fc(z)),
    ),
    "regnet_y_400mf": (
        224,
        lambda m, x: m.trunk_output(m.stem(x)),
        pooled(lambda m, z: m.fc(z)),
    ),
    "squeezenet1_1": (
        224,
        lambda m, x: m.classifier[:3](m.features(x)),
        lambda m, a: torch.flatten(m.classifier[3](a), 1),
    ),
    "vgg11": (
        224,
        lambda m, x: m.features(x),
        lambda m, a: m.classifier(torch.flatten(m.avgpool(a), 1)),
    ),
    "convnext_tiny": (
        224,
        lambda m, x: m.features(x),
        lambda m, a: m.classifier(m.avgpool(a)),
    ),
    "swin_t": (224, swin_features, lambda m, a: m.head(m.flatten(m.avgpool(a)))),
}


def build(name):
    torch.manual_seed(1)
    model = getattr(zoo, name)(weights=None)
    # Fresh statistics would make every batch normalisation the same.
    generator = torch.Generator().manual_seed(2)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            count = module.num_features
            module.running_mean = 0.1 * torch.randn(count, generator=generator)
            module.running_var = 0.5 + torch.rand(count, generator=generator)
    return model.eval()


def references(model, case, picture, index):
    _, features, head = case
    a = features(model, picture).detach().requires_grad_(True)
    logits = head(model, a)
    (g,) = torch.autograd.grad(logits[0, index], a)
    with torch.no_grad():
        assert torch.allclose(logits, model(picture), atol=1e-4), "the split is wrong"
    a, g = a.detach()[0].double().numpy(), g[0].double().numpy()
    total = a.sum((1, 2), keepdims=True)
    positive = np.maximum(g, 0)

    def plus_plus(eps):
        if eps:
            below = 2 * g**2 + total * g**3 + eps
            alpha = np.divide(g**2, below, out=np.zeros_like(g), where=(g != 0) & (below != 0))
        else:
            below = 2 + total * g
            alpha = np.divide(1.0, below, out=np.zeros_like(g), where=(g != 0) & (below != 0))
        return ((positive * alpha).sum((1, 2), keepdims=True) * a).sum(0)

    return logits[0, index].item(), {
        "gradcam": (g.mean((1, 2), keepdims=True) * a).sum(0),
        "gradcam++": plus_plus(0.0),
        "gradcam++:eps=1e-6": plus_plus(1e-6),
        "layercam": (positive * a).sum(0),
        "hirescam": (g * a).sum(0),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--heatcast", default="target/release/heatcast")
    parser.add_argument("--only", nargs="*", help="architectures to compare")
    parser.add_argument("--exporters", nargs="*", default=["ts", "dyn"])
    parser.add_argument("--keep", type=Path, help="folder for the exported networks")
    args = parser.parse_args()
    torch.set_num_threads(1)
    failed = False
    with tempfile.TemporaryDirectory() as scratch:
        folder = args.keep or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        for name in args.only or CASES:
            case = CASES[name]
            model = build(name)
            picture = torch.randn(1, 3, case[0], case[0], generator=torch.Generator().manual_seed(3))
            tensor = folder / f"{name}.npy"
            np.save(tensor, picture.numpy())
            logit, wanted = references(model, case, picture, 7)
            for exporter in args.exporters:
                path = folder / f"{name}.{exporter}.onnx"
                if not path.exists():
                    opset = 17 if exporter == "ts" else 20
                    torch.onnx.export(
                        model, (picture,), path, opset_version=opset, dynamo=exporter == "dyn"
                    )
                failed |= not compare(args.heatcast, name, exporter, path, tensor, logit, wanted)
    sys.exit(int(failed))


def compare(program, name, exporter, onnx, tensor, logit, wanted):
    bound = 1e-3 if name == "vgg11" else 1e-4
    off, begun = {}, time.monotonic()
    for method, want in wanted.items():
        out = onnx.with_suffix(".map.npy")
        command = [program, "explain", "--tensor", tensor, "--model", onnx, "--class-index", "7"]
        command += ["--method", method, "--map", out, "--json"]
        done = subprocess.run([str(c) for c in command], capture_output=True, text=True)
        if done.returncode:
            print(f"{name} {exporter} {method}: {done.stderr.strip()}")
            return False
        said, got = json.loads(done.stdout), np.load(out)[0]
        off[method] = np.abs(got - want).max() / np.abs(want).max()
    near = abs(said["logit"] - logit) < 1e-3 * max(1, abs(logit))
    good = near and max(off.values()) < bound
    each = (time.monotonic() - begun) / len(wanted)
    figures = " ".join(f"{m} {v:.1e}" for m, v in off.items())
    print(
        f"{'ok  ' if good else 'FAIL'} {name} {exporter} [{said['head_kind']}, {said['layout']},"
        f" {said['feature_tensor']}] {figures} ({each:.1f} s a run)",
        flush=True,
    )
    return good


if __name__ == "__main__":
    main()
