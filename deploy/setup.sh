#!/usr/bin/env bash
# Installs what a fresh Debian or Ubuntu machine lacks to build Kakera: a C++ compiler and libclang for RocksDB, and
# Python's venv module for the client test. Says what it installs; asks for sudo only when it has to. Does nothing,
# silently, when everything is there.
set -euo pipefail

# libclang-cpp does not do: machines have it with other parts of LLVM.
libclang_is_here() {
  { ldconfig -p; ls /usr/lib/llvm-*/lib || true; } 2>/dev/null | grep 'libclang\(-[0-9.]*\)\?\.so' >/dev/null
}

missing=()
command -v c++ >/dev/null && command -v make >/dev/null || missing+=(build-essential)
libclang_is_here || missing+=(libclang-dev)
[ "${1:-}" != test ] || python3 -c 'import venv, ensurepip' 2>/dev/null || missing+=(python3-venv)

if [ ${#missing[@]} -gt 0 ]; then
  if ! command -v apt-get >/dev/null; then
    echo "Kakera needs a C++ compiler, libclang (for RocksDB's bindings) and, for the tests, Python 3 with venv." >&2
    echo "This script installs them on Debian and Ubuntu only; here, please install them with your package manager." >&2
    exit 1
  fi
  as_root=()
  if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || { echo "Please run as root: apt-get install ${missing[*]}" >&2; exit 1; }
    as_root=(sudo)
  fi
  echo "Installing with apt-get: ${missing[*]}" >&2
  "${as_root[@]}" apt-get update -qq
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi

if ! command -v cargo >/dev/null; then
  echo "Kakera needs a Rust toolchain (1.95 or newer): see https://rustup.rs" >&2
  exit 1
fi
