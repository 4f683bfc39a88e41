//! Mails over one connection.

use std::time::Duration;

use lettre::{
    Address, Message,
    transport::smtp::{
        Error,
        authentication::DEFAULT_MECHANISMS,
        client::AsyncSmtpConnection,
        commands::{Data, Mail, Noop, Rcpt},
        extension::{Extension, MailParameter},
    },
};
use tokio::time::Instant;

use super::{Encryption, Smtp};

/// How long a connection is kept for the next mail. Servers close one that is idle after some minutes.
const KEPT: Duration = Duration::from_secs(30);

/// How far a mail has come, which says what a refusal is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The connection, TLS included, and the greeting.
    Connect,
    /// The change to TLS.
    Starttls,
    /// The login.
    Login,
    /// The sender.
    Sender,
    /// One of the recipients.
    Recipient,
    /// The announcement of the mail.
    Data,
    /// The mail itself: it may have arrived.
    Body,
}

/// A connection that waits for the next mail.
pub(super) struct Idle {
    connection: AsyncSmtpConnection,
    since: Instant,
}

impl Smtp {
    /// Hands the mail over. `step` is where it stopped. The connection is kept only if the server has taken the mail: one that failed, or was given
    /// up, is dropped with all that is in it.
    pub(super) async fn transfer(&mut self, mail: &Message, step: &mut Step) -> Result<(), Error> {
        let mut connection = match self.kept().await {
            Some(connection) => connection,
            None => self.open(step).await?,
        };
        *step = Step::Sender;
        let envelope = mail.envelope();
        let parameters = parameters(&connection, envelope.from().into_iter().chain(envelope.to()));
        connection.command(Mail::new(envelope.from().cloned(), parameters)).await?;
        *step = Step::Recipient;
        for recipient in envelope.to() {
            connection.command(Rcpt::new(recipient.clone(), Vec::new())).await?;
        }
        *step = Step::Data;
        connection.command(Data).await?;
        *step = Step::Body;
        connection.message(&mail.formatted()).await?;
        self.idle = Some(Idle { connection, since: Instant::now() });
        Ok(())
    }

    /// Does everything that comes before a mail, and ends the connection.
    pub(super) async fn greet(&self, step: &mut Step) -> Result<(), Error> {
        let mut connection = self.open(step).await?;
        connection.command(Noop).await?;
        connection.quit().await.map(drop)
    }

    /// The connection of the mail before, if it still works.
    async fn kept(&mut self) -> Option<AsyncSmtpConnection> {
        let Idle { mut connection, .. } = self.idle.take().filter(|idle| idle.since.elapsed() < KEPT)?;
        connection.test_connected().await.then_some(connection)
    }

    async fn open(&self, step: &mut Step) -> Result<AsyncSmtpConnection, Error> {
        let config = &self.config;
        let server = (config.host.as_str(), config.port);
        let from_start = self.tls.clone().filter(|_| config.encryption == Encryption::Tls);
        let timeout = Some(config.timeout);
        let mut connection =
            AsyncSmtpConnection::connect_tokio1(server, timeout, &self.hello, from_start, None).await?;
        if let (Encryption::Starttls, Some(tls)) = (config.encryption, &self.tls) {
            *step = Step::Starttls;
            connection.starttls(tls.clone(), &self.hello).await?;
        }
        if let Some(credentials) = &self.credentials {
            *step = Step::Login;
            connection.auth(DEFAULT_MECHANISMS, credentials).await?;
        }
        Ok(connection)
    }
}

/// The text of a mail is always ASCII, while an address need not be.
fn parameters<'a>(
    connection: &AsyncSmtpConnection,
    mut addresses: impl Iterator<Item = &'a Address>,
) -> Vec<MailParameter> {
    let is_international = addresses.any(|address| !AsRef::<str>::as_ref(address).is_ascii());
    let can = connection.server_info().supports_feature(Extension::SmtpUtfEight);
    if is_international && can { vec![MailParameter::SmtpUtfEight] } else { Vec::new() }
}
