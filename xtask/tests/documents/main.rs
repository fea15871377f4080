//! Compares documents and sources with the program.

#![expect(clippy::unwrap_used, reason = "a test may")]

mod imports;
mod outputs;
mod pages;
mod reference_facts;
mod security_page;
mod workflows;

use std::path::{Path, PathBuf};

use fs_err as fs;

/// The workspace's root.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// All Rust sources below a directory.
fn rust_files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let files = entries.flat_map(|path| if path.is_dir() { rust_files(&path) } else { vec![path] });
    files.filter(|path| path.extension().is_some_and(|extension| extension == "rs")).collect()
}
