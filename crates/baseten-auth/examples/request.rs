//! Asks Baseten who the user is, with an HTTP client of the program's own.

use baseten_auth::Session;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let session = Session::from_env()?;
    let url = format!("{}/v1/users/me", session.api_url()?);

    let answer = session.with_retry(|authorization| {
        ureq::get(&url).header("Authorization", authorization.header_value().expose()).call()
    })?;

    std::io::copy(&mut answer.into_body().into_reader(), &mut std::io::stdout())?;
    Ok(())
}
