"""Networks in training form, as torch's two exporters write them, with what they compute in float64.

Usage: python export_networks.py FOLDER < rows.json

A row: {"id", "source": "timm" or "written", "network", "size": [H, W], "exporter": "classic" or "dynamo", "open": bool}, where timm makes the
network also "options" for it, and "built_for_size" where it asks for the image's size. Writes
FOLDER/<id>.onnx and FOLDER/<id>.npz (in_0, ... the inputs; out_0, ... the outputs in float64), and prints one JSON line a row. Each row has
a process of its own, so that one that fails or takes too long does not end the others.
"""

import copy
import io
import json
import multiprocessing
import os
import re
import sys
import warnings
from contextlib import redirect_stderr, redirect_stdout

import numpy as np
import timm
import torch
from torch import nn

import written

SECONDS = 300
OPSET = 17  # of the classic exporter; the other chooses its own
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def make_network(row):
    if row["source"] == "written":
        return written.NETWORKS[row["network"]]()
    sizes = {"img_size": tuple(row["size"])} if row.get("built_for_size") else {}
    return timm.create_model(row["network"], pretrained=False, **sizes, **row.get("options", {}))


def example_inputs(row, batch):
    if row["source"] == "written" and row["network"] in written.INPUTS:
        return written.INPUTS[row["network"]](batch, *row["size"])
    return (torch.randn(batch, 3, *row["size"]),)


def disturb(net, row):
    """Statistics as training leaves them: those of a batch, and then each a little off, so that no BatchNorm is the identity.
    Weights that start from zero (of heads, of branches) are not zero either, which would hide all that leads to them."""
    norms = [module for module in net.modules() if isinstance(module, NORMS)]
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if name.endswith("gamma") or "layer_scale" in name or name.endswith(".ls"):
                parameter.uniform_(0.2, 1)
            elif not parameter.any():
                parameter.normal_(0, 0.05)
        for norm in norms:
            norm.momentum = 1.0
            if norm.weight is not None:
                norm.weight.uniform_(0.5, 1.5)
                norm.bias.normal_(0, 0.2)
        if norms:
            for norm in norms:
                norm.train()
            net(*example_inputs(row, 2))
        for norm in norms:
            deviation = norm.running_var.sqrt()
            norm.running_mean.add_(deviation * torch.randn_like(deviation) * 0.1)
            norm.running_var.mul_(torch.empty_like(deviation).uniform_(0.7, 1.4)).clamp_(min=1e-4)
            norm.momentum = 0.1


def tensors_of(result):
    """The tensors of a result, in the order in which the exporters name them."""
    if isinstance(result, torch.Tensor):
        return [result]
    parts = result.values() if isinstance(result, dict) else result
    return [tensor for part in parts for tensor in tensors_of(part)]


def open_axes(inputs, exporter):
    """Batch, height and width."""
    if exporter == "classic":
        return {f"in_{i}": {0: "batch", 2: "height", 3: "width"} for i, tensor in enumerate(inputs) if tensor.ndim == 4}
    axes = torch.export.Dim.AUTO
    return tuple({0: axes, 2: axes, 3: axes} if tensor.ndim == 4 else None for tensor in inputs)


def export(row, folder):
    torch.manual_seed(0)
    net = make_network(row).eval()
    disturb(net, row)
    net.eval()
    batch = 2 if row["open"] and row["exporter"] == "dynamo" else 1  # a size of 1 is never open
    inputs = example_inputs(row, batch)
    with torch.no_grad():
        exact = tensors_of(copy.deepcopy(net).double()(*(t.double() if t.is_floating_point() else t for t in inputs)))
    path = os.path.join(folder, row["id"])
    names = [f"in_{i}" for i in range(len(inputs))]
    axes = open_axes(inputs, row["exporter"]) if row["open"] else None
    if row["exporter"] == "classic":
        torch.onnx.export(net, inputs, f"{path}.onnx", dynamo=False, opset_version=row.get("opset", OPSET), input_names=names,
                          dynamic_axes=axes, training=torch.onnx.TrainingMode.PRESERVE)
    else:
        torch.onnx.export(net, inputs, f"{path}.onnx", dynamo=True, external_data=False, input_names=names,
                          dynamic_shapes=axes, verbose=False, optimize=row.get("optimize", True))
    numpy = {name: tensor.numpy() for name, tensor in zip(names, inputs)}
    np.savez(f"{path}.npz", **numpy, **{f"out_{i}": tensor.numpy() for i, tensor in enumerate(exact)})


def attempt(row, folder, channel):
    torch.set_num_threads(1)
    try:
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            export(row, folder)
        channel.send(None)
    except BaseException as error:  # the child's last words, whatever they are
        told = re.sub(r"\x1b\[\d*m|\s+", " ", str(error)).strip()
        channel.send(f"{type(error).__name__}: {told[:200]}")


def main(folder):
    warnings.filterwarnings("ignore")
    os.makedirs(folder, exist_ok=True)
    for row in json.load(sys.stdin):
        receiver, sender = multiprocessing.Pipe(duplex=False)
        child = multiprocessing.Process(target=attempt, args=(row, folder, sender))
        child.start()
        sender.close()
        try:
            problem = receiver.recv() if receiver.poll(SECONDS) else f"not exported within {SECONDS} seconds"
        except EOFError:
            problem = "its process ended"
        child.kill()
        child.join()
        if problem is not None:
            for suffix in (".onnx", ".npz"):
                if os.path.exists(file := os.path.join(folder, row["id"] + suffix)):
                    os.remove(file)
        print(json.dumps({"id": row["id"], "problem": problem}), flush=True)


if __name__ == "__main__":
    multiprocessing.set_start_method("fork")
    main(sys.argv[1])
