"""OpenVINO on the CPU, stateful IR of optimum-intel: int4 symmetric, groups of 128, the rest int8."""

import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import openvino

import common


class Engine:
    def __init__(self, weights, threads):
        options = {
            "INFERENCE_NUM_THREADS": threads,
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": "1",
        }
        if os.environ.get("ONEDNN_MAX_CPU_ISA") == "AVX2":
            # The plugin looks at the CPU itself and would ask for int8 activations, which it has with VNNI only.
            options |= {"DYNAMIC_QUANTIZATION_GROUP_SIZE": 0, "INFERENCE_PRECISION_HINT": "f32"}
        model = openvino.Core().compile_model(f"{weights}/openvino_model.xml", "CPU", options)
        self.request = model.create_infer_request()
        self.names = {name for port in model.inputs for name in port.get_names()}
        self.length = 0

    def reset(self):
        self.request.reset_state()
        self.length = 0

    def append(self, ids):
        end = self.length + len(ids)
        inputs = {
            "input_ids": np.array([ids], np.int64),
            "attention_mask": np.ones((1, end), np.int64),
            "position_ids": np.arange(self.length, end, dtype=np.int64)[None],
            "beam_idx": np.zeros(1, np.int32),
        }
        self.request.infer({name: inputs[name] for name in inputs if name in self.names})
        self.length = end

    @staticmethod
    def convert(checkpoint, weights):
        command = [Path(sys.executable).parent / "optimum-cli", "export", "openvino", "-m", checkpoint]
        command += "--task text-generation-with-past --weight-format int4 --sym".split()
        command += "--group-size 128 --ratio 1.0".split()
        subprocess.run([*command, weights], check=True, stdout=sys.stderr)

    @staticmethod
    def version():
        return version("openvino")


if __name__ == "__main__":
    common.main(Engine)
