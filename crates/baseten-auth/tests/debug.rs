//! A panic or a log line may print the `Debug` form of a value. No public type shows a secret in it.

#![expect(clippy::unwrap_used, reason = "a test may")]

use std::fmt::Debug;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use baseten_auth::internal::*;
use baseten_auth::*;

const CANARY: &str = "canary";

#[track_caller]
fn assert_silent(value: &dyn Debug) {
    for text in [format!("{value:?}"), format!("{value:#?}")] {
        assert!(!text.contains(CANARY), "{text}");
    }
}

fn tokens() -> OAuthCredential {
    let secret = Secret::from(CANARY);
    OAuthCredential {
        access_token: secret.clone(),
        refresh_token: Some(secret),
        expiry: Some("2100-01-01T00:00:00Z".parse().unwrap()),
        issued_at: None,
    }
}

#[test]
fn the_debug_form_of_values_with_secrets_shows_none() {
    let secret = Secret::from(CANARY);
    let key = Credential::ApiKey(secret.clone());
    let oauth = Credential::OAuth(tokens());
    let name = ProfileName::new("work").unwrap();
    let profile = Profile {
        name: name.clone(),
        remote_url: Remote::DEFAULT.to_owned(),
        auth_type: AuthType::OAuth,
        identity: Identity::default(),
        keeper: None,
        without_keyring: false,
        in_file: Some(oauth.clone()),
    };
    let authorization = DeviceAuthorization {
        device_code: secret.clone(),
        user_code: "ABCD".to_owned(),
        verification_uri: "https://app.baseten.co/device".to_owned(),
        verification_uri_complete: None,
        expires_at: "2100-01-01T00:00:00Z".parse().unwrap(),
        interval: Duration::from_secs(5),
    };
    assert_silent(&secret);
    assert_silent(&key);
    assert_silent(&oauth);
    assert_silent(&tokens());
    assert_silent(&profile);
    assert_silent(&authorization);
    assert_silent(&Pending {
        remote: Remote::default(),
        name: Some(name.clone()),
        switch: true,
        insecure_storage: true,
        authorization,
    });
    assert_silent(&Login {
        name: Some(name),
        remote: Remote::default(),
        credential: oauth,
        user: User { user_id: "u".to_owned(), email: None, name: None, workspace_name: None },
        switch: true,
        storage: StoragePolicy::File,
    });
    assert_silent(&parse_api_key(CANARY.as_bytes()));
    assert_silent(&parse_api_key(b"canary with white space"));
    assert_silent(&Response {
        host: "api.example".to_owned(),
        status: 200,
        retry_after: None,
        body: CANARY.as_bytes().to_vec().into(),
        headers: ureq::http::HeaderMap::new(),
    });
    let request = Request::post("https://app.baseten.co/".to_owned())
        .field("refresh_token", CANARY)
        .authorization(&secret);
    assert_silent(&request);
}

#[test]
fn a_run_shows_no_secret_of_its_environment_or_store() {
    let home = std::env::temp_dir().join(format!("baseten-debug-{}", std::process::id()));
    std::fs::create_dir_all(&home).unwrap();
    let proxy = "http://user:canary@127.0.0.1:9";
    let env: Env = [
        ("BASETEN_CONFIG_DIR", home.to_str().unwrap()),
        ("BASETEN_API_KEY", CANARY),
        ("HTTPS_PROXY", proxy),
        ("PATH", "/usr/bin:/bin"),
    ]
    .into_iter()
    .collect();
    let store = r#"{"current": "work", "profiles": {"work": {"remote_url": "https://app.baseten.co",
        "auth_type": "oauth", "oauth_credential": {"access_token": "canary"}}, "bot": {
        "auth_type": "canary"}}}"#;
    std::fs::write(home.join("auth.json"), store).unwrap();

    let events = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&events);
    let observer = Observer::new(move |event| heard.lock().unwrap().push(format!("{event:?}")));
    let context = Context::new(env.clone()).with_observer(observer);
    assert_silent(&env);
    assert_silent(&context);
    assert_silent(&context.http());
    let session = Session::resolve(&context, None).unwrap();
    assert_silent(&session);
    assert_silent(&session.authorization().unwrap());
    assert_silent(&session.authorization().unwrap().header_value());
    let stored = Session::resolve(&context, Some(&ProfileName::new("work").unwrap())).unwrap();
    assert_silent(&stored);
    assert_silent(&stored.profile());
    assert_silent(&stored.authorization().unwrap());
    // Nobody listens at the proxy.
    assert_silent(&stored.user());
    let bad = ProfileName::new("bot").unwrap();
    assert_silent(&Session::resolve(&context, Some(&bad)).unwrap_err());
    let store = context.store().unwrap();
    assert_silent(&store);
    let read = store.read(|profiles| {
        assert_silent(profiles);
        Ok::<_, StoreError>(())
    });
    read.unwrap();
    assert_silent(&Helper::new(&"pass".parse().unwrap(), &env));
    let token = "eyJhbGciOiJub25lIn0.e30.canary";
    for source in [("BASETEN_IDENTITY_TOKEN", token), ("ACTIONS_ID_TOKEN_REQUEST_TOKEN", CANARY)] {
        let url = ("ACTIONS_ID_TOKEN_REQUEST_URL", "http://localhost:1/");
        let rule = ("BASETEN_TRUST_RULE", "ci");
        let remote = ("BASETEN_REMOTE_URL", "http://localhost:1");
        // Nothing listens there, and the wait is canceled.
        let cancel = Cancel::default();
        cancel.cancel();
        let context = Context::new([rule, remote, url, source].into_iter().collect())
            .with_wait(Wait::default().with_cancel(cancel));
        let session = Session::resolve(&context, None).unwrap();
        assert_silent(&session);
        assert_silent(&session.workload());
        assert_silent(&session.identity_claims());
        assert_silent(&session.authorization().unwrap_err());
    }
    assert_silent(&events.lock().unwrap());
    assert!(!events.lock().unwrap().is_empty());
    std::fs::remove_dir_all(home).unwrap();
}
