//! What must hold for any line at a lender's socket.
#![expect(clippy::missing_panics_doc, reason = "to panic where it does not hold is the purpose")]

use super::protocol::{Grant, Listing, Request, parse_answer, success};

/// A line that can be read is written in a form that reads as the same. No error is empty.
pub fn lent_line(line: &[u8]) {
    match Request::parse(line) {
        Ok(request) => {
            let shown = format!("{request:?}");
            let again = Request::parse(&request.line());
            assert!(again.is_ok_and(|again| format!("{again:?}") == shown), "not its own form");
        }
        Err(reason) => assert!(!reason.is_empty()),
    }
    if let Some(Ok(grant)) = parse_answer::<Grant>(line) {
        let again = parse_answer::<Grant>(&success(&grant, grant.token.expose().len()));
        let is_same = |again: &Grant| {
            again.token == grant.token && format!("{again:?}") == format!("{grant:?}")
        };
        assert!(matches!(again, Some(Ok(again)) if is_same(&again)), "not its own form");
    }
    if let Some(Ok(listing)) = parse_answer::<Listing>(line) {
        let again = parse_answer::<Listing>(&success(&listing, 0));
        assert!(matches!(again, Some(Ok(again)) if again.profiles == listing.profiles));
    }
}
