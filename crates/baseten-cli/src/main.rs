//! The `baseten` command.

fn main() -> std::process::ExitCode {
    baseten_cli::run(std::env::args_os(), baseten_cli::Host::of_process()).into()
}
