"""Build the extension module; everything else is in pyproject.toml."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

PACKAGE = Path("src/fastloss")
# One extension for CPython 3.11 and all later ones; a free-threaded interpreter has no such ABI.
STABLE_ABI = not sysconfig.get_config_var("Py_GIL_DISABLED")
# The loops vectorise only with -O3 and the two -fno-; contraction needs gnu11. Nothing here may
# change what NaN and infinity mean.
FLAGS = [
    "-std=gnu11",
    "-O3",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-ffp-contract=fast",
    "-fopenmp-simd",
]
# Debugging information would be a third of the wheel.
UNIX_FLAGS = ["-g0", "-fvisibility=hidden", "-pthread"]
# Without the first gcc handles the first elements of every block one by one. Without the second,
# which only x86-64 knows, it reads some vectors twice, and does other things that suit no processor
# best: some kernels take up to 1.3 times as long. Without the third it clears what a kernel adds up
# by calls of memset. Without the fourth it may move vectors through MMX registers, which leaves the
# x87 unit unusable: long doubles, and whatever else is computed there, are NaN afterwards. Without
# the last kernels guard their stack, which Debian's Python and Ubuntu's gcc ask for: all that they
# write there are arrays of fixed sizes, and the sanitizers watch those.
OPTIONAL_FLAGS = [
    "--param=vect-max-peeling-for-alignment=0",
    "-mtune=skylake",
    "-fno-tree-loop-distribute-patterns",
    "-mno-mmx",
    "-fno-stack-protector",
]
OPENMP_TEST = "#include <omp.h>\nint main(void) { return omp_get_max_threads() < 1; }\n"


class BuildExtension(build_ext):
    """Ask the compiler what it has before the extension is built."""

    def build_extensions(self) -> None:
        """Choose the flags, then build."""
        if self.compiler.compiler_type == "msvc":
            self.use_clang_cl()
            compile_flags, link_flags = [f"/clang:{flag}" for flag in FLAGS], []
        else:
            compile_flags, link_flags = self.unix_flags()
        for extension in self.extensions:
            extension.extra_compile_args = compile_flags
            extension.extra_link_args = link_flags
        super().build_extensions()

    def use_clang_cl(self) -> None:
        """Take clang-cl for cl, which has neither the attributes nor the loops of the kernels."""
        clang = shutil.which("clang-cl")
        if clang is None:
            raise SystemExit("fastloss needs clang-cl, a part of LLVM, to be built on Windows")
        self.compiler.initialize(self.plat_name)
        self.compiler.cc = clang
        self.compiler.compile_options.remove("/GL")

    def unix_flags(self) -> tuple[list[str], list[str]]:
        """Flags of compiler and linker."""
        known = [flag for flag in OPTIONAL_FLAGS if self.compiles("int main(void) {}\n", flag)]
        flags = FLAGS + UNIX_FLAGS + known
        if sys.platform == "darwin":  # Grand Central Dispatch; a second libomp would crash torch's
            return flags, []
        openmp = ["-fopenmp"] if self.compiles(OPENMP_TEST, "-fopenmp") else []
        print(
            "fastloss: built with OpenMP"
            if openmp
            else "fastloss: THE COMPILER HAS NO OPENMP (-fopenmp): its limits will not be seen",
            flush=True,
        )
        return flags + openmp, ["-pthread", *openmp]

    def compiles(self, program: str, flag: str) -> bool:
        """Whether a program can be compiled and linked with a flag."""
        command: list[Any] = list(self.compiler.compiler_so)
        with tempfile.TemporaryDirectory() as directory:
            source = Path(directory, "probe.c")
            source.write_text(program)
            command += ["-Werror", flag, str(source), "-o", os.path.join(directory, "probe")]
            return subprocess.run(command, capture_output=True, check=False).returncode == 0


core = Extension(
    "fastloss._core",
    sources=[str(PACKAGE / "_core.pyx"), *sorted(map(str, PACKAGE.glob("kernels/*.c")))],
    depends=["setup.py", *map(str, [*PACKAGE.glob("kernels/**/*.h"), *PACKAGE.glob("*.pxi")])],
    include_dirs=[str(PACKAGE / "kernels"), np.get_include()],
    define_macros=[
        ("NPY_NO_DEPRECATED_API", "NPY_2_0_API_VERSION"),
        *([("Py_LIMITED_API", "0x030B0000")] if STABLE_ABI else []),
    ],
    py_limited_api=STABLE_ABI,
)

setup(
    ext_modules=cythonize([core]),
    cmdclass={"build_ext": BuildExtension},
    options={"bdist_wheel": {"py_limited_api": "cp311"}} if STABLE_ABI else {},
)
