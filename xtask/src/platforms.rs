//! Other platforms: Windows in Wine, type checks for macOS, emulated ARM.

use std::path::{Path, PathBuf};
use std::process::Command;

use fs_err as fs;

use crate::build::target_directory;
use crate::dist::{self, Target};
use crate::needs::Need;
use crate::process::{Outcome, cargo, command, root, run};
use crate::toolchain::Toolchain;

const WINE: &str = "/usr/lib/wine/wine64";
const WINDOWS: &str = "x86_64-pc-windows-gnu";
const MACOS: &str = "aarch64-apple-darwin";
const CRATES: [&str; 4] = ["--package", "baseten-auth", "--package", "baseten-cli"];

pub(crate) const WINDOWS_NEEDS: &[Need] = &[
    Need::Program("x86_64-w64-mingw32-gcc", "gcc-mingw-w64-x86-64-posix"),
    Need::Program(WINE, "wine64"),
];

/// Tests that Wine 8 can't run. For a chain with an unknown authority, it says that the revocation
/// could not be checked; Windows says that the chain is incomplete.
const NOT_UNDER_WINE: &[&str] = &[
    "an_unknown_authority_is_told_apart",
    "a_proxy_that_speaks_tls_itself",
    "the_certificate_is_checked_behind_a_proxy_too",
];

/// Runs the library's and the command's tests as Windows programs.
pub(crate) fn windows(words: &[&str]) -> Outcome {
    let rust = Toolchain::for_target(WINDOWS)?;
    let wine = Wine::prepare()?;
    let lint = if rust.has_components() { "clippy" } else { "check" };
    run(rust.cargo(lint).args(CRATES).arg("--all-targets"))?;
    // One of the tests runs an example, which is not built if tests are named.
    run(rust.cargo("build").args(["--package", "baseten-auth", "--examples"]))?;
    let mut test = rust.cargo("test");
    test.args(CRATES).args(["--lib", "--bins", "--tests", "--no-fail-fast", "--"]).args(words);
    for name in NOT_UNDER_WINE {
        test.args(["--skip", name]);
    }
    run(wine.environment(&mut test))
}

/// A separate Windows: its registry and its Credential Manager are in the target directory.
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

    /// No screen, no log messages, and the path of the snapshots for a Windows program.
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
    /// Ends only the server of our own prefix.
    fn drop(&mut self) {
        let mut stop = command("/usr/lib/wine/wineserver64", ["-k"]);
        let _ = run(self.environment(&mut stop));
    }
}

/// For random numbers, Rust uses a library that Wine 8 does not have yet.
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

/// Checks all code for macOS, as far as the compiler can: nothing can be linked or run here.
pub(crate) fn macos(_: &[&str]) -> Outcome {
    let rust = Toolchain::for_target(MACOS)?;
    let lint = if rust.has_components() { "clippy" } else { "check" };
    let mut check = rust.cargo(lint);
    check.args(CRATES).arg("--all-targets");
    // There is no C compiler for it, and a check needs none: these commands succeed and do nothing.
    check.env("CC_aarch64_apple_darwin", "true").env("AR_aarch64_apple_darwin", "true");
    run(&mut check)
}

/// Modules of the command's tests whose results could depend on the processor: files, processes,
/// TLS.
const UNDER_QEMU: &[&str] = &[
    "credential_store::",
    "errors::",
    "exit_status::",
    "login::",
    "proxies::",
    "refresh::",
    "selection::",
    "store_formats::",
    "two_steps::",
];

/// Tests in these modules that run a `--jq` filter. A filter runs in a second process of the
/// program, and the kernel, which does not know about the emulator, can't start that.
const WITH_A_FILTER: &[&str] = &[
    "errors::every_error_can_be_read_here",
    "exit_status::a_filter_that_does_not_fit_the_record_is_1",
    "exit_status::mistakes_on_the_command_line_are_2",
    "login::mistakes_are_found_before_any_request",
    "selection::common_options_may_stand_before_the_command",
    "selection::login_switch_and_logout_work_beside_a_trust_rule_and_say_that_it_still_wins",
    "selection::names_are_printed_unchanged",
];

/// Runs the library's unit tests as a program for ARM, and some of the command's tests with the
/// static program as it is shipped; both are emulated.
pub(crate) fn arm(words: &[&str]) -> Outcome {
    const TARGET: Target = Target::Aarch64;
    let mut test = dist::cargo_for(TARGET, "test", Vec::new())?;
    test.args(["--package", "baseten-auth", "--lib", "--"]).args(words);
    run(test.env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_MUSL_RUNNER", "qemu-aarch64"))?;
    let program = dist::build(TARGET)?;
    let emulated = target_directory()?.join("baseten-under-qemu");
    fs::write(&emulated, format!("#!/bin/sh\nexec qemu-aarch64 {} \"$@\"\n", program.display()))?;
    run(command("chmod", ["755"]).arg(&emulated))?;
    let mut test = cargo(["test", "--locked", "--package", "baseten-cli", "--test", "it"]);
    test.env("BASETEN_TEST_BINARY", emulated).args(["--", "--skip", "slow_tests::"]);
    // `refresh::` also matches this module. It gives containers only the program's file, without
    // the emulator.
    test.args(["--skip", "serve_refresh::"]);
    test.args(WITH_A_FILTER.iter().flat_map(|name| ["--skip", name]));
    run(test.args(if words.is_empty() { UNDER_QEMU } else { words }))
}
