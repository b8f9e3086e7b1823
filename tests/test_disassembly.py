"""The loops of every kernel use packed arithmetic of their instruction set's width."""

from __future__ import annotations

import platform
import re
import shutil
import subprocess

import pytest

from fastloss import _core

pytestmark = [
    pytest.mark.skipif(platform.machine() not in {"x86_64", "AMD64"}, reason="x86-64 only"),
    pytest.mark.skipif(shutil.which("objdump") is None, reason="needs objdump"),
    pytest.mark.skipif(_core.compiler().startswith("clang"), reason="clang's code is not pinned"),
]
REGISTER = {"v3": "ymm", "v4": "zmm"}
# Packed floating-point arithmetic on one of these registers.
ARITHMETIC = re.compile(
    r"\tv(?:add|sub|mul|div|sqrt|max|min|cmp\w*|blend\w*|and\w*|or|xor|fn?m(?:add|sub)\d+)p[sd]\s.*%"
)
POINTWISE_MODES = ("sum", "wsum", "loss", "grad", "sum_grad", "loss_grad", "grad_hess")
# Modes of the kernels for labels of a sum of terms.
OWN_MODES = ("loss", "grad", "loss_grad", "grad_hess")
# Pointwise losses with a loop for what is unusual.
UNUSUAL = ("binary_cross_entropy", "squared_log_error")
# Functions that kernels of softmax call.
FOR_A_BLOCK = ("sums_of_planes", "check_across", "check_along")
LAYOUTS = ("across", "planes", "along")
TARGETS = ("dense", "smoothed", "sparse", "plain")


def functions() -> dict[str, list[str]]:
    listing = subprocess.run(
        ["objdump", "-d", "--no-show-raw-insn", _core.__file__],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    found: dict[str, list[str]] = {}
    for block in listing.split("\n\n"):
        head, *lines = block.strip().splitlines() or [""]
        name = re.fullmatch(r"[0-9a-f]+ <(\w+)(?:\.[\w.]+)?>:", head)
        if name:
            found.setdefault(name[1], []).extend(lines)
    return found


def takes(kernel: str, layout: str, target: str) -> bool:
    """Whether there is a kernel; of a sum of terms, labels have kernels of their own."""
    if layout == "planes" or target == "sparse":
        return kernel == "softmax"
    return target != "smoothed" or kernel != "kl_divergence_term"


def kernel_names(isa: str) -> list[str]:
    pointwise, rowwise = _core.kernels()
    names = []
    for dtype in ("f32", "f64"):
        names += [f"{k}_{dtype}_{mode}_{isa}" for k in pointwise for mode in POINTWISE_MODES]
        names += [
            f"{k}_{dtype}_{step}_{layout}_{target}_{isa}"
            for k in rowwise
            for step in ("accumulate", "derive")
            for layout in LAYOUTS
            for target in TARGETS
            if takes(k, layout, target)
        ]
        steps = ("scan_across", "scan_along", "again_along", "finish", *FOR_A_BLOCK)
        names += [f"softmax_{dtype}_{step}_{isa}" for step in steps]
        names += [f"{k}_{dtype}_terms_{isa}" for k in rowwise if k != "softmax"]
        names += [f"{k}_{dtype}_any_block_{isa}" for k in UNUSUAL]
        names += [f"cross_entropy_term_{dtype}_own_{mode}_{isa}" for mode in OWN_MODES]
    return names


def body(name: str, listing: dict[str, list[str]]) -> list[str]:
    """Return the code of a function; the compiler makes a jump of one that equals another."""
    lines = listing[name]
    jump = re.search(r"\tjmp\s+[0-9a-f]+ <(\w+)>", lines[0])
    return listing[jump[1]] if jump else lines


@pytest.fixture(scope="module")
def listing() -> dict[str, list[str]]:
    return functions()


@pytest.mark.parametrize("isa", ["v3", "v4"])
def test_kernels_are_vectorised(isa: str, listing: dict[str, list[str]]) -> None:
    register = REGISTER[isa]
    names = kernel_names(isa)
    missing = [name for name in names if name not in listing]
    assert not missing
    scalar = [
        name
        for name in names
        if not any(ARITHMETIC.search(line) and register in line for line in body(name, listing))
    ]
    assert not scalar


def test_no_library_calls(listing: dict[str, list[str]]) -> None:
    """A call inside a loop would undo it: kernels call but what works on a block."""
    for_a_block = re.compile(
        rf"<((weighted_)?total|multiply|fetch_part|in_next_block|put_past|\w+_(sum_grad|any_block|{'|'.join(FOR_A_BLOCK)}))_"
    )
    calling = {
        name: line.split("\t")[-1]
        for isa in _core.isa_compiled()
        for name in kernel_names(isa)
        if "any_block" not in name
        for line in listing.get(name, [])
        if re.search(r"\tcall\s", line) and not for_a_block.search(line)
    }
    assert not calling


def test_no_mmx(listing: dict[str, list[str]]) -> None:
    """Its registers are those of the x87 unit, which long doubles need."""
    assert not [name for name in listing for line in listing[name] if re.search("%mm[0-7]", line)]


def test_baseline_has_no_avx(listing: dict[str, list[str]]) -> None:
    """Code for older processors must not hold instructions that they lack."""
    wide = [
        name
        for name, lines in listing.items()
        if not name.endswith(("_v3", "_v4")) and any(re.search(r"%[yz]mm", line) for line in lines)
    ]
    assert not wide
