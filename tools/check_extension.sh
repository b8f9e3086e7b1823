#!/usr/bin/env bash
# Build the extension under ASan and UBSan, with gcc and with clang, and run the tests that reach all
# its parts: PYTHON has pip and what the tests need.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
PYTHON=${PYTHON:-python3}
COMPILERS=${COMPILERS:-gcc clang}
SANITIZERS="-fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer"
# Of the tests of memory, those that limit or measure it cannot hold here.
TESTS=(tests/test_{accumulator,any_call,api,domains,dtypes,out,reductions,shapes,threads}.py)

# The runtime must come first in a process whose executable has none; with it the library whose
# exceptions it intercepts.
runtime() {
    if [[ $1 == clang ]]; then
        clang -print-file-name="libclang_rt.asan-$(uname -m).so"
    else
        "$1" -print-file-name=libasan.so
    fi
    gcc -print-file-name=libstdc++.so.6
}

check() { # compiler
    local folder=$PWD/build/extension-$1 flags=$SANITIZERS
    [[ $1 != clang ]] || flags+=" -shared-libasan"
    echo "== $1: $flags"
    rm -rf "$folder"
    mkdir -p "$folder"
    printf '[build]\nbuild_base = %s\n' "$folder/objects" >"$folder/setup.cfg"
    DIST_EXTRA_CONFIG=$folder/setup.cfg CC=$1 LDSHARED="$1 -shared" CFLAGS=$flags LDFLAGS=$flags \
        "$PYTHON" -m pip install --quiet --no-deps --target "$folder/package" .
    nm --dynamic "$folder/package/fastloss/_core.abi3.so" | grep -q __asan_report
    LD_PRELOAD=$(runtime "$1" | paste -sd ' ') PYTHONPATH=$folder/package \
        ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1 \
        "$PYTHON" -m pytest -q -p no:cacheprovider --capture=sys "${TESTS[@]}"
}

for compiler in $COMPILERS; do check "$compiler"; done
