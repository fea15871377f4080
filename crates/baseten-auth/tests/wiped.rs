//! Once a secret is no longer needed, the memory of the process has no copy of it.
//!
//! Libraries for the network and the keyring have their own buffers; this tests only the buffers of
//! this library.

#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may")]

use std::fs::{self, File};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::time::Duration;

use baseten_auth::internal::{
    Context, Credential, DeviceAuthorization, Env, Pending, ProfileName, Remote, read_api_key,
};
use baseten_auth::{Secret, Session};
use zeroize::Zeroizing;

/// A text that this test can search for without having it in its own memory.
struct Canary([u8; Self::LENGTH]);

impl Canary {
    const LENGTH: usize = 48;
    const MASK: u8 = 0x80;

    fn new() -> Self {
        let digit = |value: u64| b'a' + u8::try_from(value % 26).unwrap_or(0);
        Self(std::array::from_fn(|at| digit(RandomState::new().hash_one(at)) ^ Self::MASK))
    }

    /// The text, until it is dropped.
    fn text(&self) -> Zeroizing<Vec<u8>> {
        let mut text = Zeroizing::new(Vec::with_capacity(Self::LENGTH));
        text.extend(self.0.map(|byte| byte ^ Self::MASK));
        text
    }

    /// Writes a file in which the text replaces every `@`.
    fn fill_in(&self, template: &str) -> Zeroizing<Vec<u8>> {
        let mut filled = Zeroizing::new(Vec::with_capacity(template.len() + 4 * Self::LENGTH));
        for byte in template.bytes() {
            if byte == b'@' { filled.extend(&*self.text()) } else { filled.push(byte) }
        }
        filled
    }

    /// How often the second half of the text is somewhere in this process. Allocators overwrite the
    /// beginning of freed memory.
    fn copies(&self) -> usize {
        const CHUNK: usize = 1 << 20;
        let tail = &self.0[Self::LENGTH / 2..];
        let is_tail = |window: &[u8]| window.iter().zip(tail).all(|(a, b)| *a ^ Self::MASK == *b);
        let memory = File::open("/proc/self/mem").unwrap();
        let mut chunk = Zeroizing::new(vec![0; CHUNK + tail.len() - 1]);
        // The search's own buffer does not count.
        let own = chunk.as_ptr_range();
        let own = own.start.addr()..own.end.addr();
        let mut copies = 0;
        for (start, end) in writable_ranges() {
            for at in (start..end).step_by(CHUNK) {
                let wanted = chunk.len().min(end - at);
                let read = memory.read_at(&mut chunk[..wanted], at as u64).unwrap_or(0);
                let windows = chunk[..read].windows(tail.len()).enumerate();
                let found = windows
                    .filter(|(offset, window)| is_tail(window) && !own.contains(&(at + offset)));
                copies += found.count();
            }
        }
        copies
    }
}

/// Both buffers are large enough to come from the system: smaller ones would be put where a secret
/// has just been, and overwrite what was left of it.
fn writable_ranges() -> Vec<(usize, usize)> {
    let mut maps = String::with_capacity(1 << 20);
    File::open("/proc/self/maps").unwrap().read_to_string(&mut maps).unwrap();
    let mut ranges = Vec::with_capacity(1 << 16);
    ranges.extend(maps.lines().filter(|line| line.contains(" rw")).filter_map(|line| {
        let (start, end) = line.split_whitespace().next()?.split_once('-')?;
        let parse = |text| usize::from_str_radix(text, 16).ok();
        Some((parse(start)?, parse(end)?))
    }));
    ranges
}

/// An input that contains its text only in masked form.
struct Masked<'a>(&'a [u8]);

impl Read for Masked<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.0.len().min(buffer.len());
        let (now, later) = self.0.split_at(count);
        for (place, byte) in buffer.iter_mut().zip(now) {
            *place = byte ^ Canary::MASK;
        }
        self.0 = later;
        Ok(count)
    }
}

/// A single test, because all tests of a process share its memory.
#[test]
fn nothing_is_left_of_a_secret_that_is_dropped() {
    an_api_key_that_was_read();
    tokens_of_a_store_that_was_read_and_written();
    tokens_of_a_store_that_was_laid_out_anew();
    the_code_of_a_login_in_two_steps();
    an_identity_token_that_was_read();
}

fn an_identity_token_that_was_read() {
    let canary = Canary::new();
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("token");
    fs::write(&file, &*canary.fill_in("eyJhbGciOiJub25lIn0.e30.@\n")).unwrap();
    let variables =
        [("BASETEN_TRUST_RULE", "ci"), ("BASETEN_IDENTITY_TOKEN_FILE", file.to_str().unwrap())];
    let context = Context::new(variables.into_iter().collect());
    let session = Session::resolve(&context, None).unwrap();
    assert!(session.identity_claims().unwrap().is_some());
    assert_eq!(canary.copies(), 0);
}

fn an_api_key_that_was_read() {
    let canary = Canary::new();
    let key = read_api_key(Masked(&canary.0)).unwrap().unwrap();
    let copy = key.clone();
    let again = Secret::from(key.expose());
    assert!(canary.copies() >= 3, "the search finds what is there");
    drop((key, copy, again));
    assert_eq!(canary.copies(), 0);
}

/// A run with this as its store.
fn context(canary: &Canary, store: &str) -> (tempfile::TempDir, Context) {
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join("auth.json"), &*canary.fill_in(store)).unwrap();
    let directory = home.path().to_str().unwrap();
    let env: Env = [("BASETEN_CONFIG_DIR", directory)].into_iter().collect();
    (home, Context::new(env))
}

fn tokens_of_a_store_that_was_read_and_written() {
    const STORE: &str = r#"{
  "version": 1,
  "current": "ada",
  "profiles": {
    "ada": {
      "remote_url": "https://app.baseten.co",
      "auth_type": "oauth",
      "oauth_credential": {
        "access_token": "@",
        "refresh_token": "@",
        "expiry": "0001-01-01T00:00:00Z"
      }
    },
    "bot": { "remote_url": "https://app.baseten.co", "auth_type": "api_key", "api_key": "@" }
  }
}
"#;
    let canary = Canary::new();
    let (_home, context) = context(&canary, STORE);
    let session = Session::resolve(&context, None).unwrap();
    let header = session.authorization().unwrap().header_value();
    assert!(canary.copies() >= 1, "the search finds what is there");
    drop((session, header));
    let store = context.store().unwrap();
    let bot = ProfileName::new("bot").unwrap();
    store
        .update(|profiles| {
            profiles.set_current(Some(&bot));
            Ok::<_, baseten_auth::Error>(())
        })
        .unwrap();
    assert_eq!(canary.copies(), 0);
}

/// Other programs write it on one line, and escape some letters.
fn tokens_of_a_store_that_was_laid_out_anew() {
    const STORE: &str = r#"{"profiles":{"ada":{"theirs":{"secret":"@"},"auth_type":"oauth","remote_url":"https://app.baseten.co","oauth_credential":{"scope":"@","expiry":"0001-01-01T00:00:00Z","refresh_token":"\u003c@\u003e\u0026\u003c@","access_token":"\u003c@\u003e\u0026\u003c@"}},"bot":{"auth_type":"api_key","remote_url":"https://app.baseten.co","api_key":"\u003c@\u003e"}},"theirs":"@"}"#;
    let canary = Canary::new();
    let (_home, context) = context(&canary, STORE);
    let store = context.store().unwrap();
    let [ada, bot] = ["ada", "bot"].map(|name| ProfileName::new(name).unwrap());
    store
        .update(|profiles| {
            let mut tokens = profiles.get(&ada)?.unwrap();
            let Some(Credential::OAuth(new)) = &tokens.in_file else { panic!("no tokens") };
            assert!(canary.copies() >= 6, "the search finds what is there");
            // A refresh, a login over an existing profile, and a first one.
            profiles.set_tokens(&ada, new);
            profiles.insert(&tokens);
            tokens.name = ProfileName::new("new").unwrap();
            profiles.insert(&tokens);
            let key = profiles.get(&bot)?.unwrap();
            profiles.insert(&key);
            Ok::<_, baseten_auth::Error>(())
        })
        .unwrap();
    assert_eq!(canary.copies(), 0);
}

fn the_code_of_a_login_in_two_steps() {
    let canary = Canary::new();
    let (_home, context) = context(&canary, "{}");
    let store = context.store().unwrap();
    let device_code = Secret::from(str::from_utf8(&canary.text()).unwrap());
    let pending = Pending {
        remote: Remote::default(),
        name: None,
        switch: true,
        insecure_storage: false,
        authorization: DeviceAuthorization {
            device_code,
            user_code: "BCDF-GHJK".to_owned(),
            // Long enough for a buffer to grow after the code is in it.
            verification_uri: format!("https://app.baseten.co/{}", "x".repeat(5000)),
            verification_uri_complete: None,
            expires_at: "2100-01-01T00:00:00Z".parse().unwrap(),
            interval: Duration::from_secs(5),
        },
    };
    pending.save(&store).unwrap();
    assert!(canary.copies() >= 1, "the search finds what is there");
    drop(pending);
    let again = Pending::load(&store).unwrap();
    assert!(canary.copies() >= 1, "the search finds what is there");
    Pending::forget(&store, &again.authorization).unwrap();
    drop(again);
    assert_eq!(canary.copies(), 0);
}
