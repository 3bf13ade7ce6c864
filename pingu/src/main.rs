//! The `pingu` command.
fn main() {}
