//! The program under test, and those of other people.

use std::path::PathBuf;
use std::sync::LazyLock;

/// The path of the built `baseten`. Cargo sets it when it runs the tests of the crate with the
/// binary; where `BASETEN_TEST_BINARY` is set, it is that one.
pub fn baseten() -> &'static str {
    static PROGRAM: LazyLock<String> = LazyLock::new(|| {
        std::env::var("BASETEN_TEST_BINARY")
            .or_else(|_| std::env::var("CARGO_BIN_EXE_baseten"))
            .expect("BASETEN_TEST_BINARY names the program if cargo does not run these tests")
    });
    &PROGRAM
}

/// The path of a program. A test without its program fails and says what to install.
pub fn find(program: &str, package: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|directory| directory.join(program))
        .find(|path| path.is_file())
        .unwrap_or_else(|| {
            panic!("{program} is missing: this test needs `apt-get install {package}`")
        })
}
