//! What the policies come to where needs are known: the bounds that the documentation names, over a
//! few seeds. The example `policies` prints them over more.

// The example uses more of it.
#[allow(dead_code)]
#[path = "../examples/policies/simulation/mod.rs"]
mod simulation;

use simulation::{Outcome, Scenario, Which, scenarios, simulate};

const SEEDS: std::ops::Range<u64> = 5001..5003;
const HOURS: f64 = 3.0;

fn scenario(name: &str) -> Scenario {
    let found = scenarios().into_iter().find(|scenario| scenario.name == name);
    found.expect("a scenario of this name")
}

fn outcomes(scenario: &Scenario, which: Which) -> Vec<Outcome> {
    SEEDS.map(|seed| simulate(scenario, which, seed, HOURS)).collect()
}

fn memory(outcomes: &[Outcome]) -> f64 {
    outcomes.iter().map(|outcome| outcome.memory_mean).sum::<f64>() / outcomes.len() as f64
}

/// The prediction interval's bounds, and its memory against that of the policies that wait.
fn holds(name: &str) {
    let scenario = scenario(name);
    let ours = outcomes(&scenario, Which::Prediction);
    let saved: u64 = ours.iter().map(|outcome| outcome.leaking_saved).sum();
    let lost: u64 = ours.iter().map(|outcome| outcome.leaking_lost).sum();
    assert!(saved > 0 && saved * 5 >= (saved + lost) * 95 / 20, "{name}: {saved} and {lost}");
    let restarts: u64 = ours.iter().map(|outcome| outcome.healthy_restarts).sum();
    let hours: f64 = ours.iter().map(|outcome| outcome.healthy_hours).sum();
    assert!(restarts as f64 <= 0.02 * hours, "{name}: {restarts} in {hours} h");
    for which in [Which::Largest, Which::Oldest] {
        let theirs = outcomes(&scenario, which);
        assert!(memory(&ours) < memory(&theirs), "{name}: {}", which.name());
    }
}

#[test]
fn the_prediction_interval_holds_its_bounds_among_few() {
    holds("three");
}

#[test]
fn the_prediction_interval_holds_its_bounds_among_ten() {
    holds("ten");
}

#[test]
fn the_prediction_interval_holds_its_bounds_among_modules() {
    holds("mixed");
}

#[test]
fn the_prediction_interval_holds_its_bounds_where_memory_never_shrinks() {
    holds("linear");
}

/// Where all leak, the mean is dragged along; only the common slope shows it.
#[test]
fn a_leak_that_all_share_is_found_where_looked_for() {
    holds("common");
    let dragged = outcomes(&scenario("common"), Which::PredictionDragged);
    let ours = outcomes(&scenario("common"), Which::Prediction);
    assert!(memory(&ours) + 0.05 < memory(&dragged));
}

/// The mean's interval narrows as instances multiply; the same seeds, five times the bound.
#[test]
fn the_means_interval_restarts_healthy_ones() {
    let theirs = outcomes(&scenario("ten"), Which::Mean);
    let restarts: u64 = theirs.iter().map(|outcome| outcome.healthy_restarts).sum();
    let hours: f64 = theirs.iter().map(|outcome| outcome.healthy_hours).sum();
    assert!(restarts as f64 > 0.1 * hours, "{restarts} in {hours} h");
}

#[test]
fn a_seed_has_one_outcome() {
    let one = simulate(&scenario("ten"), Which::Prediction, 5, 1.0);
    let same = simulate(&scenario("ten"), Which::Prediction, 5, 1.0);
    assert_eq!(format!("{one:?}"), format!("{same:?}"));
}
