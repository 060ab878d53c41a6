"""ONNX Runtime's side: the PyTorch twin of a network, exported and run with all graph optimisations."""

from __future__ import annotations

import tempfile
import time
import warnings
from pathlib import Path

import onnxruntime
import torch

from benchmarks import nets
from benchmarks.contenders import torch_nets


def export(net: nets.Net, x: torch.Tensor) -> bytes:
    """The network as an ONNX model for this batch size."""
    module = torch_nets.model(net).eval()
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = Path(folder) / "net.onnx"
        torch.onnx.export(module, (x,), str(path), dynamo=True, external_data=False, verbose=False)
        return path.read_bytes()


class Predict:
    """A batch through ``InferenceSession.run``, NumPy in and out."""

    def __init__(self, net: str, threads: int, batch: int):
        torch.set_num_threads(threads)
        table = nets.NETS[net]
        x = torch_nets.place(table, nets.data(table, 1)[0][:batch], last=False)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        self.session = onnxruntime.InferenceSession(export(table, x), options, providers=["CPUExecutionProvider"])
        self.feed = {self.session.get_inputs()[0].name: x.numpy()}
        self.run(3)

    def run(self, n: int) -> tuple[float, int]:
        session, feed = self.session, self.feed
        began = time.perf_counter()
        for _ in range(n):
            session.run(None, feed)
        return time.perf_counter() - began, n

    def outputs(self) -> list[list[float]]:
        return self.session.run(None, self.feed)[0][:4].astype(float).tolist()
