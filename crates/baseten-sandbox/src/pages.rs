//! The pages that people see: the approval of a device login (RFC 8628 §3.3), and a front page.
//! Plain HTML without scripts. maud escapes everything that comes from a request or a user.

use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::extract::rejection::{FormRejection, QueryRejection};
use axum::extract::{Form, Query, Request, State};
use axum::http::header::{self, HOST, HeaderMap, HeaderName, HeaderValue, ORIGIN};
use axum::http::{StatusCode, Uri};
use axum::middleware::{self, Next};
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::get;
use maud::{DOCTYPE, Markup, html};
use serde::Deserialize;

use crate::loopback::is_loopback;
use crate::shared::Shared;
use crate::state::{Answer, Client, DeviceGrant, Verdict};
use crate::users::User;

/// `same-origin` instead of `no-referrer`: with the latter, browsers send our own form with
/// `Origin: null`, as they do for a foreign form. Other sites learn nothing either way.
const SECURITY_HEADERS: [(HeaderName, &str); 6] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; style-src 'self'; img-src data:; form-action 'self'; \
         frame-ancestors 'none'; base-uri 'none'",
    ),
    (header::REFERRER_POLICY, "same-origin"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::CACHE_CONTROL, "no-store"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
];

type SharedState = State<Arc<Shared>>;

/// Everything that is not under `/v1`.
pub(crate) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/", get(front))
        .route("/device", get(device).post(answer_device))
        .route("/pages.css", get(async || ([(header::CONTENT_TYPE, "text/css")], CSS)))
        .fallback(async || message(StatusCode::NOT_FOUND, "There is no such page", ""))
        .layer(middleware::from_fn(guard))
}

const CSS: &str = include_str!("pages.css");

/// Refuses hosts that are not this computer, so that no website can read our pages under its own
/// name (DNS rebinding); then adds the headers that all pages have.
async fn guard(request: Request, next: Next) -> Response {
    let mut response = if is_for_loopback(request.headers()) {
        next.run(request).await
    } else {
        let hint = "Open it under localhost.";
        message(StatusCode::MISDIRECTED_REQUEST, "This page has another address", hint)
    };
    for (name, value) in SECURITY_HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

fn is_for_loopback(headers: &HeaderMap) -> bool {
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()?.parse::<Uri>().ok());
    host.as_ref().is_some_and(is_loopback)
}

async fn front(State(shared): SharedState) -> Response {
    let state = shared.state();
    let content = html! {
        p {
            "A stand-in for Baseten on this computer, for trying out and testing "
            code { "baseten auth" } ". It forgets everything when it stops."
        }
        p { a href="/device" { "Enter the code of a login" } }
        h2 { "Test users" }
        ul {
            @for user in &state.config().users {
                li.user { (description(user)) span.quiet { code { (user.id) } } }
            }
        }
    };
    page(StatusCode::OK, "Baseten sandbox", &content)
}

#[derive(Deserialize)]
struct DeviceQuery {
    user_code: Option<String>,
}

/// Asks for a code, asks about the login with that code, or shows the result.
async fn device(
    State(shared): SharedState,
    query: Result<Query<DeviceQuery>, QueryRejection>,
) -> Response {
    let given = query.ok().and_then(|Query(query)| query.user_code);
    let Some(given) = given.filter(|code| !code.trim().is_empty()) else {
        return code_page(StatusCode::OK, "", None);
    };
    let (state, now) = (shared.state(), Instant::now());
    let name = |id: &str| state.user(id).map_or(id.to_owned(), |user| user.display_name().into());
    match state.grant(&given) {
        None => {
            let error = "No login has this code. Compare it with the one in your terminal.";
            code_page(StatusCode::NOT_FOUND, &given, Some(error))
        }
        Some(grant) => match &grant.answer {
            Answer::Denied => {
                let hint = "The program gets no access. You can close this tab.";
                message(StatusCode::OK, "Login denied", hint)
            }
            Answer::Allowed(id) | Answer::Used(id) => {
                let hint = format!("You're logged in as {}. You can close this tab.", name(id));
                message(StatusCode::OK, "Login allowed", &hint)
            }
            Answer::Pending if grant.has_expired(now) => {
                let error = "This code has expired. Start the login again in your terminal.";
                code_page(StatusCode::GONE, "", Some(error))
            }
            Answer::Pending => question_page(grant, &state.config().users),
        },
    }
}

#[derive(Deserialize)]
struct AnswerForm {
    user_code: String,
    form_token: String,
    decision: Decision,
    user: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Decision {
    Allow,
    Deny,
}

/// Takes the answer, then redirects to a page that can be reloaded.
async fn answer_device(
    State(shared): SharedState,
    headers: HeaderMap,
    form: Result<Form<AnswerForm>, FormRejection>,
) -> Response {
    if !is_from_our_page(&headers) {
        let hint = "The answer came from another site and was ignored.";
        return message(StatusCode::FORBIDDEN, "Not accepted", hint);
    }
    let Ok(Form(form)) = form else { return incomplete() };
    let mut state = shared.state();
    let Some(grant) = state.grant(&form.user_code).filter(|g| g.form_token == form.form_token)
    else {
        let hint = "This form is too old. Open the link from your terminal again.";
        return message(StatusCode::FORBIDDEN, "Not accepted", hint);
    };
    let user_code = grant.user_code.clone();
    let verdict = match (&form.decision, &form.user) {
        (Decision::Deny, _) => Verdict::Deny,
        (Decision::Allow, Some(user)) if state.user(user).is_ok() => Verdict::Allow(user),
        (Decision::Allow, _) => return incomplete(),
    };
    // If it was too late, the next page says what happened instead.
    let _ = state.decide(&user_code, verdict, Instant::now());
    Redirect::to(&format!("/device?user_code={user_code}")).into_response()
}

/// Browsers send `Origin` and `Sec-Fetch-Site`, and no page can forge them. For programs that send
/// neither, only the form's token is checked.
fn is_from_our_page(headers: &HeaderMap) -> bool {
    let text = |name: HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or(""));
    let same_host = |origin: &str| origin.split_once("://").map(|(_, host)| host) == text(HOST);
    text(ORIGIN).is_none_or(same_host)
        && text(HeaderName::from_static("sec-fetch-site")).is_none_or(|site| site == "same-origin")
}

fn incomplete() -> Response {
    let hint = "Go back, choose a user, and answer again.";
    message(StatusCode::BAD_REQUEST, "The answer is incomplete", hint)
}

/// Asks for a code.
fn code_page(status: StatusCode, given: &str, error: Option<&str>) -> Response {
    let described_by = if error.is_some() { "error hint" } else { "hint" };
    let content = html! {
        form method="get" action="/device" {
            label for="user_code" { "Code" }
            p.hint #hint { "Eight letters, shown in your terminal." }
            @if let Some(error) = error { p.error #error { (error) } }
            input #user_code type="text" name="user_code" value=(given) required maxlength="40"
                autocomplete="off" autocapitalize="characters" spellcheck="false" autofocus
                aria-describedby=(described_by) aria-invalid=[error.map(|_| "true")];
            div.buttons { button.primary type="submit" { "Continue" } }
        }
    };
    page(status, "Enter the code of your login", &content)
}

/// Asks whether a login is wanted, and as whom.
fn question_page(grant: &DeviceGrant, users: &[User]) -> Response {
    let content = html! {
        form method="post" action="/device" autocomplete="off" {
            input type="hidden" name="user_code" value=(grant.user_code);
            input type="hidden" name="form_token" value=(grant.form_token);
            p.code { code { (grant.user_code) } }
            p {
                "Allow it only if you started it yourself and your terminal shows this code."
            }
            (client_facts(&grant.client))
            fieldset {
                legend { "Log in as" }
                @for (at, user) in users.iter().enumerate() {
                    label.choice {
                        input type="radio" name="user" value=(user.id) required checked[at == 0];
                        span { (description(user)) }
                    }
                }
            }
            div.buttons {
                button.primary type="submit" name="decision" value="allow" { "Allow" }
                button type="submit" name="decision" value="deny" formnovalidate { "Deny" }
            }
        }
    };
    page(StatusCode::OK, "Allow this login?", &content)
}

/// Who asks: the program and the system as the request states them, and the peer's address.
fn client_facts(client: &Client) -> Markup {
    let (program, system) = program_and_system(client.user_agent.as_deref().unwrap_or_default());
    let here = if client.address.is_loopback() { " (this computer)" } else { "" };
    html! {
        dl {
            dt { "Program" } dd { (stated(&program)) }
            dt { "System" } dd { (stated(&system)) }
            dt { "Address" } dd { (client.address) (here) }
        }
    }
}

/// The first product and the first comment of a user agent (RFC 9110 §10.1.5), formatted for
/// people: `baseten-cli/1.0 (rust; linux; x86_64)` is `baseten-cli 1.0` on `linux, x86_64`.
fn program_and_system(user_agent: &str) -> (String, String) {
    let (products, rest) = user_agent.split_once('(').unwrap_or((user_agent, ""));
    let product = products.split_whitespace().next().unwrap_or_default();
    let comment = rest.split(')').next().unwrap_or_default();
    let comment = comment.strip_prefix("rust; ").unwrap_or(comment);
    (product.replacen('/', " ", 1), comment.replace("; ", ", "))
}

/// Truncated so that the rest of the page stays in view, because a program may state anything.
fn stated(text: &str) -> String {
    match text.char_indices().nth(40) {
        None if text.is_empty() => "not stated".to_owned(),
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}

/// What distinguishes a user: the name and the workspace, and below them the email.
fn description(user: &User) -> Markup {
    let email = user.email.as_deref().unwrap_or("no email");
    let workspace = user.workspace_name.as_deref().unwrap_or("no workspace");
    html! {
        span { strong { (user.display_name()) } " · " (workspace) } " "
        span.quiet { (email) }
    }
}

/// A page that only shows a message.
fn message(status: StatusCode, title: &str, text: &str) -> Response {
    page(status, title, &html! { @if !text.is_empty() { p { (text) } } })
}

/// What all pages have: the title, and a note that this is not the real service.
fn page(status: StatusCode, title: &str, content: &Markup) -> Response {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) @if title != "Baseten sandbox" { " – Baseten sandbox" } }
                link rel="icon" href="data:,";
                link rel="stylesheet" href="/pages.css";
            }
            body {
                header {
                    p {
                        strong { "Development tool." }
                        " This is not Baseten."
                    }
                }
                main {
                    h1 { (title) }
                    (content)
                }
            }
        }
    };
    (status, Html(page.into_string())).into_response()
}
