//! What `deploy/setup.sh` finds missing, on machines that are played by programs of the same names.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::{fs, os::unix::fs::PermissionsExt, path::Path, process::Command};

/// Puts a program in a directory.
fn program(dir: &Path, name: &str, prints: &str) {
    let path = dir.join(name);
    fs::write(&path, format!("#!/bin/sh\ncat <<'end'\n{prints}\nend\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// What is said to be installed where the machine's linker and its LLVM directories know these libraries.
fn installs(linked: &str, of_llvm: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    for (name, prints) in [("ldconfig", linked), ("ls", of_llvm), ("id", "0"), ("apt-get", "")] {
        program(dir.path(), name, prints);
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/setup.sh");
    let path = format!("{}:{}", dir.path().display(), std::env::var("PATH").unwrap());
    let ran = Command::new(script).env("PATH", path).output().unwrap();
    let said = String::from_utf8(ran.stderr).unwrap();
    assert!(ran.status.success(), "{said}");
    said.trim_end().to_owned()
}

#[test]
fn libclang_is_not_taken_for_another_part_of_llvm() {
    let other = "\tlibclang-cpp.so.14 (libc6,x86-64) => /lib/x86_64-linux-gnu/libclang-cpp.so.14";
    let missing = "Installing with apt-get: libclang-dev";
    assert_eq!(installs("", ""), missing);
    assert_eq!(installs(other, "libclang-cpp.so.14\nlibclangAST.a"), missing);
    for linked in ["libclang-14.so.13", "libclang-14.so", "libclang.so.1"] {
        assert_eq!(installs(&format!("{other}\n\t{linked} (libc6,x86-64) => /lib/{linked}"), ""), "");
    }
    assert_eq!(installs(other, "libclang-cpp.so.14\nlibclang-14.so.1"), "");
    assert_eq!(installs(other, "libclang.so"), "");
}
