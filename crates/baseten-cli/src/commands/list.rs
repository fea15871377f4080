//! `baseten auth list`

use std::fmt::Write as _;
use std::io::IsTerminal as _;

use anstyle::Style;
use baseten_auth::internal::{
    LentProfile, Listing, StoreError, Summary, lent_profiles, plain_text,
};
use schemars::JsonSchema;
use serde::Serialize;

use crate::args::options::{Common, Format};
use crate::error::CliError;
use crate::explanation::phrases::with_causes;
use crate::host::Host;
use crate::render::{talk, warning};
use crate::report::Report;
use crate::table::table;
use crate::terminal::window::Window;
use crate::words::SOCKET;

/// The JSON of a profile in the list.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ListRecord {
    /// The profile's name.
    profile: String,
    /// The remote that it logs in to.
    remote_url: String,
    /// The kind of credential.
    #[schemars(extend("enum" = ["oauth", "api_key", "workload"]))]
    auth_type: &'static str,
    /// Where the credential is kept: `file`, `keyring`, `helper:<name>`, `openbao:<mount>/<path>`,
    /// or `socket` if it is lent.
    storage: String,
    /// Whether it is the current profile.
    current: bool,
    /// The user's email address, if the login recorded it.
    #[serde(skip_serializing_if = "Option::is_none")]
    email: Option<String>,
    /// The user's workspace, if the login recorded it.
    #[serde(skip_serializing_if = "Option::is_none")]
    workspace_name: Option<String>,
}

pub(crate) fn run(common: &Common, host: &Host) -> Result<Report, CliError> {
    let (records, failure) = match lent_profiles(host.context())? {
        Some(listing) => (lent(listing), None),
        None => stored(host)?,
    };
    let for_people = matches!(common.output, None | Some(Format::Text));
    if records.is_empty() && failure.is_none() && for_people && std::io::stderr().is_terminal() {
        talk(if host.borrows() {
            "Nothing is lent. Log in where the login is kept."
        } else {
            "No profile is stored. Log in with: baseten auth login"
        });
    }
    Ok(Report::list(records, |records| text(records, Window::of_stdout())).failing(failure))
}

/// The profiles of a lender.
fn lent(listing: Listing) -> Vec<ListRecord> {
    let Listing { current, profiles } = listing;
    let record = |lent: LentProfile| ListRecord {
        current: current.as_ref() == Some(&lent.profile),
        profile: lent.profile,
        remote_url: lent.remote_url,
        auth_type: lent.auth_type.as_str(),
        storage: SOCKET.to_owned(),
        email: lent.email,
        workspace_name: lent.workspace_name,
    };
    profiles.into_iter().map(record).collect()
}

/// The stored profiles, and the error of the first broken one.
fn stored(host: &Host) -> Result<(Vec<ListRecord>, Option<CliError>), CliError> {
    let policy = host.context().storage_policy()?;
    let store = host.context().store()?;
    let (records, broken) = host.context().read(&store, |profiles| {
        let current = profiles.current();
        let record = |profile: Summary| ListRecord {
            current: current.as_ref() == Some(&profile.name),
            profile: profile.name.to_string(),
            storage: profile.storage.to_string(),
            remote_url: profile.remote_url,
            auth_type: profile.auth_type.as_str(),
            email: profile.identity.email,
            workspace_name: profile.identity.workspace_name,
        };
        // A broken profile does not hide the others.
        let mut broken = Vec::new();
        let mut good = |profile: Result<Summary, _>| match profile {
            Ok(profile) => Some(record(profile)),
            Err(error) => {
                broken.push(error);
                None
            }
        };
        let records: Vec<_> = profiles.summaries(&policy).filter_map(&mut good).collect();
        Ok::<_, StoreError>((records, broken))
    })?;
    let mut broken = broken.into_iter();
    let failure = broken.next().map(CliError::from);
    broken.for_each(|error| warning(&with_causes(&error)));
    Ok((records, failure))
}

const BOLD: Style = Style::new().bold();
const DIMMED: Style = Style::new().dimmed();

/// A table; if the window is too narrow for it, a paragraph for each profile.
fn text(records: &[ListRecord], window: Option<Window>) -> String {
    if records.is_empty() {
        return String::new();
    }
    let rows: Vec<_> = records.iter().map(row).collect();
    let heading = ["", "PROFILE", "REMOTE", "AUTH", "STORAGE"];
    let Some(lines) = table(heading, &rows, window.map(|window| window.columns)) else {
        return rows.iter().map(paragraph).collect();
    };
    let current = records.iter().map(|record| record.current);
    let styles = std::iter::once(DIMMED).chain(current.map(style));
    lines.iter().zip(styles).fold(String::new(), |mut text, (line, style)| {
        let _ = writeln!(text, "{style}{line}{style:#}");
        text
    })
}

fn style(current: bool) -> Style {
    if current { BOLD } else { Style::new() }
}

fn row(record: &ListRecord) -> [String; 5] {
    [
        if record.current { "*" } else { "" }.to_owned(),
        plain_text(&record.profile),
        plain_text(&record.remote_url),
        record.auth_type.to_owned(),
        plain_text(&record.storage),
    ]
}

fn paragraph([mark, profile, remote, auth_type, storage]: &[String; 5]) -> String {
    let style = style(!mark.is_empty());
    format!("{style}{mark:1} {profile}{style:#}\n    {remote}\n    {auth_type}, {storage}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(profile: &str, current: bool) -> ListRecord {
        ListRecord {
            profile: profile.to_owned(),
            remote_url: "https://app.baseten.co".to_owned(),
            auth_type: "oauth",
            storage: "keyring".to_owned(),
            current,
            email: None,
            workspace_name: None,
        }
    }

    #[test]
    fn nothing_is_cut_in_a_narrow_window() {
        let records = [record("alice@example.com", true), record("bot", false)];
        let plain = |columns| {
            let window = Some(Window { columns, rows: 24 });
            anstream::adapter::strip_str(&text(&records, window)).to_string()
        };
        assert_eq!(
            plain(80),
            "   PROFILE            REMOTE                  AUTH   STORAGE\n\
             *  alice@example.com  https://app.baseten.co  oauth  keyring\n   \
                bot                https://app.baseten.co  oauth  keyring\n"
        );
        assert_eq!(
            plain(40),
            "* alice@example.com\n    https://app.baseten.co\n    oauth, keyring\n  \
               bot\n    https://app.baseten.co\n    oauth, keyring\n"
        );
    }
}
