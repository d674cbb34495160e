//! Who asks a Harbor, and what they may do there.

use crate::demo::world::accounts::{Account, Caller, Kind, Namespace, Permission, Standing};
use crate::demo::world::message::{Ask, Presented};
use crate::demo::world::store::{Store, Visibility};

/// How the recognition went, for the time it takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Attempt {
    Fine,
    Wrong,
}

/// Finds out who asks. A bearer token counts under `/v2/` only, and for whom it was given, whatever became of them.
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
    /// May they do that in this project? An absent project is forbidden to all but the admin.
    pub fn may(&self, store: &Store, project: &str, permission: Permission) -> bool {
        if self.is_admin() {
            return true;
        }
        let Some(found) = store.projects.get(project) else { return false };
        // Harbor gives every reader of a public project all that reads, but nothing that writes.
        if found.visibility == Visibility::Public && permission != Permission::ScanCreate {
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
