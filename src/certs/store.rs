//! The authorities, as the Secret keeps them.

use std::collections::BTreeMap;

use super::{Authority, Certificate, CertsError};

/// The keys of the Secret.
const CURRENT: [&str; 2] = ["ca.crt", "ca.key"];
const NEXT: [&str; 2] = ["next.crt", "next.key"];
const PREVIOUS: &str = "previous.crt";
const RETIRED: &str = "retired.crt";

/// The state of rotation.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Authorities {
    /// The authority that signs leaves.
    pub current: Option<Authority>,
    /// The one that signs next. It is published before it signs.
    pub next: Option<Authority>,
    /// Those that no longer sign. They stay published until their leaves are gone.
    pub previous: Vec<Certificate>,
    /// Those whose leaves are gone. They are not published, and not adopted again if an old bundle still holds them.
    pub retired: Vec<Certificate>,
}

impl Authorities {
    /// What a Secret holds, and what in it is damaged. An authority without its key counts as a previous one, because its
    /// leaves may still be served.
    pub fn read(data: &BTreeMap<String, Vec<u8>>) -> (Self, Vec<CertsError>) {
        let mut damage = Vec::new();
        let mut found = Self {
            previous: Certificate::all_in(value(data, PREVIOUS)),
            retired: Certificate::all_in(value(data, RETIRED)),
            ..Self::default()
        };
        for (names, place) in [(CURRENT, &mut found.current), (NEXT, &mut found.next)] {
            let [certificate, key] = names.map(|name| value(data, name));
            if certificate.is_empty() && key.is_empty() {
                continue;
            }
            let Some(certificate) = Certificate::all_in(certificate).into_iter().next() else {
                let reason = "there is no certificate in it".to_owned();
                damage.push(CertsError::Damaged { key: names[0], reason });
                continue;
            };
            match Authority::read(names, certificate.clone(), key) {
                Ok(authority) => *place = Some(authority),
                Err(error) => {
                    damage.push(error);
                    found.previous.push(certificate);
                }
            }
        }
        (found, damage)
    }

    /// What the Secret must hold; `None` for a key that must not be there.
    pub fn data(&self) -> BTreeMap<&'static str, Option<String>> {
        let mut data = BTreeMap::new();
        for ([certificate, key], authority) in [(CURRENT, &self.current), (NEXT, &self.next)] {
            data.insert(certificate, authority.as_ref().map(|one| one.certificate().pem()));
            data.insert(key, authority.as_ref().map(Authority::key_pem));
        }
        for (key, certificates) in [(PREVIOUS, &self.previous), (RETIRED, &self.retired)] {
            let text: String = certificates.iter().map(Certificate::pem).collect();
            data.insert(key, Some(text).filter(|text| !text.is_empty()));
        }
        data
    }

    /// The certificates that must be published. The one that signs stands first: [`renewal`](super::renewal) relies on it.
    /// Their dates do not matter: what is in the Secret is published until rotation removes it.
    pub fn published(&self) -> impl Iterator<Item = &Certificate> {
        let signing = [&self.current, &self.next].into_iter().flatten().map(Authority::certificate);
        signing.chain(&self.previous)
    }

    /// The bundle for `caBundle`.
    pub fn bundle(&self) -> String {
        self.published().map(Certificate::pem).collect()
    }
}

fn value<'a>(data: &'a BTreeMap<String, Vec<u8>>, key: &str) -> &'a [u8] {
    data.get(key).map(Vec::as_slice).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::certs::Periods;

    fn stored(authorities: &Authorities) -> BTreeMap<String, Vec<u8>> {
        let data = authorities.data().into_iter();
        data.filter_map(|(key, value)| Some((key.to_owned(), value?.into_bytes()))).collect()
    }

    #[test]
    fn what_is_written_is_read_and_only_what_is_damaged_is_lost() {
        let now = Timestamp::now();
        let [one, two, three] = [(); 3].map(|()| Authority::new(now, &Periods::default()).unwrap());
        let whole = Authorities {
            current: Some(one.clone()),
            next: Some(two),
            previous: vec![three.certificate().clone()],
            retired: vec![],
        };
        let good = stored(&whole);
        let (read, damage) = Authorities::read(&good);
        assert!(read == whole && damage.is_empty(), "{read:?} {damage:?}");
        assert_eq!(Authorities::read(&BTreeMap::new()).0, Authorities::default());

        let kept = [three.certificate().clone(), one.certificate().clone()];
        for (key, value, previous, says) in [
            ("ca.key", None, &kept[..], "`ca.key` is damaged: "),
            ("ca.key", Some("rubbish"), &kept[..], "`ca.key` is damaged: "),
            ("ca.key", Some("next.key"), &kept[..], "`ca.key` is damaged: it does not belong to `ca.crt`"),
            ("ca.crt", Some("rubbish"), &kept[..1], "`ca.crt` is damaged: there is no certificate in it"),
        ] {
            let mut data = good.clone();
            match value.map(|value| good.get(value).cloned().unwrap_or_else(|| value.into())) {
                None => drop(data.remove(key)),
                Some(value) => drop(data.insert(key.to_owned(), value)),
            }
            let (read, damage) = Authorities::read(&data);
            assert_eq!((&read.current, &read.next), (&None, &whole.next), "{key} {value:?}");
            assert_eq!(read.previous, previous, "{key} {value:?}");
            let [damage] = &damage[..] else { panic!("{damage:?}") };
            assert!(damage.to_string().contains(says), "{damage}");
        }
    }
}
