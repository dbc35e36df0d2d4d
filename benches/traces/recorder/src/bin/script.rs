//! Runs scripts in `rhai`, as a program with a scripting language inside does.
//!
//! `script DIRECTORY...`: a script is compiled once and run over each source file it finds. It
//! makes strings, arrays and maps of what it reads, and keeps some of them for later files.

use rhai::{Engine, Map, Scope};
use trace_recorder::{Recorder, source_files};

#[global_allocator]
static ALLOCATOR: Recorder = Recorder;

/// How much of each file the script is given.
const LINES: usize = 80;

const SCRIPT: &str = r#"
    // Words of a text with how often each occurs.
    fn count_words(text) {
        let counts = #{};
        for line in text.split("\n") {
            let trimmed = line;
            trimmed.trim();
            if trimmed.starts_with("//") { continue; }
            for word in trimmed.split() {
                if word.len < 3 { continue; }
                counts[word] = (counts[word] ?? 0) + 1;
            }
        }
        counts
    }

    // The most frequent words, as small maps, in order.
    fn top(counts, limit) {
        let rows = [];
        for word in counts.keys() {
            rows.push(#{ word: word, count: counts[word], text: `${word}: ${counts[word]}` });
        }
        rows.sort(|a, b| b.count - a.count);
        if rows.len > limit { rows.truncate(limit); }
        rows
    }

    // Lines by the indentation they have.
    fn outline(text) {
        let levels = #{};
        for line in text.split("\n") {
            let depth = 0;
            for letter in line { if letter == ' ' { depth += 1; } else { break; } }
            let key = `level-${depth / 4}`;
            if !levels.contains(key) { levels[key] = []; }
            levels[key].push(line.sub_string(depth));
        }
        levels
    }

    let counts = count_words(text);
    let rows = top(counts, 12);
    let levels = outline(text);
    memory.files.push(#{ name: name, rows: rows, deepest: levels.len });
    if memory.files.len > 60 { memory.files.remove(0); }
    for row in rows {
        memory.totals[row.word] = (memory.totals[row.word] ?? 0) + row.count;
    }
    let report = "";
    for row in rows { report += `${name} ${row.text}; `; }
    report.len
"#;

fn main() {
    let files = source_files();
    let engine = Engine::new();
    let program = engine.compile(SCRIPT).expect("a script");
    let mut memory = Map::new();
    memory.insert("files".into(), rhai::Array::new().into());
    memory.insert("totals".into(), Map::new().into());
    let mut scope = Scope::new();
    scope.push("memory", memory);
    let lasting = scope.len();
    let mut report_bytes = 0;
    for path in &files {
        let Ok(text) = std::fs::read_to_string(path) else { continue };
        let lines: Vec<&str> = text.lines().take(LINES).collect();
        scope.push("text", lines.join("\n")).push("name", path.display().to_string());
        let bytes: i64 = engine.eval_ast_with_scope(&mut scope, &program).expect("a result");
        report_bytes += bytes;
        scope.rewind(lasting);
    }
    println!("{} files, reports of {report_bytes} bytes", files.len());
}
