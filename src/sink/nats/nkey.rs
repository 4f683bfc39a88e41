//! The keys of NATS: an Ed25519 key in base32 with a checksum, and the files that hold one.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use rustls::{SignatureScheme, crypto::aws_lc_rs::sign::any_eddsa_type, pki_types::PrivatePkcs8KeyDer, sign::Signer};

/// The first byte of a seed, shifted by three bits: an `S` in base32.
const SEED: u8 = 18 << 3;

/// What stands before the 32 bytes of an Ed25519 key in PKCS #8 (RFC 8410, section 7).
const PKCS8: [u8; 16] = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];

const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// A key that signs what the server asks to sign.
pub(super) struct Nkey {
    /// As the server's configuration names it: `UABC…`.
    pub(super) public: String,
    signer: Box<dyn Signer>,
}

impl Nkey {
    /// The key of a seed, such as `SUAB…`.
    pub(super) fn of_seed(seed: &str) -> Option<Self> {
        let bytes = decode(seed)?;
        let (bytes, sum) = bytes.split_last_chunk::<2>()?;
        let (&[first, second], key) = bytes.split_first_chunk::<2>()?;
        if crc16(bytes) != u16::from_le_bytes(*sum) || first & 0xf8 != SEED || key.len() != 32 {
            return None;
        }
        let kind = (first & 7) << 5 | second >> 3;
        let der = PrivatePkcs8KeyDer::from([&PKCS8, key].concat());
        let key = any_eddsa_type(&der).ok()?;
        // The key stands at the end of what X.509 says of it.
        let spki = key.public_key()?;
        let public = spki.as_ref().last_chunk::<32>()?;
        let mut named = [&[kind], &public[..]].concat();
        named.extend(crc16(&named).to_le_bytes());
        Some(Nkey { public: encode(&named), signer: key.choose_scheme(&[SignatureScheme::ED25519])? })
    }

    /// The signature as `CONNECT` has it.
    pub(super) fn sign(&self, nonce: &str) -> Option<String> {
        Some(URL_SAFE_NO_PAD.encode(self.signer.sign(nonce.as_bytes()).ok()?))
    }
}

/// The user's token in a credentials file, and the seed of its key.
pub(super) fn credentials(text: &str) -> Option<(&str, &str)> {
    Some((block(text, "NATS USER JWT")?, block(text, "USER NKEY SEED")?))
}

/// The seed in a file of its own, which may have comments.
pub(super) fn seed(text: &str) -> Option<&str> {
    text.lines().map(str::trim).find(|line| line.starts_with('S') && line.len() > 50)
}

fn block<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(&format!("BEGIN {name}"))?;
    let mut lines = rest.lines().skip(1).map(str::trim).filter(|line| !line.is_empty());
    lines.next().filter(|line| !line.starts_with('-'))
}

fn decode(text: &str) -> Option<Vec<u8>> {
    let (mut bytes, mut bits, mut count) = (Vec::new(), 0_u32, 0);
    for byte in text.bytes() {
        let value = ALPHABET.iter().position(|known| *known == byte)?;
        bits = bits << 5 | u32::try_from(value).ok()?;
        count += 5;
        if count >= 8 {
            count -= 8;
            bytes.push(u8::try_from(bits >> count & 0xff).ok()?);
        }
    }
    Some(bytes)
}

fn encode(bytes: &[u8]) -> String {
    let (mut text, mut bits, mut count) = (String::new(), 0_u32, 0);
    let letter = |bits: u32| char::from(ALPHABET[usize::try_from(bits & 31).expect("five bits")]);
    for byte in bytes {
        bits = bits << 8 | u32::from(*byte);
        count += 8;
        while count >= 5 {
            count -= 5;
            text.push(letter(bits >> count));
        }
    }
    if count > 0 {
        text.push(letter(bits << (5 - count)));
    }
    text
}

/// The checksum of XMODEM.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |sum, byte| {
        (0..8).fold(
            sum ^ u16::from(*byte) << 8,
            |sum: u16, _| if sum & 0x8000 > 0 { sum << 1 ^ 0x1021 } else { sum << 1 },
        )
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A pair that the makers of NATS publish in their documentation.
    const PAIR: (&str, &str) = (
        "SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY",
        "UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4",
    );

    #[test]
    fn a_seed_has_the_public_key_that_its_makers_say() {
        let key = Nkey::of_seed(PAIR.0).expect("a seed");
        assert_eq!(key.public, PAIR.1);
        assert_eq!(key.sign("nonce").expect("a signature").len(), 86);
    }

    #[test]
    fn what_is_no_seed_is_none() {
        let wrong = PAIR.0.replace("CSSL", "CSSM");
        for text in ["", "S", PAIR.1, &wrong, &PAIR.0[1..], "su"] {
            assert!(Nkey::of_seed(text).is_none(), "{text}");
        }
    }

    #[test]
    fn files_hold_what_the_tools_write_into_them() {
        let text = format!(
            "-----BEGIN NATS USER JWT-----\neyJ0.eyJq.sig\n------END NATS USER JWT------\n\n************* IMPORTANT *************\n\n\
             -----BEGIN USER NKEY SEED-----\n{}\n------END USER NKEY SEED------\n",
            PAIR.0
        );
        assert_eq!(credentials(&text), Some(("eyJ0.eyJq.sig", PAIR.0)));
        assert_eq!(credentials("-----BEGIN NATS USER JWT-----\n------END"), None);
        assert_eq!(seed(&format!("# mine\n  {}\n", PAIR.0)), Some(PAIR.0));
        assert_eq!(seed("nothing"), None);
    }

    proptest! {
        #[test]
        fn base32_comes_back(bytes in prop::collection::vec(any::<u8>(), 0..50)) {
            prop_assert_eq!(decode(&encode(&bytes)), Some(bytes));
        }

        #[test]
        fn nothing_breaks_it(text in "[A-Z2-7=a ]{0,70}") {
            drop(Nkey::of_seed(&text));
            credentials(&text);
        }
    }
}
