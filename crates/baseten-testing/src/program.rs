//! The program under test, and other programs that tests need.

#[cfg(unix)]
use std::path::Path;
use std::path::PathBuf;
use std::sync::LazyLock;

/// The path of the built `baseten`. Cargo sets it for the tests of the crate with the binary; if
/// `BASETEN_TEST_BINARY` is set, that is used instead.
pub fn baseten() -> &'static str {
    static PROGRAM: LazyLock<String> = LazyLock::new(|| {
        std::env::var("BASETEN_TEST_BINARY")
            .or_else(|_| std::env::var("CARGO_BIN_EXE_baseten"))
            .expect("BASETEN_TEST_BINARY names the program if cargo does not run these tests")
    });
    &PROGRAM
}

/// The path of a program. If it is missing, the test fails and says what to install.
pub fn find(program: &str, package: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|directory| directory.join(program))
        .find(|path| path.is_file())
        .unwrap_or_else(|| {
            panic!("{program} is missing: this test needs `apt-get install {package}`")
        })
}

/// Writes an executable shell script.
#[cfg(unix)]
pub fn write_script(path: &Path, script: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    // Written under another name first: a process that another test starts meanwhile would inherit
    // the open file, and a file that is open for writing cannot be executed.
    let draft = path.with_extension("draft");
    std::fs::write(&draft, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&draft, std::fs::Permissions::from_mode(0o755)).unwrap();
    let copied = std::process::Command::new("/bin/cp").args([&draft, path]).status();
    assert!(copied.unwrap().success());
    std::fs::remove_file(&draft).unwrap();
}
