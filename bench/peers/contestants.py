"""Who takes part: how each is installed, restricted to an instruction set, and run."""

from dataclasses import dataclass, field

AVX2_FLAGS = "-DGGML_NATIVE=OFF -DGGML_AVX2=ON -DGGML_FMA=ON -DGGML_F16C=ON -DGGML_BMI2=ON"
AVX2_MASK = "avx-vnni,avx512,avx512-vnni,avx512-bf16"


@dataclass(frozen=True)
class Venv:
    packages: tuple
    cmake_args: str = ""  # for packages that are built from source


# The flash attention of ik_llama.cpp is compiled for every pair of cache types by default, most of its
# build time; only the f16 cache is used here. Its wheel on PyPI is built for AVX2, FMA and F16C.
VENVS = {
    "native": Venv(
        ("ik-llama-cpp-python", "llama-cpp-python", "gguf")
        + ("--no-binary=ik-llama-cpp-python,llama-cpp-python",),
        "-DGGML_NATIVE=ON -DGGML_IQK_FA_ALL_QUANTS=OFF",
    ),
    "avx2": Venv(("ik-llama-cpp-python", "llama-cpp-python", "gguf"), AVX2_FLAGS),
    "runtimes": Venv(("optimum-intel[openvino,nncf]", "onnxruntime-genai", "onnx-ir")),
}


@dataclass(frozen=True)
class Contestant:
    name: str
    isa: str  # native: whatever the CPU has; avx2: neither VNNI nor AVX-512
    script: str
    weights: str  # folder of the converted weights; who names the same folder shares them
    note: str  # what it runs, and how it was restricted
    venv: str = ""
    options: tuple = ()
    environment: dict = field(default_factory=dict)
    window: bool = False  # runs the checkpoint's sliding window, which the others do not have


Q4_0 = "Q4_0, f16 cache, flash attention"
OPENVINO = "int4 sym g128, the rest int8; cache as OpenVINO chooses"
OPENVINO_AVX2 = "ONEDNN_MAX_CPU_ISA=AVX2, float activations, as on a CPU without VNNI"

CONTESTANTS = (
    Contestant("phlox", "native", "peer_phlox.py", "phlox", "int4 sym g128, lm_head int8"),
    Contestant(
        *("phlox with window", "native", "peer_phlox.py", "phlox-window"),
        "the same with the checkpoint's sliding window",
        window=True,
    ),
    Contestant(
        *("ik_llama.cpp", "native", "peer_ik_llama_cpp.py", "gguf"),
        f"{Q4_0}, repacked while loading; built for this CPU",
        venv="native",
    ),
    Contestant(
        *("llama.cpp", "native", "peer_llama_cpp.py", "gguf", f"{Q4_0}; built for this CPU"),
        venv="native",
    ),
    Contestant(
        *("OpenVINO", "native", "peer_openvino.py", "openvino", OPENVINO),
        venv="runtimes",
    ),
    Contestant(
        *("ONNX Runtime", "native", "peer_onnxruntime.py", "onnxruntime"),
        "int4 sym g32, accuracy level 4; chooses its kernels itself and cannot be restricted",
        venv="runtimes",
    ),
    Contestant(
        *("phlox", "avx2", "peer_phlox.py", "phlox", f"--cpu-mask {AVX2_MASK}"),
        options=("--cpu-mask", AVX2_MASK),
    ),
    Contestant(
        *("ik_llama.cpp", "avx2", "peer_ik_llama_cpp.py", "gguf"),
        f"{Q4_0}, repacked while loading; the wheel of PyPI, built for AVX2",
        venv="avx2",
    ),
    Contestant(
        *("llama.cpp", "avx2", "peer_llama_cpp.py", "gguf", f"{Q4_0}; built with {AVX2_FLAGS}"),
        venv="avx2",
    ),
    Contestant(
        *("OpenVINO", "avx2", "peer_openvino.py", "openvino", f"{OPENVINO}; {OPENVINO_AVX2}"),
        venv="runtimes",
        environment={"ONEDNN_MAX_CPU_ISA": "AVX2", "DNNL_MAX_CPU_ISA": "AVX2"},
    ),
)
