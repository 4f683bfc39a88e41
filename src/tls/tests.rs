//! Real handshakes, and the explanations of those that fail.

use std::{path::PathBuf, sync::Arc, time::SystemTime};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use rustls::{
    ClientConnection, RootCertStore, ServerConfig, ServerConnection,
    pki_types::{PrivateKeyDer, UnixTime},
    server::WebPkiClientVerifier,
};
use time::{Duration, OffsetDateTime};

use super::{validity::Validity, *};

static VARIABLES: Variables = Variables {
    role: "test",
    ca_cert: "CA",
    ca_path: "CAPATH",
    client_cert: "CERT",
    client_key: "KEY",
    server_name: "NAME",
    usual_name: "such as a.example",
};

/// Files of certificates.
struct Files(tempfile::TempDir);

impl Files {
    fn new() -> Self {
        Files(tempfile::tempdir().expect("a directory"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        std::fs::write(self.path(name), text).expect("a file");
        self.path(name)
    }
}

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

fn authority(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::new()).expect("no names");
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("a certificate")
}

fn server_of(certificate: &rcgen::Certificate, key: &KeyPair) -> ServerConfig {
    let builder = ServerConfig::builder_with_provider(Arc::clone(&PROVIDER)).with_safe_default_protocol_versions();
    let builder = builder.expect("versions").with_no_client_auth();
    let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
    builder.with_single_cert(vec![certificate.der().clone()], key).expect("a pair")
}

/// A whole handshake in memory: the error of the client, where there is one.
fn shake(client: &ClientConfig, server: ServerConfig, name: &str) -> Result<(), rustls::Error> {
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    let mut client = ClientConnection::new(Arc::new(client.clone()), name)?;
    let mut server = ServerConnection::new(Arc::new(server)).expect("a server");
    loop {
        let mut bytes = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut bytes).expect("memory");
        }
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            server.read_tls(&mut rest).expect("memory");
            // What the server has against it goes to the client as an alert.
            server.process_new_packets().ok();
        }
        let mut answer = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut answer).expect("memory");
        }
        if bytes.is_empty() && answer.is_empty() {
            return Ok(());
        }
        let mut rest = &answer[..];
        while !rest.is_empty() {
            client.read_tls(&mut rest).expect("memory");
            client.process_new_packets()?;
        }
    }
}

fn trusting(path: PathBuf) -> Tls {
    Tls { ca_cert: Some(path), ..Tls::default() }
}

fn said(settings: &Tls, server: ServerConfig, name: &str) -> String {
    let client = client(settings, &VARIABLES, None, Asked::default()).expect("good files");
    let error = shake(&client, server, name).expect_err("no handshake");
    let Words { why, fix } = words(&error, &VARIABLES);
    format!("{why}; {fix}")
}

/// The names that the library has for things are written like this.
fn is_plain(text: &str) -> bool {
    let camel = |word: &str| {
        let mut signs = word.chars().skip(1);
        word.chars().all(char::is_alphanumeric) && signs.any(char::is_uppercase) && word.chars().any(char::is_lowercase)
    };
    let own = ["subjectAltName", "serverAuth", "P-256"];
    !text.split(|c: char| c.is_whitespace() || ",;:()=".contains(c)).any(|word| camel(word) && !own.contains(&word))
}

#[test]
fn a_self_signed_certificate_that_is_pinned_is_trusted() {
    let files = Files::new();
    for is_ca in [IsCa::Ca(BasicConstraints::Unconstrained), IsCa::ExplicitNoCa, IsCa::NoCa] {
        let mut params = params("a.example");
        params.is_ca = is_ca;
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate");
        let settings = trusting(files.write("pinned.pem", &certificate.pem()));
        let config = client(&settings, &VARIABLES, None, Asked::default()).expect("a good file");
        shake(&config, server_of(&certificate, &key), "a.example").expect("it is trusted");
        let wrong = said(&settings, server_of(&certificate, &key), "b.example");
        assert!(wrong.contains("is for a.example, and not for b.example; set NAME"), "{wrong}");
        // Another one of the same name is not the same.
        let other = params.self_signed(&KeyPair::generate().expect("a key")).expect("a certificate");
        let other = said(&trusting(files.write("other.pem", &other.pem())), server_of(&certificate, &key), "a.example");
        assert!(is_plain(&other) && other.contains("CA"), "{other}");
    }
}

#[test]
fn a_pinned_certificate_has_its_time_and_its_purpose() {
    let files = Files::new();
    let key = KeyPair::generate().expect("a key");
    let now = OffsetDateTime::now_utc();
    let mut old = params("a.example");
    old.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let (mut young, mut other) = (old.clone(), old.clone());
    (old.not_before, old.not_after) = (now - Duration::days(9), now - Duration::days(2));
    young.not_before = now + Duration::days(2);
    other.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    for (params, part) in [(old, "expired on "), (young, "not valid before "), (other, "not made for servers")] {
        let certificate = params.self_signed(&key).expect("a certificate");
        let settings = trusting(files.write("pinned.pem", &certificate.pem()));
        let text = said(&settings, server_of(&certificate, &key), "a.example");
        assert!(text.contains(part) && is_plain(&text), "{text}");
    }
}

#[test]
fn keys_on_the_curve_p_521_are_good() {
    let files = Files::new();
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P521_SHA512).expect("a key");
    let mut params = params("a.example");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(params.clone(), key).expect("a certificate");
    params.is_ca = IsCa::NoCa;
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P521_SHA512).expect("a key");
    let certificate = params.signed_by(&key, &issuer).expect("a certificate");
    let settings = Tls {
        client_cert: Some(files.write("cert.pem", &certificate.pem())),
        client_key: Some(files.write("key.pem", &key.serialize_pem())),
        ..trusting(files.write("ca.pem", &issuer.pem()))
    };
    let config = client(&settings, &VARIABLES, None, Asked::default()).expect("good files");
    shake(&config, server_of(&certificate, &key), "a.example").expect("it is trusted");
}

#[test]
fn every_failure_is_told_in_plain_words() {
    let files = Files::new();
    let (ours, stranger) = (authority("Ours"), authority("Stranger"));
    let settings = trusting(files.write("ca.pem", &ours.pem()));
    let key = KeyPair::generate().expect("a key");
    let now = OffsetDateTime::now_utc();
    let (mut old, mut young) = (params("a.example"), params("a.example"));
    (old.not_before, old.not_after) = (now - Duration::days(9), now - Duration::days(2));
    young.not_before = now + Duration::days(2);
    for (params, issuer, name, part) in [
        (params("a.example"), &stranger, "a.example", "signed by an unknown authority (CN=Stranger); set CA or CAPATH"),
        (old, &ours, "a.example", "the server's certificate expired on "),
        (young, &ours, "a.example", "the server's certificate is not valid before "),
        (params("a.example"), &ours, "b.example", "is for a.example, and not for b.example; set NAME"),
    ] {
        let certificate = params.signed_by(&key, issuer).expect("a certificate");
        let text = said(&settings, server_of(&certificate, &key), name);
        assert!(text.contains(part) && is_plain(&text), "{text}");
    }
    let certificate = params("a.example").signed_by(&key, &ours).expect("a certificate");
    let mut roots = RootCertStore::empty();
    roots.add(ours.der().clone()).expect("a certificate");
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&PROVIDER)).build();
    let mutual = ServerConfig::builder_with_provider(Arc::clone(&PROVIDER)).with_safe_default_protocol_versions();
    let mutual = mutual.expect("versions").with_client_cert_verifier(verifier.expect("roots"));
    let private = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
    let mutual = mutual.with_single_cert(vec![certificate.der().clone()], private).expect("a pair");
    let text = said(&settings, mutual.clone(), "a.example");
    assert!(text.contains("the server wants a client certificate; set CERT and KEY") && is_plain(&text), "{text}");
    let foreign = params("c").signed_by(&key, &stranger).expect("a certificate");
    let shown = Tls {
        client_cert: Some(files.write("cert.pem", &foreign.pem())),
        client_key: Some(files.write("key.pem", &key.serialize_pem())),
        ..settings
    };
    let text = said(&shown, mutual, "a.example");
    assert!(text.contains("does not know the authority of our client certificate") && is_plain(&text), "{text}");
}

#[test]
fn no_error_shows_what_the_library_calls_it() {
    use rustls::{AlertDescription, CertificateError, InvalidMessage, PeerIncompatible, PeerMisbehaved};
    let mut errors: Vec<rustls::Error> = vec![
        CertificateError::Revoked.into(),
        CertificateError::BadSignature.into(),
        CertificateError::UnhandledCriticalExtension.into(),
        CertificateError::ApplicationVerificationFailure.into(),
        CertificateError::UnsupportedSignatureAlgorithmContext {
            signature_algorithm_id: vec![6, 8, 42],
            supported_algorithms: Vec::new(),
        }
        .into(),
        CertificateError::ExpiredContext {
            time: UnixTime::now(),
            not_after: UnixTime::since_unix_epoch(Default::default()),
        }
        .into(),
        PeerIncompatible::ServerDoesNotSupportTls12Or13.into(),
        PeerIncompatible::NoCipherSuitesInCommon.into(),
        PeerMisbehaved::BadCertChainExtensions.into(),
        InvalidMessage::InvalidContentType.into(),
        rustls::Error::General("GeneralError".to_owned()),
        trust_nobody(),
    ];
    errors.extend((0..=255).map(|code| rustls::Error::AlertReceived(AlertDescription::from(code))));
    for error in errors {
        let Words { why, fix } = words(&error, &VARIABLES);
        assert!(!why.is_empty() && !fix.is_empty(), "{error:?}");
        assert!(is_plain(&why) && is_plain(&fix) && !fix.contains("[6"), "{why}; {fix}");
    }
}

fn trust_nobody() -> rustls::Error {
    super::words::Untrusted::NoRoots.into()
}

/// A file is written in pieces, and can be caught between two.
#[test]
fn half_a_file_leaves_the_old_one_in_force() {
    let files = Files::new();
    let (first, second) = (authority("First"), authority("Second"));
    let key = KeyPair::generate().expect("a key");
    let [one, two] =
        [&first, &second].map(|issuer| params("a.example").signed_by(&key, issuer).expect("a certificate"));
    let settings = trusting(files.write("ca.pem", &first.pem()));
    let config = client(&settings, &VARIABLES, None, Asked::default()).expect("a good file");
    let trusts = |certificate| shake(&config, server_of(certificate, &key), "a.example").is_ok();
    assert!(trusts(&one) && !trusts(&two));
    files.write("ca.pem", &second.pem()[..100]);
    assert!(trusts(&one) && !trusts(&two));
    std::fs::remove_file(files.path("ca.pem")).expect("a file");
    assert!(trusts(&one) && !trusts(&two));
    files.write("ca.pem", &second.pem());
    assert!(!trusts(&one) && trusts(&two));
}

#[test]
fn the_days_that_are_left_are_counted_from_the_files() {
    let files = Files::new();
    let key = KeyPair::generate().expect("a key");
    let mut params = params("a.example");
    let pem_until = |params: &mut CertificateParams, days| {
        params.not_after = OffsetDateTime::from(SystemTime::now()) + Duration::days(days);
        params.self_signed(&key).expect("a certificate").pem()
    };
    let path = files.write("ca.pem", &pem_until(&mut params, 10));
    let config = client(&trusting(path.clone()), &VARIABLES, None, Asked::default()).expect("a good file");
    #[expect(clippy::cast_precision_loss, reason = "days are few")]
    let days_left = |validity: &Validity| {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_secs_f64();
        (validity.ends() as f64 - now) / 86_400.0
    };
    let days = || {
        let all = validities();
        let mine: Vec<_> = all.iter().filter(|validity| validity.path == path).map(days_left).collect();
        mine
    };
    let is = |days: Vec<f64>, wanted: f64| days.len() == 1 && (days[0] - wanted).abs() < 0.1;
    assert!(is(days(), 10.0), "{:?}", days());
    // One that has expired is of no account beside one that has not.
    let both = pem_until(&mut params, -3) + &pem_until(&mut params, 30);
    files.write("ca.pem", &both);
    assert!(is(days(), 30.0), "{:?}", days());
    files.write("ca.pem", &pem_until(&mut params, -3));
    assert!(is(days(), -3.0), "{:?}", days());
    drop(config);
    assert_eq!(days(), Vec::<f64>::new());
}
