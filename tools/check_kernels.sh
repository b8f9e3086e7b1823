#!/usr/bin/env bash
# Build the kernels without Python (tests/kernels/harness.c) and run their own tests:
#
#   tools/check_kernels.sh sanitize   under ASan and UBSan with gcc and clang, under TSan with clang
#   tools/check_kernels.sh fuzz       libFuzzer with ASan and UBSan, for SECONDS_OF_FUZZING
#   tools/check_kernels.sh aarch64    cross-compiled, under qemu
#   tools/check_kernels.sh targets    compiled for Windows, macOS and musl by zig (Python's ziglang)
#
# PYTHON has mpmath and NumPy, and can import fastloss, for the table of exact values.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
PYTHON=${PYTHON:-python3}
SECONDS_OF_FUZZING=${SECONDS_OF_FUZZING:-120}
PASSES=${PASSES:-5000}
BUILD=build/kernels
FLAGS=(-std=gnu11 -fno-math-errno -fno-trapping-math -ffp-contract=fast -fopenmp-simd -g
    -Wall -Wextra -Werror -Wno-pass-failed -Isrc/fastloss/kernels "-I$BUILD")
SOURCES=(src/fastloss/kernels/*.c tests/kernels/harness.c)
MEMORY=(-fsanitize=address,undefined -fno-sanitize-recover=all)

compile() { # folder of the objects, compiler and flags
    local objects=$1 source job jobs=()
    shift
    rm -rf "$objects"
    mkdir -p "$objects"
    for source in "${SOURCES[@]}"; do
        "$@" "${FLAGS[@]}" -c "$source" -o "$objects/$(basename "$source" .c).o" &
        jobs+=($!)
    done
    for job in "${jobs[@]}"; do wait "$job"; done
}

build() { # name, compiler and flags
    local name=$1
    shift
    echo "== $name: $*"
    compile "$BUILD/$name.objects" "$@"
    "$@" "$BUILD/$name.objects"/*.o -o "$BUILD/$name" -lm
}

check() { # command
    "$@" values
    "$@" random "$PASSES"
}

sanitize() {
    local compiler
    for compiler in gcc clang; do
        build "memory-$compiler" "$compiler" -O1 "${MEMORY[@]}"
        check "$BUILD/memory-$compiler"
    done
    build threads clang -O1 -pthread -fsanitize=thread
    TSAN_OPTIONS=halt_on_error=1 "$BUILD/threads" random "$PASSES"
}

fuzz() {
    build fuzz clang -O1 -DFUZZ -fsanitize=fuzzer "${MEMORY[@]}"
    mkdir -p "$BUILD/corpus"
    "$BUILD/fuzz" -max_len=512 -len_control=0 -max_total_time="$SECONDS_OF_FUZZING" -verbosity=0 \
        -print_final_stats=1 -artifact_prefix="$BUILD/" "$BUILD/corpus"
}

aarch64() {
    build aarch64 aarch64-linux-gnu-gcc -O3 -static
    check qemu-aarch64 "$BUILD/aarch64"
}

targets() {
    local target
    for target in {x86_64,aarch64}-{windows-gnu,macos,linux-musl}; do
        echo "== $target"
        compile "$BUILD/target.objects" "$PYTHON" -m ziglang cc -target "$target" -O3
    done
}

make_table() {
    mkdir -p "$BUILD"
    "$PYTHON" tests/kernels/table.py >"$BUILD/table.h"
}

case ${1:-} in
    sanitize | fuzz | aarch64 | targets) make_table && "$1" ;;
    *) echo "usage: ${BASH_SOURCE[0]} sanitize | fuzz | aarch64 | targets" >&2; exit 2 ;;
esac
