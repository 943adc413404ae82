# SPDX-License-Identifier: Apache-2.0
"""The subnet of bench_infer in onnxruntime and in PyTorch, read from the ONNX file that `gamut export` wrote.

    python3 infer_peers.py --onnx net.onnx --input input.f32 --side 224 --batch 16 --threads 2 --seconds 1 --peer all --out /tmp/peer

Prints one JSON object a mode: mode, seconds (median of a batch, as text), logits (a file of f32). PyTorch runs the operators of the
file one by one (eager), through torch.compile, and both in bf16; channels_last, norms already folded, inference mode.
Needs: torch==2.13.0, onnxruntime, onnx, numpy.
"""
import argparse
import json
import statistics
import time

import numpy as np
import onnx
from onnx import numpy_helper


def attributes(node):
    return {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}


def timed(run, seconds):
    for _ in range(3):
        run()
    times, begin = [], time.perf_counter()
    while len(times) < 5 or time.perf_counter() - begin < seconds:
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
        if len(times) >= 400:
            break
    return statistics.median(times)


def report(mode, seconds, logits, out):
    path = f"{out}_{mode.replace(' ', '_')}.f32"
    np.ascontiguousarray(logits, dtype=np.float32).tofile(path)
    print(json.dumps({"mode": mode, "seconds": f"{seconds:.9f}", "logits": path}), flush=True)


def onnxruntime_modes(args, x):
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = args.threads
    options.inter_op_num_threads = 1
    session = ort.InferenceSession(args.onnx, options, providers=["CPUExecutionProvider"])
    feed = {session.get_inputs()[0].name: x}
    report("onnxruntime", timed(lambda: session.run(None, feed), args.seconds), session.run(None, feed)[0], args.out)


def torch_net(path):
    import torch
    import torch.nn.functional as F

    graph = onnx.load(path).graph
    constants = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    for n in graph.node:
        if n.op_type == "Constant":
            constants[n.output[0]] = numpy_helper.to_array(attributes(n)["value"])

    def conv(a, has_bias):
        pads, strides = list(a.get("pads", [0, 0, 0, 0])), list(a.get("strides", [1, 1]))
        groups = a.get("group", 1)
        return lambda v, w, b=None: F.conv2d(v, w, b, stride=strides, padding=pads[:2], groups=groups)

    def pool(kind, a):
        k, s = list(a["kernel_shape"]), list(a.get("strides", [1, 1]))
        p, ceil = list(a.get("pads", [0, 0, 0, 0]))[:2], bool(a.get("ceil_mode", 0))
        if kind == "MaxPool":
            return lambda v: F.max_pool2d(v, k, s, p, ceil_mode=ceil)
        return lambda v: F.avg_pool2d(v, k, s, p, ceil_mode=ceil, count_include_pad=bool(a.get("count_include_pad", 0)))

    def clip(n):
        low, high = (float(constants[n.input[i]]) if len(n.input) > i and n.input[i] else None for i in (1, 2))
        return lambda v, *unused: torch.clamp(v, low, high)

    def gemm(a):
        turn = a.get("transB", 0)
        return lambda v, w, b=None: F.linear(v, w if turn else w.t(), b)

    def norm(a):
        eps = a.get("epsilon", 1e-5)
        return lambda v, g, b, m, s: F.batch_norm(v, m, s, g, b, False, 0.0, eps)

    def hard_sigmoid(a):
        alpha, beta = a.get("alpha", 0.2), a.get("beta", 0.5)
        if abs(alpha - 1 / 6) < 1e-4 and beta == 0.5:
            return F.hardsigmoid
        return lambda v: torch.clamp(v * alpha + beta, 0, 1)

    def step(n):
        a, kind = attributes(n), n.op_type
        if kind == "Conv":
            return conv(a, len(n.input) > 2)
        if kind in ("MaxPool", "AveragePool"):
            return pool(kind, a)
        if kind == "Gemm":
            return gemm(a)
        if kind == "BatchNormalization":
            return norm(a)
        if kind == "Clip":
            return clip(n)
        if kind == "HardSigmoid":
            return hard_sigmoid(a)
        table = {
            "Relu": F.relu, "HardSwish": F.hardswish, "Add": torch.add, "Mul": torch.mul, "MatMul": torch.matmul,
            "GlobalAveragePool": lambda v: v.mean((2, 3), keepdim=True), "Flatten": lambda v: torch.flatten(v, 1),
            "ReduceMean": lambda v, *unused: v.mean((2, 3), keepdim=bool(a.get("keepdims", 1))),
            "Identity": lambda v: v, "Reshape": lambda v, *unused: v.reshape(v.shape[0], -1),
            "Squeeze": lambda v, *unused: v.flatten(1), "Sigmoid": torch.sigmoid,
        }
        if kind not in table:
            raise SystemExit(f"infer_peers.py: operator {kind} of the ONNX file is not known")
        return table[kind]

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.steps, self.names = [], {}
            for name, value in constants.items():
                if value.dtype == np.float32:
                    self.names[name] = "c_" + "".join(c if c.isalnum() else "_" for c in name)
                    value = torch.from_numpy(value.copy())
                    if value.dim() == 4:
                        value = value.contiguous(memory_format=torch.channels_last)
                    self.register_buffer(self.names[name], value)
            for n in graph.node:
                if n.op_type != "Constant":
                    self.steps.append((step(n), [i for i in n.input if i], n.output[0]))
            self.first, self.last = graph.input[0].name, graph.output[0].name

        def forward(self, x):
            values = {self.first: x}
            for fn, inputs, output in self.steps:
                values[output] = fn(*[values[i] if i in values else getattr(self, self.names[i]) for i in inputs if i in values or i in self.names])
            return values[self.last]

    return Net().eval()


def torch_modes(args, x):
    import torch

    torch.set_num_threads(args.threads)
    for bf16 in {"f32": (False,), "bf16": (True,), "all": (False, True)}[args.type]:
        for compiled in (False, True):
            mode = f"torch {'compiled' if compiled else 'eager'}{' bf16' if bf16 else ''}"
            net = torch_net(args.onnx)
            data = torch.from_numpy(x).contiguous(memory_format=torch.channels_last)
            if bf16:
                net, data = net.to(torch.bfloat16), data.to(torch.bfloat16)
            try:
                if compiled:
                    torch._inductor.config.freezing = True
                    net = torch.compile(net)
                with torch.inference_mode() if not compiled else torch.no_grad():
                    seconds = timed(lambda: net(data), args.seconds)
                    report(mode, seconds, net(data).float().numpy(), args.out)
            except Exception as problem:  # a compiler that is missing, an operator without bf16: said, not hidden
                import sys
                print(f"infer_peers.py: {mode}: {str(problem).splitlines()[0]}", file=sys.stderr)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--onnx", required=True)
    p.add_argument("--input", required=True)
    p.add_argument("--side", type=int, required=True)
    p.add_argument("--batch", type=int, required=True)
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--seconds", type=float, default=1)
    p.add_argument("--peer", choices=["torch", "onnxruntime", "all"], default="all")
    p.add_argument("--type", choices=["f32", "bf16", "all"], default="all")
    p.add_argument("--out", default="/tmp/peer")
    args = p.parse_args()
    x = np.fromfile(args.input, dtype=np.float32).reshape(args.batch, -1, args.side, args.side)
    if args.peer in ("onnxruntime", "all") and args.type != "bf16":
        onnxruntime_modes(args, x)
    if args.peer in ("torch", "all"):
        torch_modes(args, x)


if __name__ == "__main__":
    main()
