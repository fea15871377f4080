//! A session as a long-running program with many threads uses it.
#![cfg(target_os = "linux")]

use baseten_auth::Session;
use baseten_auth::internal::{Context, Env, ProfileName};
use baseten_testing::keyring::KeyringSession;

#[test]
fn each_call_has_a_budget_of_its_own_for_the_keyring() {
    let keyring = KeyringSession::start();
    let tokens = r#"{"access_token":"kept","refresh_token":"r","expiry":"0001-01-01T00:00:00Z"}"#;
    keyring.store("ada", tokens, &[]);
    let home = tempfile::tempdir().unwrap();
    let store = r#"{"profiles": {"ada": {"auth_type": "oauth",
        "remote_url": "https://app.baseten.co"}}}"#;
    std::fs::write(home.path().join("auth.json"), store).unwrap();
    let directory = [("BASETEN_CONFIG_DIR", home.path().as_os_str().to_owned())];
    let env: Env = keyring.environment().into_iter().chain(directory).collect();
    let context = Context::new(env);
    let ada = ProfileName::new("ada").unwrap();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..500 {
                    // A new session, which knows nothing yet and has to ask.
                    let session = Session::resolve(&context, Some(&ada)).unwrap();
                    assert_eq!(session.authorization().unwrap().token().expose(), "kept");
                }
            });
        }
    });
}
