#!/usr/bin/env bash
# usage: npm run lint:native      The format of native/, its headers each compiled alone, clang-tidy over its sources.
# Needs clang-format, clang-tidy (14, Debian 12) and cmake.
set -euo pipefail
cd "$(dirname "$0")/.."
jobs=$(nproc)
build=build-native/lint

git ls-files 'native/*.cc' 'native/*.h' 'native/*.inc' | xargs -P "$jobs" -n 20 clang-format --dry-run -Werror
echo 'format: as .clang-format has it'

npx cmake-js configure --out "$build" --CDCMAKE_EXPORT_COMPILE_COMMANDS=ON --log-level error >/dev/null
folders=$(grep -oE -- '-(I|isystem )[^ ]+' "$build/compile_commands.json" | sort -u)
export folders
git ls-files 'native/include/*.h' 'native/src/*.h' |
  xargs -P "$jobs" -I{} sh -c 'g++ -std=c++20 -fsyntax-only -Wall -Wextra -x c++ $folders -include {} /dev/null || { echo "{} does not compile alone"; exit 1; }'
echo 'headers: each compiles alone'

echo 'clang-tidy leaves out what knows one level (*__avx*.cc, *__amx.cc): kernels__scalar.cc reads the same texts.'
node -p "require('./native/sources.json').sources.filter((path) => !/__(avx|amx)/.test(path)).join('\n')" |
  xargs -P "$jobs" -n 4 clang-tidy --quiet --warnings-as-errors='*' -p "$build" 2> >(grep -v 'warnings\? generated\|^Suppressed' >&2)
echo 'clang-tidy: nothing found'
