//! The loads, in the order of the table.

use super::stage::Stage;
use super::workloads;

/// One load.
#[derive(Debug)]
pub(super) struct Row {
    /// The name printed and accepted from the command line.
    pub(super) name: &'static str,
    /// What it does, for the reader of the table.
    pub(super) load: &'static str,
    pub(super) run: fn(&Stage),
}

pub(super) static ROWS: &[Row] = &[
    Row {
        name: "idle_connections",
        load: "1000 threads; 20 rounds of 200 blocks of 16 B to 32 KiB, 4 small ones of each kept; \
               all sleep, then wake and work again",
        run: workloads::idle_connections,
    },
    Row {
        name: "mixed_connections",
        load: "the same, with up to 20 ms between two rounds of a thread",
        run: workloads::mixed_connections,
    },
    Row {
        name: "idle_workers",
        load: "64 threads; 20 rounds of 4,000 blocks of 16 B to 16 KiB, all freed; all sleep",
        run: workloads::idle_workers,
    },
    Row {
        name: "size_drift",
        load: "8 threads; 12 phases of 200 MiB in sizes that grow from 16-64 B to 512-2048 B, of \
               which 5 % survive at random",
        run: workloads::size_drift,
    },
];

impl Row {
    pub(super) fn from_name(name: &str) -> Result<&'static Self, String> {
        ROWS.iter().find(|row| row.name == name).ok_or_else(|| {
            let names: Vec<&str> = ROWS.iter().map(|row| row.name).collect();
            format!("there is no row {name:?}; there are {}", names.join(", "))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_lead_back_to_their_rows() {
        for row in ROWS {
            assert!(std::ptr::eq(Row::from_name(row.name).expect("it exists"), row));
        }
        assert!(Row::from_name("no such row").is_err());
    }
}
