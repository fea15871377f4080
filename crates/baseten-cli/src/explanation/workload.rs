//! A workload without an access token.

use baseten_auth::ErrorKind;
use baseten_auth::internal::{
    ApiError, Ci, Claims, IdentitySource, TrustRule, WorkloadError, plain_text,
};

use super::network::{Whose, api, http};
use super::phrases::{Words, shown, with_causes, words};

/// A workload has no access token, or it is not accepted.
pub(super) fn workload(error: &WorkloadError) -> Words {
    match error {
        WorkloadError::TrustRule(_) => words(
            with_causes(error),
            "set BASETEN_TRUST_RULE to the id of the trust rule, or unset it",
        ),
        WorkloadError::Exchange { rule, origin, claims, is_early, source } => {
            exchange(rule, origin, claims, *is_early, source)
        }
        WorkloadError::Api { rule, source } => api(source, &Whose::Workload(rule)),
        WorkloadError::NewTokenRefused { rule } => words(
            format!(
                "the server refused an access token of trust rule {} that is less than a minute old",
                shown(rule)
            ),
            "check that the request goes to the rule's remote, and what the rule allows there",
        ),
        WorkloadError::Missing { ci: Some(Ci::GitHub) } => words(
            "this job of GitHub Actions is not allowed to ask for an identity token",
            "add to the job: permissions: { id-token: write, contents: read }",
        ),
        WorkloadError::Missing { ci } => words(
            "BASETEN_TRUST_RULE is set, and there is no identity token: \
             no variable says where it comes from",
            match ci {
                Some(Ci::GitLab) => {
                    "add to the job: id_tokens: { BASETEN_IDENTITY_TOKEN: { aud: <audience> } }"
                }
                Some(Ci::Buildkite) => {
                    "add to the step's env: BASETEN_IDENTITY_TOKEN_COMMAND: \
                     buildkite-agent oidc request-token --audience <audience>"
                }
                Some(Ci::GitHub) | None => {
                    "set one: BASETEN_IDENTITY_TOKEN_FILE=<path>, \
                     BASETEN_IDENTITY_TOKEN_COMMAND=<command> or BASETEN_IDENTITY_TOKEN=<token>"
                }
            },
        ),
        WorkloadError::NoCommand => words(
            with_causes(error),
            "write it as for a shell: \
             BASETEN_IDENTITY_TOKEN_COMMAND='buildkite-agent oidc request-token'",
        ),
        WorkloadError::GitHubUrl => {
            words(with_causes(error), "leave it as GitHub Actions sets it, or unset it")
        }
        WorkloadError::File { .. } if error.kind() == ErrorKind::Usage => words(
            with_causes(error),
            "have the token written there, or name its file: BASETEN_IDENTITY_TOKEN_FILE=<path>",
        ),
        WorkloadError::File { .. } => words(with_causes(error), "check the file's owner and mode"),
        WorkloadError::Command { .. } => words(
            with_causes(error),
            "run the command of BASETEN_IDENTITY_TOKEN_COMMAND by hand to see what is wrong",
        ),
        WorkloadError::GitHub(source) => {
            let hint = match (source, source.kind()) {
                (ApiError::Http(error), _) => http(error).1,
                (_, ErrorKind::NotLoggedIn) => "ask while the job runs, and check that it has: \
                                                permissions: { id-token: write, contents: read }"
                    .to_owned(),
                _ => "try again later".to_owned(),
            };
            (with_causes(error), hint)
        }
        WorkloadError::Empty { origin } | WorkloadError::NotJwt { origin } => words(
            plain_text(&error.to_string()),
            match origin {
                IdentitySource::File(_) => "have the token alone written to that file",
                IdentitySource::Command(_) => "let the command print the token alone",
                IdentitySource::Variable | IdentitySource::GitHub => {
                    "set it to the token alone: BASETEN_IDENTITY_TOKEN=<token>"
                }
            },
        ),
        WorkloadError::Expired { origin, claims } => words(
            format!(
                "the identity token from {} has expired ({claims})",
                plain_text(&origin.to_string())
            ),
            match origin {
                IdentitySource::Variable => {
                    "a variable cannot be renewed: use BASETEN_IDENTITY_TOKEN_FILE=<path> or \
                     BASETEN_IDENTITY_TOKEN_COMMAND=<command>, or ask sooner"
                }
                IdentitySource::File(_) => {
                    "check that the file is renewed, and this machine's clock"
                }
                IdentitySource::Command(_) | IdentitySource::GitHub => "check this machine's clock",
            },
        ),
    }
}

/// The service did not exchange a workload's identity token.
fn exchange(
    rule: &TrustRule,
    origin: &IdentitySource,
    claims: &Claims,
    is_early: bool,
    error: &ApiError,
) -> Words {
    let rule = shown(rule);
    match error {
        ApiError::OAuth { code, .. } if code == "invalid_grant" => words(
            format!(
                "Baseten did not accept the identity token from {} by trust rule {rule} \
                 (invalid_grant); the token says: {claims}",
                plain_text(&origin.to_string()),
            ),
            match origin {
                _ if is_early => "the token is not valid yet: check this machine's clock",
                IdentitySource::GitHub => {
                    "compare that with the rule's issuer, subject and audience, and check the \
                     rule's id; BASETEN_IDENTITY_AUDIENCE=<audience> sets the audience"
                }
                _ => {
                    "compare that with the rule's issuer, subject and audience, and check the \
                     rule's id and the remote"
                }
            },
        ),
        _ => {
            let again = "check the trust rule and the remote (BASETEN_REMOTE_URL)".to_owned();
            let (message, hint) = api(error, &Whose::Nobody { again });
            let hint = match error.kind() {
                ErrorKind::NotFound => "check the remote URL; workload identity is a private \
                                        preview, which this remote may not have"
                    .to_owned(),
                _ => hint,
            };
            (format!("cannot exchange the identity token by trust rule {rule}: {message}"), hint)
        }
    }
}
