//! Runs the built `baseten` as its users do, in an empty environment, against a sandbox or a
//! scripted server, and checks stdout, stderr and exit status together.

#![expect(clippy::unwrap_used, clippy::panic, clippy::disallowed_methods, reason = "a test may")]

mod approval_page;
mod asking;
mod completion;
mod concurrency;
mod crash;
mod credential_store;
mod errors;
mod exec;
mod exit_status;
mod freshness;
mod help;
mod hostile_text;
mod independent_server;
mod jq;
mod kept;
mod keyring;
mod keyring_sessions;
mod login;
mod login_trouble;
mod min_ttl;
mod networks;
mod no_side_effects;
#[cfg(target_os = "linux")]
mod openbao;
#[cfg(target_os = "linux")]
mod openbao_refresh;
mod other_users;
mod other_writers;
mod prompts;
mod proxies;
mod reference;
mod refresh;
mod rehearsal;
mod secrets;
mod selection;
mod serve;
mod serve_refresh;
mod serve_socket;
mod setup;
mod signals;
mod store_formats;
mod terminal;
mod two_steps;
mod waiting;
mod windows;
mod wire;
#[cfg(target_os = "linux")]
mod workload;
