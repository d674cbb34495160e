//! The tokens that registries have issued.

use std::collections::HashMap;

use jiff::Timestamp;

use super::accounts::Caller;

/// The tokens of a Harbor, each with the caller that it was issued to. A token outlives its account.
#[derive(Default)]
pub(super) struct HarborTokens {
    pub(super) given: HashMap<String, (Caller, Timestamp)>,
}

impl HarborTokens {
    pub(super) fn caller(&self, token: &str) -> Caller {
        match self.given.get(token) {
            Some((caller, until)) if *until > Timestamp::now() => caller.clone(),
            _ => Caller::Anonymous,
        }
    }
}

/// The tokens of a plain registry.
#[derive(Default)]
pub(super) struct PlainTokens {
    pub(super) given: HashMap<String, PlainToken>,
}

pub(super) struct PlainToken {
    pub(super) scopes: Vec<String>,
    pub(super) until: Timestamp,
}
