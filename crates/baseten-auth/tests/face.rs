//! The public API of the crate is small, and its page says how many items it has.

/// The names that `lib.rs` exports, except the module for the command.
fn exported() -> Vec<&'static str> {
    let source = include_str!("../src/lib.rs");
    let (public, _) = source.split_once("pub mod internal").unwrap_or((source, ""));
    public
        .lines()
        .filter_map(|line| line.strip_prefix("pub use ")?.strip_suffix(';'))
        .flat_map(|path| {
            let (_, names) = path.rsplit_once("::").unwrap_or(("", path));
            names.trim_matches(['{', '}']).split(", ").collect::<Vec<_>>()
        })
        .collect()
}

#[test]
fn the_crates_page_counts_its_items() {
    let source = include_str!("../src/lib.rs");
    let counted = format!("There are {} public items.", exported().len());
    assert!(source.contains(&counted), "{counted} {:?}", exported());
    assert!(exported().len() <= 20, "a program needs about 14");
}
