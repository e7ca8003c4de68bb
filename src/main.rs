//! The `deltaplane` binary; everything is in the library.

fn main() {
    std::process::exit(deltaplane::cli::main());
}
