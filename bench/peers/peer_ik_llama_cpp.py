"""ik_llama.cpp (ik-llama-cpp-python): Q4_0, repacked while loading, flash attention, f16 cache."""

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import ik_llama_cpp._ctypes_api as api
from ik_llama_cpp._internals import make_batch_range
from ik_llama_cpp.quantize import find_quantize_bin

import common
from gguf_file import write_gguf


class Engine:
    def __init__(self, weights, threads):
        api.llama_backend_init()
        params = api.llama_model_default_params()
        params.use_mmap = False
        params.repack_tensors = True
        self.model = api.llama_model_load_from_file(f"{weights}/model-q4_0.gguf".encode(), params)
        context = api.llama_context_default_params()
        context.n_ctx = common.CONTEXT
        context.n_batch = context.n_ubatch = common.CHUNK
        context.n_threads = context.n_threads_batch = threads
        context.flash_attn = True
        self.context = api.llama_init_from_model(self.model, context)
        self.length = 0

    def reset(self):
        api.llama_kv_cache_clear(self.context)
        self.length = 0

    def append(self, ids):
        batch = make_batch_range(ids, pos_start=self.length)
        if api.llama_decode(self.context, batch) != 0:
            raise SystemExit("llama_decode failed")
        api.llama_batch_free(batch)
        self.length += len(ids)

    @staticmethod
    def convert(checkpoint, weights):
        whole = Path(weights) / "model-bf16.gguf"
        write_gguf(checkpoint, whole)
        target = Path(weights) / "model-q4_0.gguf"
        subprocess.run([find_quantize_bin(), whole, target, "Q4_0"], check=True, stdout=sys.stderr)
        whole.unlink()

    @staticmethod
    def version():
        return version("ik-llama-cpp-python")


if __name__ == "__main__":
    common.main(Engine)
