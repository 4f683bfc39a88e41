//! One connection with one mail.

use std::time::Duration;

use lettre::{
    Address, Message,
    transport::smtp::{
        Error,
        authentication::DEFAULT_MECHANISMS,
        client::AsyncSmtpConnection,
        commands::{Data, Mail, Rcpt},
        extension::{Extension, MailParameter},
    },
};
use tokio::time::timeout;

use super::{Encryption, Smtp};

/// How long the goodbye may take. The mail is with the server by then.
const QUIT: Duration = Duration::from_millis(250);

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

impl Smtp {
    /// Hands the mail over. `step` is where it stopped.
    pub(super) async fn transfer(&self, mail: &Message, step: &mut Step) -> Result<(), Error> {
        let config = &self.config;
        let server = (config.host.as_str(), config.port);
        let from_start = self.tls.clone().filter(|_| config.encryption == Encryption::Tls);
        let deadline = Some(config.timeout);
        let mut connection =
            AsyncSmtpConnection::connect_tokio1(server, deadline, &self.hello, from_start, None).await?;
        if let (Encryption::Starttls, Some(tls)) = (config.encryption, &self.tls) {
            *step = Step::Starttls;
            connection.starttls(tls.clone(), &self.hello).await?;
        }
        if let Some(credentials) = &self.credentials {
            *step = Step::Login;
            connection.auth(DEFAULT_MECHANISMS, credentials).await?;
        }
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
        // The answer to a goodbye changes nothing.
        timeout(QUIT, connection.quit()).await.ok();
        Ok(())
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
