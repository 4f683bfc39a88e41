//! What the sink says when it connects: who it is, and its credentials.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tokio::task::spawn_blocking;

use super::{Login, fault::Fault, nkey, nkey::Nkey, proto::Info};
use crate::{files, identity, redact, sink::ErrorClass};

/// The largest file with a secret.
const MAX: usize = 64 << 10;

/// The options of `CONNECT`, as JSON.
pub(super) async fn options(login: &Login, info: &Info, is_tls: bool) -> Result<String, Fault> {
    let mut options = json!({
        "verbose": false,
        "pedantic": false,
        "tls_required": is_tls,
        "lang": "rust",
        "version": env!("CARGO_PKG_VERSION"),
        "name": identity::PRODUCT,
        "protocol": 1,
        "headers": true,
        "no_responders": true,
    });
    let mut set = |name: &str, value: &str| options[name] = Value::from(value);
    match login {
        Login::None => {}
        Login::User(user, password) => {
            set("user", user);
            set("pass", password.expose());
        }
        Login::Token(token) => set("auth_token", token.expose()),
        Login::TokenFile(file) => {
            let text = read(file, "SINK_NATS_TOKEN_FILE").await?;
            redact::renew(&text);
            set("auth_token", text.trim());
        }
        Login::Credentials(file) => {
            const VARIABLE: &str = "SINK_NATS_CREDENTIALS";
            let text = read(file, VARIABLE).await?;
            let wrong = || local(VARIABLE, file, "holds no JWT with the seed of a key; set it to a .creds file");
            let (jwt, seed) = nkey::credentials(&text).ok_or_else(wrong)?;
            redact::renew(jwt);
            redact::renew(seed);
            set("jwt", jwt);
            let key = Nkey::of_seed(seed).ok_or_else(wrong)?;
            // A server that asks for a JWT sends what is to be signed.
            set("sig", &key.sign(info.nonce.as_deref().unwrap_or_default()).ok_or_else(wrong)?);
        }
        Login::Nkey(file) => {
            const VARIABLE: &str = "SINK_NATS_NKEY";
            let text = read(file, VARIABLE).await?;
            let wrong = || local(VARIABLE, file, "holds no seed of an nkey; set it to a file with one (SU…)");
            let seed = nkey::seed(&text).ok_or_else(wrong)?;
            redact::renew(seed);
            let key = Nkey::of_seed(seed).ok_or_else(wrong)?;
            set("nkey", &key.public);
            set("sig", &key.sign(info.nonce.as_deref().unwrap_or_default()).ok_or_else(wrong)?);
        }
    }
    Ok(options.to_string())
}

/// Reads a file, once for each connection: others renew it.
async fn read(path: &Path, variable: &'static str) -> Result<String, Fault> {
    let file: PathBuf = path.to_owned();
    let read = spawn_blocking(move || files::read(&file, MAX)).await;
    let bytes = read
        .unwrap_or_else(|stopped| Err(stopped.into()))
        .map_err(|error| local(variable, path, &format!("{error}; set it to a file that this program may read")))?;
    String::from_utf8(bytes).map_err(|_| local(variable, path, "is not UTF-8; set it to the right file"))
}

fn local(variable: &str, path: &Path, what: &str) -> Fault {
    Fault::new(ErrorClass::Local, format!("{variable}: {}: {what}", path.display()))
}
