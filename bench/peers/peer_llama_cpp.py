"""llama.cpp (llama-cpp-python): Q4_0, flash attention, f16 cache; repacks while loading by itself."""

from importlib.metadata import version
from pathlib import Path

import llama_cpp

import common
from gguf_file import write_gguf


class Engine:
    def __init__(self, weights, threads):
        self.llama = llama_cpp.Llama(
            f"{weights}/model-q4_0.gguf",
            n_ctx=common.CONTEXT,
            n_batch=common.CHUNK,
            n_ubatch=common.CHUNK,
            n_threads=threads,
            n_threads_batch=threads,
            flash_attn=True,
            verbose=False,
        )

    def reset(self):
        self.llama.reset()

    def append(self, ids):
        self.llama.eval(ids)

    @staticmethod
    def convert(checkpoint, weights):
        whole = Path(weights) / "model-bf16.gguf"
        write_gguf(checkpoint, whole)
        params = llama_cpp.llama_model_quantize_default_params()
        params.ftype = llama_cpp.LLAMA_FTYPE_MOSTLY_Q4_0
        target = str(Path(weights) / "model-q4_0.gguf").encode()
        if llama_cpp.llama_model_quantize(str(whole).encode(), target, params) != 0:
            raise SystemExit("llama_model_quantize failed")
        whole.unlink()

    @staticmethod
    def version():
        return version("llama-cpp-python")


if __name__ == "__main__":
    common.main(Engine)
