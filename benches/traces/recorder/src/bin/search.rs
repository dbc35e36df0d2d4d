//! Builds a full-text index of source files with `tantivy` and searches it.
//!
//! `search DIRECTORY...`: one thread reads the files and makes documents of them, three index them
//! and others merge what they wrote, so most documents are freed on another thread than they were
//! made on. Then four threads search.

use tantivy::collector::{Count, TopDocs};
use tantivy::query::QueryParser;
use tantivy::schema::{INDEXED, STORED, STRING, Schema, TEXT, Value};
use tantivy::{Index, TantivyDocument, Term, doc};
use trace_recorder::{Recorder, source_files};

#[global_allocator]
static ALLOCATOR: Recorder = Recorder;

/// How many lines make a document.
const LINES: usize = 25;
const INDEXING_THREADS: usize = 3;
const INDEXING_BYTES: usize = 48 << 20;
const SEARCHING_THREADS: usize = 4;
const SEARCHES: usize = 120;

fn main() -> tantivy::Result<()> {
    let files = source_files();

    let mut schema = Schema::builder();
    let path = schema.add_text_field("path", STRING | STORED);
    let line = schema.add_u64_field("line", INDEXED | STORED);
    let body = schema.add_text_field("body", TEXT | STORED);
    let place = tempfile::tempdir()?;
    let index = Index::create_in_dir(place.path(), schema.build())?;
    let mut writer = index.writer_with_num_threads(INDEXING_THREADS, INDEXING_BYTES)?;
    let mut documents = 0;
    for (number, file) in files.iter().enumerate() {
        let Ok(text) = std::fs::read_to_string(file) else { continue };
        let name = file.display().to_string();
        let lines: Vec<&str> = text.lines().collect();
        for (chunk_number, chunk) in lines.chunks(LINES).enumerate() {
            writer.add_document(doc!(
                path => name.clone(),
                line => (chunk_number * LINES) as u64,
                body => chunk.join("\n"),
            ))?;
            documents += 1;
        }
        if number % 150 == 149 {
            // A file seen again replaces itself, as it does when a tree is indexed anew.
            writer.delete_term(Term::from_field_text(
                path,
                &files[number - 75].display().to_string(),
            ));
            writer.commit()?;
        }
    }
    writer.commit()?;
    writer.wait_merging_threads()?;

    let reader = index.reader()?;
    let words = ["self", "fn", "unsafe", "Option", "String", "match", "iter", "test", "buffer"];
    let found: usize = std::thread::scope(|scope| {
        let searches: Vec<_> = (0..SEARCHING_THREADS)
            .map(|thread| {
                let (searcher, parser) =
                    (reader.searcher(), QueryParser::for_index(&index, vec![body]));
                scope.spawn(move || {
                    let mut found = 0;
                    for number in 0..SEARCHES {
                        let first = words[(number + thread) % words.len()];
                        let second = words[(number * 5 + 3) % words.len()];
                        let text = match number % 3 {
                            0 => format!("{first} AND {second}"),
                            1 => format!("{first} OR \"{second} {first}\""),
                            _ => format!("+{first} -{second}"),
                        };
                        let query = parser.parse_query(&text).expect("a query");
                        let top = TopDocs::with_limit(30).order_by_score();
                        let (count, top) =
                            searcher.search(&query, &(Count, top)).expect("a search");
                        for (_, address) in top {
                            let document: TantivyDocument =
                                searcher.doc(address).expect("a document");
                            let text = document.get_first(body).and_then(|value| value.as_str());
                            found += text.map_or(0, |text| text.matches(first).count());
                        }
                        found += count;
                    }
                    found
                })
            })
            .collect();
        searches.into_iter().map(|search| search.join().expect("a search")).sum()
    });
    println!("{} files, {documents} documents, {found} found", files.len());
    Ok(())
}
