"""Make the constants of vecmath.h: minimax polynomials (Remez) and split logarithms of 2.

python tools/coefficients.py            write src/fastloss/kernels/coefficients.h
python tools/coefficients.py --check    fail if the file differs
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import mpmath as mp
import numpy as np

OUTPUT = Path(__file__).parents[1] / "src/fastloss/kernels/coefficients.h"
Function = Callable[[mp.mpf], mp.mpf]

mp.mp.dps = 60


def remez(f: Function, weight: Function, low: mp.mpf, high: mp.mpf, degree: int) -> list[mp.mpf]:
    """Return the polynomial p (lowest power first) with the least max |weight (f - p)|.

    The exchange algorithm (Remez 1934; Muller, Elementary Functions, 3rd ed., section 3.6).
    """
    count = degree + 2
    middle, half = (low + high) / 2, (high - low) / 2
    nodes = [middle - half * mp.cos(mp.pi * i / (count - 1)) for i in range(count)]
    grid = [middle - half * mp.cos(mp.pi * i / 800) for i in range(801)]
    coefficients: list[mp.mpf] = []
    for _ in range(12):
        system = mp.matrix(count, count)
        right = mp.matrix(count, 1)
        for i, x in enumerate(nodes):
            for j in range(degree + 1):
                system[i, j] = x**j
            system[i, degree + 1] = (-1) ** i / weight(x)
            right[i] = f(x)
        solution = mp.lu_solve(system, right)
        coefficients = [solution[j] for j in range(degree + 1)]
        errors = [weight(x) * (f(x) - mp.polyval(coefficients[::-1], x)) for x in grid]
        extrema = alternating_extrema(grid, errors)
        if len(extrema) < count:
            break
        while len(extrema) > count:
            ends = (abs(errors[extrema[0]]), abs(errors[extrema[-1]]))
            extrema = extrema[1:] if ends[0] < ends[1] else extrema[:-1]
        sizes = [abs(errors[i]) for i in extrema]
        nodes = [grid[i] for i in extrema]
        if max(sizes) / min(sizes) < 1.001:
            break
    return coefficients


def alternating_extrema(grid: list[mp.mpf], errors: list[mp.mpf]) -> list[int]:
    """Return the position of the largest error of each sign change."""
    best: list[int] = []
    for i in range(len(grid)):
        if best and errors[i] * errors[best[-1]] > 0:
            if abs(errors[i]) > abs(errors[best[-1]]):
                best[-1] = i
        else:
            best.append(i)
    return best


def series(terms: Function, n: int) -> mp.mpf:
    """Sum of the first n terms."""
    return mp.fsum(terms(i) for i in range(n))


def exp_rest(r: mp.mpf) -> mp.mpf:
    """Factor q of exp(r) = 1 + r + r^2 q(r)."""
    return series(lambda i: r**i / mp.factorial(i + 2), 40)


def expm1_rest(r: mp.mpf) -> mp.mpf:
    """Factor w of expm1(r) = r + r^2/2 + r^3 w(r)."""
    return series(lambda i: r**i / mp.factorial(i + 3), 40)


def log1p_unit_rest(t: mp.mpf) -> mp.mpf:
    """Factor P of log1p(x) = x (7/8 + P(t)), x = t + 1/2."""
    x = t + mp.mpf(1) / 2
    if abs(x) < mp.mpf("0.01"):
        return series(lambda i: (-x) ** i / (i + 1), 40) - mp.mpf(7) / 8
    return mp.log1p(x) / x - mp.mpf(7) / 8


def log_cosh_rest(t: mp.mpf) -> mp.mpf:
    """Factor P of log cosh(r) = t/2 + t^2 P(t), t = r^2."""
    if t < mp.mpf("1e-8"):
        return -mp.mpf(1) / 12 + t / 45
    return (mp.log(mp.cosh(mp.sqrt(t))) / t - mp.mpf(1) / 2) / t


def log1p_small_rest(x: mp.mpf) -> mp.mpf:
    """Factor P of log1p(x) = x + x^2 P(x)."""
    if x < mp.mpf("0.01"):
        return series(lambda i: -((-x) ** i) / (i + 2), 40)
    return (mp.log1p(x) - x) / x**2


def atanh_rest(z: mp.mpf) -> mp.mpf:
    """Factor R of log((1 + s) / (1 - s)) = 2 s + s z R(z), z = s^2."""
    return series(lambda i: 2 * z**i / (2 * i + 3), 60)


def rounded(x: mp.mpf, dtype: type) -> str:
    """Return x rounded to the dtype, as a C constant."""
    text = float(dtype(float(x))).hex() if dtype is np.float32 else float(x).hex()
    mantissa, exponent = text.split("p")
    mantissa = mantissa.rstrip("0").rstrip(".")
    return f"{mantissa}p{exponent}" + ("f" if dtype is np.float32 else "")


def array(name: str, coefficients: list[mp.mpf], dtype: type, comment: str) -> str:
    """Return a macro for each number: of a polynomial's coefficients, lowest power first."""
    lines = [f"/* {comment} */"]
    lines += [f"#define {name}{i} {rounded(c, dtype)}" for i, c in enumerate(coefficients)]
    return "\n".join(lines)


def left_over(numbers: list[mp.mpf], dtype: type) -> list[mp.mpf]:
    """Return by what parts of themselves the numbers are larger than rounded to the dtype."""
    return [x / mp.mpf(float(dtype(float(x)))) - 1 for x in numbers]


def split_ln2(name: str, bits: int, dtype: type) -> str:
    """Return ln 2 as a high part, whose products with exponents are exact, and a rest."""
    high = mp.floor(mp.log(2) * mp.mpf(2) ** bits) / mp.mpf(2) ** bits
    low = mp.log(2) - high
    return (
        f"/* ln 2 = {name}_HI + {name}_LO; the high part has {bits} bits. */\n"
        f"#define {name}_HI {rounded(high, dtype)}\n"
        f"#define {name}_LO {rounded(low, dtype)}"
    )


def header() -> str:
    """Return the text of coefficients.h."""
    r_low, r_high = mp.log(mp.mpf(3) / 4), mp.log(mp.mpf(3) / 2)
    t_low, t_high = -mp.mpf(1) / 2, mp.mpf(1) / 2
    t_small, e_large = mp.mpf(9) / 16, mp.exp(-mp.mpf(3) / 2)
    z_high, z_unit = mp.mpf(1) / 25, mp.mpf(1) / 9
    step, steps = mp.log(2) / 32, [mp.mpf(2) ** (mp.mpf(j) / 16) for j in range(16)]

    # What multiplies the error of each polynomial in the relative error of its function, kept
    # from vanishing at 0.
    def exp_weight(r: mp.mpf) -> mp.mpf:
        return max(r * r, mp.mpf(2) ** -12) / mp.exp(r)

    def square_weight(x: mp.mpf) -> mp.mpf:
        return max(x * x, mp.mpf(2) ** -12)

    def log1p_unit_weight(t: mp.mpf) -> mp.mpf:
        return 1 / (log1p_unit_rest(t) + mp.mpf(7) / 8)

    def linear_weight(x: mp.mpf) -> mp.mpf:
        return max(x, mp.mpf(2) ** -12)

    parts = [
        "/* Made by tools/coefficients.py. */",
        "#ifndef FASTLOSS_COEFFICIENTS_H\n#define FASTLOSS_COEFFICIENTS_H",
        array("EXP_F32_", remez(exp_rest, exp_weight, r_low, r_high, 4), np.float32,
              "exp(r) = 1 + r + r^2 q(r), log(3/4) <= r <= log(3/2)"),
        array("EXP_F64_", remez(exp_rest, exp_weight, r_low, r_high, 9), np.float64,
              "the same in double"),
        array("EXP_STEP_F32_", remez(exp_rest, exp_weight, -step, step, 1), np.float32,
              "the same for |r| <= log(2)/32"),
        array("EXP_STEP_F64_", remez(exp_rest, exp_weight, -step, step, 4), np.float64,
              "the same in double"),
        array("EXP_TABLE_F32_", steps, np.float32, "2^(j/16)"),
        array("EXP_LEFT_F32_", left_over(steps, np.float32), np.float32,
              "what its rounding left over, as a part of it"),
        array("EXP_TABLE_F64_", steps, np.float64, "the same in double"),
        array("EXP_LEFT_F64_", left_over(steps, np.float64), np.float64,
              "what its rounding left over, as a part of it"),
        array("EXPM1_F32_", remez(expm1_rest, square_weight, r_low, r_high, 4), np.float32,
              "expm1(r) = r + r^2/2 + r^3 w(r), log(3/4) <= r <= log(3/2)"),
        array("EXPM1_F64_", remez(expm1_rest, square_weight, r_low, r_high, 9), np.float64,
              "the same in double"),
        array("LOG_F32_", remez(atanh_rest, linear_weight, mp.mpf(0), z_high, 2), np.float32,
              "log1p(f) = 2 s + s z R(z), s = f / (2 + f), z = s^2, -1/3 <= f <= 1/2"),
        array("LOG_F64_", remez(atanh_rest, linear_weight, mp.mpf(0), z_high, 6), np.float64,
              "the same in double"),
        array("LOG1P_UNIT_F64_", remez(atanh_rest, linear_weight, mp.mpf(0), z_unit, 9), np.float64,
              "the same for 0 <= f <= 1"),
        array("LOG1P_UNIT_F32_", remez(log1p_unit_rest, log1p_unit_weight, t_low, t_high, 9),
              np.float32, "log1p(x) = x (7/8 + P(x - 1/2)), 0 <= x <= 1"),
        array("LOG_COSH_F32_", remez(log_cosh_rest, linear_weight, mp.mpf(0), t_small, 4),
              np.float32, "log cosh(r) = t/2 + t^2 P(t), t = r^2, |r| <= 3/4"),
        array("LOG_COSH_F64_", remez(log_cosh_rest, linear_weight, mp.mpf(0), t_small, 11),
              np.float64, "the same in double"),
        array("LOG1P_SMALL_F32_", remez(log1p_small_rest, square_weight, mp.mpf(0), e_large, 4),
              np.float32, "log1p(x) = x + x^2 P(x), 0 <= x <= exp(-3/2)"),
        array("LOG1P_SMALL_F64_", remez(log1p_small_rest, square_weight, mp.mpf(0), e_large, 10),
              np.float64, "the same in double"),
        f"#define SQRT_HALF_F32 {rounded(mp.sqrt(mp.mpf(1) / 2), np.float32)}\n"
        f"#define SQRT_HALF_F64 {rounded(mp.sqrt(mp.mpf(1) / 2), np.float64)}",
        split_ln2("LN2_F32", 15, np.float32),
        split_ln2("LN2_F64", 41, np.float64),
        "#endif",
    ]  # fmt: skip
    return "\n\n".join(parts) + "\n"


def main() -> int:
    """Write or check the file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true")
    text = header()
    if not parser.parse_args().check:
        OUTPUT.write_text(text)
        return 0
    if OUTPUT.read_text() == text:
        return 0
    print(f"{OUTPUT} is not what tools/coefficients.py makes", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
