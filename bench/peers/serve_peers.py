# SPDX-License-Identifier: Apache-2.0
"""The same model behind servers of others and behind ours, under the same trace: goodput under a deadline.

    pip install litserve==0.2.19 mlserver==1.7.1 "uvloop<0.22" onnxruntime==1.32.0
    python3 bench/peers/serve_peers.py --peer all --gamut build/release/gamut --model M.safetensors --profile P.json \
        --trace bursty:200,800,4 --load 0.7 --slo-ms 36 --duration 30 --data fashion-mnist

A peer serves one subnet (exported to ONNX, run by onnxruntime with one thread a worker, as many workers as ours, batches of
at most 16), so it is run once for each subnet of --choices; its best result counts. All are driven by `gamut replay` with the same seed, the
images as JSON numbers, which every server of the protocol reads; ours once more with binary tensors, its usual form. The rate is set once,
from our profile: --load of what the smallest subnet can do. Prints one JSON object a run.
"""
import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

LITSERVE = """
import json, os
import numpy as np
import litserve as ls

class Model(ls.LitAPI):
    def setup(self, device):
        import onnxruntime as ort
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.session = ort.InferenceSession(os.environ["MODEL"], options, providers=["CPUExecutionProvider"])
        self.name = self.session.get_inputs()[0].name
        self.mean = np.float32(json.loads(os.environ["MEAN"])).reshape(-1, 1, 1)
        self.std = np.float32(json.loads(os.environ["STD"])).reshape(-1, 1, 1)

    def decode_request(self, request):
        tensor = request["inputs"][0]
        x = np.asarray(tensor["data"], dtype=np.float32).reshape(tensor["shape"][1:]).transpose(2, 0, 1)
        return (x / 255 - self.mean) / self.std

    def batch(self, inputs):
        return np.stack(inputs)

    def predict(self, x):
        x = np.asarray(x, dtype=np.float32)
        single = x.ndim == 3
        y = self.session.run(None, {self.name: x[None] if single else x})[0].argmax(1)
        return y[0] if single else y

    def unbatch(self, output):
        return list(output)

    def encode_response(self, output):
        return {"model_name": "m", "outputs": [{"name": "class", "datatype": "INT64", "shape": [1], "data": [int(output)]}]}

if __name__ == "__main__":
    keys = dict(max_batch_size=16, batch_timeout=0.002)
    path = "/v2/models/m/infer"
    try:  # newer: the API holds these
        api, server = Model(api_path=path, **keys), {}
    except TypeError:
        api, server = Model(), dict(api_path=path, **keys)
    ls.LitServer(api, accelerator="cpu", workers_per_device=int(os.environ["WORKERS"]), **server).run(
        host="127.0.0.1", port=int(os.environ["PORT"]), generate_client_file=False, log_level="error")
"""

MLSERVER = """
import json, os
import numpy as np
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse

class Model(MLModel):
    async def load(self) -> bool:
        import onnxruntime as ort
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.session = ort.InferenceSession(os.environ["MODEL"], options, providers=["CPUExecutionProvider"])
        self.input = self.session.get_inputs()[0].name
        self.mean = np.float32(json.loads(os.environ["MEAN"])).reshape(-1, 1, 1)
        self.std = np.float32(json.loads(os.environ["STD"])).reshape(-1, 1, 1)
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        x = NumpyCodec.decode_input(payload.inputs[0]).astype(np.float32).transpose(0, 3, 1, 2)
        y = self.session.run(None, {self.input: (x / 255 - self.mean) / self.std})[0].argmax(1)
        return InferenceResponse(model_name=self.name, outputs=[NumpyCodec.encode_output("class", y.astype(np.int64))])
"""


def run(command, **keys):
    done = subprocess.run(command, capture_output=True, text=True, **keys)
    if done.returncode != 0:
        sys.exit(f"serve_peers: {' '.join(map(str, command))}\n{done.stderr}")
    return done.stdout


class Server:
    """A process that answers at url + ready within a minute; killed with everything it started."""

    def __init__(self, command, ready, folder, environment=None):
        self.log = open(os.path.join(folder, "server.log"), "w")
        self.process = subprocess.Popen(command, cwd=folder, env=environment, stdout=self.log, stderr=self.log, start_new_session=True)
        for _ in range(600):
            if self.process.poll() is not None:
                break
            try:
                urllib.request.urlopen(ready, timeout=1).read()
                return
            except (urllib.error.URLError, OSError):
                time.sleep(0.1)
        self.stop()
        sys.exit(f"serve_peers: {command[:3]} does not come up:\n{open(self.log.name).read()[-2000:]}")

    def stop(self):
        for how in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self.process.pid, how)
                self.process.wait(10)
            except (ProcessLookupError, subprocess.TimeoutExpired):
                pass
        self.log.close()


def litserve(a, environment, folder):
    path = os.path.join(folder, "lit.py")
    open(path, "w").write(LITSERVE)
    return Server([sys.executable, path], f"http://127.0.0.1:{a.port}/health", folder, environment)


def mlserver(a, environment, folder):
    open(os.path.join(folder, "peer_model.py"), "w").write(MLSERVER)
    json.dump({"name": "m", "implementation": "peer_model.Model", "max_batch_size": 16, "max_batch_time": 0.002},
              open(os.path.join(folder, "model-settings.json"), "w"))
    json.dump({"http_port": a.port, "grpc_port": a.port + 1, "metrics_port": a.port + 2, "host": "127.0.0.1", "parallel_workers": a.workers,
               "debug": False}, open(os.path.join(folder, "settings.json"), "w"))
    environment["PYTHONPATH"] = folder
    return Server([os.path.join(os.path.dirname(sys.executable), "mlserver"), "start", folder], f"http://127.0.0.1:{a.port}/v2/models/m/ready", folder, environment)


PEERS = {"litserve": litserve, "mlserver": mlserver}


def replay(a, rate, encoding, plain):
    command = [a.gamut, "replay", "--url", f"http://127.0.0.1:{a.port}", "--trace", a.trace, "--rate", str(rate), "--slo-ms", str(a.slo_ms),
               "--data", a.data, "--encoding", encoding, "--json"]
    if plain:
        command += ["--model", "m", "--plain"]
    # A short run first: pools, caches and processes are warm when it counts.
    run(command + ["--duration", "2", "--seed", str(a.seed + 1000)])
    return json.loads(run(command + ["--duration", str(a.duration), "--seed", str(a.seed)]))


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--peer", default="all", choices=["all", "none", *PEERS])
    p.add_argument("--gamut", default="build/release/gamut")
    p.add_argument("--model", required=True)
    p.add_argument("--profile", required=True)
    p.add_argument("--choices", nargs="*", default=None, help="ids of subnets for the peers (default: worst, middle and best of the profile)")
    p.add_argument("--trace", default="bursty:200,800,4")
    p.add_argument("--load", type=float, default=0.7)
    p.add_argument("--rate", type=float, default=0, help="instead of --load")
    p.add_argument("--slo-ms", type=float, default=36)
    p.add_argument("--duration", type=float, default=30)
    p.add_argument("--data", default="fashion-mnist")
    p.add_argument("--workers", type=int, default=1)
    p.add_argument("--policy", default="gamut")
    p.add_argument("--port", type=int, default=18080)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--force", action="store_true", help="a profile of another machine")
    a = p.parse_args()
    for name in ("gamut", "model", "profile"):
        setattr(a, name, os.path.abspath(getattr(a, name)))
    subnets = sorted(json.load(open(a.profile))["subnets"], key=lambda s: s["top1"])
    ids = a.choices or list(dict.fromkeys(s["id"] for s in (subnets[0], subnets[len(subnets) // 2], subnets[-1])))

    def say(**row):
        print(json.dumps(row), flush=True)

    rate = a.rate
    best = {}
    with tempfile.TemporaryDirectory() as folder:
        ours = [a.gamut, "serve", a.model, "--profile", a.profile, "--port", str(a.port), "--workers", str(a.workers), "--policy", a.policy]
        server = Server(ours + (["--force"] if a.force else []), f"http://127.0.0.1:{a.port}/v2/health/ready", folder)
        try:
            if rate <= 0:
                status = json.load(urllib.request.urlopen(f"http://127.0.0.1:{a.port}/v2/gamut/status"))
                rate = a.load * status["capacity"]["smallest_qps"]
            for encoding in ("json", "binary"):
                row = replay(a, rate, encoding, False)
                best[f"gamut {encoding}"] = row
                say(**dict(row, server="gamut", encoding=encoding, offered=rate))
        finally:
            server.stop()
    header = safetensors_header(a.model)
    for peer in PEERS if a.peer == "all" else [] if a.peer == "none" else [a.peer]:
        for subnet in ids:
            with tempfile.TemporaryDirectory() as folder:
                model = os.path.join(folder, "model.onnx")
                run([a.gamut, "export", a.model, "--choice", subnet, "--format", "onnx", "--out", model])
                environment = dict(os.environ, MODEL=model, WORKERS=str(a.workers), PORT=str(a.port), OMP_NUM_THREADS="1", **header)
                server = PEERS[peer](a, environment, folder)
                try:
                    row = replay(a, rate, "json", True)
                finally:
                    server.stop()
            say(**dict(row, server=peer, subnet=subnet, offered=rate))
            if peer not in best or row["met"] > best[peer]["met"]:
                best[peer] = row
    peers = [row["met"] / a.duration for name, row in best.items() if not name.startswith("gamut")]
    for encoding in ("json", "binary"):
        ours = best[f"gamut {encoding}"]["met"] / a.duration
        say(name=f"goodput {encoding}", ours=ours, peer=max(peers, default=None), ratio=ours / max(peers) if peers and max(peers) else None,
            unit="met/s", spread=None)


def safetensors_header(path):
    """Mean and deviation of the inputs, as the model file has them."""
    with open(path, "rb") as f:
        meta = json.loads(f.read(int.from_bytes(f.read(8), "little")))["__metadata__"]
    channels = range(int(meta["channels"]))
    mean = [float(meta[f"input_mean.{c}"]) for c in channels]
    std = [float(meta[f"input_std.{c}"]) or 1.0 for c in channels]
    return {"MEAN": json.dumps(mean), "STD": json.dumps(std)}


if __name__ == "__main__":
    main()
