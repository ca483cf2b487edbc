# Thin lines over CMake. `make run` and `make test` install the Debian packages they need.

BUILD = build
PREFIX = /usr/local
JOBS = $(shell nproc)
CMAKE_FLAGS =
FUZZ_SECONDS = 300
PEERS =
MODEL = built-in
PROMPT = <|system|>You are a helpful AI assistant.<|end|><|user|>Can you introduce yourself?<|end|><|assistant|>

MAKEFLAGS += --no-print-directory
.NOTPARALLEL:

.PHONY: run test build packages bench bench-peers test-peers test-devices test-runtimes install tsan fuzz clean

run: packages build
	$(BUILD)/phlox run --raw '$(PROMPT)'

packages:
	@sh tools/packages.sh run

build:
	@cmake --log-level=WARNING -B $(BUILD) $(CMAKE_FLAGS)
	cmake --build $(BUILD) --target phlox_program --parallel $(JOBS)

test:
	@sh tools/packages.sh test
	cmake -B $(BUILD) -DPHLOX_TESTS=ON $(CMAKE_FLAGS)
	cmake --build $(BUILD) --parallel $(JOBS)
	ctest --test-dir $(BUILD) --output-on-failure --no-tests=error --parallel $(JOBS)

# The tests that need OpenVINO and ONNX Runtime GenAI, which phlox fetches into the build directory.
test-devices:
	@sh tools/packages.sh test
	cmake -B $(BUILD) -DPHLOX_TESTS=ON $(CMAKE_FLAGS)
	cmake --build $(BUILD) --parallel $(JOBS)
	sh tests/runtimes/suite.sh $(BUILD)

# The same, and a full-size Phi-3-mini of random weights on each device: minutes, 20 GB of disk.
test-runtimes:
	@sh tools/packages.sh test
	cmake -B $(BUILD) -DPHLOX_TESTS=ON $(CMAKE_FLAGS)
	cmake --build $(BUILD) --parallel $(JOBS)
	sh tests/runtimes/suite.sh $(BUILD) full

bench: packages build
	$(BUILD)/phlox bench $(MODEL)

bench-peers: packages build
	python3 bench/peers/compare.py --phlox $(BUILD)/phlox $(PEERS)

test-peers: packages build
	python3 tests/peers/openvino_exports.py $(BUILD)/phlox $(PEERS)
	python3 tests/peers/onnx_exports.py $(BUILD)/phlox $(PEERS)
	python3 tests/peers/gguf_exports.py $(BUILD)/phlox $(PEERS)
	python3 tests/peers/huggingface_exports.py $(BUILD)/phlox $(PEERS)

install: packages
	cmake -B $(BUILD) -DCMAKE_INSTALL_PREFIX=$(PREFIX) $(CMAKE_FLAGS)
	cmake --build $(BUILD) --parallel $(JOBS) --target phlox_program phlox_static phlox_shared
	cmake --install $(BUILD)

tsan:
	@sh tools/packages.sh test
	cmake --preset tsan
	cmake --build --preset tsan --parallel $(JOBS)
	ctest --preset tsan

# Every fuzz target for FUZZ_SECONDS, one after the other.
fuzz:
	@sh tools/packages.sh test
	cmake --preset fuzz
	cmake --build --preset fuzz --parallel $(JOBS)
	for seeds in tests/fuzz/corpus/*; do \
	    sh tests/fuzz/run.sh build/fuzz/tests/fuzz/fuzz_$${seeds##*/} $$seeds $(FUZZ_SECONDS) || exit 1; \
	done

clean:
	rm -rf $(BUILD)
