#!/usr/bin/env python3
"""Conversion as users do it today: load a checkpoint, fuse, save.  convert_reference.py MODEL in.pth out.pth  (needs torch and timm)"""
import sys

import timm
import torch
from timm.utils.model import reparameterize_model

model = timm.create_model(sys.argv[1]).eval()
model.load_state_dict(torch.load(sys.argv[2], map_location="cpu"))
reparameterize_model(model, inplace=True)
torch.save(model.state_dict(), sys.argv[3])
