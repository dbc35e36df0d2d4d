//! What a worker does with one request: parse an order, price it, and render it as JSON and text.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::cache::CachedDocument;

/// The JSON of a request.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Order {
    pub(crate) customer: String,
    pub(crate) currency: String,
    /// Text with `{{placeholders}}`, expanded once for each line.
    pub(crate) template: String,
    pub(crate) lines: Vec<Line>,
}

/// One line of an order.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Line {
    pub(crate) sku: String,
    pub(crate) title: String,
    pub(crate) category: String,
    pub(crate) quantity: u32,
    pub(crate) unit_cents: u64,
    pub(crate) tags: Vec<String>,
    /// Whatever a client likes to attach, which is why it is parsed into a tree of small values.
    pub(crate) attributes: Map<String, Value>,
}

impl Line {
    fn total_cents(&self) -> u64 {
        u64::from(self.quantity) * self.unit_cents
    }
}

impl Order {
    pub(crate) fn total_cents(&self) -> u64 {
        self.lines.iter().map(Line::total_cents).sum()
    }
}

/// What the downstream service says about one line.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Stock {
    pub(crate) sku: String,
    pub(crate) warehouse: String,
    pub(crate) available: u32,
}

/// An order with all that is known before the downstream service answers; a worker holds it during
/// that wait.
#[derive(Debug)]
pub(crate) struct PricedOrder {
    order: Order,
    slugs: Vec<String>,
    category_totals: BTreeMap<String, u64>,
    tags: BTreeSet<String>,
}

/// How many lines the downstream service is asked about.
const STOCK_QUERY_LINES_MAX: usize = 48;

/// Parses an order and works out what follows from it alone.
pub(crate) fn price(body: &[u8]) -> serde_json::Result<PricedOrder> {
    let mut order: Order = serde_json::from_slice(body)?;
    // The dearest lines come first; the number breaks ties so that every row renders alike.
    order.lines.sort_by(|left, right| {
        let descending = right.total_cents().cmp(&left.total_cents());
        descending.then_with(|| left.sku.cmp(&right.sku))
    });
    let mut category_totals = BTreeMap::new();
    for line in &order.lines {
        *category_totals.entry(line.category.clone()).or_insert(0) += line.total_cents();
    }
    let tags = order.lines.iter().flat_map(|line| line.tags.iter().cloned());
    let tags: BTreeSet<String> = tags.collect();
    let slugs = order.lines.iter().map(|line| slug(&line.title)).collect();
    Ok(PricedOrder { order, slugs, category_totals, tags })
}

/// Turns `Blue Steel Kettle` into `blue-steel-kettle`.
fn slug(title: &str) -> String {
    let words: Vec<String> = title.split_whitespace().map(str::to_lowercase).collect();
    words.join("-")
}

impl PricedOrder {
    /// The JSON question to the downstream service.
    pub(crate) fn stock_query(&self) -> serde_json::Result<Vec<u8>> {
        let lines = self.order.lines.iter().take(STOCK_QUERY_LINES_MAX);
        let skus: Vec<&str> = lines.map(|line| line.sku.as_str()).collect();
        serde_json::to_vec(&skus)
    }
}

/// The JSON of an answer.
#[derive(Debug, Serialize)]
struct Answer<'a> {
    /// First, so that the client can check it without parsing the rest.
    total_cents: u64,
    customer: &'a str,
    unchanged_bytes: usize,
    category_totals: &'a BTreeMap<String, u64>,
    slugs: &'a [String],
    attributes: Vec<&'a Map<String, Value>>,
    document: &'a str,
}

/// The text with which the answer to an order of this total begins.
pub(crate) fn answer_prefix(total_cents: u64) -> String {
    format!("{{\"total_cents\":{total_cents},")
}

/// How many lines the answer repeats the attributes of.
const ATTRIBUTE_LINES_MAX: usize = 32;

/// Renders the answer to the client, and the document which stays in the cache.
pub(crate) fn render(
    priced: PricedOrder,
    stock_body: &[u8],
    previous: Option<&CachedDocument>,
) -> serde_json::Result<(Vec<u8>, CachedDocument)> {
    let stock: Vec<Stock> = serde_json::from_slice(stock_body)?;
    let stock: BTreeMap<&str, &Stock> =
        stock.iter().map(|item| (item.sku.as_str(), item)).collect();
    let text = render_text(&priced.order, &stock);
    let lines = priced.order.lines.iter().take(ATTRIBUTE_LINES_MAX);
    let answer = serde_json::to_vec(&Answer {
        total_cents: priced.category_totals.values().sum(),
        customer: &priced.order.customer,
        unchanged_bytes: previous.map_or(0, |document| shared_prefix_bytes(&document.text, &text)),
        category_totals: &priced.category_totals,
        slugs: &priced.slugs,
        attributes: lines.map(|line| &line.attributes).collect(),
        document: &text,
    })?;
    let document = CachedDocument {
        text: text.into_boxed_str(),
        category_totals: priced.category_totals,
        tags: priced.tags.into_iter().collect(),
    };
    Ok((answer, document))
}

fn render_text(order: &Order, stock: &BTreeMap<&str, &Stock>) -> String {
    let mut text = format!("Order of {}\n", order.customer);
    for line in &order.lines {
        let mut values = BTreeMap::new();
        values.insert("sku", line.sku.clone());
        values.insert("title", line.title.clone());
        values.insert("quantity", line.quantity.to_string());
        values.insert("total", money(line.total_cents(), &order.currency));
        values.insert("tags", line.tags.join(", "));
        values.insert("stock", describe_stock(stock.get(line.sku.as_str()).copied()));
        text.push_str(&expand(&order.template, &values));
        text.push('\n');
    }
    text
}

fn money(cents: u64, currency: &str) -> String {
    format!("{}.{:02} {currency}", cents / 100, cents % 100)
}

fn describe_stock(stock: Option<&Stock>) -> String {
    match stock {
        Some(stock) => format!("{} in {}", stock.available, stock.warehouse),
        None => "to be confirmed".to_owned(),
    }
}

/// Replaces each `{{name}}` by its value; a name without one stays as it is.
fn expand(template: &str, values: &BTreeMap<&str, String>) -> String {
    let mut expanded = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        expanded.push_str(before);
        let Some((name, behind)) = after.split_once("}}") else {
            expanded.push_str("{{");
            rest = after;
            continue;
        };
        match values.get(name) {
            Some(value) => expanded.push_str(value),
            // Writing to a `String` cannot fail.
            None => _ = write!(expanded, "{{{{{name}}}}}"),
        }
        rest = behind;
    }
    expanded.push_str(rest);
    expanded
}

/// How much of a document is as it was the last time.
fn shared_prefix_bytes(old: &str, new: &str) -> usize {
    let pairs = old.bytes().zip(new.bytes());
    pairs.take_while(|(old, new)| old == new).count()
}
