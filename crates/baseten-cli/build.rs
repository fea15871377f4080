//! Tells the program which commit it was built from, and for what.

use std::process::Command;

fn main() {
    println!("cargo:rustc-env=BUILD_COMMIT={}", commit().unwrap_or_else(|| "unknown".into()));
    println!("cargo:rustc-env=BUILD_TARGET={}", target());
    println!("cargo:rerun-if-changed=../../.git/logs/HEAD");
    println!("cargo:rerun-if-changed=build.rs");
}

/// The short hash, where this is a checkout and git is there.
fn commit() -> Option<String> {
    let output = Command::new("git").args(["rev-parse", "--short=12", "HEAD"]).output().ok()?;
    let hash = String::from_utf8(output.stdout).ok()?;
    let hash = hash.trim();
    (output.status.success() && !hash.is_empty()).then(|| hash.to_owned())
}

#[expect(clippy::disallowed_methods, reason = "a build script is told so, and has no other way")]
fn target() -> String {
    std::env::var("TARGET").unwrap_or_default()
}
