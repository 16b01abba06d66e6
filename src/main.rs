//! The `lodestone` binary: arguments, run, exit code.

use clap::Parser;
use lodestone::cli::{Cli, run};
use std::process::ExitCode;

#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("lodestone: {:#}", failure.error);
            ExitCode::from(failure.code)
        }
    }
}
