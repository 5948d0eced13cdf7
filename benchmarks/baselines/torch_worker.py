#!/usr/bin/env python3
"""torch in bfloat16 and channels_last, as worker.cjs speaks: the network by timm's name, its training form fused, its weights random (needs torch and timm)."""
import json
import sys
import time

import timm
import torch
from timm.utils.model import reparameterize_model

run = None


def load(request):
    global run
    torch.set_num_threads(request["threads"])
    started = time.perf_counter()
    model = reparameterize_model(timm.create_model(request["net"]).eval()).to(torch.bfloat16).to(memory_format=torch.channels_last)
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
