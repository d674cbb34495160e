//! Who asks a Harbor, and what they may do there.

use crate::demo::world::accounts::{Account, Caller, Kind, Namespace, Permission, Standing};
use crate::demo::world::message::{Ask, Presented};
use crate::demo::world::store::{Store, Visibility};

/// Whether the credentials were right: wrong ones take longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Attempt {
    Fine,
    Wrong,
}

/// Finds the caller of a request. A bearer token is valid only under `/v2/`, for the caller that it was issued to, even if
/// that account has changed since.
pub(super) fn recognise(store: &Store, ask: &Ask) -> (Caller, Attempt) {
    match ask.presented() {
        Presented::Nothing | Presented::Unreadable => (Caller::Anonymous, Attempt::Fine),
        Presented::Bearer(token) if ask.path.split('/').nth(1) == Some("v2") => {
            (store.harbor_tokens.caller(&token), Attempt::Fine)
        }
        Presented::Bearer(_) => (Caller::Anonymous, Attempt::Fine),
        Presented::Basic { user, password } => match store.accounts.get(&user) {
            Some(account) if account.secret == password && account.standing == Standing::Active => {
                (Caller::Known(account.clone()), Attempt::Fine)
            }
            _ => (Caller::Anonymous, Attempt::Wrong),
        },
    }
}

impl Caller {
    /// Whether the caller has this permission of the whole Harbor: no project's robot has any.
    pub fn may_in_system(&self, permission: Permission) -> bool {
        match self {
            Self::Known(Account { kind: Kind::Robot { namespace, permissions }, .. }) => {
                *namespace == Namespace::All && permissions.contains(&permission)
            }
            Self::Known(_) | Self::Anonymous => self.is_admin(),
        }
    }

    /// Whether the caller has this permission in the project. In a project that does not exist only the admin has any.
    pub fn may(&self, store: &Store, project: &str, permission: Permission) -> bool {
        if self.is_admin() {
            return true;
        }
        let Some(found) = store.projects.get(project) else { return false };
        // In a public project Harbor gives everybody all permissions to read, and none to write.
        if found.visibility == Visibility::Public && !permission.writes() {
            return true;
        }
        match self {
            Self::Known(Account { kind: Kind::Robot { namespace, permissions }, .. }) => {
                let here = match namespace {
                    Namespace::All => true,
                    Namespace::Project(own) => own == project,
                };
                here && permissions.contains(&permission)
            }
            Self::Known(_) | Self::Anonymous => false,
        }
    }
}
