//! `--jq`: whatever a filter does, the command ends soon, and a failure is one sentence.

use baseten_testing::home::Home;

/// Three profiles, for filters to look at.
const STORE: &str = r#"{"version": 1, "current": "a", "profiles": {
    "a": {"remote_url": "https://app.baseten.co", "auth_type": "api_key", "api_key": "canary-1"},
    "b": {"remote_url": "https://app.baseten.co", "auth_type": "api_key", "api_key": "canary-2"},
    "c": {"remote_url": "https://app.baseten.co", "auth_type": "api_key", "api_key": "canary-3"}
}}"#;

fn printed(arguments: &[&str]) -> String {
    let outcome = Home::with_store(STORE).run(arguments);
    assert_eq!((outcome.status, outcome.stderr.as_str()), (0, ""), "{arguments:?} {outcome}");
    outcome.stdout
}

#[test]
fn a_filter_sees_each_record_and_prints_json() {
    let with = |more: &[&'static str]| printed(&[&["version"][..], more].concat());
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(with(&["--jq", ".version"]), format!("\"{version}\"\n"));
    assert_eq!(with(&["--jq", ".version", "-r"]), format!("{version}\n"));
    assert_eq!(with(&["--jq", "."]), with(&["-o", "json"]));
    assert_eq!(with(&["--jq", ".", "-o", "jsonl"]), with(&["-o", "jsonl"]));
    assert_eq!(with(&["--jq", "[.version]"]), format!("[\n  \"{version}\"\n]\n"));
}

#[test]
fn a_filter_of_a_list_sees_each_record_or_under_json_the_whole_array() {
    let with = |more: &[&'static str]| printed(&[&["auth", "list"][..], more].concat());
    assert_eq!(with(&["--jq", ".profile"]), "\"a\"\n\"b\"\n\"c\"\n");
    assert_eq!(with(&["--jq", "."]), with(&["-o", "jsonl"]));
    assert_eq!(with(&["--jq", "[.profile]", "-o", "jsonl"]), "[\"a\"]\n[\"b\"]\n[\"c\"]\n");
    assert_eq!(with(&["--jq", "length", "-o", "json"]), "3\n");
    assert_eq!(with(&["--jq", ".", "-o", "json"]), with(&["-o", "json"]));
    assert_eq!(with(&["--jq", ".[1].profile", "-r", "-o", "json"]), "b\n");
}

#[test]
fn a_filter_for_the_whole_list_gets_a_hint_that_it_runs_on_each_profile() {
    let outcome = Home::with_store(STORE).run(&["auth", "list", "--jq", ".[].profile"]);
    assert_eq!(outcome.status, 1, "{outcome}");
    let hint = "\nhint: the filter runs on each profile; with -o json, it runs on the whole list\n";
    assert!(outcome.stderr.ends_with(hint), "{outcome}");
    assert_eq!(
        printed(&["auth", "list", "--jq", ".[].profile", "-o", "json"]),
        "\"a\"\n\"b\"\n\"c\"\n"
    );
}

#[cfg(target_os = "linux")]
mod runaways {
    use std::collections::HashMap;
    use std::process::Stdio;
    use std::sync::Mutex;
    use std::time::{Duration, Instant};

    use baseten_testing::home::Home;
    use baseten_testing::outcome::{Outcome, Running};
    use baseten_testing::wait;
    use rustix::process::Signal;

    use super::STORE;

    const FOR_EVER: &[&str] = &[
        "def f: f; f",
        "last(range(1e12))",
        "until(false; .)",
        "first(range(1e18) | select(. < 0))",
    ];

    const TOO_LARGE: &[&str] = &[
        "\"x\"*1000000000",
        "\"x\"*9000000000",
        "\"x\"*9223372036854775807",
        "[range(1e18)]",
        "[range(1e9)] | length",
        "repeat(.)",
        "repeat(\"x\")",
        "[limit(1000000000; repeat(\"xxxxxxxxxxxxxxxx\"))]",
        "reduce range(60) as $i (\"x\"; . + .)",
        "reduce range(60) as $i ([0]; . + .) | length",
        "def f: . + . | f; \"x\" | f",
        "[range(1e8) | tostring] | join(\"\")",
        "\"x\" * 100000000 | explode",
        "\"x\" * 60000000 | [., ., ., .] | tojson",
    ];

    const TOO_DEEP: &[&str] = &[
        "def f: 0 | f | f; f",
        "def f: [f]; f",
        "def f: 1 + f; f",
        "def f: try f catch f; f",
        "def f: \"\\(f)\"; f",
        "def f: reduce f as $x (0; 1); f",
        "def f: [1, 2] | sort_by(f); f",
        "[recurse(.)]",
        "last(repeat([.]))",
        "reduce range(1000000) as $i (.; [.])",
        "reduce range(1000000) as $i (.; [.]) | tojson",
        "reduce range(1000000) as $i (.; {a: .}) | . == .",
        "\"[\" * 1000000 | fromjson",
        "def f: f | .a; path(f)",
    ];

    /// A panic inside jaq.
    const BUGS: &[&str] = &[r#""ab" | [match("(?:(b)|(a))*")]"#];

    fn check(filter: &str) {
        let (home, start) = (Home::with_store(STORE), Instant::now());
        let mut running = home.start(&["version", "--jq", filter]);
        let peak = peak_memory(&mut running);
        let (outcome, elapsed) = (running.end(), start.elapsed());
        assert_one_sentence(&outcome, filter);
        assert!(elapsed < Duration::from_secs(10), "{filter}: {elapsed:?}");
        assert!(peak < 512 << 10, "{filter}: {peak} KiB");
        // How long the other filters take to use up the memory depends on the machine.
        let ended_by_time = outcome.stderr.contains("took too long");
        assert!(ended_by_time || !FOR_EVER.contains(&filter), "{filter}: {outcome}");
    }

    fn assert_one_sentence(outcome: &Outcome, filter: &str) {
        assert_eq!((outcome.status, outcome.stdout.as_str()), (1, ""), "{filter}: {outcome}");
        let lines: Vec<_> = outcome.stderr.lines().collect();
        assert_eq!(lines.len(), 2, "{filter}: {outcome}");
        assert!(lines[0].starts_with("error: the --jq filter "), "{filter}: {outcome}");
        assert_eq!(lines[1], "hint: the command succeeded; only the --jq filter failed");
    }

    /// The most memory that a command and its children used at one time, in KiB, as far as that is
    /// visible from outside; waits until the command ends.
    fn peak_memory(running: &mut Running) -> u64 {
        let mut peaks = HashMap::new();
        while !running.has_ended() {
            for process in family(running.0.id()) {
                if let Some(peak) = field(process, "VmHWM:") {
                    peaks.insert(process, peak);
                }
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        peaks.values().sum()
    }

    /// A process and its children.
    fn family(parent: u32) -> Vec<u32> {
        let entries = std::fs::read_dir("/proc").unwrap().flatten();
        let processes = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        processes
            .filter(|process| *process == parent || field(*process, "PPid:") == Some(parent.into()))
            .collect()
    }

    fn field(process: u32, name: &str) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
        status
            .lines()
            .find_map(|line| line.strip_prefix(name))?
            .split_whitespace()
            .next()?
            .parse()
            .ok()
    }

    #[test]
    fn nesting_in_the_filter_itself_is_a_mistake_at_most() {
        for part in
            ["[", "(", "{a:", "-", "try ", "\"\\(", "def f:", "if ", "label $x|", "1 as $x|"]
        {
            let deep = part.repeat(100_000 / part.len());
            let outcome = Home::with_store(STORE).run(&["version", "--jq", &deep]);
            assert_eq!((outcome.status, outcome.stdout.as_str()), (2, ""), "{part}: {outcome}");
            assert!(outcome.stderr.starts_with("error: the --jq filter is "), "{part}: {outcome}");
            assert_eq!(outcome.stderr.lines().count(), 2, "{part}: {outcome}");
        }
        let deep = format!("{}1{}", "[".repeat(50_000), "]".repeat(50_000));
        let outcome = Home::with_store(STORE).run(&["version", "--jq", &deep]);
        assert!(matches!(outcome.status, 1 | 2), "{outcome}");
    }

    /// What the system says about a process.
    fn of_process(process: u32, file: &str) -> String {
        let bytes = std::fs::read(format!("/proc/{process}/{file}")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    #[test]
    fn a_secret_is_in_no_argument_and_in_no_message() {
        let home = Home::with_store(STORE).with("BASETEN_API_KEY", "canary-of-the-environment");
        let mut children = 0;
        for (filter, status) in [("def f: f; f, .", 1), ("[.token * 1e9]", 1), (".token.x", 1)] {
            let mut running = home.start(&["auth", "token", "--jq", filter]);
            let parent = running.0.id();
            let own = wait::until_some("the program has started", || {
                let own = of_process(parent, "cmdline");
                // On a busy machine, it may have ended already.
                Some(own).filter(|own| own.contains(filter) || running.has_ended())
            });
            while !running.has_ended() {
                for process in family(parent).into_iter().filter(|process| *process != parent) {
                    // Read in this order: once the arguments are its own, the environment is too.
                    let arguments = of_process(process, "cmdline");
                    let environment = of_process(process, "environ");
                    assert!(!arguments.contains("canary"), "{arguments}");
                    // A child that has not started its program yet is a copy of its parent. A child
                    // that is starting it, or has ended, has no arguments.
                    let is_copy = arguments == own || arguments.is_empty();
                    let is_clean = !environment.contains("canary");
                    assert!(is_copy || is_clean, "{arguments:?}: {environment}");
                    children += usize::from(!is_copy);
                }
                std::thread::sleep(Duration::from_millis(5));
            }
            let outcome = running.end();
            assert_eq!(outcome.status, status, "{outcome}");
            assert!(!outcome.to_string().contains("canary"), "{outcome}");
        }
        assert!(children > 0, "no child was seen");
    }

    #[test]
    fn a_filter_ends_with_the_command_however_that_ends() {
        for signal in [Signal::INT, Signal::KILL] {
            let home = Home::with_store(STORE);
            let mut command = home.command(&["auth", "status", "--jq", "def f: f; f"]);
            let running = Running::start(command.stderr(Stdio::null()));
            let parent = running.0.id();
            let filter = wait::until_some("there is a child", || {
                family(parent).into_iter().find(|process| *process != parent)
            });
            wait::until("it runs", || field(filter, "Threads:").is_some_and(|threads| threads > 2));
            let start = Instant::now();
            running.signal(signal);
            running.end();
            wait::until("the child ends", || {
                field(filter, "PPid:").is_none() || state(filter) == 'Z'
            });
            assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
        }
    }

    fn state(process: u32) -> char {
        let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
        let state = status.lines().find_map(|line| line.strip_prefix("State:"));
        state.and_then(|state| state.trim().chars().next()).unwrap_or('Z')
    }

    mod slow_tests {
        use super::*;

        #[test]
        fn every_filter_ends_within_ten_seconds_and_512_mib() {
            let filters = [FOR_EVER, TOO_LARGE, TOO_DEEP, BUGS].concat();
            let filters = Mutex::new(filters.into_iter());
            std::thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| {
                        loop {
                            let filter = filters.lock().unwrap().next();
                            let Some(filter) = filter else { break };
                            check(filter);
                        }
                    });
                }
            });
        }
    }
}
