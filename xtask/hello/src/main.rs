//! The least that a Rust program does, built as the program itself is: `cargo xtask bench` gives
//! everything as a ratio to it.
#![expect(clippy::print_stdout, reason = "that is all it does")]

fn main() {
    println!("Hello, world!");
}
