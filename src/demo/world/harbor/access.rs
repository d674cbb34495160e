//! Who asks, and what they may: accounts, robots and their permissions.

use std::collections::BTreeSet;

use crate::demo::world::message::{Ask, Presented};
use crate::demo::world::store::{Store, Visibility};

/// An account of a Harbor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// The login: `admin`, `robot$name`, `robot$project+name`.
    pub name: String,
    /// The password or secret.
    pub secret: String,
    /// Whether it may log in at all.
    pub standing: Standing,
    pub(super) kind: Kind,
}

/// What an account is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    Admin,
    /// A person without membership in any project.
    User,
    Robot {
        namespace: Namespace,
        permissions: BTreeSet<Permission>,
    },
}

/// Whether an account may log in. One that may not is anonymous to Harbor, silently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It may.
    Active,
    /// An admin disabled it.
    Disabled,
    /// Its time is over.
    Expired,
}

/// Where a robot's permissions hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Namespace {
    /// In all projects that exist (a system robot).
    All,
    /// In this project (a project robot).
    Project(String),
}

/// What a robot may do in a project: Harbor's `resource:action`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Permission {
    /// `repository:pull`
    Pull,
    /// `artifact:read`
    ArtifactRead,
    /// `artifact:list`
    ArtifactList,
    /// `artifact-addition:read`
    AdditionRead,
    /// `scanner:read`
    ScannerRead,
    /// `project:read`
    ProjectRead,
    /// `scan:create`
    ScanCreate,
}

impl Permission {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Pull,
        Self::ArtifactRead,
        Self::ArtifactList,
        Self::AdditionRead,
        Self::ScannerRead,
        Self::ProjectRead,
        Self::ScanCreate,
    ];
}

impl Account {
    /// A robot, `robot$name` or `robot$project+name`, with the secret `name-Secret1`.
    #[must_use]
    pub fn robot(name: &str, namespace: Namespace, permissions: &[Permission]) -> Self {
        let login = match &namespace {
            Namespace::All => format!("robot${name}"),
            Namespace::Project(project) => format!("robot${project}+{name}"),
        };
        let kind = Kind::Robot { namespace, permissions: permissions.iter().copied().collect() };
        Self { name: login, secret: format!("{name}-Secret1"), standing: Standing::Active, kind }
    }

    /// The system's admin.
    #[must_use]
    pub fn admin(secret: &str) -> Self {
        let (name, secret) = ("admin".into(), secret.into());
        Self { name, secret, standing: Standing::Active, kind: Kind::Admin }
    }

    /// A person who is member of no project.
    #[must_use]
    pub fn user(name: &str, secret: &str) -> Self {
        Self { name: name.into(), secret: secret.into(), standing: Standing::Active, kind: Kind::User }
    }

    /// The same account, but so.
    #[must_use]
    pub fn standing(self, standing: Standing) -> Self {
        Self { standing, ..self }
    }
}

/// Who asks.
#[derive(Debug, Clone)]
pub(super) enum Caller {
    /// Nobody known. Wrong passwords end here, too.
    Anonymous,
    Known(Account),
}

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
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Anonymous => None,
            Self::Known(account) => Some(&account.name),
        }
    }

    pub fn is_anonymous(&self) -> bool {
        matches!(self, Self::Anonymous)
    }

    pub fn is_admin(&self) -> bool {
        matches!(self, Self::Known(Account { kind: Kind::Admin, .. }))
    }

    pub fn is_robot(&self) -> bool {
        matches!(self, Self::Known(Account { kind: Kind::Robot { .. }, .. }))
    }

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
