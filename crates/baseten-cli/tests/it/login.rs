//! Logins with the browser and with an API key: early errors, stored profiles and their names, and
//! the browser.

#[cfg(unix)]
use std::time::{Duration, Instant};

#[cfg(unix)]
use baseten_sandbox::Sandbox;
use baseten_testing::home::Home;
#[cfg(unix)]
use baseten_testing::home::WEB_LOGIN;
#[cfg(unix)]
use baseten_testing::outcome::Outcome;
#[cfg(unix)]
use baseten_testing::sandbox::approve;
use baseten_testing::sandbox::sandbox;
#[cfg(unix)]
use baseten_testing::server::ok;
use baseten_testing::stored::{names, profile};
#[cfg(unix)]
use baseten_testing::wait;

#[test]
fn a_browser_login_stores_a_profile_named_after_the_email() {
    let sandbox = sandbox();
    let home = Home::at(&sandbox);
    let outcome = home.log_in_by_browser(&sandbox, "ada", &[]);
    baseten_testing::assert_outcome!(home, outcome);
}

// Errors that are found before any request.

#[test]
fn mistakes_are_found_before_any_request() {
    let sandbox = sandbox();
    let key = ["--with-api-key"].as_slice();
    let remote = sandbox.remote_url();
    for (arguments, input, status) in [
        (&[][..], "key", 2),
        (key, "key", 2),
        (&["--web", "--with-api-key", "--profile", "a"], "key", 2),
        (&["--web", "--profile", ""], "", 2),
        (&["--web", "--remote-url", "ftp://localhost"], "", 2),
        (&["--web", "--remote-url", "http://example.com"], "", 2),
        (&["--web", "--remote-url", "https://127.0.0.1"], "", 2),
        (&["--web", "--jq", ".["], "", 2),
        (&["--web", "--jq", ".", "-o", "text"], "", 2),
        (&["--with-api-key", "--profile", "a"], "", 2),
        (&["--resume", "--remote-url", &remote], "", 2),
        (&["--resume"], "", 3),
    ] {
        let home = Home::at(&sandbox);
        let outcome = home.run_with_input(&[&["auth", "login"], arguments].concat(), input);
        assert_eq!(outcome.status, status, "{arguments:?}: {outcome}");
        assert!(!home.auth_json().exists());
    }
    assert!(sandbox.requests().is_empty());
}

#[test]
fn storage_that_cannot_be_used_is_found_before_any_request() {
    let sandbox = sandbox();
    for (variable, value, status) in [
        ("BASETEN_KEYRING_TIMEOUT", "soon", 2),
        ("BASETEN_CREDENTIAL_STORE", "nowhere", 2),
        ("BASETEN_CREDENTIAL_STORE", "helper:not-installed", 1),
        #[cfg(target_os = "linux")]
        ("BASETEN_CREDENTIAL_STORE", "keyring", 1),
    ] {
        let home = Home::at(&sandbox).with(variable, value);
        let key = ["auth", "login", "--with-api-key", "--profile", "bot"];
        for outcome in [home.run(&["auth", "login", "--web"]), home.run_with_input(&key, "key")] {
            assert_eq!(outcome.status, status, "{variable}={value}: {outcome}");
            assert!(!home.auth_json().exists());
        }
    }
    assert!(sandbox.requests().is_empty());
}

#[test]
fn a_store_that_cannot_be_used_is_found_before_any_request() {
    let sandbox = sandbox();
    for store in ["{", "not JSON", r#"{"version": 99}"#] {
        let home = Home::at(&sandbox);
        home.write_store(store);
        assert_eq!(home.run(&["auth", "login", "--web"]).status, 1);
        assert_eq!(home.store(), store);
    }
    let home = Home::at(&sandbox);
    std::fs::write(home.path().join(".config"), "a file in the way").unwrap();
    let outcome = home.run(&["auth", "login", "--web"]);
    assert_eq!(outcome.status, 1, "{outcome}");
    assert!(outcome.stderr.contains(".config"), "{outcome}");
    assert!(sandbox.requests().is_empty());
}

#[test]
fn dev_null_is_not_a_terminal() {
    let outcome = Home::new().run(&["auth", "login"]);
    assert_eq!(outcome.status, 2, "{outcome}");
    assert!(outcome.stderr.contains("stdin is not a terminal"), "{outcome}");
}

#[test]
fn a_management_url_is_not_taken_for_a_remote() {
    let home = Home::new();
    let login = home.run(&["auth", "login", "--web", "--remote-url", "https://api.baseten.co"]);
    let home = home.with("BASETEN_REMOTE_URL", "https://api.staging.baseten.co");
    let variable = home.run(&["auth", "login", "--web"]);
    let key = home.with("BASETEN_API_KEY", "key").run(&["whoami"]);
    for outcome in [login, variable, key] {
        assert_eq!(outcome.status, 2, "{outcome}");
        assert!(outcome.stderr.contains("the URL is that of a management API"), "{outcome}");
    }
}

#[test]
#[cfg(unix)]
fn the_person_is_told_what_they_approve() {
    let sandbox = sandbox();
    let home = Home::at(&sandbox);
    let machine = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let remote = sandbox.remote_url();
    let machine = machine.split('.').next().unwrap();
    let notice = format!("Approve it only if you started it: on {machine}, for {remote}.\n");
    let outcome = home.log_in_by_browser(&sandbox, "ada", &[]);
    assert!(outcome.stderr.contains(&notice), "{outcome}");
    let outcome = home.run(&["auth", "login", "--web", "--no-wait"]);
    assert_eq!((outcome.status, &outcome.stderr), (0, &notice), "{outcome}");
}

// API keys.

#[test]
fn a_key_may_come_as_powershell_writes_it() {
    let sandbox = sandbox();
    let key = sandbox.api_key("ada").unwrap();
    let text = format!("\u{feff}{key}\r\n");
    let little: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let big: Vec<u8> = text.encode_utf16().flat_map(u16::to_be_bytes).collect();
    for input in [little, big] {
        let home = Home::at(&sandbox);
        let outcome = home.log_in(input, "bot", &["--insecure-storage"]);
        assert_eq!(outcome.status, 0, "{outcome}");
        assert!(home.store().contains(&key));
    }
}

#[test]
fn the_first_line_that_is_not_blank_is_the_key() {
    let sandbox = sandbox();
    let key = sandbox.api_key("ada").unwrap();
    for input in [
        key.clone(),
        format!("{key}\n"),
        format!("{key}\r\n"),
        format!("  \t{key}  \n"),
        format!("\u{feff}{key}\n"),
        format!("\u{feff}\r\n\n \t \n{key}\nanother line\n"),
        format!("{key}\n{}", " ".repeat(60 * 1024)),
    ] {
        let home = Home::at(&sandbox);
        let outcome = home.log_in(&input, "bot", &["--insecure-storage"]);
        assert_eq!(outcome.status, 0, "{input:?}: {outcome}");
        assert_eq!(profile(&home, "bot")["api_key"], key);
    }
}

#[test]
fn input_that_holds_no_key_is_refused_without_a_request_and_without_being_quoted() {
    let sandbox = sandbox();
    let home = Home::at(&sandbox);
    let long = format!("canary{}", " ".repeat(64 * 1024));
    for input in [
        &b""[..],
        b"\n \r\n\t\n",
        b"\xef\xbb\xbf",
        b"canary canary",
        b"canary\tcanary",
        b"canary\rcanary",
        b"canary\x07",
        b"canary\x00",
        "canaryé".as_bytes(),
        b"canary\xff",
        long.as_bytes(),
    ] {
        let outcome = home.log_in(input, "bot", &["--insecure-storage"]);
        assert_eq!(outcome.status, 2, "{outcome}");
        assert!(!outcome.to_string().contains("canary"), "{outcome}");
        assert!(outcome.stderr.contains("\nhint: "), "{outcome}");
    }
    assert!(sandbox.requests().is_empty());
    assert!(!home.auth_json().exists());
}

#[test]
fn a_key_that_the_server_refuses_is_not_stored() {
    let sandbox = sandbox();
    let home = Home::at(&sandbox);
    let outcome = home.log_in("canary", "bot", &["--insecure-storage"]);
    assert_eq!(outcome.status, 3, "{outcome}");
    assert!(!outcome.to_string().contains("canary"), "{outcome}");
    assert!(!home.auth_json().exists());
    home.log_in_with_key(&sandbox, "ada", "bot");
    let before = home.store();
    assert_eq!(home.log_in("canary", "bot", &["--insecure-storage"]).status, 3);
    assert_eq!(home.store(), before);
}

#[test]
fn a_key_as_an_argument_is_refused_and_not_repeated() {
    let home = Home::new();
    for arguments in [&["--with-api-key", "canary"][..], &["--with-api-key=canary"], &["canary"]] {
        let outcome = home.run(&[&["auth", "login", "--profile", "bot"], arguments].concat());
        assert_eq!(outcome.status, 2, "{outcome}");
        assert!(!outcome.to_string().contains("canary"), "{outcome}");
    }
}

// Names.

#[test]
fn browser_logins_are_named_after_their_user() {
    let sandbox = sandbox();
    let home = Home::at(&sandbox);
    let named = |user: &str| {
        let outcome = home.log_in_by_browser(&sandbox, user, &["--output", "json"]);
        outcome.json()["profile"].as_str().unwrap().to_owned()
    };
    assert_eq!(named("ada"), "ada@example.com:localhost");
    assert_eq!(named("ada"), "ada@example.com:localhost", "the same identity replaces");
    assert_eq!(named("ada-compilers"), "ada@example.com:localhost:Compilers");
    assert_eq!(named("ada-second"), "ada@example.com:localhost:Analytical Engines");
    assert_eq!(named("charles"), "charles:localhost");
    assert_eq!(named("nameless"), "nameless:localhost");
    assert_eq!(named("ada-second"), "ada@example.com:localhost:Analytical Engines");
    assert_eq!(names(&home).len(), 5);
}

#[test]
fn names_that_are_taken_get_numbers() {
    let sandbox = sandbox();
    let home = Home::with_api(sandbox.api_url());
    // The name is taken, with the workspace and with a number as well.
    let entry = |name: &str, more: &str| {
        format!(
            r#""{name}": {{"remote_url": "https://app.baseten.co", "auth_type": "oauth"{more}}}"#
        )
    };
    let other = r#", "user_id": "somebody-else""#;
    home.write_store(&format!(
        r#"{{"version": 1, "profiles": {{{}, {}, {}}}}}"#,
        entry("ada@example.com", other),
        entry("ada@example.com:Analytical Engines", other),
        entry("ada@example.com:Analytical Engines:2", r#", "workspace_name": "Elsewhere""#),
    ));
    let outcome = home.log_in_by_browser(&sandbox, "ada", &[]);
    assert!(
        outcome.stdout.ends_with(" as profile ada@example.com:Analytical Engines:3\n"),
        "{outcome}"
    );
    assert_eq!(names(&home).len(), 4);
}

#[test]
fn a_profile_without_a_user_id_counts_as_the_same() {
    let sandbox = sandbox();
    let home = Home::with_api(sandbox.api_url());
    home.write_store(
        r#"{"profiles": {"ada@example.com":
            {"remote_url": "https://app.baseten.co", "auth_type": "oauth"}}}"#,
    );
    home.log_in_by_browser(&sandbox, "ada", &[]);
    assert_eq!(names(&home), ["ada@example.com"]);
    assert_eq!(profile(&home, "ada@example.com")["user_id"], "ada");
}

#[test]
fn the_same_name_at_another_remote_is_not_replaced() {
    let sandbox = sandbox();
    let home = Home::with_api(sandbox.api_url());
    home.write_store(
        r#"{"profiles": {"ada@example.com":
            {"remote_url": "https://app.staging.baseten.co", "auth_type": "oauth"}}}"#,
    );
    home.log_in_by_browser(&sandbox, "ada", &[]);
    assert_eq!(names(&home), ["ada@example.com", "ada@example.com:Analytical Engines"]);
}

#[test]
fn an_explicit_name_replaces_whatever_has_it_and_ends_the_old_session() {
    let sandbox = sandbox();
    let home = Home::at(&sandbox);
    home.log_in_by_browser(&sandbox, "grace", &["--profile", "work"]);
    assert_eq!(sandbox.session_count("grace"), 1);
    home.log_in_with_key(&sandbox, "ada", "work");
    assert_eq!(names(&home), ["work"]);
    assert_eq!(profile(&home, "work")["auth_type"], "api_key");
    assert_eq!(profile(&home, "work")["oauth_credential"], serde_json::Value::Null);
    assert_eq!(sandbox.session_count("grace"), 0);
}

// Remotes.

#[test]
fn remotes_are_stored_in_one_form() {
    let sandbox = sandbox();
    let port = sandbox.port();
    let key = sandbox.api_key("ada").unwrap();
    for url in [format!("HTTP://LocalHost:{port}/"), format!("http://localhost:{port}")] {
        let home = Home::new();
        let arguments =
            ["auth", "login", "--with-api-key", "--profile", "bot", "--remote-url", &url];
        assert_eq!(home.run_with_input(&arguments, &key).status, 0);
        let stored = &profile(&home, "bot")["remote_url"];
        assert_eq!(stored, &format!("http://localhost:{port}"));
    }
}

#[test]
fn remotes_with_more_than_scheme_host_and_port_are_refused() {
    for url in [
        "https://app.baseten.co/login",
        "https://app.baseten.co//",
        "https://app.baseten.co?a=b",
        "https://app.baseten.co#a",
        "https://user@app.baseten.co",
        "https://user:canary@app.baseten.co",
        "http://app.baseten.co",
        "http://localhost.example.com",
        "ws://app.baseten.co",
        "app.baseten.co",
        "https://",
        "https:// app.baseten.co",
        "",
    ] {
        let outcome = Home::new().run(&["auth", "login", "--web", "--remote-url", url]);
        assert_eq!(outcome.status, 2, "{url}: {outcome}");
        assert!(outcome.stderr.starts_with("error: --remote-url "), "{outcome}");
        assert!(!outcome.to_string().contains("canary"), "{outcome}");
        // An empty variable counts as unset.
        if !url.is_empty() {
            let outcome = Home::at_remote(url).run(&["auth", "login", "--web"]);
            assert_eq!(outcome.status, 2, "{url}: {outcome}");
            assert!(outcome.stderr.starts_with("error: BASETEN_REMOTE_URL "), "{outcome}");
        }
    }
}

#[test]
fn the_option_wins_over_the_variable() {
    let sandbox = sandbox();
    let home = Home::new().with("BASETEN_REMOTE_URL", "not even a URL");
    let remote = sandbox.remote_url();
    home.log_in_by_browser(&sandbox, "ada", &["--remote-url", &remote]);
    assert_eq!(profile(&home, "ada@example.com:localhost")["remote_url"], remote);
}

// The page to open.

#[cfg(unix)]
#[test]
fn a_page_that_is_not_https_is_neither_shown_nor_opened() {
    for page in ["http://evil.example.com/device", "javascript:alert(1)", "file:///etc/passwd"] {
        let body =
            serde_json::json!({"device_code": "d", "user_code": "U", "verification_uri": page});
        let home = Home::with_script([ok(&body.to_string())]).with_browser(&noting("exit 0"));
        let outcome = home.run(&["auth", "login", "--web"]);
        assert_eq!(outcome.status, 6, "{outcome}");
        assert!(!outcome.stderr.contains(page), "{outcome}");
        assert!(!was_browser_started(&home));
    }
}

// The browser.

/// A browser script that first notes its argument, its environment and its stdin.
#[cfg(unix)]
fn noting(script: &str) -> String {
    format!(
        "cd \"$HOME\"; env > env; readlink /proc/self/fd/0 > stdin\n\
         echo from the browser\necho from the browser >&2\n\
         echo \"$@\" > part && mv part url\n{script}"
    )
}

/// A home whose desktop has this browser, which is used if no variable names one.
#[cfg(target_os = "linux")]
fn with_desktop_browser(home: Home) -> Home {
    home.install("xdg-open", &noting("exit 0"));
    home
}

/// What the browser noted, once it has started.
#[cfg(unix)]
fn noted(home: &Home, name: &str) -> String {
    wait::until("a browser is started", || home.path().join("url").exists());
    home.read(name)
}

#[cfg(unix)]
fn was_browser_started(home: &Home) -> bool {
    home.path().join("env").exists()
}

#[cfg(unix)]
fn log_in_in_browser(sandbox: &Sandbox, home: &Home) -> Outcome {
    let running = home.start(WEB_LOGIN);
    noted(home, "url");
    approve(sandbox, "ada");
    running.end().succeeded()
}

#[test]
#[cfg(unix)]
fn the_browser_gets_the_page_and_neither_key_nor_stdin_nor_terminal() {
    let sandbox = sandbox();
    let home = Home::at(&sandbox).with_browser(&noting("exit 0")).with("BASETEN_API_KEY", "canary");
    let outcome = log_in_in_browser(&sandbox, &home);
    let url = noted(&home, "url");
    assert!(url.starts_with(&format!("http://localhost:{}/device?user_code=", sandbox.port())));
    assert!(outcome.stderr.contains(url.trim()), "{outcome}");
    assert!(!outcome.to_string().contains("from the browser"), "{outcome}");
    let variables = noted(&home, "env");
    assert!(variables.contains("HOME="), "{variables}");
    assert!(!variables.contains("canary"), "{variables}");
    assert!(!variables.contains("BASETEN_API_KEY"), "{variables}");
    assert_eq!(noted(&home, "stdin"), "/dev/null\n");
}

#[test]
#[cfg(unix)]
fn a_browser_that_fails_or_hangs_does_not_hold_up_the_login() {
    for script in ["exit 1", "sleep 20"] {
        let sandbox = sandbox();
        let start = Instant::now();
        log_in_in_browser(&sandbox, &Home::at(&sandbox).with_browser(&noting(script)));
        assert!(start.elapsed() < Duration::from_secs(15), "{:?}", start.elapsed());
    }
    let sandbox = sandbox();
    let home = Home::at(&sandbox).with("BROWSER", "/nowhere/browser");
    home.log_in_by_browser(&sandbox, "ada", &[]);
}

#[test]
#[cfg(unix)]
fn the_browser_of_the_variable_is_started_over_ssh_and_never_with_no_browser() {
    let sandbox = sandbox();
    let home = Home::at(&sandbox).with_browser(&noting("exit 0"));
    home.log_in_by_browser(&sandbox, "ada", &["--no-browser"]);
    assert!(!was_browser_started(&home));
    let home = home.with("SSH_CONNECTION", "10.0.0.1 1 10.0.0.2 22");
    log_in_in_browser(&sandbox, &home);
    assert!(was_browser_started(&home));
}

#[test]
#[cfg(target_os = "linux")]
fn no_browser_is_started_over_ssh_or_without_a_display() {
    for variables in [&[][..], &[("DISPLAY", ":0"), ("SSH_CONNECTION", "a b")]] {
        let sandbox = sandbox();
        let mut home = with_desktop_browser(Home::at(&sandbox));
        for (name, value) in variables {
            home.set(name, *value);
        }
        home.log_in_by_browser(&sandbox, "ada", &[]);
        assert!(!was_browser_started(&home), "{variables:?}");
    }
}

#[test]
#[cfg(target_os = "linux")]
fn the_desktop_browser_is_started_if_there_is_a_display() {
    let sandbox = sandbox();
    let home = with_desktop_browser(Home::at(&sandbox)).with("DISPLAY", ":0");
    log_in_in_browser(&sandbox, &home);
    assert!(noted(&home, "url").starts_with("http://localhost:"));
}

#[test]
#[cfg(unix)]
fn the_browser_of_the_variable_may_have_a_blank_in_its_path() {
    let sandbox = sandbox();
    let home = Home::at(&sandbox);
    let browser = home.install("my browser", &noting("exit 0"));
    log_in_in_browser(&sandbox, &home.with("BROWSER", browser));
}

#[test]
#[cfg(target_os = "linux")]
fn a_browser_that_did_not_start_is_reported() {
    let sandbox = sandbox();
    for (variables, problem) in [
        (["BROWSER", "/nowhere/my browser"], "/nowhere/my: No such file or directory (os error 2)"),
        (["BROWSER", "sh -c 'exit 3'"], "sh failed (exit status: 3)"),
        (["DISPLAY", ":0"], "xdg-open failed (exit status: 3)"),
    ] {
        let [name, value] = variables;
        let home = Home::at(&sandbox).with(name, value);
        for program in ["xdg-open", "gio", "x-www-browser"] {
            home.install(program, "exit 3");
        }
        let outcome = home.log_in_by_browser(&sandbox, "ada", &[]);
        let told = format!("warning: no browser could be started: {problem}");
        let (_, after) = outcome.stderr.split_once(&told).unwrap_or_else(|| panic!("{outcome}"));
        assert!(after.contains("Open this page in a browser:\n\n  http://"), "{outcome}");
    }
}
