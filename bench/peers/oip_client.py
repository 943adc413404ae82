# SPDX-License-Identifier: Apache-2.0
"""A public client of the Open Inference Protocol against gamut serve: health, metadata, inference, statistics.

    pip install "tritonclient[http]" numpy
    gamut serve --stub --port 8000 &
    python3 bench/peers/oip_client.py --url 127.0.0.1:8000 --model stub
"""
import argparse

import numpy as np
import tritonclient.http as triton

p = argparse.ArgumentParser()
p.add_argument("--url", default="127.0.0.1:8000")
p.add_argument("--model", default="stub")
a = p.parse_args()

client = triton.InferenceServerClient(a.url)
assert client.is_server_live() and client.is_server_ready() and client.is_model_ready(a.model)
print(client.get_server_metadata())
meta = client.get_model_metadata(a.model)
side = meta["inputs"][0]["shape"][1:]
print([m["name"] for m in client.get_model_repository_index()])

x = np.zeros((3, *side), np.uint8)
x[:, 0, 0, 0] = 7, 8, 9
for binary in (True, False):
    tensor = triton.InferInput("image", x.shape, "UINT8")
    tensor.set_data_from_numpy(x, binary_data=binary)
    wanted = [triton.InferRequestedOutput(name, binary_data=binary) for name in ("class", "probabilities")]
    answer = client.infer(a.model, [tensor], outputs=wanted, request_id="42", timeout=500000, priority=1)
    said = answer.get_response()
    assert said["id"] == "42"
    print("binary" if binary else "json", answer.as_numpy("class"), answer.as_numpy("probabilities").shape, said["parameters"])
print(client.get_inference_statistics(a.model)["model_stats"][0]["inference_count"], "images so far")
