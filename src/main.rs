//! The `deltaplane` binary; everything is in the library.

#[global_allocator]
static ALLOCATOR: deltaplane::memory::Counting = deltaplane::memory::allocator();

fn main() {
    std::process::exit(deltaplane::cli::main());
}
