//! The command that an agent runs for its token.

use std::io;
use std::path::{Path, PathBuf};

use baseten_auth::internal::{Env, Remote, find_program};

/// `baseten auth token` and its options, as words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Helper(Vec<String>);

/// The first words of every helper, after the program. They identify a helper that an earlier run
/// wrote.
const FIRST: [&str; 3] = ["auth", "token", "--no-input"];
const EXPECT_REMOTE: &str = "--expect-remote";
/// Agents keep a token for five minutes, and then send one more request with it.
const MIN_TTL: &str = "6m";

impl Helper {
    /// The helper for a profile, or for what the environment selects.
    pub(super) fn new(program: &str, profile: Option<&str>, remote_url: &str) -> Self {
        let mut words = vec![program];
        words.extend(FIRST);
        words.extend(["--min-ttl", MIN_TTL]);
        let joined = profile.map(|name| format!("--profile={name}"));
        match (profile, &joined) {
            // As a separate word, it would be read as an option.
            (Some(name), Some(joined)) if name.starts_with('-') => words.push(joined),
            (Some(name), _) => words.extend(["--profile", name]),
            (None, _) => {}
        }
        words.extend([EXPECT_REMOTE, remote_url]);
        Self(words.into_iter().map(str::to_owned).collect())
    }

    /// An earlier helper of this program, with any path and any profile.
    pub(super) fn recognize(words: Vec<String>) -> Option<Self> {
        let (program, arguments) = words.split_first()?;
        let name = Path::new(program).file_stem()?;
        let is_ours = name == "baseten" && arguments.starts_with(&FIRST.map(str::to_owned));
        is_ours.then_some(Self(words))
    }

    /// The same from a shell command line.
    pub(super) fn recognize_line(line: &str) -> Option<Self> {
        Self::recognize(shlex::split(line)?)
    }

    /// The program.
    pub(super) fn program(&self) -> &str {
        self.0.first().map_or("", String::as_str)
    }

    /// The program's arguments.
    pub(super) fn arguments(&self) -> &[String] {
        self.0.get(1..).unwrap_or_default()
    }

    /// The remote of its token.
    pub(super) fn remote(&self) -> Option<Remote> {
        let at = self.0.iter().position(|word| word == EXPECT_REMOTE)?;
        Remote::parse(self.0.get(at + 1)?).ok()
    }

    /// The helper as a shell command line.
    pub(super) fn line(&self) -> String {
        // Only NUL can't be quoted, and no path or name contains it.
        shlex::try_join(self.0.iter().map(String::as_str)).unwrap_or_default()
    }
}

/// This program's name in `PATH`, if that leads to this program, because that path survives an
/// upgrade; else the file of this process.
pub(super) fn own_program(env: &Env) -> io::Result<String> {
    let own = std::env::current_exe()?;
    let found = find_program("baseten", env.os("PATH"));
    let real = own.canonicalize()?;
    let is_own = |file: &PathBuf| file.canonicalize().is_ok_and(|found| found == real);
    let program = found.filter(is_own).unwrap_or(own).into_os_string();
    program.into_string().map_err(|_| io::Error::other("its path is not UTF-8"))
}

/// Whether the program at this path may soon be gone.
pub(super) fn is_short_lived(program: &Path, env: &Env) -> bool {
    let temporary = ["TMPDIR", "TEMP", "TMP"].into_iter().filter_map(|name| env.path(name));
    let usual = ["/tmp", "/var/tmp", "/private/tmp", "/var/folders", "/private/var/folders"];
    let is_cache = |name: &std::ffi::OsStr| {
        [".cache", "cache", "caches"].iter().any(|cache| name.eq_ignore_ascii_case(cache))
    };
    temporary.chain(usual.map(PathBuf::from)).any(|directory| program.starts_with(directory))
        || program.iter().any(is_cache)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_helper_is_recognized_by_its_words() {
        let helper = Helper::new("/a b/baseten", Some("it's"), "https://app.example.com");
        let line = r#"'/a b/baseten' auth token --no-input --min-ttl 6m --profile "it's" --expect-remote https://app.example.com"#;
        assert_eq!(helper.line(), line);
        assert_eq!(Helper::recognize_line(line), Some(helper.clone()));
        assert_eq!(helper.remote(), Remote::parse("https://app.example.com").ok());
        let dashed = Helper::new("baseten", Some("-x"), "https://app.example.com");
        assert!(dashed.line().contains(" '--profile=-x' "), "{}", dashed.line());
        for other in ["", "'", "baseten auth token", "pass auth token --no-input", "echo key"] {
            assert_eq!(Helper::recognize_line(other), None, "{other}");
        }
    }

    #[test]
    fn directories_that_are_cleaned_are_known() {
        let env: Env = [("TMPDIR", "/scratch")].into_iter().collect();
        let is_short_lived = |path: &str| is_short_lived(Path::new(path), &env);
        for path in ["/tmp/a/baseten", "/scratch/baseten", "/home/a/.cache/uv/b/bin/baseten"] {
            assert!(is_short_lived(path), "{path}");
        }
        for path in ["/usr/bin/baseten", "/home/a/tmp/baseten", "/tmpfiles/baseten"] {
            assert!(!is_short_lived(path), "{path}");
        }
    }
}
