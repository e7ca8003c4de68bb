//! The `deltaplane` binary; everything is in the library.

/// Batches of half a megabyte come and go thousands of times a second: the system's allocator hands each back to the kernel
/// and has its pages zeroed again, a fifth of the ingest path's time (docs/performance.md).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    std::process::exit(deltaplane::cli::main());
}
