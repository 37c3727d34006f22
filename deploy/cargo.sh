#!/usr/bin/env bash
# cargo, with RocksDB's library taken from a cache when it is there and put there after it was built: it takes half an
# hour of C++ that never changes. The cache is ${KAKERA_CACHE:-~/.cache/kakera}; deleting it is always safe.
set -euo pipefail
cd "$(dirname "$0")/.."

version=$(sed -n '/^name = "librocksdb-sys"$/{n;s/^version = "\(.*\)"$/\1/p}' Cargo.lock)
compiler=$(c++ -dumpversion | cut -d. -f1)
cache="${KAKERA_CACHE:-$HOME/.cache/kakera}/rocksdb/$version-lz4-$(uname -m)-gcc$compiler"
target="${CARGO_TARGET_DIR:-target}"

if [ -s "$cache/librocksdb.a" ]; then
  export ROCKSDB_LIB_DIR="$cache" ROCKSDB_STATIC=1
  exec cargo "$@"
fi

case "${1:-}" in
  build | test | clippy | doc | bench | run)
    echo "RocksDB is built from source this once (10 to 35 minutes on two cores); the result is kept in $cache" >&2 ;;
esac
cargo "$@"
built=$(ls -t "$target"/release/build/librocksdb-sys-*/out/librocksdb.a 2>/dev/null | head -n 1 || true)
if [ -n "$built" ]; then
  mkdir -p "$cache"
  cp "$built" "$cache/librocksdb.a.$$"
  mv "$cache/librocksdb.a.$$" "$cache/librocksdb.a"
fi
