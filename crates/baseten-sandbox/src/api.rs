//! The routes that programs call: device login (RFC 8628), tokens (RFC 6749), the exchange of
//! identity tokens (RFC 8693), who am I, log out.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::rejection::{FormRejection, JsonRejection};
use axum::extract::{ConnectInfo, Form, State};
use axum::http::StatusCode;
use axum::http::header::{AUTHORIZATION, CACHE_CONTROL, HeaderMap, USER_AGENT, WWW_AUTHENTICATE};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::config::CLIENT_ID;
use crate::error::OAuthError;
use crate::identity;
use crate::shared::{
    DEVICE_CODE_GRANT, Logged, REFRESH_TOKEN_GRANT, Shared, TOKEN_EXCHANGE_GRANT, header,
};
use crate::state::{self, Client, Credential, Tokens};
use crate::users::User;

/// The type of an identity token (RFC 8693 §3).
const JWT_TYPE: &str = "urn:ietf:params:oauth:token-type:jwt";
/// The type of an access token (RFC 8693 §3).
const ACCESS_TOKEN_TYPE: &str = "urn:ietf:params:oauth:token-type:access_token";

/// What `truss whoami` asks, without white space.
const WHO_AM_I_QUERY: &str = "query{organization{workspace_name}user{email}}";

type SharedState = State<Arc<Shared>>;
type FormResult = Result<Form<Vec<(String, String)>>, FormRejection>;

/// Everything under `/v1`, and `/graphql/`.
pub(crate) fn routes() -> Router<Arc<Shared>> {
    let management = Router::new()
        .route("/users/auth/device/authorize", post(authorize))
        .route("/users/auth/device/token", post(token))
        .route("/auth/token", post(exchange))
        .route("/users/me", get(me))
        .route("/users/auth/logout", post(log_out))
        .fallback(async || ApiError::NotFound)
        .method_not_allowed_fallback(async || ApiError::MethodNotAllowed);
    Router::new().nest("/v1", management).route("/graphql/", post(graphql))
}

/// RFC 8628 §3.1 and §3.2.
async fn authorize(
    State(shared): SharedState,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    form: FormResult,
) -> Result<Response, OAuthError> {
    Fields::of_our_client(form)?;
    let mut state = shared.state();
    let config = state.config().clone();
    let client = Client { user_agent: header(&headers, &USER_AGENT), address: peer.ip() };
    let grant = state.authorize(client, Instant::now());
    let page = format!("http://localhost:{}/device", shared.port());
    Ok(not_stored(json!({
        "device_code": grant.device_code,
        "user_code": grant.user_code,
        "verification_uri": page,
        "verification_uri_complete": format!("{page}?user_code={}", grant.user_code),
        "expires_in": config.device_code_lifetime.as_secs(),
        "interval": config.device_interval,
    })))
}

/// RFC 8628 §3.4 and RFC 6749 §6.
async fn token(State(shared): SharedState, form: FormResult) -> Response {
    let grant_type = form.as_ref().ok().and_then(|Form(fields)| {
        let given = fields.iter().find(|(name, _)| name == "grant_type")?;
        [DEVICE_CODE_GRANT, REFRESH_TOKEN_GRANT].into_iter().find(|known| *known == given.1)
    });
    let mut response = grant(&shared, form).into_response();
    Logged::of(&mut response).grant_type = grant_type;
    response
}

fn grant(shared: &Shared, form: FormResult) -> Result<Response, OAuthError> {
    let fields = Fields::of_our_client(form)?;
    let grant_type = fields.get("grant_type").ok_or(missing("The grant_type is missing."))?;
    let (mut state, now) = (shared.state(), Instant::now());
    let tokens = match grant_type {
        DEVICE_CODE_GRANT => {
            let code = fields.get("device_code").ok_or(missing("The device_code is missing."))?;
            state.poll(code, now)
        }
        REFRESH_TOKEN_GRANT => {
            let token = fields.get("refresh_token");
            state.refresh(token.ok_or(missing("The refresh_token is missing."))?, now)
        }
        _ => Err(OAuthError::UnsupportedGrantType),
    };
    tokens.map(|tokens| not_stored(token_answer(tokens)))
}

/// A request to exchange an identity token (RFC 8693 §2.1), in JSON.
#[derive(Deserialize)]
struct ExchangeRequest {
    grant_type: Option<String>,
    subject_token: Option<String>,
    subject_token_type: Option<String>,
    requested_token_type: Option<String>,
    /// The id of a trust rule.
    audience: Option<String>,
    access_token_lifetime_seconds: Option<u64>,
}

/// RFC 8693 §2.
async fn exchange(
    State(shared): SharedState,
    request: Result<Json<ExchangeRequest>, JsonRejection>,
) -> Response {
    let tokens = match request {
        Ok(Json(request)) => exchange_identity(&shared, request).await,
        Err(_) => Err(OAuthError::InvalidRequest("The body is not such a request in JSON.")),
    };
    let answer = tokens.map(|tokens| {
        let mut answer = token_answer(tokens);
        answer["issued_token_type"] = ACCESS_TOKEN_TYPE.into();
        not_stored(answer)
    });
    let mut response = answer.into_response();
    Logged::of(&mut response).grant_type = Some(TOKEN_EXCHANGE_GRANT);
    response
}

async fn exchange_identity(
    shared: &Shared,
    request: ExchangeRequest,
) -> Result<Tokens, OAuthError> {
    // An empty field counts as missing (RFC 6749 §3.2).
    let given = |field: Option<String>, reason| {
        field.filter(|value| !value.is_empty()).ok_or(missing(reason))
    };
    if given(request.grant_type, "The grant_type is missing.")? != TOKEN_EXCHANGE_GRANT {
        return Err(OAuthError::UnsupportedGrantType);
    }
    let token = given(request.subject_token, "The subject_token is missing.")?;
    let kind = given(request.subject_token_type, "The subject_token_type is missing.")?;
    let rule_id = given(request.audience, "The audience is missing.")?;
    if kind != JWT_TYPE {
        return Err(OAuthError::InvalidRequest("The subject_token_type is not that of a JWT."));
    }
    if request.requested_token_type.is_some_and(|kind| kind != ACCESS_TOKEN_TYPE) {
        return Err(OAuthError::InvalidRequest("Only access tokens can be requested."));
    }
    let seconds = request.access_token_lifetime_seconds;
    if seconds.is_some_and(|seconds| !(1..=3600).contains(&seconds)) {
        return Err(OAuthError::InvalidRequest("The lifetime is not between 1 and 3600 s."));
    }

    let rules = shared.state().config().trust_rules.clone();
    let rule = rules.into_iter().find(|rule| rule.id == rule_id);
    let rule = rule.ok_or(OAuthError::IdentityRefused("there is no such trust rule"))?;
    let user = rule.user.clone();
    // This may wait for the issuer, and one thread serves all requests.
    let verified = tokio::task::spawn_blocking(move || identity::verify(&token, &rule));
    let verified = verified.await.unwrap_or(Err("the check has panicked"));
    verified.map_err(OAuthError::IdentityRefused)?;
    let lifetime = seconds.map(Duration::from_secs);
    Ok(shared.state().start_workload_session(user, lifetime, Instant::now()))
}

fn missing(reason: &'static str) -> OAuthError {
    OAuthError::InvalidRequest(reason)
}

/// RFC 6749 §5.1.
fn token_answer(tokens: Tokens) -> Value {
    let mut answer = json!({
        "access_token": tokens.access_token,
        "token_type": "Bearer",
        "expires_in": tokens.expires_in,
    });
    if let Some(refresh_token) = tokens.refresh_token {
        answer["refresh_token"] = Value::String(refresh_token);
    }
    answer
}

async fn me(State(shared): SharedState, headers: HeaderMap) -> Result<Json<Value>, ApiError> {
    let state = shared.state();
    let user = authenticate(&state, &headers)?;
    Ok(Json(json!({
        "user_id": user.id,
        "email": user.email,
        "name": user.name,
        "workspace_name": user.workspace_name,
    })))
}

#[derive(Deserialize)]
struct GraphQlRequest {
    query: String,
}

/// Answers the only query that `truss whoami` sends. An email or a workspace that a user does not
/// have is null there too.
async fn graphql(
    State(shared): SharedState,
    headers: HeaderMap,
    request: Result<Json<GraphQlRequest>, JsonRejection>,
) -> Result<Json<Value>, ApiError> {
    let state = shared.state();
    let user = authenticate(&state, &headers)?;
    let query = request.map(|Json(request)| request.query.replace(char::is_whitespace, ""));
    if query.is_ok_and(|query| query == WHO_AM_I_QUERY) {
        return Ok(Json(json!({ "data": {
            "organization": { "workspace_name": user.workspace_name },
            "user": { "email": user.email },
        } })));
    }
    let message = format!("The sandbox answers only this query: {WHO_AM_I_QUERY}");
    Ok(Json(json!({ "errors": [{ "message": message }] })))
}

async fn log_out(State(shared): SharedState, headers: HeaderMap) -> Result<StatusCode, ApiError> {
    let (mut state, now) = (shared.state(), Instant::now());
    match credential(&headers).ok_or(ApiError::Unauthorized)? {
        Credential::Bearer(token) if state.log_out(token, now) => Ok(StatusCode::NO_CONTENT),
        key @ Credential::ApiKey(_) if state.who(key, now).is_some() => Err(ApiError::Forbidden),
        _ => Err(ApiError::Unauthorized),
    }
}

/// The user of a request. An API key may be sent as a bearer token too, as the Python SDK does.
fn authenticate<'a>(state: &'a state::State, headers: &HeaderMap) -> Result<&'a User, ApiError> {
    let (credential, now) = (credential(headers).ok_or(ApiError::Unauthorized)?, Instant::now());
    let user = state.who(credential, now).or_else(|| match credential {
        Credential::Bearer(key) => state.who(Credential::ApiKey(key), now),
        Credential::ApiKey(_) => None,
    });
    user.ok_or(ApiError::Unauthorized)
}

/// The credential of a request; the scheme's case does not matter (RFC 9110 §11.1).
fn credential(headers: &HeaderMap) -> Option<Credential<'_>> {
    let (scheme, secret) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    match scheme.to_ascii_lowercase().as_str() {
        "bearer" => Some(Credential::Bearer(secret)),
        "api-key" => Some(Credential::ApiKey(secret)),
        _ => None,
    }
}

/// The fields of a form; a field must not be repeated (RFC 6749 §3.2).
struct Fields(Vec<(String, String)>);

impl Fields {
    fn of_our_client(form: FormResult) -> Result<Self, OAuthError> {
        let Ok(Form(fields)) = form else {
            return Err(OAuthError::InvalidRequest("The body is not a form."));
        };
        let twice = |(at, (name, _)): (usize, &(String, String))| {
            fields.iter().skip(at + 1).any(|(other, _)| other == name)
        };
        if fields.iter().enumerate().any(twice) {
            return Err(OAuthError::InvalidRequest("A field is there twice."));
        }
        let fields = Self(fields);
        match fields.get("client_id") {
            Some(CLIENT_ID) => Ok(fields),
            Some(_) => Err(OAuthError::InvalidClient),
            None => Err(missing("The client_id is missing.")),
        }
    }

    /// An empty field counts as missing (RFC 6749 §3.2).
    fn get(&self, name: &str) -> Option<&str> {
        let (_, value) = self.0.iter().find(|(known, _)| known == name)?;
        Some(value.as_str()).filter(|value| !value.is_empty())
    }
}

/// An answer that contains secrets and must not be cached (RFC 6749 §5.1).
fn not_stored(answer: Value) -> Response {
    ([(CACHE_CONTROL, "no-store")], Json(answer)).into_response()
}

/// RFC 6749 §5.2.
impl IntoResponse for OAuthError {
    fn into_response(self) -> Response {
        let status = match self {
            Self::InvalidClient => StatusCode::UNAUTHORIZED,
            _ => StatusCode::BAD_REQUEST,
        };
        let mut answer = json!({ "error": self.code() });
        if let Some(description) = self.description() {
            answer["error_description"] = description.into();
        }
        let mut response = (status, not_stored(answer)).into_response();
        let logged = Logged::of(&mut response);
        logged.error = Some(self.code());
        if let Self::IdentityRefused(reason) = self {
            logged.refusal = Some(reason);
        }
        response
    }
}

/// An error outside the OAuth endpoints.
#[derive(Clone, Copy)]
enum ApiError {
    Unauthorized,
    Forbidden,
    NotFound,
    MethodNotAllowed,
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let (status, code, message) = match self {
            Self::Unauthorized => {
                let message = "The credential is missing, wrong or expired.";
                (StatusCode::UNAUTHORIZED, "UNAUTHORIZED", message)
            }
            Self::Forbidden => {
                (StatusCode::FORBIDDEN, "FORBIDDEN", "An API key has no session to end.")
            }
            Self::NotFound => (StatusCode::NOT_FOUND, "NOT_FOUND", "There is nothing here."),
            Self::MethodNotAllowed => {
                let message = "This is not a method for this path.";
                (StatusCode::METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED", message)
            }
        };
        let mut response =
            (status, Json(json!({ "code": code, "message": message }))).into_response();
        if status == StatusCode::UNAUTHORIZED {
            let challenge = axum::http::HeaderValue::from_static("Bearer, Api-Key");
            response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
        }
        Logged::of(&mut response).error = Some(code);
        response
    }
}
