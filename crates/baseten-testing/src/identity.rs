//! Identity tokens, and the endpoint of GitHub Actions that issues them.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::home::Home;
use crate::server::{Server, http, respond};

/// A JWT with these claims and a signature that nobody has checked.
pub fn jwt(claims: &Value, signature: &str) -> String {
    jwt_with(&json!({ "alg": "RS256" }), claims, signature)
}

/// A JWT with this header, these claims and this signature.
pub fn jwt_with(header: &Value, claims: &Value, signature: &str) -> String {
    let encode = |part: &Value| BASE64_URL_SAFE_NO_PAD.encode(part.to_string());
    format!("{}.{}.{signature}", encode(header), encode(claims))
}

/// Claims that are valid for ten minutes.
pub fn claims() -> Value {
    json!({ "iss": "https://issuer.example.com", "sub": "job", "aud": "baseten",
        "exp": Timestamp::now().as_second() + 600 })
}

/// The endpoint of GitHub Actions that gives identity tokens to a job.
pub struct GitHub(
    /// It answers one request after the other.
    pub Server,
);

impl GitHub {
    /// The secret that allows a job to ask.
    pub const REQUEST_TOKEN: &str = "CANARY-request-token";

    /// Answers this many requests with what this function returns for their audience, if they have
    /// the secret.
    pub fn start(
        requests: usize,
        mint: impl Fn(Option<&str>) -> String + Clone + Send + 'static,
    ) -> Self {
        let answer = move |request: String| {
            let line = request.lines().next().unwrap_or_default();
            let expected = format!("authorization: bearer {}", Self::REQUEST_TOKEN);
            let is_allowed = request.lines().any(|line| line.eq_ignore_ascii_case(&expected));
            let asked = line.strip_prefix("GET /idtoken?api-version=2.0").filter(|_| is_allowed);
            let Some(query) = asked.and_then(|rest| rest.strip_suffix(" HTTP/1.1")) else {
                return http(401, "", r#"{"message": "not allowed"}"#);
            };
            let token = mint(query.strip_prefix("&audience="));
            http(200, "", &json!({ "count": token.len(), "value": token }).to_string())
        };
        Self(Server::start((0..requests).map(|_| respond(answer.clone()))))
    }

    /// The home of a job that may ask.
    pub fn job(&self, home: Home) -> Home {
        home.with("GITHUB_ACTIONS", "true")
            .with(
                "ACTIONS_ID_TOKEN_REQUEST_URL",
                self.0.url("localhost", "/idtoken?api-version=2.0"),
            )
            .with("ACTIONS_ID_TOKEN_REQUEST_TOKEN", Self::REQUEST_TOKEN)
    }
}
