//! The machines that are not this one: Windows in Wine, macOS as far as types go, ARM emulated.

use std::path::{Path, PathBuf};
use std::process::Command;

use fs_err as fs;

use crate::build::target_directory;
use crate::needs::Need;
use crate::outcome::Outcome;
use crate::process::{command, root, run};
use crate::toolchain::Toolchain;

const WINE: &str = "/usr/lib/wine/wine64";
const WINDOWS: &str = "x86_64-pc-windows-gnu";
const MACOS: &str = "aarch64-apple-darwin";
const CRATES: [&str; 4] = ["--package", "baseten-auth", "--package", "baseten-cli"];

const ARM: &str = "aarch64-unknown-linux-gnu";

pub(crate) const ARM_NEEDS: &[Need] = &[
    Need::Program("aarch64-linux-gnu-gcc", "gcc-aarch64-linux-gnu"),
    Need::Program("/usr/aarch64-linux-gnu/include/stdio.h", "libc6-dev-arm64-cross"),
    Need::Program("qemu-aarch64", "qemu-user"),
];

pub(crate) const WINDOWS_NEEDS: &[Need] = &[
    Need::Program("x86_64-w64-mingw32-gcc", "gcc-mingw-w64-x86-64-posix"),
    Need::Program(WINE, "wine64"),
];

/// What Wine 8 can't be asked: for a chain of an unknown authority it says that the revocation
/// could not be checked, where Windows says that the chain ends early.
const NOT_UNDER_WINE: &[&str] = &[
    "an_unknown_authority_is_told_apart",
    "a_proxy_that_speaks_tls_itself",
    "the_certificate_is_checked_behind_a_proxy_too",
];

/// The library's and the command's tests as Windows programs.
pub(crate) fn windows(words: &[&str]) -> Outcome {
    let rust = Toolchain::for_target(WINDOWS)?;
    let wine = Wine::prepare()?;
    let lint = if rust.has_components() { "clippy" } else { "check" };
    run(rust.cargo(lint).args(CRATES).arg("--all-targets"))?;
    // One of the tests runs an example, which is not built for it when tests are named.
    run(rust.cargo("build").args(["--package", "baseten-auth", "--examples"]))?;
    let mut test = rust.cargo("test");
    test.args(CRATES).args(["--lib", "--bins", "--tests", "--no-fail-fast", "--"]).args(words);
    for name in NOT_UNDER_WINE {
        test.args(["--skip", name]);
    }
    run(wine.environment(&mut test))
}

/// A Windows of our own: its registry and its Credential Manager are in the target directory.
struct Wine {
    prefix: PathBuf,
}

impl Wine {
    fn prepare() -> Outcome<Self> {
        let wine = Self { prefix: target_directory()?.join("wine") };
        let system = wine.prefix.join("drive_c/windows/system32");
        if !system.join("kernel32.dll").exists() {
            fs::create_dir_all(&wine.prefix)?;
            let boot = ["120", WINE, "wineboot", "--init"];
            run(wine.environment(&mut command("timeout", boot)))?;
        }
        random_numbers(&system.join("bcryptprimitives.dll"))?;
        Ok(wine)
    }

    /// No screen, no chatter, and the snapshots where a Windows program finds them.
    fn environment<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        let workspace = root().to_string_lossy().replace('/', "\\");
        command
            .env("WINEPREFIX", &self.prefix)
            .env("WINEDEBUG", "-all")
            .env("CARGO_TARGET_X86_64_PC_WINDOWS_GNU_RUNNER", WINE)
            .env("INSTA_WORKSPACE_ROOT", format!("Z:{workspace}"))
            .env_remove("DISPLAY")
            .env_remove("WAYLAND_DISPLAY")
    }
}

impl Drop for Wine {
    /// Ends the server of our prefix, and only that.
    fn drop(&mut self) {
        let mut stop = command("/usr/lib/wine/wineserver64", ["-k"]);
        let _ = run(self.environment(&mut stop));
    }
}

/// Rust asks a library for random numbers that Wine 8 does not have yet.
fn random_numbers(library: &Path) -> Outcome {
    const SOURCE: &str = "\
#include <windows.h>
BOOLEAN NTAPI SystemFunction036(PVOID buffer, ULONG length);
__declspec(dllexport) BOOL WINAPI ProcessPrng(PBYTE buffer, SIZE_T length) {
    return SystemFunction036(buffer, (ULONG)length);
}
";
    if library.exists() {
        return Ok(());
    }
    let source = library.with_extension("c");
    fs::write(&source, SOURCE)?;
    let mut compile = command("x86_64-w64-mingw32-gcc", ["-shared", "-O2", "-s", "-o"]);
    run(compile.arg(library).arg(&source).arg("-ladvapi32"))
}

/// All of the code that macOS would run, as far as the compiler's checks go: nothing can be linked
/// or run here.
pub(crate) fn macos(_: &[&str]) -> Outcome {
    let rust = Toolchain::for_target(MACOS)?;
    let lint = if rust.has_components() { "clippy" } else { "check" };
    let mut check = rust.cargo(lint);
    check.args(CRATES).arg("--all-targets");
    // There is no C compiler for it, and none is needed for a check: these succeed and do nothing.
    check.env("CC_aarch64_apple_darwin", "true").env("AR_aarch64_apple_darwin", "true");
    run(&mut check)
}

/// The library's unit tests as a program for ARM, which is emulated. The other tests start programs of
/// their own, or measure time, which an emulator takes too much of.
pub(crate) fn arm(words: &[&str]) -> Outcome {
    let rust = Toolchain::for_target(ARM)?;
    let mut test = rust.cargo("test");
    test.args(["--package", "baseten-auth", "--lib", "--"]).args(words);
    test.env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER", "aarch64-linux-gnu-gcc");
    let runner = "qemu-aarch64 -L /usr/aarch64-linux-gnu";
    run(test.env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER", runner))
}
