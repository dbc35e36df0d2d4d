//! The loads, in the order of the tables.

use super::stage::Stage;
use super::workloads;

/// One load.
#[derive(Debug)]
pub(super) struct Row {
    /// The name printed and accepted from the command line.
    pub(super) name: &'static str,
    /// A heading.
    pub(super) title: &'static str,
    /// What it does, for the reader of the table.
    pub(super) description: &'static str,
    pub(super) run: fn(&Stage),
}

/// To add the replay of a trace, add an entry here whose `run` calls `workloads::replay`.
pub(super) static ROWS: &[Row] = &[
    Row {
        name: "job_server_25",
        title: "Job server, 25 threads",
        description: "25 threads serve requests that come at a fixed rate: some 350 blocks of 16 B \
                      to 32 KiB, a wait of 1 to 20 ms, a response that grows to at most 200 KiB, \
                      and a document for a shared cache of 16 MiB, which loses random ones. \
                      Latency is the service time without the wait.",
        run: |stage| workloads::job_server(stage, 25),
    },
    Row {
        name: "job_server_200",
        title: "Job server, 200 threads",
        description: "The same with 200 threads, at the same rate.",
        run: |stage| workloads::job_server(stage, 200),
    },
    Row {
        name: "idle_connections",
        title: "Idle connections",
        description: "1000 threads; 20 rounds of 200 blocks of 16 B to 32 KiB, 4 small ones of \
                      each kept; all sleep, then wake and work again. Latency is that of a round.",
        run: workloads::idle_connections,
    },
    Row {
        name: "mixed_connections",
        title: "Mixed connections",
        description: "The same, with up to 20 ms between two rounds of a thread.",
        run: workloads::mixed_connections,
    },
    Row {
        name: "idle_workers",
        title: "Idle workers",
        description: "64 threads; 20 rounds of 4,000 blocks of 16 B to 16 KiB, all freed; all \
                      sleep.",
        run: workloads::idle_workers,
    },
    Row {
        name: "size_drift",
        title: "Drifting sizes",
        description: "8 threads; 12 phases of 200 MiB in sizes that grow from 16-64 B to \
                      512-2048 B, of which 5 % survive at random.",
        run: workloads::size_drift,
    },
    Row {
        name: "burst_idle",
        title: "Burst, then idle",
        description: "4 threads allocate 300 MiB in blocks of 16 B to 64 KiB, free all but a \
                      random tenth, and sleep for 5 seconds.",
        run: workloads::burst_idle,
    },
    Row {
        name: "long_lived_cache",
        title: "Long-lived cache",
        description: "4 threads fill a cache of 64 MiB with values of 64 B to 8 KiB, whose sizes \
                      drift upward, at a fixed rate for 10 seconds; 4 others evict the oldest that \
                      were not read lately. Latency is that of 64 insertions.",
        run: workloads::long_lived_cache,
    },
    Row {
        name: "fork_warm",
        title: "Forked workers",
        description: "A process allocates 600,000 blocks of 16 to 256 B, keeps 60 % of them, \
                      calls what its allocator has for that (capmalloc's warm_up, glibc's \
                      malloc_trim), and forks 4 children; each writes 10 MiB of new blocks and \
                      frees half of what it inherited. Memory is that of all five, shared pages \
                      counted once.",
        run: workloads::fork_warm,
    },
    Row {
        name: "trace_syntax",
        title: "Replay: a parser and a printer",
        description: "What a real program asked for, recorded and replayed: syn and prettyplease read a large Rust source and print it, on one thread.",
        run: |stage| workloads::replay_trace(stage, "syntax"),
    },
    Row {
        name: "trace_search",
        title: "Replay: a search engine",
        description: "What a real program asked for, recorded and replayed: tantivy indexes and searches a tree of files, on 59 threads.",
        run: |stage| workloads::replay_trace(stage, "search"),
    },
    Row {
        name: "trace_script",
        title: "Replay: a script engine",
        description: "What a real program asked for, recorded and replayed: rhai runs scripts, on one thread.",
        run: |stage| workloads::replay_trace(stage, "script"),
    },
    Row {
        name: "trace_server",
        title: "Replay: an HTTP server",
        description: "What a real program asked for, recorded and replayed: hyper on tokio serves requests; a fifth of the blocks is freed by another thread.",
        run: |stage| workloads::replay_trace(stage, "server"),
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
