"""Writes model.onnx and model.toml: the trunk, and one linear layer a head on the same mean."""

import json

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OWN = {"fc.weight", "fc.bias"}  # of the published network's own head


def write_onnx(model, heads, path, properties):
    """`model`: the trunk; `heads`: name -> (weights [classes, channels], biases [classes])."""
    graph = model.graph
    nodes = [node for node in graph.node if not OWN & set(node.input)]
    initialisers = [t for t in graph.initializer if t.name not in OWN]
    outputs = []
    for name, (weight, bias) in heads.items():
        for part, value in (("weight", weight), ("bias", bias)):
            initialisers.append(numpy_helper.from_array(np.ascontiguousarray(value, np.float32), f"{name}.{part}"))
        output = f"{name}_logits"
        nodes.append(
            helper.make_node(
                "Gemm", ["embedding", f"{name}.weight", f"{name}.bias"], [output], name=output, transB=1
            )
        )
        outputs.append(helper.make_tensor_value_info(output, TensorProto.FLOAT, ["N", len(bias)]))
    outputs += [value for value in graph.output if value.name in ("features", "embedding")]
    graph = helper.make_graph(nodes, "heatcast-broadcast", graph.input, outputs, initialisers)
    model = helper.make_model(
        graph,
        opset_imports=model.opset_import,
        ir_version=model.ir_version,
        producer_name="heatcast models/train/broadcast",
    )
    helper.set_model_props(model, properties)
    onnx.checker.check_model(model, full_check=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(model.SerializeToString(deterministic=True))


def write_toml(path, version, heads):
    """`heads`: name -> (labels, explain_scale, temperature)."""
    lines = [
        'name = "broadcast"',
        f'version = "{version}"',
        'licence = "Apache-2.0"',
        "",
        "[input]",
        "width = 384",
        "height = 224",
        'layout = "nchw"',
        'color = "rgb"',
        'resize = "stretch"',
        "mean = [127, 127, 127]",
        "std = [128, 128, 128]",
    ]
    for name, (labels, scale, temperature) in heads.items():
        listed = [f"    {json.dumps(label)}," for label in labels]
        lines += [
            "",
            "[[head]]",
            f'name = "{name}"',
            f'output = "{name}_logits"',
            'activation = "softmax"',
            *(["labels = [", *listed, "]"] if len(labels) > 4 else [f"labels = {json.dumps(labels)}"]),
            f"temperature = {temperature:.3f}",
            f"explain_scale = {scale:.2f}",
        ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
