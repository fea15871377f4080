//! Errors of the server and the network.

use baseten_auth::internal::{
    ApiError, ApiUrlError, CertificateProblem, DeviceError, HttpError, ProfileName, ProxyProblem,
    TrustRule,
};
use baseten_auth::{Error, ErrorKind};

use super::phrases::{Words, login_for, shown, with_causes, words};

pub(crate) fn device(error: &DeviceError, again: &str) -> Words {
    let again = format!("start again with: {again}");
    match error {
        DeviceError::Denied => words("the login was denied in the browser", again),
        DeviceError::Expired => words("the code expired before the login was approved", again),
        DeviceError::UnsafeVerificationUrl => words(
            "the server sent a login page whose URL is not https",
            "check the remote URL, and whether a proxy is in between",
        ),
        DeviceError::Canceled => words(error.to_string(), again),
        DeviceError::Api(error) => api(error, &Whose::Nobody { again }),
    }
}

/// Whose credential was in a request.
pub(crate) enum Whose<'a> {
    /// A stored profile's; the error knows its remote and type.
    Profile(&'a ProfileName, &'a Error),
    /// The API key of the environment.
    Environment,
    /// A workload's access token, obtained under this trust rule.
    Workload(&'a TrustRule),
    /// The API key that is about to be stored.
    Given,
    /// No credential yet; `again` is how to start again.
    Nobody { again: String },
}

impl Whose<'_> {
    fn name(&self) -> String {
        match self {
            Self::Profile(profile, _) => {
                format!("the credential of profile {}", shown(profile))
            }
            Self::Environment => "the API key in BASETEN_API_KEY".to_owned(),
            Self::Workload(rule) => {
                format!("the access token of trust rule {}", shown(rule))
            }
            Self::Given => "this API key".to_owned(),
            Self::Nobody { .. } => "the login".to_owned(),
        }
    }

    fn hint(&self) -> String {
        match self {
            Self::Profile(profile, error) => login_for(profile, error),
            Self::Environment => "set BASETEN_API_KEY to a key that is valid at this remote, \
                                  or unset it to use a stored profile"
                .to_owned(),
            Self::Workload(_) => "check what the trust rule allows, and that it is one of this \
                                  remote (BASETEN_REMOTE_URL)"
                .to_owned(),
            Self::Given => "check that the key is valid, and that it belongs to this remote: \
                            baseten auth login --with-api-key --profile <profile> --remote-url <url>"
                .to_owned(),
            Self::Nobody { again } => again.clone(),
        }
    }
}

pub(crate) fn api(error: &ApiError, whose: &Whose<'_>) -> Words {
    let sentence = with_causes(error);
    let hint = match (error, error.kind(), error.status()) {
        (ApiError::Http(HttpError::Credential), ..) => return words(sentence, whose.hint()),
        (ApiError::Http(error), ..) => return http(error),
        (ApiError::Status { status, message, .. }, ErrorKind::NotLoggedIn, _) => {
            let detail = message.as_ref().map(|message| format!(": {message}")).unwrap_or_default();
            let message = format!("Baseten rejected {} (HTTP {status}){detail}", whose.name());
            return words(message, whose.hint());
        }
        (ApiError::NotProtocol { .. }, ..) => {
            "check the remote URL; a proxy or the network's login page may be in between"
        }
        (_, ErrorKind::NotLoggedIn, _) => return words(sentence, whose.hint()),
        (_, ErrorKind::NotFound, _) => "check the remote URL",
        (_, ErrorKind::Refused, _) => "try again later; if it keeps happening, update baseten",
        (.., Some(407)) => "check the user name and password in the proxy's URL",
        (.., Some(300..=399)) => "check the remote URL: the server redirects elsewhere",
        _ => "try again later",
    };
    words(sentence, hint)
}

pub(super) fn api_url(error: &ApiUrlError) -> Words {
    let hint = match error {
        ApiUrlError::NoName { api, .. } => format!(
            "use a remote with a name, such as http://localhost:8000, or set {} to its {} URL",
            api.variable, api.name
        ),
        ApiUrlError::Override { api, .. } => format!("correct {}, or unset it", api.variable),
        ApiUrlError::NotText(error) => format!("correct {}, or unset it", error.variable),
    };
    words(with_causes(error), hint)
}

pub(super) fn http(error: &HttpError) -> Words {
    let hint = match error {
        HttpError::Insecure { .. } => "use an https remote URL",
        HttpError::Credential => "log in again with: baseten auth login",
        HttpError::CertificateFile { .. } | HttpError::ProxyUrl { .. } => {
            "correct the variable, or unset it"
        }
        HttpError::NoTrustedCertificates => {
            "install the system's certificates (on Debian: ca-certificates)"
        }
        HttpError::Proxy { problem: ProxyProblem::Authentication, .. } => {
            "put them in the proxy's URL, with special characters percent-encoded: \
             http://user:password@host:port"
        }
        HttpError::Proxy { .. } => "check HTTPS_PROXY, ALL_PROXY and NO_PROXY",
        HttpError::Connect { .. } => {
            "check the network and the remote URL; behind a proxy, set HTTPS_PROXY"
        }
        HttpError::Certificate {
            problem: CertificateProblem::Expired | CertificateProblem::NotYetValid,
            ..
        } => "check this machine's clock; a company proxy may also be intercepting the connection",
        HttpError::Certificate { problem: CertificateProblem::WrongHost, .. } => {
            "check the remote URL; a company proxy may also be intercepting the connection"
        }
        HttpError::Certificate { .. } => {
            "a company proxy may be intercepting the connection: \
             set SSL_CERT_FILE to the file of its certificate authority"
        }
        HttpError::Tls { .. } => {
            "check the remote URL: there may be no TLS at that port, or a proxy in between"
        }
        HttpError::TooLate { .. } => "try again",
        HttpError::Timeout { .. } | HttpError::Lost { .. } => "check the network, and try again",
        HttpError::NotHttp { .. } | HttpError::TooLarge { .. } => {
            "check the remote URL; a proxy may be in between"
        }
    };
    words(with_causes(error), hint)
}
