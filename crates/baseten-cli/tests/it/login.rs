//! The login itself, by both ways.

use crate::support::{Home, sandbox};

#[test]
fn a_browser_login_stores_a_profile_named_after_the_email() {
    let sandbox = sandbox();
    let home = Home::at(&sandbox);
    let outcome = home.log_in_by_browser(&sandbox, "ada", &[]);
    crate::assert_outcome!(home, outcome);
}
