//! Serial numbers of certificates.

use std::fmt::{self, Write as _};
use std::str::FromStr;

use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use aws_lc_rs::rand;

use super::PkiError;

/// A certificate's serial number, which tells it from the others of its CA: 1 to 20 bytes, the most
/// significant first (RFC 5280 section 4.1.2.2). Written in hexadecimal, as openssl does; colons between
/// the bytes are read, too.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Serial(Box<[u8]>);

impl Serial {
    /// The longest number, in bytes.
    const LONGEST: usize = 20;

    /// A new one: 127 random bits, so that the sign bit needs no byte of its own.
    pub(super) fn random() -> Result<Self, PkiError> {
        let mut bytes = [0; 16];
        rand::fill(&mut bytes).map_err(|_| PkiError::Issue("no randomness".to_owned()))?;
        bytes[0] = bytes[0] & 0x3f | 0x40;
        Ok(Self(bytes.into()))
    }

    /// The number in a certificate, as DER has it; none if it is too long to be one.
    #[must_use]
    pub fn from_der_integer(bytes: &[u8]) -> Option<Self> {
        let significant = bytes.iter().position(|byte| *byte != 0);
        let significant = bytes.get(significant.unwrap_or(0)..).unwrap_or_default();
        (1..=Self::LONGEST)
            .contains(&significant.len())
            .then(|| Self(significant.into()))
    }

    /// That of a certificate, DER; none if it can't be read.
    #[must_use]
    pub fn of_certificate(der: &[u8]) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        Self::from_der_integer(certificate.raw_serial())
    }

    /// Its bytes, the most significant first and not zero.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl FromStr for Serial {
    type Err = InvalidSerial;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits: Option<Vec<u8>> = text
            .chars()
            .filter(|c| *c != ':')
            .map(|c| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
            .collect();
        let mut digits = digits.ok_or(InvalidSerial)?;
        if digits.len() % 2 == 1 {
            digits.insert(0, 0);
        }
        let (pairs, _) = digits.as_chunks::<2>();
        let bytes: Vec<u8> = pairs.iter().map(|[high, low]| high << 4 | low).collect();
        Self::from_der_integer(&bytes).ok_or(InvalidSerial)
    }
}

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::with_capacity(2 * self.0.len());
        for byte in &self.0 {
            write!(text, "{byte:02X}")?;
        }
        f.pad(&text)
    }
}

impl fmt::Debug for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not a serial number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a serial number is 1 to 40 hexadecimal digits, as `portcullis ca show` lists them")]
pub struct InvalidSerial;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_serial_number_reads_as_openssl_writes_it_with_or_without_colons() {
        let serial: Serial = "4F3A01".parse().unwrap();
        assert_eq!(serial.as_bytes(), [0x4f, 0x3a, 0x01]);
        for same in ["4f:3a:01", "004F3A01", "4f3a01"] {
            assert_eq!(same.parse(), Ok(serial.clone()), "{same}");
        }
        assert_eq!("f01".parse::<Serial>().unwrap().to_string(), "0F01");
        for bad in ["", ":", "xyz", "-1", &"1".repeat(41)] {
            assert_eq!(bad.parse::<Serial>(), Err(InvalidSerial), "{bad:?}");
        }
    }

    #[test]
    fn a_new_serial_number_is_positive_and_of_16_bytes() {
        let serial = Serial::random().unwrap();
        assert_eq!(serial.as_bytes().len(), 16);
        assert!((0x40..0x80).contains(&serial.as_bytes()[0]));
    }
}
