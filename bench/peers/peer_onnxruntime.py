"""ONNX Runtime GenAI on the CPU: int4 symmetric, groups of 32, accuracy level 4 (int8 activations)."""

import json
import subprocess
import sys
from importlib.metadata import version

import numpy as np
import onnxruntime_genai

import common


class Engine:
    def __init__(self, weights, threads):
        config = onnxruntime_genai.Config(weights)
        session = {"intra_op_num_threads": threads}
        config.overlay(json.dumps({"model": {"decoder": {"session_options": session}}}))
        self.model = onnxruntime_genai.Model(config)
        self.reset()

    def reset(self):
        params = onnxruntime_genai.GeneratorParams(self.model)
        params.set_search_options(max_length=common.CONTEXT, do_sample=False)
        self.generator = onnxruntime_genai.Generator(self.model, params)

    def append(self, ids):
        self.generator.append_tokens(np.array(ids, np.int32))
        self.generator.get_logits()

    @staticmethod
    def convert(checkpoint, weights):
        command = [sys.executable, "-m", "onnxruntime_genai.models.builder", "-i", checkpoint, "-o", weights]
        command += ["-p", "int4", "-e", "cpu", "-c", f"{weights}/cache"]
        command += ["--extra_options", "accuracy_level=4", "block_size=32"]
        subprocess.run(command, check=True, stdout=sys.stderr)

    @staticmethod
    def version():
        return f"genai {version('onnxruntime-genai')}, onnxruntime {version('onnxruntime')}"


if __name__ == "__main__":
    common.main(Engine)
