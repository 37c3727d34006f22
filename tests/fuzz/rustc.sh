#!/usr/bin/env bash
# rustc for the fuzzing build: the curve and the hash are compiled without coverage, which would make every signature
# several times slower and teach the fuzzer nothing.
set -euo pipefail
case " $* " in
  *" --crate-name curve25519_dalek "* | *" --crate-name sha2 "* | *" --crate-name ed25519_zebra "* | \
    *" --crate-name ed25519_dalek "* | *" --crate-name subtle "* | *" --crate-name zeroize "*) ;;
  *) exec "$@" ;;
esac
kept=()
for argument in "$@"; do
  case "$argument" in
    -Cpasses=sancov-module | -Cllvm-args=-sanitizer-coverage-*) ;;
    *) kept+=("$argument") ;;
  esac
done
exec "${kept[@]}"
