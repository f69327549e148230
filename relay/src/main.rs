//! The `allium` program.

use std::process::ExitCode;

use allium_relay::cli::Cli;
use allium_relay::logging;
use clap::Parser;

fn main() -> ExitCode {
    let cli = Cli::parse();
    logging::init(cli.log_format);
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("allium: the system gives no threads: {error}");
            return ExitCode::FAILURE;
        }
    };
    let ended = runtime.block_on(allium_relay::run(cli));
    // A read of standard input that nobody ends must not hold up the program.
    runtime.shutdown_background();
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("allium: {error}");
            ExitCode::FAILURE
        }
    }
}
