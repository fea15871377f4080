//! `baseten auth token`

use baseten_auth::internal::{Demand, Remote, read_api_key};
use baseten_auth::{Secret, Session};
use schemars::JsonSchema;
use serde::Serialize;

use crate::args::options::{Format, MinTtl, TokenArgs};
use crate::error::CliError;
use crate::host::Host;
use crate::report::Report;

/// The JSON of a credential.
#[derive(Serialize, JsonSchema)]
pub(crate) struct TokenRecord {
    /// The selected profile; empty if `BASETEN_API_KEY` or `BASETEN_TRUST_RULE` was selected.
    profile: String,
    /// The access token or the API key.
    token: String,
    /// The scheme of the `Authorization` header.
    #[schemars(extend("enum" = ["Bearer", "Api-Key"]))]
    token_type: &'static str,
    /// When the token ends, if that is known.
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
    let expected = args.expect_remote.as_deref().map(expected_remote).transpose()?;
    let demand = Demand {
        min_ttl: args.min_ttl.map(|MinTtl(least)| least).unwrap_or_default(),
        refused: if args.refused_stdin { vec![refused_token()?] } else { Vec::new() },
    };
    let profile = args.select.profile.as_ref();
    let session = Session::resolve_for(host.context(), profile, &demand)?;
    if let Some(expected) =
        expected.filter(|it| Remote::parse(session.remote_url()).ok().as_ref() != Some(it))
    {
        let remote_url = session.remote_url().to_owned();
        return Err(CliError::OtherRemote { remote_url, expected });
    }
    let authorization = session.authorization_for(&demand)?;
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

fn expected_remote(text: &str) -> Result<Remote, CliError> {
    Remote::parse(text).map_err(|error| {
        let hint = "use a URL such as https://app.baseten.co";
        CliError::usage(format!("--expect-remote cannot be used: {error}"), hint)
    })
}

/// The token that a server refused. It has the form of an API key.
fn refused_token() -> Result<Secret, CliError> {
    read_api_key(std::io::stdin().lock()).map_err(CliError::Input)?.map_err(|_| {
        let hint = "pipe in the token that the server answered with 401, on one line";
        CliError::usage("standard input has no token for --refused-stdin", hint)
    })
}
