"""What stands in ONNX files, and what a public one computes in float64.

Usage: python onnx_facts.py count FILE ...           prints a JSON line a file: convolutions, BatchNormalizations, those behind an affine operator
       python onnx_facts.py values FILE OUT [SIZES]  writes OUT (.npz): seeded inputs in_0, ..., and what ONNX's own evaluator makes of them in float64
                                                     (out_0, ...), of the model with all its float32 as float64. SIZES: of the open ones, by name
"""

import json
import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

AFFINE = ("Conv", "ConvTranspose", "Gemm", "MatMul")
SAME_ELEMENTS = ("Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze")
TYPES = {TensorProto.FLOAT16: np.float16, TensorProto.FLOAT: np.float32}


class BatchNormalization(OpRun):
    """With the statistics given: the evaluator's own takes those of the batch in models of operator sets before 14."""

    op_domain = ""

    def _run(self, x, scale, bias, mean, variance, epsilon=1e-5, **_):
        scale, bias, mean, variance = (each.reshape(-1, *[1] * (x.ndim - 2)) for each in (scale, bias, mean, variance))
        return ((x - mean) / np.sqrt(variance + epsilon) * scale + bias,)


class LRN(OpRun):
    """Over all channels: the evaluator's own takes as many of them as there are images."""

    op_domain = ""

    def _run(self, x, size=None, alpha=1e-4, beta=0.75, bias=1.0):
        squares = np.pad(x * x, [(0, 0), ((size - 1) // 2, size // 2), *[(0, 0)] * (x.ndim - 2)])
        total = sum(squares[:, i : i + x.shape[1]] for i in range(size))
        return (x / (bias + alpha / size * total) ** beta,)


OWN = [BatchNormalization, LRN]


def count(path):
    graph = onnx.load(path, load_external_data=False).graph
    producer = {value: node for node in graph.node for value in node.output}
    norms = [node for node in graph.node if node.op_type == "BatchNormalization"]

    def follows_affine(norm):
        before = producer.get(norm.input[0])
        while before is not None and before.op_type in SAME_ELEMENTS:
            before = producer.get(before.input[0])
        return before is not None and before.op_type in AFFINE

    return {
        "nodes": len(graph.node),
        "convolutions": sum(node.op_type in ("Conv", "ConvTranspose") for node in graph.node),
        "batchNorms": len(norms),
        "behindAffine": sum(follows_affine(norm) for norm in norms),
    }


def widen_tensor(tensor):
    if tensor.data_type not in TYPES:
        return
    wide = numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float64), tensor.name)
    tensor.CopyFrom(wide)


def widen(graph):
    """All floating-point numbers of a graph as float64."""
    for tensor in graph.initializer:
        widen_tensor(tensor)
    for value in [*graph.input, *graph.output, *graph.value_info]:
        if value.type.tensor_type.elem_type in TYPES:
            value.type.tensor_type.elem_type = TensorProto.DOUBLE
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.name in ("to", "dtype") and attribute.i in TYPES:
                attribute.i = TensorProto.DOUBLE
            if attribute.type == onnx.AttributeProto.TENSOR:
                widen_tensor(attribute.t)
            if attribute.name in ("value_float", "value_floats"):
                numbers = [attribute.f] if attribute.name == "value_float" else list(attribute.floats)
                array = np.array(numbers if attribute.name == "value_floats" else numbers[0], dtype=np.float64)
                attribute.CopyFrom(helper.make_attribute("value", numpy_helper.from_array(array)))
            if attribute.type == onnx.AttributeProto.GRAPH:
                widen(attribute.g)


def is_rounded(graph, name):
    """Whether a model rounds an input to float16 before anything else: some runtimes leave that out, so that it must change nothing."""
    readers = [node for node in graph.node if name in node.input]
    rounds = [any(a.name == "to" and a.i == TensorProto.FLOAT16 for a in node.attribute) for node in readers if node.op_type == "Cast"]
    return len(readers) > 0 and len(rounds) == len(readers) and all(rounds)


def inputs_of(graph, sizes):
    random = np.random.default_rng(1)
    initializers = {tensor.name for tensor in graph.initializer}
    for value in graph.input:
        if value.name in initializers:
            continue
        dims = [dim.dim_value or sizes.get(dim.dim_param, 1) for dim in value.type.tensor_type.shape.dim]
        given = sizes.get(value.name)
        shape = dims if given is None else given
        kind = helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
        whole = np.issubdtype(kind, np.integer)
        numbers = (random.integers(0, 200, shape) if whole else random.uniform(-1, 1, shape)).astype(kind)
        yield value.name, numbers.astype(np.float16).astype(kind) if is_rounded(graph, value.name) else numbers


def values(path, out, sizes="{}"):
    model = onnx.load(path)
    inputs = dict(inputs_of(model.graph, json.loads(sizes)))
    widen(model.graph)
    wide = {name: array.astype(np.float64) if array.dtype.kind == "f" else array for name, array in inputs.items()}
    outputs = ReferenceEvaluator(model, new_ops=OWN).run(None, wide)
    named = {f"in_{i}": array for i, array in enumerate(inputs.values())}
    np.savez(out, **named, **{f"out_{i}": array for i, array in enumerate(outputs)})


if __name__ == "__main__":
    command, *rest = sys.argv[1:]
    if command == "count":
        for path in rest:
            print(json.dumps(count(path)))
    else:
        values(*rest)
