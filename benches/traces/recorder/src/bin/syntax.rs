//! Reads Rust sources with `syn`, keeps an index of what they declare, and prints them anew.
//!
//! `syntax DIRECTORY...`: what a code browser or a formatter does. The trees of the last files stay
//! in memory, the index of names stays to the end, and everything else passes.

use std::collections::{BTreeMap, VecDeque};

use syn::visit::{self, Visit};
use trace_recorder::{Recorder, source_files};

#[global_allocator]
static ALLOCATOR: Recorder = Recorder;

/// How many files' trees are kept.
const TREES: usize = 24;

/// Where each name is declared: the file's number and the kind of item.
#[derive(Default)]
struct Index {
    declared: BTreeMap<String, Vec<(usize, &'static str)>>,
    called: BTreeMap<String, usize>,
    file: usize,
}

impl Index {
    fn declare(&mut self, name: &syn::Ident, kind: &'static str) {
        self.declared.entry(name.to_string()).or_default().push((self.file, kind));
    }
}

impl<'ast> Visit<'ast> for Index {
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.declare(&item.sig.ident, "fn");
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.declare(&item.sig.ident, "method");
        visit::visit_impl_item_fn(self, item);
    }

    fn visit_item_struct(&mut self, item: &'ast syn::ItemStruct) {
        self.declare(&item.ident, "struct");
        visit::visit_item_struct(self, item);
    }

    fn visit_item_enum(&mut self, item: &'ast syn::ItemEnum) {
        self.declare(&item.ident, "enum");
        visit::visit_item_enum(self, item);
    }

    fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
        *self.called.entry(call.method.to_string()).or_default() += 1;
        visit::visit_expr_method_call(self, call);
    }
}

fn main() {
    let files = source_files();
    let (mut index, mut trees, mut printed_bytes) = (Index::default(), VecDeque::new(), 0);
    for (number, path) in files.iter().enumerate() {
        let Ok(text) = std::fs::read_to_string(path) else { continue };
        let Ok(tree) = syn::parse_file(&text) else { continue };
        index.file = number;
        index.visit_file(&tree);
        printed_bytes += prettyplease::unparse(&tree).len();
        trees.push_back(tree);
        if trees.len() > TREES {
            trees.pop_front();
        }
    }
    let (names, calls) = (index.declared.len(), index.called.len());
    println!("{} files, {names} names, {calls} methods called, {printed_bytes} bytes", files.len());
}
