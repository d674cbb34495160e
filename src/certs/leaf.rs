//! The leaf: the certificate of one replica, and when the replica needs another one.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};

use super::{Authorities, Authority, Certificate, Periods, earlier, later};

/// A certificate for the names of our Service, and its key. It exists only in memory.
pub struct Leaf {
    /// The certificate. It is the whole chain, because its authority is in the bundle.
    pub certificate: CertificateDer<'static>,
    /// Its key.
    pub key: PrivatePkcs8KeyDer<'static>,
    /// The dates that renewal uses.
    pub dates: LeafDates,
}

impl fmt::Debug for Leaf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Leaf({:?})", self.dates)
    }
}

/// Who issued a leaf, when, and how long it is valid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeafDates {
    /// Who signed it.
    pub issuer: Certificate,
    /// When it was issued, by our wall clock.
    pub issued: Timestamp,
    /// The end of its validity, never later than that of its issuer.
    pub not_after: Timestamp,
}

impl LeafDates {
    /// How long it was made to last.
    fn life(&self) -> Duration {
        Duration::try_from(self.issued.duration_until(self.not_after)).unwrap_or_default()
    }

    /// Whether it has expired, by the wall clock or by its age on the monotonic clock. A wall clock that was set back must
    /// not keep a leaf in use whose authority may be gone.
    pub fn is_over(&self, now: Timestamp, age: Duration) -> bool {
        now >= self.not_after || age >= self.life()
    }

    /// Whether it is time for another one. `jitter`, in thousandths of its life, keeps replicas from renewing in step.
    ///
    /// A clock that now shows a time before the leaf was issued is a reason, too: most often it was wrong when the leaf was
    /// issued, and for other machines the leaf is not valid yet.
    fn is_due(&self, now: Timestamp, age: Duration, jitter: u16) -> bool {
        let share = 2.0 / 3.0 + f64::from(jitter.min(100)) / 1000.0 - 0.05;
        let old = self.life().mul_f64(share);
        now >= later(self.issued, old) || age >= old || now < earlier(self.issued, Periods::BACKDATED)
    }
}

/// What a replica does about its leaf.
#[derive(Debug, PartialEq)]
pub enum Renewal<'a> {
    /// Nothing: the leaf is good.
    Keep,
    /// Wait: another one is needed but cannot be issued, for this reason.
    Wait(&'static str),
    /// Let this authority issue another one.
    Issue(&'a Authority),
}

/// Judges the leaf that is served and its age. What is `published` must have been read before the `authorities`.
///
/// An authority issues when it is the first of ours in every bundle, where [`Authorities::bundle`] puts the one that signs.
/// To be in them is not enough: if an older Secret was restored, in which a retired authority signs, the last bundle still
/// contains it, but a leader that read the Secret earlier may be about to publish one that does not. That write names the
/// version of the bundle that it replaces. It fails once a leader has published the bundle of the restored Secret, and only
/// that bundle begins with the restored authority.
pub fn renewal<'a>(
    leaf: Option<(&LeafDates, Duration)>,
    authorities: &'a Authorities,
    published: &[Vec<Certificate>],
    now: Timestamp,
    jitter: u16,
) -> Renewal<'a> {
    let current = match &authorities.current {
        None => Err("no authority signs leaves yet"),
        Some(current) if !current.certificate().holds(now) => {
            Err("the authority has expired, or is not valid yet")
        }
        Some(current) if !published.iter().all(|bundle| signs(bundle) == Some(current.certificate())) => {
            Err("the authority is not published as the one that signs in every caBundle yet")
        }
        Some(current) => Ok(current),
    };
    let wanted = match (leaf, &current) {
        (None, _) => true,
        (Some((leaf, age)), _) if leaf.is_over(now, age) => true,
        (Some((leaf, _)), Ok(current)) if leaf.issuer != *current.certificate() => true,
        (Some((leaf, age)), Ok(current)) if leaf.is_due(now, age, jitter) => {
            // Near the end of the authority another leaf would not end later.
            leaf.not_after != current.certificate().not_after()
        }
        (Some((leaf, age)), Err(_)) => leaf.is_due(now, age, jitter),
        (Some(_), Ok(_)) => false,
    };
    match (wanted, current) {
        (false, _) => Renewal::Keep,
        (true, Ok(current)) => Renewal::Issue(current),
        (true, Err(why)) => Renewal::Wait(why),
    }
}

/// The authority that signed when this bundle was published, or was the next to sign if there was none.
fn signs(bundle: &[Certificate]) -> Option<&Certificate> {
    bundle.iter().find(|one| one.is_ours())
}
