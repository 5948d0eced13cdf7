#!/usr/bin/env bash
# The long checks, outside .ci/run: the native tests under AddressSanitizer with UndefinedBehaviorSanitizer (10,000 networks of random geometry among
# them), and under ThreadSanitizer; 10,000 random graphs in the engine and by evaluate, 10,000 ONNX models whose constants are computed, rightly or not;
# every float32 through every activation, and wide layers against what loses most; every public call with junk in every place;
# processes that end at 40 moments of a run, 200 engines; networks of 300 MB as ONNX.
# Ends with `N passed, N failed`.
set -u
cd "$(dirname "$0")/.."
passed=0
failed=0

# name, sanitizers, options of the runtime, filter of tests, networks of random geometry
check() {
  local folder="build-native/$1"
  printf '\n== %s\n' "$1"
  if cmake -S . -B "$folder" -DREPFUSE_TESTS=ON -DCMAKE_BUILD_TYPE=RelWithDebInfo -DCMAKE_CXX_FLAGS="-fsanitize=$2 -fno-omit-frame-pointer -Wno-uninitialized" \
    -DCMAKE_CXX_FLAGS_RELWITHDEBINFO='-O1 -g' >/dev/null && cmake --build "$folder" -j "$(nproc)" >/dev/null &&
    env "$3" REPFUSE_GEOMETRY_CASES="${5:-600}" "$folder/native_tests" --gtest_brief=1 --gtest_filter="$4"; then passed=$((passed + 1)); else failed=$((failed + 1)); fi
}

# WithoutMemory limits the address space, which the sanitizer itself needs.
check address-undefined 'address,undefined,float-cast-overflow -fno-sanitize-recover=all' ASAN_OPTIONS=detect_leaks=1:allocator_may_return_null=1 '-*WithoutMemory*' 10000
# The shape sweeps are single-threaded arithmetic: what threads share is in the others.
check thread thread TSAN_OPTIONS=halt_on_error=1:allocator_may_return_null=1 '-EngineConvTest.*:PrecisionTest.*:NonfiniteTest.*'
# All 2^32 float32 values of every activation at every level; wide layers against what loses most.
printf '\n== native sweeps\n'
if cmake -S . -B build-native -DREPFUSE_TESTS=ON >/dev/null && cmake --build build-native -j "$(nproc)" --target native_tests >/dev/null &&
  REPFUSE_EVERY_FLOAT=1 REPFUSE_WIDE_LAYERS=1 build-native/native_tests --gtest_brief=1 --gtest_filter='*ActivationsTest*:PrecisionTest*'; then passed=$((passed + 1)); else failed=$((failed + 1)); fi
printf '\n== random graphs\n'
if REPFUSE_RANDOM_GRAPHS=10000 npx jest test/engine/random-graphs.test.ts; then passed=$((passed + 1)); else failed=$((failed + 1)); fi
printf '\n== graphs of constants\n'
if REPFUSE_CONSTANT_GRAPHS=10000 npx jest test/onnx/constant-graphs.test.ts; then passed=$((passed + 1)); else failed=$((failed + 1)); fi
printf '\n== calls with junk\n'
if REPFUSE_JUNK=all npx jest test/arguments/junk.test.ts; then passed=$((passed + 1)); else failed=$((failed + 1)); fi
printf '\n== lifetimes and large exports\n'
if REPFUSE_LIFETIMES=all REPFUSE_EXPORTS=all npx jest test/engine/lifetimes.test.ts test/graph/export-onnx.test.ts; then passed=$((passed + 1)); else failed=$((failed + 1)); fi
printf '%d passed, %d failed\n' "$passed" "$failed"
[ "$failed" = 0 ]
