"""Build the extension module; everything else is in pyproject.toml."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

PACKAGE = Path("src/fastloss")
# The loops vectorise only with -O3 and the two -fno-; contraction needs gnu11. Nothing here may
# change what NaN and infinity mean.
FLAGS = [
    "-std=gnu11",
    "-O3",
    "-g1",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-ffp-contract=fast",
    "-fopenmp-simd",
    "-fvisibility=hidden",
]
# Without it gcc handles the first elements of every block one by one.
OPTIONAL_FLAGS = ["--param=vect-max-peeling-for-alignment=0"]
OPENMP_TEST = "#include <omp.h>\nint main(void) { return omp_get_max_threads() < 1; }\n"


class BuildExtension(build_ext):
    """Ask the compiler what it has before the extension is built."""

    def build_extensions(self) -> None:
        """Choose the flags, then build."""
        known = [flag for flag in OPTIONAL_FLAGS if self.compiles("int main(void) {}\n", flag)]
        openmp = ["-fopenmp"] if self.compiles(OPENMP_TEST, "-fopenmp") else []
        print(
            "fastloss: built with OpenMP"
            if openmp
            else "fastloss: THE COMPILER HAS NO OPENMP (-fopenmp): calls will use one thread",
            flush=True,
        )
        for extension in self.extensions:
            extension.extra_compile_args = FLAGS + known + openmp
            extension.extra_link_args = openmp
        super().build_extensions()

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
    depends=sorted(map(str, PACKAGE.glob("kernels/**/*.h"))),
    include_dirs=[str(PACKAGE / "kernels"), np.get_include()],
    define_macros=[("NPY_NO_DEPRECATED_API", "NPY_2_0_API_VERSION")],
)

setup(ext_modules=cythonize([core]), cmdclass={"build_ext": BuildExtension})
