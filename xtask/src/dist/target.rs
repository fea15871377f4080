//! The processors that we build programs for.

use std::path::Path;
use std::process::Command;

use crate::needs::Need;
use crate::process::command;

#[derive(Clone, Copy, Debug, PartialEq, clap::ValueEnum)]
pub(crate) enum Target {
    #[value(name = "x86_64")]
    X86_64,
    #[value(name = "aarch64")]
    Aarch64,
}

impl Target {
    pub(crate) const ALL: [Self; 2] = [Self::X86_64, Self::Aarch64];

    /// This machine's own.
    pub(crate) const HERE: Self =
        if cfg!(target_arch = "aarch64") { Self::Aarch64 } else { Self::X86_64 };

    /// Its name in Rust.
    pub(crate) fn triple(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64-unknown-linux-musl",
            Self::Aarch64 => "aarch64-unknown-linux-musl",
        }
    }

    /// Its name in the kernel and RPM.
    pub(crate) fn processor(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64",
            Self::Aarch64 => "aarch64",
        }
    }

    /// Its name in Debian.
    pub(crate) fn debian(self) -> &'static str {
        match self {
            Self::X86_64 => "amd64",
            Self::Aarch64 => "arm64",
        }
    }

    /// What is needed to build a static program, and to run one for another processor.
    pub(crate) fn needs(self) -> &'static [Need] {
        match self {
            here if here == Self::HERE => &[Need::Program("musl-gcc", "musl-tools")],
            Self::X86_64 => &[
                Need::Program("x86_64-linux-gnu-gcc", "gcc-x86-64-linux-gnu"),
                Need::Program("qemu-x86_64", "qemu-user"),
            ],
            Self::Aarch64 => &[
                Need::Program("aarch64-linux-gnu-gcc", "gcc-aarch64-linux-gnu"),
                Need::Program("qemu-aarch64", "qemu-user"),
            ],
        }
    }

    /// A program of the GNU toolchain for it, such as `gcc`.
    pub(crate) fn gnu(self, program: &str) -> String {
        format!("{}-linux-gnu-{program}", self.processor())
    }

    /// C flags for it: without this one, atomic operations on ARM would call functions that need
    /// glibc.
    pub(crate) fn c_flags(self) -> Option<&'static str> {
        (self == Self::Aarch64).then_some("-mno-outline-atomics")
    }

    /// Starts a program for this processor on this machine.
    pub(crate) fn start(self, program: &Path) -> Command {
        if self == Self::HERE {
            return command(program, [""; 0]);
        }
        command(format!("qemu-{}", self.processor()), [program])
    }
}
