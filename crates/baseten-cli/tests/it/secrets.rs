//! Secrets are recognizable here, and are searched for everywhere: in all output, in the arguments
//! and environments of all started programs, in files, and after a crash.

#![cfg(target_os = "linux")]

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use baseten_testing::home::{Home, WEB_LOGIN};
use baseten_testing::identity::{GitHub, claims, jwt};
use baseten_testing::outcome::{Outcome, Running};
use baseten_testing::program::{baseten, find};
use baseten_testing::server::{Act, Server, answer, ok};
use baseten_testing::stored::{self, EXPIRED, LIVES, elsewhere, in_file, store, with_key};
use baseten_testing::wait;
use rustix::process::Signal;
use serde_json::json;

const KEY: &str = "CANARY-api-key";
const ACCESS: &str = "CANARY-access-token";
const REFRESH: &str = "CANARY-refresh-token";
const DEVICE: &str = "CANARY-device-code";
/// What all secrets contain: as it is, as base64 at each offset, and as hex.
const TRACES: &[&str] = &["CANARY", "Q0FOQVJ", "NBTkFSW", "DQU5BUl", "43414e415259"];

fn has_secret(bytes: &[u8]) -> bool {
    TRACES.iter().any(|trace| bytes.windows(trace.len()).any(|part| part == trace.as_bytes()))
}

#[track_caller]
fn assert_silent(outcome: &Outcome) {
    assert!(!has_secret(outcome.to_string().as_bytes()), "{outcome}");
}

/// A home with a profile of each kind, whose requests go to a server with this script.
fn logged_in(expiry: &str, script: impl IntoIterator<Item = Act>) -> Home {
    let remote = "https://app.baseten.co";
    let home = Home::with_script(script);
    home.write_store(&store([
        ("work", in_file(remote, &stored::tokens(ACCESS, REFRESH, expiry))),
        ("bot", with_key(remote, KEY)),
    ]));
    home
}

fn me() -> Act {
    ok(r#"{"user_id": "u", "email": "ada@example.com", "workspace_name": "w"}"#)
}

fn started() -> Act {
    let body = json!({"device_code": DEVICE, "user_code": "ABCD", "expires_in": 60, "interval": 1,
        "verification_uri": "https://app.baseten.co/device"});
    ok(&body.to_string())
}

fn tokens() -> Act {
    let body = json!({"access_token": ACCESS, "refresh_token": REFRESH, "expires_in": 3600});
    ok(&body.to_string())
}

/// A server that repeats whatever it was sent.
fn echo(status: u16) -> Act {
    let text = format!("no {KEY} {ACCESS} {REFRESH} {DEVICE} CANARY");
    // A secret that this run did not send cannot be recognized, so each is tested separately below.
    answer(status, "", &text)
}

/// A server that repeats one secret in every member of its error.
fn repeats(status: u16, secret: &str) -> [Act; 2] {
    let oauth = json!({"error": secret, "error_description": format!("{secret} is used up")});
    let other = json!({"code": secret, "message": format!("who is {secret}?")});
    [answer(status, "", &oauth.to_string()), answer(status, "", &other.to_string())]
}

/// Only these two files contain secrets, and only the owner can use what is in the directory.
fn assert_files_are_private(home: &Home) {
    let own = home.path().join(".config/baseten");
    let mut directories = vec![home.path().to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
            let inside = path.starts_with(&own);
            if path.is_dir() {
                assert!(!inside || mode == 0o700, "{mode:o} {}", path.display());
                directories.push(path);
                continue;
            }
            assert!(!inside || mode == 0o600, "{mode:o} {}", path.display());
            let named = ["auth.json", "pending-login.json"].map(|name| own.join(name));
            let allowed = named.contains(&path) || path.starts_with(home.path().join("bin"));
            assert!(allowed || !has_secret(&fs::read(&path).unwrap()), "{}", path.display());
        }
    }
}

#[test]
fn no_command_that_works_shows_a_secret() {
    for verbose in [&["-v"][..], &["-v", "-o", "json"], &["-o", "jsonl"], &["-v", "-q", "."]] {
        let run = |home: &Home, command: &[&str]| {
            let outcome = home.run(&[command, verbose].concat());
            assert_eq!(outcome.status, 0, "{outcome}");
            assert_silent(&outcome);
            assert_files_are_private(home);
        };
        for profile in ["work", "bot"] {
            let home = logged_in(LIVES, [me(), me(), me()]);
            // Logging out writes nothing that was not there, and switching tightens the modes.
            run(&home, &["auth", "switch", "--profile", profile]);
            run(&home, &["auth", "list"]);
            run(&home, &["auth", "status"]);
            run(&home, &["auth", "status", "--check"]);
            run(&home, &["whoami"]);
            run(&home, &["auth", "logout"]);
            assert!(!home.store().contains(if profile == "bot" { KEY } else { ACCESS }));
        }
        let home = logged_in(EXPIRED, [tokens(), me()]);
        run(&home, &["auth", "switch", "--profile", "work"]);
        run(&home, &["whoami"]);
        let home = Home::with_script([started(), tokens(), me()]);
        run(&home, WEB_LOGIN);
        let home = Home::with_script([started(), tokens(), me()]);
        run(&home, &["auth", "login", "--web", "--no-wait", "--insecure-storage"]);
        run(&home, &["auth", "login", "--resume"]);
        // Without an available keyring, with the warning about that.
        let home = Home::with_script([started(), tokens(), me()]);
        run(&home, &["auth", "login", "--web"]);
        let home = Home::with_script([me(), me()]).with("BASETEN_API_KEY", KEY);
        run(&home, &["auth", "status", "--check"]);
        run(&home, &["whoami"]);
    }
}

#[test]
fn the_token_command_prints_the_credential_on_stdout_alone() {
    let home = logged_in(LIVES, []);
    for (profile, secret) in [("work", ACCESS), ("bot", KEY)] {
        for mode in [&["-v"][..], &["-v", "--header"], &["-v", "-o", "json"]] {
            let outcome = home.run(&[&["auth", "token", "--profile", profile], mode].concat());
            assert_eq!(outcome.stdout.matches(secret).count(), 1, "{outcome}");
            assert!(!outcome.stdout.contains(REFRESH), "{outcome}");
            assert!(!has_secret(outcome.stderr.as_bytes()), "{outcome}");
        }
        for filter in [".token | error", ".token | tonumber", "{(.token): 1} | .[0]", "., error"] {
            let outcome = home.run(&["auth", "token", "--profile", profile, "-v", "-q", filter]);
            assert!(!has_secret(outcome.stderr.as_bytes()), "{outcome}");
        }
    }
}

/// The identity token of a workload.
/// Always the same one: its times would differ a second later.
fn identity_token() -> String {
    static TOKEN: std::sync::LazyLock<String> =
        std::sync::LazyLock::new(|| jwt(&claims(), "CANARY-signature"));
    TOKEN.clone()
}

/// A workload whose identity token comes from this source, and whose requests go to a server with
/// this script.
fn workload(source: &str, script: impl IntoIterator<Item = Act>) -> (Vec<Server>, Home) {
    let server = Server::start(script);
    let mut home = Home::served_by(&server).with("BASETEN_TRUST_RULE", "ci");
    let token = identity_token();
    home.install("mint", &format!("echo {token}; echo CANARY >&2"));
    let github = GitHub::start(9, move |_| identity_token());
    match source {
        "variable" => home.set("BASETEN_IDENTITY_TOKEN", token),
        "command" => home.set("BASETEN_IDENTITY_TOKEN_COMMAND", "mint --secret CANARY"),
        _ => home = github.job(home),
    }
    (vec![server, github.0], home)
}

#[test]
fn a_workload_shows_and_stores_no_token() {
    for source in ["variable", "command", "github"] {
        for mode in [&["-v"][..], &["-v", "-o", "json"], &["-v", "-q", "."]] {
            for command in [&["whoami"][..], &["auth", "status", "--check"], &["auth", "status"]] {
                let (_servers, home) = workload(source, [tokens(), me()]);
                let outcome = home.run(&[command, mode].concat());
                assert_eq!(outcome.status, 0, "{outcome}");
                assert_silent(&outcome);
                assert_files_are_private(&home);
                assert!(!home.auth_json().exists());
            }
        }
        let (_servers, home) = workload(source, [tokens()]);
        let outcome = home.run(&["auth", "token", "-v"]);
        assert_eq!(outcome.stdout, format!("{ACCESS}\n"), "{outcome}");
        assert!(!has_secret(outcome.stderr.as_bytes()), "{outcome}");
    }
}

#[test]
fn a_server_that_repeats_a_workloads_tokens_does_not_get_them_shown() {
    for status in [200, 400, 401, 404] {
        for act in repeats(status, &identity_token()) {
            let (_servers, home) = workload("variable", [act]);
            assert_silent(&home.run(&["auth", "token", "-v"]));
        }
        for act in repeats(status, ACCESS) {
            let (_servers, home) = workload("variable", [tokens(), act, tokens()]);
            assert_silent(&home.run(&["whoami", "-v"]));
        }
        for act in repeats(status, GitHub::REQUEST_TOKEN) {
            let github = GitHub(Server::start([act]));
            let home = github.job(Home::new().with("BASETEN_TRUST_RULE", "ci"));
            assert_silent(&home.run(&["whoami", "-v"]));
        }
    }
}

#[test]
fn a_secret_that_the_server_repeats_is_not_shown() {
    for status in [200, 400, 401, 403, 404] {
        for which in [0, 1] {
            let one = |secret: &str| repeats(status, secret).into_iter().nth(which);
            let asked = |secret| one(secret).into_iter().chain(one(secret));
            assert_silent(
                &Home::with_script(asked(KEY)).with("BASETEN_API_KEY", KEY).run(&["whoami", "-v"]),
            );
            assert_silent(&logged_in(EXPIRED, asked(REFRESH)).run(&["auth", "token", "-v"]));
            let home = logged_in(LIVES, asked(ACCESS));
            assert_silent(&home.run(&["auth", "logout", "--profile", "work", "-v"]));
            let home = logged_in(LIVES, asked(KEY));
            assert_silent(&home.run(&["auth", "status", "--profile", "bot", "--check", "-v"]));
            let login = [WEB_LOGIN, &["-v"]].concat();
            assert_silent(
                &Home::with_script([started()].into_iter().chain(asked(DEVICE))).run(&login),
            );
            assert_silent(
                &Home::with_script([started(), tokens()].into_iter().chain(asked(ACCESS)))
                    .run(&login),
            );
        }
        // The body is not in a form that we know, so nothing of it is shown.
        let home = logged_in(LIVES, [echo(status), echo(status)]);
        assert_silent(&home.run(&["whoami", "--profile", "bot", "-v"]));
        assert_silent(&logged_in(EXPIRED, [echo(status)]).run(&["auth", "token", "-v"]));
    }
}

#[test]
fn a_key_in_the_wrong_place_or_form_is_not_shown() {
    let inline = format!("--with-api-key={KEY}");
    let option = format!("--api-key={KEY}");
    for arguments in [
        &["auth", "login", "--with-api-key", KEY][..],
        &["auth", "login", &inline],
        &["auth", "login", KEY],
        &["auth", "login", &option],
        &["auth", "login", "--api-key", KEY],
        &["auth", "token", KEY],
        &["whoami", KEY],
    ] {
        let outcome = Home::new().run(arguments);
        assert_eq!(outcome.status, 2, "{outcome}");
        assert_silent(&outcome);
    }
    let long = "CANARY".repeat(20_000);
    for input in ["CANARY in words", "CANARY\u{7}", "CANARYé", &long] {
        let outcome = Home::new().log_in(input, "p", &["--insecure-storage", "-v"]);
        assert_eq!(outcome.status, 2, "{outcome}");
        assert_silent(&outcome);
        if input.len() < 100 {
            let home = Home::new().with("BASETEN_API_KEY", input);
            for command in [&["whoami", "-v"][..], &["auth", "status"], &["auth", "token"]] {
                assert_silent(&home.run(command));
            }
        }
    }
}

#[test]
fn a_store_that_cannot_be_read_is_not_quoted() {
    let whole = logged_in(LIVES, []).store();
    let broken = [
        whole[..whole.len() - 40].to_owned(),
        whole.replace("\"CANARY-api-key\"", "CANARY-api-key"),
        whole.replace("\"CANARY-access-token\"", "[\"CANARY-access-token\"]"),
        whole.replace("\"oauth\"", "\"CANARY\""),
        whole.replace(LIVES, "CANARY"),
        whole.replace("\"version\": 1", "\"version\": \"CANARY\""),
    ];
    for store in broken {
        assert_ne!(store, whole);
        for command in [
            &["auth", "list", "-v"][..],
            &["auth", "status", "--profile", "work"],
            &["auth", "token", "--profile", "work", "-v"],
            &["auth", "switch", "--profile", "bot"],
            &["auth", "logout", "--profile", "work"],
        ] {
            let outcome = Home::with_store(&store).run(command);
            assert!(!has_secret(outcome.stderr.as_bytes()), "{outcome}");
        }
    }
    let home = Home::with_store("{}");
    fs::write(home.path().join(".config/baseten/pending-login.json"), "{\"device_code\":CANARY")
        .unwrap();
    assert_silent(&home.run(&["auth", "login", "--resume", "-v"]));
}

#[test]
fn the_password_of_a_proxy_is_not_shown() {
    let refusal = "HTTP/1.1 407 CANARY\r\nProxy-Authenticate: Basic realm=\"x\"\r\n\r\n";
    let proxy = Server::start([(); 2].map(|()| Act::Answer(refusal.into())));
    let port = proxy.address.port();
    for url in [
        format!("http://user:CANARY-pass@127.0.0.1:{port}"),
        "http://user:CANARY-pass@127.0.0.1:1".to_owned(),
        "socks5://user:CANARY-pass@127.0.0.1:1".to_owned(),
        "http://user:CANARY-pass@:x:y".to_owned(),
        "user:CANARY pass".to_owned(),
    ] {
        let mut home = logged_in(LIVES, []).with("HTTPS_PROXY", url);
        home.unset("BASETEN_MANAGEMENT_API_URL_OVERRIDE");
        let outcome = home.run(&["whoami", "--profile", "bot", "-v"]);
        assert_ne!(outcome.status, 0, "{outcome}");
        assert_silent(&outcome);
    }
    assert!(proxy.requests()[0].contains("Proxy-Authorization: Basic "));
}

#[test]
fn a_helper_that_prints_the_secret_is_not_quoted() {
    let scripts = [
        "cat; exit 1",
        "cat >&2; exit 1",
        "cat > /dev/null; echo '{\"Secret\": \"CANARY-api-key\"}'; exit 1",
        "cat > /dev/null; echo '{\"Secret\": CANARY-api-key}'",
        "cat > /dev/null; echo '{\"Secret\": \"CANARY-api-key\"}'; kill -SEGV $$",
    ];
    for script in scripts {
        let home = Home::with_script([me(), me()]);
        home.install("docker-credential-leaky", script);
        let home = home.with("BASETEN_CREDENTIAL_STORE", "helper:leaky");
        assert_silent(&home.log_in(KEY, "p", &["-v"]));
        home.write_store(&store([("p", elsewhere("https://app.baseten.co", "api_key"))]));
        for command in ["token", "logout"] {
            assert_silent(&home.run(&["auth", command, "--profile", "p", "-v"]));
        }
    }
}

/// Every program that a command starts, with its arguments and its whole environment.
fn traced(home: &Home, arguments: &[&str], input: &str) -> String {
    let trace = home.path().join("trace");
    let mut strace = home.command_of(find("strace", "strace"), &[]);
    strace
        .args(["-f", "-v", "-s", "100000", "-e", "trace=execve", "-o"])
        .arg(&trace)
        .arg(baseten())
        .args(arguments);
    Running::with_input(&mut strace, input).end().succeeded();
    let text = home.read("trace");
    fs::remove_file(&trace).unwrap();
    // The first is the command itself, as it was started.
    text.split_once('\n').unwrap().1.to_owned()
}

#[test]
fn nothing_that_is_started_gets_a_secret() {
    let helper = "cat >/dev/null; [ $1 != get ] || echo '{\"Secret\": \"CANARY-api-key\"}'";

    let with_secrets = |home: Home| {
        home.with("BASETEN_API_KEY", KEY)
            .with("BASETEN_IDENTITY_TOKEN", identity_token())
            .with("ACTIONS_ID_TOKEN_REQUEST_TOKEN", GitHub::REQUEST_TOKEN)
    };
    let home = with_secrets(Home::with_script([started(), tokens(), me()]));
    let home = home.with_browser("true");
    let started = traced(&home, WEB_LOGIN, "");
    assert!(started.contains("bin/browser") && started.contains("HOME="), "{started}");
    assert!(!has_secret(started.as_bytes()), "{started}");

    // Anybody on this machine can read arguments. A browser has to get the code as one; we must not
    // have it in ours.
    let code = "USER-CODE";
    let page = r#"{"device_code": "d", "user_code": "USER-CODE", "interval": 1, "expires_in": 60,
        "verification_uri": "https://app.example.com/device",
        "verification_uri_complete": "https://app.example.com/device?user_code=USER-CODE"}"#;
    let home = Home::with_script([ok(page), tokens(), me()]).with("DISPLAY", ":0");
    home.install("xdg-open", "true");
    let started = traced(&home, WEB_LOGIN, "");
    let with_code: Vec<_> = started.lines().filter(|line| line.contains(code)).collect();
    assert!(
        !with_code.is_empty() && with_code.iter().all(|line| line.contains("xdg-open")),
        "{started}"
    );

    let home = with_secrets(Home::with_script([me(), me()]));
    home.install("docker-credential-good", helper);
    let home = home.with("BASETEN_CREDENTIAL_STORE", "helper:good");
    let login = ["auth", "login", "--with-api-key", "--profile", "p", "-v"];
    for (command, input) in
        [(&login[..], KEY), (&["auth", "token", "--profile", "p"], ""), (&["auth", "logout"], "")]
    {
        let started = traced(&home, command, input);
        assert!(started.contains("docker-credential-good"), "{started}");
        assert!(!has_secret(started.as_bytes()), "{started}");
    }
    assert_files_are_private(&home);
}

#[test]
#[cfg(target_os = "linux")]
fn a_crash_leaves_no_core_dump() {
    // A program that does not forbid core dumps leaves one, if the machine writes them into the
    // directory.
    let pattern = fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap();
    let start = |home: &Home, program: &str| {
        let script = format!("ulimit -c unlimited && exec {program}");
        let mut command = home.command_of("/bin/sh", &["-c", &script]);
        Running::start(command.stdin(Stdio::piped()))
    };
    let name = |id: u32| fs::read_to_string(format!("/proc/{id}/comm")).unwrap_or_default();
    let limit = |id: u32| {
        let limits = fs::read_to_string(format!("/proc/{id}/limits")).unwrap_or_default();
        let line = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap_or("");
        line.split_whitespace().nth(4).unwrap_or_default().to_owned()
    };
    let end = |mut running: Running| {
        running.signal(Signal::ABORT);
        running.0.wait().unwrap()
    };

    let home = Home::new();
    let other = start(&home, "sleep 60");
    let id = other.0.id();
    wait::until("sleep runs", || name(id) == "sleep\n" && limit(id) == "unlimited");
    let dumped = end(other).core_dumped();
    assert!(dumped || pattern.starts_with('|'), "this machine makes no core dumps");

    let home = Home::new();
    let arguments = "auth login --with-api-key --insecure-storage --profile p";
    let mut login = start(&home, &format!("{} {arguments}", baseten()));
    // It reads on until the end of its input, which never comes.
    login.0.stdin.as_mut().unwrap().write_all(KEY.as_bytes()).unwrap();
    let id = login.0.id();
    // The shell, which has no limit of its own at first, has been replaced.
    wait::until("the login runs", || name(id) == "baseten\n" && limit(id) == "0");
    let status = end(login);
    assert_eq!(status.signal(), Some(6), "{status}");
    assert!(!status.core_dumped() || pattern.starts_with('|'), "{status}");
    let left: Vec<PathBuf> = files(home.path());
    assert!(left.iter().all(|path| !has_secret(&fs::read(path).unwrap())), "{left:?}");
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}
