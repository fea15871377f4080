//! The code blocks in `docs/`, so that a test can run them.

use std::path::Path;

/// The code block of a page that is in this language and starts like this.
pub fn block(page: &str, language: &str, start: &str) -> String {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
    let text = std::fs::read_to_string(docs.join(page)).unwrap();
    let fence = format!("```{language}\n");
    let mut blocks = text.split(&fence).skip(1);
    let block = blocks.find(|block| block.starts_with(start));
    let block = block.unwrap_or_else(|| panic!("{page} has no block that starts with {start}"));
    block.split("```").next().unwrap_or_default().to_owned()
}
