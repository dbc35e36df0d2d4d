//! The requests: the same documents, sizes, keys and waits in the same order for every row.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Map, Value, json};

use crate::job::{Line, Order, answer_prefix};

const SEED: u64 = 0x0063_6170_6d61_6c6c;
const BODIES: usize = 160;
const BODY_BYTES_MIN: f64 = 1024.0;
const BODY_BYTES_MAX: f64 = 400.0 * 1024.0;

/// How many documents the clients ask about; more than the cache holds, so that it must evict.
const KEYS: u64 = 8192;

/// The share of the corpus, smallest body first, from which each phase of a run takes its bodies.
/// The mix drifts towards larger documents and back, because memory that an allocator cannot
/// return afterwards is what tells allocators apart.
const PHASES: [(f64, f64); 5] = [(0.0, 0.7), (0.0, 0.55), (0.1, 0.8), (0.2, 0.9), (0.0, 0.5)];

/// In every phase, one request in so many brings one of the largest bodies.
const REQUESTS_PER_LARGE_ONE: u32 = 64;
const LARGE_BODIES: (f64, f64) = (0.85, 1.0);

/// The downstream service's answer times are log-normal: a median, a spread, and a bound. Waits much
/// shorter than these would have 25 workers keep two cores so busy that service times measured the
/// kernel's scheduler instead of the allocator.
const WAIT_MEDIAN_MICROS: f64 = 20_000.0;
const WAIT_SIGMA: f64 = 0.5;
const WAIT_MICROS_MAX: f64 = 100_000.0;

/// A request body with what a correct answer to it begins with.
#[derive(Debug)]
pub(crate) struct Body {
    pub(crate) json: Vec<u8>,
    pub(crate) answer_prefix: String,
}

/// One request of a run.
#[derive(Debug)]
pub(crate) struct Request<'a> {
    pub(crate) body: &'a Body,
    pub(crate) key: u64,
    pub(crate) wait_micros: u32,
}

/// All bodies, smallest first, their sizes spread evenly on a logarithmic scale.
#[derive(Debug)]
pub(crate) struct Corpus {
    bodies: Vec<Body>,
}

impl Corpus {
    pub(crate) fn generate() -> Self {
        let mut random = StdRng::seed_from_u64(SEED);
        let ratio = BODY_BYTES_MAX / BODY_BYTES_MIN;
        let bodies = (0..BODIES).map(|index| {
            let exponent = index as f64 / (BODIES - 1) as f64;
            let body_bytes = BODY_BYTES_MIN * ratio.powf(exponent);
            generate_body(&mut random, body_bytes as usize)
        });
        Self { bodies: bodies.collect() }
    }

    /// The request with this number out of all the requests of a run.
    pub(crate) fn request(&self, number: u32, requests: u32) -> Request<'_> {
        let mut random = StdRng::seed_from_u64(SEED ^ u64::from(number));
        let phase = u64::from(number) * PHASES.len() as u64 / u64::from(requests);
        let share = if random.random_ratio(1, REQUESTS_PER_LARGE_ONE) {
            LARGE_BODIES
        } else {
            PHASES[phase as usize]
        };
        Request {
            body: self.pick(share, &mut random),
            key: random.random_range(0..KEYS),
            wait_micros: wait_micros(&mut random),
        }
    }

    fn pick(&self, share: (f64, f64), random: &mut StdRng) -> &Body {
        let position = random.random_range(share.0..share.1) * self.bodies.len() as f64;
        &self.bodies[position as usize]
    }
}

/// A log-normal wait, from two uniform numbers by the transform of Box and Muller.
fn wait_micros(random: &mut StdRng) -> u32 {
    let radius = (-2.0 * (1.0 - random.random::<f64>()).ln()).sqrt();
    let normal = radius * (std::f64::consts::TAU * random.random::<f64>()).cos();
    let wait_micros = WAIT_MEDIAN_MICROS * (WAIT_SIGMA * normal).exp();
    wait_micros.min(WAIT_MICROS_MAX) as u32
}

fn generate_body(random: &mut StdRng, body_bytes: usize) -> Body {
    let mut order = Order {
        customer: words(random, 2),
        currency: "EUR".to_owned(),
        template: "{{quantity}} x {{title}} ({{sku}}), {{tags}}: {{total}}, {{stock}}".to_owned(),
        lines: Vec::new(),
    };
    let mut json_bytes = json_of(&order).len();
    while json_bytes < body_bytes {
        let line = generate_line(random);
        json_bytes += json_of(&line).len() + 1;
        order.lines.push(line);
    }
    Body { json: json_of(&order), answer_prefix: answer_prefix(order.total_cents()) }
}

fn json_of(value: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("orders hold nothing that JSON cannot express")
}

fn generate_line(random: &mut StdRng) -> Line {
    let tags = random.random_range(0..6);
    let title_words = random.random_range(2..9);
    Line {
        sku: format!("{:08x}", random.random::<u32>()),
        title: words(random, title_words),
        category: pick_word(random).to_owned(),
        quantity: random.random_range(1..40),
        unit_cents: random.random_range(50..500_000),
        tags: (0..tags).map(|_| pick_word(random).to_owned()).collect(),
        attributes: generate_attributes(random),
    }
}

fn generate_attributes(random: &mut StdRng) -> Map<String, Value> {
    let attributes = random.random_range(0..5);
    let mut map = Map::new();
    for _ in 0..attributes {
        let note_words = random.random_range(1..16);
        let value = match random.random_range(0..4) {
            0 => json!(random.random_range(0..10_000)),
            1 => json!(words(random, note_words)),
            2 => json!([pick_word(random), pick_word(random), random.random::<bool>()]),
            _ => json!({ "unit": pick_word(random), "value": random.random_range(0..1000) }),
        };
        map.insert(pick_word(random).to_owned(), value);
    }
    map
}

const WORDS: [&str; 32] = [
    "amber", "anchor", "basalt", "bench", "birch", "bracket", "canvas", "cedar", "copper", "crane",
    "drawer", "fabric", "flange", "garden", "granite", "hinge", "kettle", "ladder", "lantern",
    "linen", "marble", "mirror", "oak", "pallet", "quartz", "ribbon", "saddle", "shelf", "steel",
    "timber", "velvet", "walnut",
];

fn pick_word(random: &mut StdRng) -> &'static str {
    WORDS[random.random_range(0..WORDS.len())]
}

fn words(random: &mut StdRng, count: usize) -> String {
    let words: Vec<&str> = (0..count).map(|_| pick_word(random)).collect();
    words.join(" ")
}
