//! Builds the Pyroscope server that the tests use, unless it is there, and prints its path.

fn main() -> anyhow::Result<()> {
    println!("{}", profiler_tests::pyroscope::ensure_built()?.display());
    Ok(())
}
