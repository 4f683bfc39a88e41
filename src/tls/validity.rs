//! When certificates expire: logged when they are loaded, and shown by the metrics at any time.

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

/// The log warns when fewer days are left. Authorities that issue certificates for a month expect their renewal before that.
const SOON: i64 = 7;

const DAY: i64 = 24 * 60 * 60;

/// Until when a file's certificates are valid.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Validity {
    /// The far side: `nomad`, `consul`, `sink`.
    pub(crate) role: &'static str,
    /// The variable that names the file.
    pub(crate) variable: &'static str,
    pub(crate) path: PathBuf,
    /// Seconds since 1970.
    pub(crate) at: i64,
}

impl Validity {
    /// The earliest expiry of the certificates. Those that have expired count only if all have: an authority that was replaced stays
    /// in its file for a while.
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
        Some(Validity { role: variables.role, variable, path: path.to_owned(), at })
    }

    /// The end, in Unix seconds.
    pub(crate) fn ends(&self) -> i64 {
        self.at
    }

    pub(super) fn log(&self) {
        let Validity { role, variable, path, at } = self;
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

/// Seconds since 1970, shown as a date.
pub(super) struct Date(pub(super) i64);

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let since = Duration::from_secs(u64::try_from(self.0).unwrap_or(0));
        // The format ends with the year 9999. Certificates use such dates for "never".
        let last = Duration::from_secs(253_402_300_799);
        f.write_str(&httpdate::fmt_http_date(UNIX_EPOCH + since.min(last)))
    }
}

/// Something loaded from files whose certificates expire.
pub(super) trait HasValidity: Send + Sync {
    /// The validity of each file as it is on disk now.
    fn validities(&self) -> Vec<Validity>;
}

/// Everything that is in use. A registry, because the metrics exist before the clients do.
static IN_USE: Mutex<Vec<Weak<dyn HasValidity>>> = Mutex::new(Vec::new());

pub(super) fn watch<T: HasValidity + 'static>(it: &Arc<T>) {
    let weak = Arc::downgrade(it);
    let mut in_use = IN_USE.lock().unwrap_or_else(PoisonError::into_inner);
    in_use.retain(|one| one.strong_count() > 0);
    in_use.push(weak);
}

/// The validity of the certificates in use, as they are on disk now.
pub(crate) fn validities() -> BTreeSet<Validity> {
    let in_use = IN_USE.lock().unwrap_or_else(PoisonError::into_inner).clone();
    in_use.iter().filter_map(Weak::upgrade).flat_map(|one| one.validities()).collect()
}
