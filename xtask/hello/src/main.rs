//! The smallest Rust program, built like the real one: `cargo xtask bench` gives everything as a
//! ratio to it.
#![expect(clippy::print_stdout, reason = "that is all it does")]

fn main() {
    println!("Hello, world!");
}
