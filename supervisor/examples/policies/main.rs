//! Compares the five policies on fleets whose instances' needs are known, over many seeds.
//!
//! ```text
//! $ cargo run --release -p capmalloc-supervisor --example policies
//! ```

mod simulation;
mod table;

use clap::Parser;
use simulation::{Outcome, Scenario, Which, scenarios, simulate};

/// Compares restart policies in simulated time.
#[derive(Parser, Debug)]
struct Options {
    /// Seeds for each scenario and policy; each draws other needs, leaks and noise.
    #[arg(long, default_value_t = 12)]
    seeds: u64,
    /// The first seed; those after it follow.
    #[arg(long, default_value_t = 1)]
    first_seed: u64,
    /// Simulated hours.
    #[arg(long, default_value_t = 8.0)]
    hours: f64,
    /// Only the scenario of this name.
    #[arg(long)]
    scenario: Option<String>,
    /// Also variants of the estimate, which show what its parts are good for.
    #[arg(long)]
    variants: bool,
    /// Prints all figures of all seeds as JSON.
    #[arg(long)]
    json: bool,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let options = Options::parse();
    let is_wanted =
        |scenario: &Scenario| options.scenario.as_deref().is_none_or(|name| name == scenario.name);
    let chosen: Vec<Scenario> = scenarios().into_iter().filter(is_wanted).collect();
    if chosen.is_empty() {
        let names: Vec<&str> = scenarios().iter().map(|scenario| scenario.name).collect();
        return Err(format!("no such scenario; there are {}", names.join(", ")).into());
    }
    if options.seeds < 2 || options.hours <= 0.0 {
        return Err("an interval needs two seeds, and a simulation some time".into());
    }
    let mut rows = Vec::new();
    for scenario in &chosen {
        let variants = Which::VARIANTS.into_iter().filter(|_| options.variants);
        for which in Which::ALL.into_iter().chain(variants) {
            let run = |seed| simulate(scenario, which, seed, options.hours);
            let outcomes = (0..options.seeds)
                .map(|index| run(options.first_seed + index))
                .collect::<Vec<Outcome>>();
            rows.push(table::Row::new(scenario.name, which, outcomes));
        }
        if !options.json {
            println!("{}: {}", scenario.name, scenario.about);
            table::print(&rows.split_off(0));
        }
    }
    if options.json {
        println!("{}", serde_json::to_string_pretty(&rows)?);
    }
    Ok(())
}
