//! p
#[cfg_attr(not(test), expect(dead_code, reason = "what renders the output will call it"))]
mod jq;
