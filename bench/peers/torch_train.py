# SPDX-License-Identifier: Apache-2.0
"""The sandwich step of bench_train in PyTorch on the CPU: same network, subnets, batch, threads and optimizer.

    python3 torch_train.py --preset resnet-32 --batch 128 --threads 2 --dtype bf16 --steps 5 --choice "d=2,2,2 e=1,1,1,1,1,1" ...

Prints one JSON object. bf16 is PyTorch's autocast; tensors are channels_last, its fastest layout for convolutions on a CPU.
The subnets are prefix slices of shared weights, as in Gamut: a slice is a view, so PyTorch copies nothing by hand either.
"""
import argparse
import json
import statistics
import time

import torch
import torch.nn.functional as F
from torch import nn


def divisible(v, d=8):
    n = max(d, int(v + d / 2) // d * d)
    return n + d if n < 0.9 * v else n


class Conv(nn.Module):
    def __init__(self, cin, cout, k, stride=1):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(cout, cin, k, k) * (2.0 / (k * k * cout)) ** 0.5)
        self.stride, self.pad = stride, k // 2

    def forward(self, x, cout=None):
        w = self.weight[: cout or self.weight.shape[0], : x.shape[1]]
        return F.conv2d(x, w, stride=self.stride, padding=self.pad)


class Depthwise(nn.Module):
    def __init__(self, c, k, stride):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(c, 1, k, k) * (2.0 / (k * k)) ** 0.5)
        self.k, self.stride = k, stride

    def forward(self, x, k):
        at = (self.k - k) // 2
        w = self.weight[: x.shape[1], :, at : at + k, at : at + k]
        return F.conv2d(x, w, stride=self.stride, padding=k // 2, groups=x.shape[1])


class Norm(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(c)), nn.Parameter(torch.zeros(c))

    def forward(self, x):
        c = x.shape[1]
        return F.batch_norm(x, None, None, self.weight[:c], self.bias[:c], True, 0.0, 1e-5)


class Basic(nn.Module):
    def __init__(self, cin, cout, stride):
        super().__init__()
        self.c1, self.n1 = Conv(cin, cout, 3, stride), Norm(cout)
        self.c2, self.n2 = Conv(cout, cout, 3), Norm(cout)
        self.stride = stride
        self.sc = Conv(cin, cout, 1) if stride > 1 or cin != cout else None
        self.sn = Norm(cout) if self.sc else None
        self.out = cout

    def forward(self, x, e):
        r = x
        if self.sc:
            r = F.avg_pool2d(r, self.stride, self.stride, ceil_mode=True) if self.stride > 1 else r
            r = self.sn(self.sc(r))
        y = F.relu(self.n1(self.c1(x, divisible(round(self.out * e)))))
        return F.relu(self.n2(self.c2(y)) + r)


class ResNet32(nn.Module):
    """The preset resnet-32: 3x3 stem, three stages of basic blocks, elastic depth and middle width."""

    def __init__(self):
        super().__init__()
        self.stem, self.norm = Conv(3, 64, 3), Norm(64)
        cin, stages = 64, []
        for w in (128, 256, 256):
            blocks = [Basic(cin if j == 0 else w, w, 2 if j == 0 else 1) for j in range(2)]
            stages.append(nn.ModuleList(blocks))
            cin = w
        self.stages = nn.ModuleList(stages)
        self.head = nn.Linear(256, 10)

    def forward(self, x, sub):
        x = F.relu(self.norm(self.stem(x)))
        for i, s in enumerate(self.stages):
            for j in range(sub["d"][i]):
                x = s[j](x, sub["e"][i * 2 + j])
        return self.head(x.mean((2, 3)))


class Squeeze(nn.Module):
    def __init__(self, c):
        super().__init__()
        h = divisible(c // 4)
        self.r, self.rb = nn.Parameter(torch.randn(h, c, 1, 1) * 0.1), nn.Parameter(torch.zeros(h))
        self.e, self.eb = nn.Parameter(torch.randn(c, h, 1, 1) * 0.1), nn.Parameter(torch.zeros(c))

    def forward(self, x):
        c = x.shape[1]
        h = divisible(c // 4)
        s = F.relu(F.conv2d(x.mean((2, 3), keepdim=True), self.r[:h, :c], self.rb[:h]))
        return x * F.hardsigmoid(F.conv2d(s, self.e[:c, :h], self.eb[:c]))


class Inverted(nn.Module):
    def __init__(self, cin, cout, stride, act, se):
        super().__init__()
        m = divisible(round(cin * 6))
        self.a, self.an = Conv(cin, m, 1), Norm(m)
        self.d, self.dn = Depthwise(m, 7, stride), Norm(m)
        self.p, self.pn = Conv(m, cout, 1), Norm(cout)
        self.se = Squeeze(m) if se else None
        self.act, self.skip = act, stride == 1 and cin == cout

    def forward(self, x, e, k):
        y = self.act(self.an(self.a(x, divisible(round(x.shape[1] * e)))))
        y = self.act(self.dn(self.d(y, k)))
        y = self.se(y) if self.se else y
        y = self.pn(self.p(y))
        return x + y if self.skip else y


class MBv3(nn.Module):
    """The preset mbv3-32 with kernels of 7 (Delayed epsilon-Shrinking's CIFAR network)."""

    def __init__(self):
        super().__init__()
        self.stem, self.norm = Conv(3, 16, 3), Norm(16)
        self.d0, self.dn0, self.p0, self.pn0 = Depthwise(16, 3, 1), Norm(16), Conv(16, 16, 1), Norm(16)
        cin, stages = 16, []
        shape = zip((24, 40, 80, 112, 160), (1, 2, 2, 1, 2), (0, 0, 1, 1, 1), (0, 1, 0, 1, 1))
        for w, stride, hs, se in shape:
            act = F.hardswish if hs else F.relu
            stages.append(nn.ModuleList([Inverted(cin if j == 0 else w, w, stride if j == 0 else 1, act, se) for j in range(4)]))
            cin = w
        self.stages = nn.ModuleList(stages)
        self.f, self.fn = Conv(160, 960, 1), Norm(960)
        self.mix, self.head = Conv(960, 1280, 1), nn.Linear(1280, 10)

    def forward(self, x, sub):
        x = F.hardswish(self.norm(self.stem(x)))
        y = F.relu(self.dn0(self.d0(x, 3)))
        x = x + self.pn0(self.p0(y))
        for i, s in enumerate(self.stages):
            for j in range(sub["d"][i]):
                x = s[j](x, sub["e"][i * 4 + j], 7)
        x = F.hardswish(self.fn(self.f(x)))
        x = F.hardswish(self.mix(x.mean((2, 3), keepdim=True)))
        return self.head(x.flatten(1))


def parse(text):
    """Gamut's text form of a choice: "d=2,3 e=0.5,1" to {"d": [2, 3], "e": [0.5, 1]}."""
    groups = (g.split("=") for g in text.split())
    return {k: [float(v) if "." in v else int(v) for v in vs.split(",")] for k, vs in groups}


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--preset", default="resnet-32", choices=["resnet-32", "mbv3-32"])
    p.add_argument("--batch", type=int, default=128)
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--dtype", default="bf16", choices=["f32", "bf16"])
    p.add_argument("--steps", type=int, default=5)
    p.add_argument("--choice", action="append", required=True, help="subnets of the step, the largest first")
    a = p.parse_args()
    torch.manual_seed(1)
    torch.set_num_threads(a.threads)
    net = {"resnet-32": ResNet32, "mbv3-32": MBv3}[a.preset]().to(memory_format=torch.channels_last)
    x = torch.randn(a.batch, 3, 32, 32).contiguous(memory_format=torch.channels_last)
    y = torch.randint(0, 10, (a.batch,))
    opt = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9, nesterov=True, weight_decay=5e-4)
    subs = [parse(c) for c in a.choice]

    def step():
        opt.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=a.dtype == "bf16"):
            out = net(x, subs[0])
        F.cross_entropy(out.float(), y, label_smoothing=0.1).backward()
        q = out.detach().float().softmax(1)
        for s in subs[1:]:
            with torch.autocast("cpu", torch.bfloat16, enabled=a.dtype == "bf16"):
                out = net(x, s)
            F.cross_entropy(out.float(), q).backward()
        opt.step()

    for _ in range(2):
        step()
    times = []
    for _ in range(a.steps):
        t = time.perf_counter()
        step()
        times.append(time.perf_counter() - t)
    m = statistics.median(times)
    print(json.dumps({"name": "torch " + torch.__version__, "preset": a.preset, "dtype": a.dtype, "batch": a.batch,
                      "threads": a.threads, "seconds": m, "fastest": min(times), "slowest": max(times),
                      "images_per_second": a.batch / m}))


if __name__ == "__main__":
    main()
