//! The command line of the driver and of each role.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// The restart policies under which a fleet can run.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum PolicyName {
    /// Restart what is over the upper end of the mean's confidence interval.
    Mean,
    /// Restart what is over the upper end of the prediction interval.
    Prediction,
    /// Restart the largest instance when memory is low.
    Largest,
    /// Restart the oldest instance when memory is low.
    Oldest,
    /// Restart nothing.
    None,
}

impl PolicyName {
    /// The name on the command line and in the table.
    pub(crate) fn name(self) -> &'static str {
        match self {
            PolicyName::Mean => "mean",
            PolicyName::Prediction => "prediction",
            PolicyName::Largest => "largest",
            PolicyName::Oldest => "oldest",
            PolicyName::None => "none",
        }
    }
}

/// Runs a fleet of WebAssembly instances under each restart policy and compares them.
#[derive(Parser, Debug)]
#[command(name = "fleet", args_conflicts_with_subcommands = true)]
pub(crate) struct Options {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) experiment: Experiment,
}

/// The roles that the driver starts as processes.
#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Samples the workers' instances and restarts those that its policy names.
    Controller(ControllerOptions),
    /// Runs WebAssembly instances of the storage service and answers for them.
    Worker(WorkerOptions),
    /// Stores, reads and deletes objects, and makes some instances leak.
    Load(LoadOptions),
}

/// What is to be compared, and how.
#[derive(Args, Clone, Debug)]
pub(crate) struct Experiment {
    /// Policies to compare, in the table's order.
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        default_values_t = [
            PolicyName::Mean,
            PolicyName::Prediction,
            PolicyName::Largest,
            PolicyName::Oldest,
            PolicyName::None,
        ]
    )]
    pub(crate) policies: Vec<PolicyName>,
    /// Real seconds that each run lasts.
    #[arg(long, default_value_t = 60.0, value_parser = positive)]
    pub(crate) seconds: f64,
    #[command(flatten)]
    pub(crate) time: TimeOptions,
    /// Seeds, and so runs, of each policy; they are 1, 2, 3 ...
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) repetitions: u32,
    /// Workers.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..=64))]
    pub(crate) workers: u64,
    /// Instances in each worker; the modules take turns.
    #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u64).range(1..=1000))]
    pub(crate) instances: u64,
    /// MiB that the instances of all workers may hold together.
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..=1 << 20))]
    pub(crate) memory_limit: u64,
    /// Part of the instances that leak.
    #[arg(long, default_value_t = 0.2, value_parser = fraction)]
    pub(crate) leaking: f64,
    #[command(flatten)]
    pub(crate) estimate: EstimateOptions,
    /// Directory for the table, the plot and the figures behind them.
    #[arg(long, default_value = "target/capmalloc-fleet")]
    pub(crate) out: PathBuf,
}

/// How fast time runs.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct TimeOptions {
    /// How many times faster than the wall's the fleet's time runs.
    #[arg(long, default_value_t = 100.0, value_parser = positive)]
    pub(crate) factor: f64,
}

impl TimeOptions {
    /// The real time that a time of the fleet's takes.
    pub(crate) fn real(self, time: Duration) -> Duration {
        time.div_f64(self.factor)
    }
}

/// How instances are compared.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct EstimateOptions {
    /// Growth in an hour, as a part of what an instance needs, below which it is no leak.
    ///
    /// A linear memory that never shrinks goes up in steps, whenever free blocks happen to lie badly;
    /// the library's own default is for what grows smoothly.
    #[arg(long, default_value_t = 0.5, value_parser = positive)]
    pub(crate) least_growth: f64,
}

/// What every role is told by whoever starts it.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct RoleOptions {
    /// The process to die with.
    #[arg(long)]
    pub(crate) parent: Option<u32>,
    /// Port on loopback to listen at; zero for any that is free.
    #[arg(long, default_value_t = 0)]
    pub(crate) port: u16,
    #[command(flatten)]
    pub(crate) time: TimeOptions,
}

/// The controller's command line.
#[derive(Args, Clone, Debug)]
pub(crate) struct ControllerOptions {
    #[command(flatten)]
    pub(crate) role: RoleOptions,
    /// The policy to restart by.
    #[arg(long, value_enum, default_value_t = PolicyName::Prediction)]
    pub(crate) policy: PolicyName,
    #[command(flatten)]
    pub(crate) estimate: EstimateOptions,
    /// Addresses of the workers, such as `http://127.0.0.1:8080`.
    #[arg(long, value_delimiter = ',', required = true)]
    pub(crate) workers: Vec<String>,
    /// MiB that all workers may hold together.
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..=1 << 20))]
    pub(crate) memory_limit: u64,
}

/// A worker's command line.
#[derive(Args, Clone, Debug)]
pub(crate) struct WorkerOptions {
    #[command(flatten)]
    pub(crate) role: RoleOptions,
    /// This worker's number.
    #[arg(long, default_value_t = 0)]
    pub(crate) number: u64,
    /// Rises with each start of this worker, so that incarnations are told apart.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..1 << 31))]
    pub(crate) generation: u64,
    /// Instances; the modules take turns.
    #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u64).range(1..=1000))]
    pub(crate) instances: u64,
    /// MiB that they may hold together until the controller says otherwise.
    #[arg(long, default_value_t = 75, value_parser = clap::value_parser!(u64).range(1..=1 << 20))]
    pub(crate) memory_limit: u64,
}

/// The load generator's command line.
#[derive(Args, Clone, Debug)]
pub(crate) struct LoadOptions {
    #[command(flatten)]
    pub(crate) role: RoleOptions,
    /// Addresses of the workers.
    #[arg(long, value_delimiter = ',', required = true)]
    pub(crate) workers: Vec<String>,
    /// What the random sizes, times and leaks follow from.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Part of the instances that leak.
    #[arg(long, default_value_t = 0.2, value_parser = fraction)]
    pub(crate) leaking: f64,
}

fn positive(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|error| format!("{error}"))?;
    if number.is_finite() && number > 0.0 && number <= 1e6 {
        Ok(number)
    } else {
        Err("a number above zero, and at most a million, is wanted".to_owned())
    }
}

fn fraction(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|error| format!("{error}"))?;
    if (0.0..=1.0).contains(&number) {
        Ok(number)
    } else {
        Err("a part from 0 to 1 is wanted".to_owned())
    }
}
