//! `baseten auth token`

use baseten_auth::Session;
use schemars::JsonSchema;
use serde::Serialize;

use crate::args::{Format, TokenArgs};
use crate::error::CliError;
use crate::host::Host;
use crate::report::Report;

/// The JSON of a credential.
#[derive(Serialize, JsonSchema)]
pub(crate) struct TokenRecord {
    /// The selected profile; empty where `BASETEN_API_KEY` was selected.
    profile: String,
    /// The access token or the API key.
    token: String,
    /// The scheme of the `Authorization` header.
    #[schemars(extend("enum" = ["Bearer", "Api-Key"]))]
    token_type: &'static str,
    /// When the token ends, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "date-time"))]
    expires_at: Option<String>,
}

pub(crate) fn run(args: &TokenArgs, host: &Host) -> Result<Report, CliError> {
    let json = matches!(args.common.output, Some(Format::Json | Format::Jsonl));
    if args.header && (json || args.common.jq.is_some()) {
        return Err(CliError::usage(
            "--header cannot be combined with JSON output",
            "leave out --header, or --output and --jq",
        ));
    }
    let session = Session::resolve(host.context(), args.select.profile.as_ref())?;
    let authorization = session.authorization()?;
    let text = if args.header {
        format!("Authorization: {}\n", authorization.header_value().expose())
    } else {
        format!("{}\n", authorization.token().expose())
    };
    let record = TokenRecord {
        profile: session.profile_name().unwrap_or_default().to_owned(),
        token: authorization.token().expose().to_owned(),
        token_type: authorization.scheme(),
        expires_at: authorization.expiry().map(|expiry| expiry.to_string()),
    };
    Ok(Report::one(text, record).unquotable())
}
