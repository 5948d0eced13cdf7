#!/usr/bin/env python3
"""torch in bfloat16 and channels_last, as worker.cjs speaks: RepVGG's deploy form as plain convolutions, of random weights (needs torch)."""
import json
import sys
import time

import torch
from torch import nn

# Stem, then (blocks, channels) of each stage, whose first block has stride 2.
NETS = {
    "repvgg_a0": (48, [(2, 48), (4, 96), (14, 192), (1, 1280)]),
    "repvgg_b1": (64, [(4, 128), (6, 256), (16, 512), (1, 2048)]),
}


def deploy(stem, stages):
    layers, channels = [nn.Conv2d(3, stem, 3, 2, 1), nn.ReLU()], stem
    for blocks, width in stages:
        for block in range(blocks):
            layers += [nn.Conv2d(channels, width, 3, 2 if block == 0 else 1, 1), nn.ReLU()]
            channels = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 1000)).eval()


run = None


def load(request):
    global run
    torch.set_num_threads(request["threads"])
    started = time.perf_counter()
    model = deploy(*NETS[request["net"]]).to(torch.bfloat16).to(memory_format=torch.channels_last)
    images = torch.rand(request["batch"], 3, 224, 224).to(torch.bfloat16).to(memory_format=torch.channels_last)
    run = lambda: model(images)  # noqa: E731
    run()
    return {"milliseconds": (time.perf_counter() - started) * 1e3, "memory": 0}


def timed(request):
    for _ in range(request["warm"]):
        run()
    milliseconds = []
    for _ in range(request["runs"]):
        started = time.perf_counter()
        run()
        milliseconds.append((time.perf_counter() - started) * 1e3)
    return {"milliseconds": milliseconds}


with torch.inference_mode():
    for line in sys.stdin:
        request = json.loads(line)
        answer = load(request) if request["op"] == "load" else timed(request) if request["op"] == "time" else {"values": []}
        print(json.dumps(answer), flush=True)
