# The two commands of the README are `make demo` and `make test`; nothing is installed outside .venv.
PYTHON ?= python3
CXX ?= c++
VENV := .venv
BIN := $(VENV)/bin
SOURCES := $(shell find csrc python -type f -not -path '*/.*' -not -path '*/__pycache__/*' -not -name '*.so') CMakeLists.txt pyproject.toml

.PHONY: demo test lint native emulate wheel bench clean check-tools

demo: $(VENV)/.installed
	$(BIN)/recurlm demo $(DEMO_FLAGS)

test: $(VENV)/.installed-test
	$(BIN)/python -m pytest $(PYTEST_FLAGS)

lint: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Sanitizers on the native test binary: make native PRESET=asan (or ubsan, tsan).
PRESET ?= asan
native: $(VENV)/.installed-test
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/cmake --workflow --preset $(PRESET)

# Other machines: 64-bit ARM, Windows, and x86 without AVX2 or AVX-512.
# Debian: apt install g++-aarch64-linux-gnu qemu-user clang lld g++-mingw-w64-x86-64-posix wine64
emulate: $(VENV)/.installed-test
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/cmake --workflow --preset aarch64
	PATH="$(abspath $(BIN)):$$PATH" WINEDEBUG=-all $(BIN)/cmake --workflow --preset windows
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/cmake --workflow --preset release
	for cpu in Nehalem Haswell-noTSX; do \
	  qemu-x86_64 -cpu $$cpu build/release/tests/native/recurlm_native_test build/release/tests/native/cases.bin && \
	  qemu-x86_64 -cpu $$cpu build/release/tests/native/recurlm_generation_test || exit 1; \
	done

# The wheel of this machine, and its tests from it in an environment of its own.
WHEELS := build/wheels
wheel: $(BIN)/python
	rm -rf $(WHEELS)
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir $(WHEELS) .
	$(PYTHON) -m venv $(WHEELS)/venv
	$(WHEELS)/venv/bin/python -m pip install --quiet "$$(ls $(WHEELS)/*.whl)[test]"
	PATH="$(abspath $(WHEELS)/venv/bin):$$PATH" $(WHEELS)/venv/bin/python -m pytest -p no:cacheprovider $(PYTEST_FLAGS)

bench: $(VENV)/.installed
	$(BIN)/python -m bench

check-tools:
	@command -v $(CXX) >/dev/null || { echo "recurlm needs a C++17 compiler (Debian: apt install build-essential)" >&2; exit 1; }
	@command -v $(PYTHON) >/dev/null || { echo "recurlm needs Python 3.10 or newer (Debian: apt install python3)" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { echo "recurlm needs Python 3.10 or newer; set PYTHON=..." >&2; exit 1; }
	@$(PYTHON) -c 'import os, sysconfig, sys; sys.exit(not os.path.exists(os.path.join(sysconfig.get_paths()["include"], "Python.h")))' || { echo "recurlm needs the Python headers (Debian: apt install python3-dev)" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "recurlm needs Python's venv module (Debian: apt install python3-venv)" >&2; exit 1; }

$(BIN)/python: | check-tools
	$(PYTHON) -m venv $(VENV)

PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check

$(VENV)/.installed: $(BIN)/python $(SOURCES)
	@echo "building recurlm: one to three minutes, without a word"
	$(PIP_INSTALL) .
	@touch $@

# The package with what tests, linters and native builds need, in one build.
$(VENV)/.installed-test: $(BIN)/python $(SOURCES)
	@echo "building recurlm and installing what its tests need: some minutes, without a word"
	$(PIP_INSTALL) '.[test]'
	@touch $(VENV)/.installed $@

clean:
	rm -rf build $(VENV)
