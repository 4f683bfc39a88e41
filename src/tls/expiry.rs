//! When certificates expire: in the log when they are loaded, and for the metrics at any time.

use std::{
    collections::BTreeSet,
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, Weak},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rustls::pki_types::CertificateDer;
use x509_parser::{certificate::X509Certificate, prelude::FromDer as _};

use super::Variables;

/// From when on the log warns. Certificates of a month, which some authorities issue, are renewed by then.
const SOON: i64 = 7;

const DAY: i64 = 24 * 60 * 60;

/// When a file's certificates expire.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Expiry {
    /// Who is connected to with it: `nomad`, `consul`, `sink`.
    pub(crate) role: &'static str,
    /// The variable that names the file.
    pub(crate) variable: &'static str,
    pub(crate) path: PathBuf,
    /// Seconds since 1970.
    pub(crate) at: i64,
}

impl Expiry {
    /// The first time at which one of the certificates expires. Those that have done so already count only where there is
    /// no other: authorities that are being replaced stay in their file for a while.
    pub(super) fn of(
        variables: &Variables,
        variable: &'static str,
        path: &Path,
        certificates: &[CertificateDer<'_>],
    ) -> Option<Self> {
        let ends = certificates.iter().filter_map(|certificate| {
            let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
            Some(certificate.validity().not_after.timestamp())
        });
        let ends: Vec<_> = ends.collect();
        let now = now();
        let at = *ends.iter().filter(|end| **end > now).min().or_else(|| ends.iter().max())?;
        Some(Expiry { role: variables.role, variable, path: path.to_owned(), at })
    }

    /// Whole and broken days until then; negative when it has passed.
    #[expect(clippy::cast_precision_loss, reason = "days are few")]
    pub(crate) fn days_left(&self) -> f64 {
        (self.at - now()) as f64 / DAY as f64
    }

    pub(super) fn log(&self) {
        let Expiry { role, variable, path, at } = self;
        let (file, expires, days_left) = (path.display(), Date(*at), (at - now()).div_euclid(DAY));
        if *at <= now() {
            tracing::error!(%file, variable, role, %expires, "certificate expired");
        } else if days_left < SOON {
            tracing::warn!(%file, variable, role, %expires, days_left, "certificate expires soon");
        } else {
            tracing::info!(%file, variable, role, %expires, days_left, "certificate loaded");
        }
    }
}

fn now() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_secs()).unwrap_or(i64::MAX)
}

/// Seconds since 1970 as a date for people.
pub(super) struct Date(pub(super) i64);

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let since = Duration::from_secs(u64::try_from(self.0).unwrap_or(0));
        // What follows the year 9999 is no date in a header, and means never.
        let last = Duration::from_secs(253_402_300_799);
        f.write_str(&httpdate::fmt_http_date(UNIX_EPOCH + since.min(last)))
    }
}

/// Something that knows when its files expire.
pub(super) trait Expiring: Send + Sync {
    /// As the files are now.
    fn expiries(&self) -> Vec<Expiry>;
}

/// All that is in use. The metrics are made before the clients, and know none of them.
static IN_USE: Mutex<Vec<Weak<dyn Expiring>>> = Mutex::new(Vec::new());

pub(super) fn watch<T: Expiring + 'static>(it: &Arc<T>) {
    let weak = Arc::downgrade(it);
    let mut in_use = IN_USE.lock().unwrap_or_else(PoisonError::into_inner);
    in_use.retain(|one| one.strong_count() > 0);
    in_use.push(weak);
}

/// When the certificates in use expire, as they are on disk now.
pub(crate) fn expiries() -> BTreeSet<Expiry> {
    let in_use = IN_USE.lock().unwrap_or_else(PoisonError::into_inner).clone();
    in_use.iter().filter_map(Weak::upgrade).flat_map(|one| one.expiries()).collect()
}
