//! The accounts of a Harbor, and whom a request is recognised as. What a caller may do is in [`access`](super::harbor::access).

use std::collections::BTreeSet;

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

/// Whether an account may log in. If not, Harbor treats it as anonymous, without an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It may.
    Active,
    /// An admin disabled it.
    Disabled,
    /// It has expired.
    Expired,
}

/// Where a robot's permissions apply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Namespace {
    /// In all existing projects (a system robot).
    All,
    /// In this project (a project robot).
    Project(String),
}

/// What a robot may do in a project, or in the whole Harbor: Harbor's `resource:action`.
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
    /// `notification-policy:create`, `:list` and `:update`
    NotificationPolicy,
    /// `replication-policy:list`, of the whole Harbor.
    ReplicationPolicyList,
    /// `replication:list`, of the whole Harbor.
    ReplicationList,
}

impl Permission {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Pull,
        Self::ArtifactRead,
        Self::ArtifactList,
        Self::AdditionRead,
        Self::ScannerRead,
        Self::ProjectRead,
        Self::ScanCreate,
        Self::NotificationPolicy,
        Self::ReplicationPolicyList,
        Self::ReplicationList,
    ];

    /// Whether it changes something: in a public project, not everybody has it.
    pub(super) fn writes(self) -> bool {
        matches!(self, Self::ScanCreate | Self::NotificationPolicy)
    }
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

    /// A person who is not a member of any project.
    #[must_use]
    pub fn user(name: &str, secret: &str) -> Self {
        Self { name: name.into(), secret: secret.into(), standing: Standing::Active, kind: Kind::User }
    }

    /// The same account with another standing.
    #[must_use]
    pub fn standing(self, standing: Standing) -> Self {
        Self { standing, ..self }
    }
}

/// Who sent a request.
#[derive(Debug, Clone)]
pub(super) enum Caller {
    /// Nobody that is known. A wrong password gives the same.
    Anonymous,
    Known(Account),
}

impl Caller {
    pub(super) fn name(&self) -> Option<&str> {
        match self {
            Self::Anonymous => None,
            Self::Known(account) => Some(&account.name),
        }
    }

    pub(super) fn is_anonymous(&self) -> bool {
        matches!(self, Self::Anonymous)
    }

    pub(super) fn is_admin(&self) -> bool {
        matches!(self, Self::Known(Account { kind: Kind::Admin, .. }))
    }

    pub(super) fn is_robot(&self) -> bool {
        matches!(self, Self::Known(Account { kind: Kind::Robot { .. }, .. }))
    }
}
