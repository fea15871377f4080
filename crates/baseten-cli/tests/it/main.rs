//! Drives the built `baseten` as its users do: in an environment that is cleared, against a
//! sandbox or a scripted server, looking at stdout, stderr and exit status together.

#![expect(clippy::unwrap_used, clippy::panic, clippy::disallowed_methods, reason = "a test may")]

#[cfg(target_os = "linux")]
mod approval_page;
#[cfg(target_os = "linux")]
mod completion;
#[cfg(target_os = "linux")]
mod concurrency;
#[cfg(target_os = "linux")]
mod crash;
#[cfg(target_os = "linux")]
mod credential_store;
#[cfg(target_os = "linux")]
mod errors;
mod exit_status;
#[cfg(target_os = "linux")]
mod freshness;
mod help;
#[cfg(unix)]
mod hostile_text;
#[cfg(target_os = "linux")]
mod independent_server;
mod jq;
#[cfg(target_os = "linux")]
mod kept;
#[cfg(target_os = "linux")]
mod keyring;
mod login;
mod login_trouble;
mod min_ttl;
#[cfg(unix)]
mod networks;
#[cfg(target_os = "linux")]
mod no_side_effects;
#[cfg(target_os = "linux")]
mod other_users;
#[cfg(target_os = "linux")]
mod other_writers;
#[cfg(target_os = "linux")]
mod proxies;
mod reference;
#[cfg(target_os = "linux")]
mod refresh;
#[cfg(target_os = "linux")]
mod rehearsal;
#[cfg(target_os = "linux")]
mod secrets;
mod selection;
#[cfg(unix)]
mod signals;
mod store_formats;
#[cfg(target_os = "linux")]
mod terminal;
mod two_steps;
#[cfg(target_os = "linux")]
mod waiting;
#[cfg(windows)]
mod windows;
mod wire;
