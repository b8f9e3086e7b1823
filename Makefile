# Every target makes the virtual environment that it needs.
PYTHON ?= python3
SOURCES := $(shell find src setup.py pyproject.toml -type f ! -name '*.so' ! -name '_core.c' ! -path '*__pycache__*')

# What `make accuracy` measures: vecmath, losses or sums; all of them if this is empty.
PART ?=

# Interpreters in which `make wheel` installs and tests the wheel.
PYTHONS ?= $(PYTHON)

.PHONY: help test peers-tests large demo lint bench peers plots accuracy instructions sanitize fuzz wheel clean

help:
	@echo "make test      the package in a virtual environment, and its tests"
	@echo "make peers-tests  scikit-learn's tests of its losses and trees, with fastloss below"
	@echo "make demo      the flights of 2013, fitted and scored under three losses"
	@echo "make lint      formatting, types, generated files"
	@echo "make bench     every loss against plain NumPy"
	@echo "make peers     speed beside scikit-learn, torch, jax and numba, where they are installed"
	@echo "make plots     the same against the size, as pictures in docs/speed"
	@echo "make accuracy  errors of everything, beside other libraries; refreshes docs/accuracy.md"
	@echo "make instructions  how many instructions each kernel takes, against the table in tools"
	@echo "make large     arrays of more than 2^31 elements (24 GB of disk)"
	@echo "make sanitize  kernels and extension under ASan, UBSan and TSan; needs gcc and clang"
	@echo "make fuzz      the kernels under libFuzzer; needs clang"
	@echo "make wheel     sdist and wheel, checked, installed and tested (PYTHONS=...)"

.venv-%/installed: $(SOURCES)
	$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and 'Python 3.11 or newer is needed')"
	$(PYTHON) -m venv .venv-$*
	.venv-$*/bin/pip install --quiet --upgrade "pip>=25.1"
	.venv-$*/bin/pip install --quiet --group $* ".[score]"
	@touch $@

test: .venv-test/installed
	.venv-test/bin/python -m pytest -n auto

# The first two variables let more of scikit-learn's tests run; the last is for the plugin.
peers-tests: export SCIPY_ARRAY_API = 1
peers-tests: export SKLEARN_RUN_FLOAT32_TESTS = 1
peers-tests: export PYTHONPATH = tests/peers
peers-tests: .venv-peers-tests/installed
	.venv-peers-tests/bin/python -m pytest -c tests/peers/pytest.ini -p fastloss_in_sklearn -q \
		tests/peers --pyargs sklearn._loss sklearn.linear_model.tests.test_linear_loss \
		sklearn.linear_model._glm sklearn.ensemble._hist_gradient_boosting.tests.test_gradient_boosting

demo: .venv-demo/installed
	.venv-demo/bin/python demo/flights.py

lint: .venv-lint/installed
	.venv-lint/bin/ruff check .
	.venv-lint/bin/ruff format --check .
	.venv-lint/bin/mypy
	PATH=.venv-lint/bin:$$PATH .venv-lint/bin/cython-lint src/fastloss/_core.pyx src/fastloss/_accumulate.pxi
	.venv-lint/bin/clang-format --dry-run --Werror $$(find src tests tools benchmarks -name '*.[ch]' ! -name _core.c)
	.venv-lint/bin/python tools/coefficients.py --check
	.venv-lint/bin/python tools/make_stub.py --check
	.venv-lint/bin/zizmor --offline --quiet .github/workflows

bench: .venv-bench/installed
	.venv-bench/bin/python -m pytest benchmarks -p no:cacheprovider -q --benchmark-columns=min,median --benchmark-sort=min --benchmark-min-rounds=5 --benchmark-max-time=0.1

peers: .venv-bench/installed
	.venv-bench/bin/python benchmarks/peers.py --write benchmarks/README.md

plots: .venv-bench/installed
	.venv-bench/bin/python benchmarks/plots.py

accuracy: .venv-accuracy/installed
	.venv-accuracy/bin/python tools/accuracy/table.py $(PART)

instructions: .venv-test/installed
	.venv-test/bin/python tools/instruction_counts.py --check

large: .venv-test/installed
	.venv-test/bin/python -m pytest -m large

sanitize: .venv-test/installed
	PYTHON=.venv-test/bin/python tools/check_kernels.sh sanitize
	PYTHON=.venv-test/bin/python tools/check_extension.sh

fuzz: .venv-test/installed
	PYTHON=.venv-test/bin/python tools/check_kernels.sh fuzz

wheel: .venv-wheel/installed
	.venv-wheel/bin/python tools/check_wheel.py $(PYTHONS)

clean:
	rm -rf .venv-* build dist src/fastloss.egg-info src/fastloss/_core.c src/fastloss/*.so
