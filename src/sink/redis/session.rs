//! A connection that is logged in.

use std::{sync::Arc, time::Duration};

use redis::{Cmd, Value, cmd};
use tokio::time::timeout;

use super::{
    Settings,
    fault::Fault,
    wire::{self, Link, Wire},
};
use crate::{
    identity::PRODUCT,
    sink::{
        ErrorClass,
        dial::{AtDrop, dial},
    },
};

/// How long Redis may take from the first packet of a connection until the login is done.
const DEADLINE: Duration = Duration::from_secs(10);

/// The most bytes of one value, if Redis does not say its limit (`proto-max-bulk-len`).
const LARGEST: usize = 512 << 20;

/// A connection that is logged in, with the database selected.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) wire: Wire,
    pub(super) link: Arc<Link>,
    /// The most bytes of a record that Redis takes. It closes the connection over a larger one.
    pub(super) largest: usize,
}

impl Session {
    pub(super) async fn open(settings: &Settings) -> Result<Self, Fault> {
        let silent = |_| Fault::silent(format!("{} did not take a login within {DEADLINE:?}", settings.shown));
        timeout(DEADLINE, Session::opened(settings)).await.map_err(silent)?
    }

    async fn opened(settings: &Settings) -> Result<Self, Fault> {
        let dialled = dial(&settings.server.place, settings.tls.as_ref(), AtDrop::Discard, DEADLINE).await;
        let dialled = dialled.map_err(|error| Fault::of_io(&error, settings))?;
        let (wire, link) = wire::split(dialled.stream, dialled.socket);
        let mut session = Session { wire, link: Arc::new(link), largest: LARGEST };
        session.log_in(settings).await?;
        // Whoever may not do these things does without them.
        session.optional(cmd("CLIENT").arg("SETNAME").arg(PRODUCT), settings).await?;
        if settings.server.database > 0 {
            session.call(cmd("SELECT").arg(settings.server.database), settings).await?;
        }
        let limit = session.setting("proto-max-bulk-len", settings).await?;
        session.largest = limit.and_then(|limit| limit.parse().ok()).unwrap_or(LARGEST);
        Ok(session)
    }

    /// The original program sends the password alone, whatever the user in its address. Such a user may not exist: then the
    /// password is that of the default user.
    async fn log_in(&mut self, settings: &Settings) -> Result<(), Fault> {
        let Some(password) = &settings.server.password else { return Ok(()) };
        let Some(user) = &settings.server.user else {
            return self.call(cmd("AUTH").arg(password.expose()), settings).await.map(drop);
        };
        let Err(fault) = self.call(cmd("AUTH").arg(user).arg(password.expose()), settings).await else { return Ok(()) };
        if fault.class != ErrorClass::Refused {
            return Err(fault);
        }
        // The first refusal says more.
        self.call(cmd("AUTH").arg(password.expose()), settings).await.map_err(|_| fault)?;
        tracing::warn!(user, "logged in as the default user");
        Ok(())
    }

    /// Has one command executed.
    pub(super) async fn call(&mut self, command: &Cmd, settings: &Settings) -> Result<Value, Fault> {
        self.wire.call(&self.link, command, settings).await
    }

    /// The same where it does not matter if Redis refuses; `None` then.
    pub(super) async fn optional(&mut self, command: &Cmd, settings: &Settings) -> Result<Option<Value>, Fault> {
        match self.call(command, settings).await {
            Ok(value) => Ok(Some(value)),
            Err(fault) if fault.is_answer => Ok(None),
            Err(fault) => Err(fault),
        }
    }

    /// The value of one of Redis's own settings; `None` if the user may not ask.
    pub(super) async fn setting(&mut self, name: &str, settings: &Settings) -> Result<Option<String>, Fault> {
        let answer = self.optional(cmd("CONFIG").arg("GET").arg(name), settings).await?;
        Ok(match answer {
            Some(Value::Array(pair)) => match pair.into_iter().nth(1) {
                Some(Value::BulkString(value)) => String::from_utf8(value).ok(),
                _ => None,
            },
            _ => None,
        })
    }
}
