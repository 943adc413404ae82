#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Exported subnets in onnxruntime (and, with --torch, their safetensors in PyTorch) against Gamut's logits.

    pip install onnxruntime onnx numpy          # and torch, safetensors for --torch
    cmake --build build/release --target make_subnets
    bench/peers/onnx_check.py [--count 50] [--families mbv3 resnet50 ...] [--torch]

Every subnet has random weights and random statistics. The difference is the largest over two images and all classes, in
units of the largest logit. Exit status 1 when one is 1e-4 or more.
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile

import numpy as np
import onnx
import onnxruntime


def run_torch(path, x):
    """The loader of docs/export.md: a subnet from its safetensors file alone."""
    import torch
    import torch.nn.functional as F
    from safetensors import safe_open

    with safe_open(path, "pt") as f:
        t = {name: f.get_tensor(name) for name in f.keys()}
        net = json.loads(f.metadata()["net.config"])
    act = {None: lambda v: v, "relu": F.relu, "relu6": F.relu6, "h_swish": F.hardswish, "h_sigmoid": F.hardsigmoid,
           "gelu": F.gelu, "silu": F.silu, "sigmoid": torch.sigmoid}
    value = {0: torch.from_numpy(x)}
    for n in net["nodes"][1:]:
        v = [value[i] for i in n["inputs"]]
        p = lambda name: t.get(n["module"] + name)
        op, stride, pad = n["op"], n.get("stride", 1), n.get("padding", 0)
        if op in ("conv", "depthwise"):
            y = F.conv2d(v[0], p(".weight"), p(".bias"), stride, pad, groups=n.get("groups", 1))
        elif op == "norm":
            y = F.batch_norm(v[0], p(".running_mean"), p(".running_var"), p(".weight"), p(".bias"), eps=n["eps"])
            y = y + v[1] if len(v) > 1 else y
        elif op == "squeeze_excite":
            y = F.relu(F.conv2d(v[0].mean((2, 3), keepdim=True), p(".reduce.weight"), p(".reduce.bias")))
            y = v[0] * F.hardsigmoid(F.conv2d(y, p(".expand.weight"), p(".expand.bias")))
        elif op == "avg_pool":
            y = F.avg_pool2d(v[0], n["kernel_size"], stride, pad, n.get("ceil_mode", False), count_include_pad=False)
        elif op == "max_pool":
            y = F.max_pool2d(v[0], n["kernel_size"], stride, pad)
        elif op == "global_pool":
            y = v[0].mean((2, 3), keepdim=True)
        elif op == "linear":
            y = F.linear(v[0].flatten(1), p(".weight"), p(".bias"))
        elif op == "add":
            y = v[0] + v[1]
        else:  # act, dropout
            y = v[0]
        value[n["id"]] = act[n.get("act_func")](y)
    return value[net["nodes"][-1]["id"]].numpy()


def difference(got, wanted):
    return float(np.abs(got - wanted).max() / np.abs(wanted).max())


def check(args, family, folder):
    fold = "0" if args.no_fold else "1"
    command = [args.tool, family, str(args.count), folder, str(args.seed), fold]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 2
    found = {"onnxruntime": [], "torch": []}
    for line in lines:
        i, side, channels, classes, _ = line.split("\t")
        at = os.path.join(folder, i)
        x = np.fromfile(at + ".input", np.float32).reshape(-1, int(channels), int(side), int(side))
        wanted = np.fromfile(at + ".logits", np.float32).reshape(-1, int(classes))
        onnx.checker.check_model(onnx.load(at + ".onnx"), full_check=True)
        session = onnxruntime.InferenceSession(at + ".onnx", options, providers=["CPUExecutionProvider"])
        found["onnxruntime"].append(difference(session.run(["logits"], {"input": x})[0], wanted))
        if args.torch:
            found["torch"].append(difference(run_torch(at + ".safetensors", x), wanted))
        for end in (".onnx", ".safetensors", ".input", ".logits"):
            os.unlink(at + end)
    rows = [{"family": family, "runtime": r, "subnets": len(v), "largest": max(v), "median": float(np.median(v))}
            for r, v in found.items() if v]
    for row in rows:
        print(json.dumps(row) if args.json else
              "{family:10} {runtime:12} {subnets:3} subnets  largest {largest:.1e}  median {median:.1e}".format(**row), flush=True)
    return max(row["largest"] for row in rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tool", default="build/release/make_subnets")
    parser.add_argument("--count", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--families", nargs="+",
                        default=["mbv3", "mbv3-w1.2", "mbv3-32", "proxyless", "resnet50", "resnet-28", "resnet-32"])
    parser.add_argument("--no-fold", action="store_true", help="norms stay operators of their own")
    parser.add_argument("--torch", action="store_true", help="also the safetensors file in PyTorch")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    worst = 0
    with tempfile.TemporaryDirectory() as folder:
        for family in args.families:
            worst = max(worst, check(args, family, folder))
    return worst >= 1e-4


if __name__ == "__main__":
    sys.exit(main())
