//! Asks the service who the user's profile belongs to.

use std::io::Write;

use baseten_auth::{Context, Env, Request};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let context = Context::new(Env::from_process());
    let session = context.session(None)?;
    let authorization = session.authorization()?;

    let url = format!("{}/v1/users/me", session.management_url()?.as_str());
    let header = authorization.header_value();
    let answer = context.http().send(&Request::get(url).authorization(&header))?;

    std::io::stdout().write_all(&answer.body)?;
    Ok(())
}
