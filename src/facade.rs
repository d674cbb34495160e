//! What tests, benches and examples use of the rooms, which are private to the crate: so the compiler sees code that
//! nobody uses any more. Nothing here is a promise to anybody outside this repository.

/// See [`crate::admission`].
pub mod admission {
    pub use crate::admission::{
        Doors, LabelsOf, Metrics, OnDenied, OnLoop, PodLoop, Recent, Routers, Selectors,
    };
    /// See [`crate::admission::answer`].
    pub mod answer {
        pub use crate::admission::answer::{Answer, Decision, encode};
    }
    /// See [`crate::admission::review`].
    pub mod review {
        pub use crate::admission::review::{Door, Review, decode};
    }
}
/// See [`crate::certs`].
pub mod certs {
    pub use crate::certs::{Authorities, Authority, Certificate, Leaf, Metrics, Periods};
    /// See [`crate::certs::rotation`].
    pub mod rotation {
        pub use crate::certs::rotation::Step;
    }
}
/// See [`crate::cluster`].
pub mod cluster {
    pub use crate::cluster::{Cluster, FailedPull, FailedPulls, LandingPolicy, definitions};
}
/// See [`crate::config`].
pub mod config {
    pub use crate::config::{Files, Problem, Problems, built_in, load, parse, policy, schema};
}
/// See [`crate::controllers`].
pub mod controllers {
    /// See [`crate::controllers::certificates`].
    pub mod certificates {
        pub use crate::controllers::certificates::Names;
    }
    /// See [`crate::controllers::entries`].
    pub mod entries {
        pub use crate::controllers::entries::{Issuer, Names};
    }
    /// See [`crate::controllers::leader`].
    pub mod leader {
        pub use crate::controllers::leader::{Candidate, Leading, Term};
    }
    /// See [`crate::controllers::notifications`].
    pub mod notifications {
        pub use crate::controllers::notifications::{
            Addresses, NotificationMetrics, Received, Receiver, Relay, Trusted, Worker,
        };
    }
    /// See [`crate::controllers::pull_secrets`].
    pub mod pull_secrets {
        pub use crate::controllers::pull_secrets::{Count, PullSecretMetrics, Wrote};
    }
    /// See [`crate::controllers::replication`].
    pub mod replication {
        pub use crate::controllers::replication::{Reading, ReplicationMetrics, RuleReport, RuleWatch};
    }
}
/// See [`crate::demo`].
#[cfg(feature = "demo")]
pub mod demo {
    /// See [`crate::demo::story`].
    pub mod story {
        pub use crate::demo::story::{Admission, Pages, Performance, Stage, Told, script};
    }
    /// See [`crate::demo::world`].
    pub mod world {
        pub use crate::demo::world::{
            Account, Allowlist, Authorization, Certificate, Configuration, Cve, Descriptors, Embedded,
            Ending, Execution, ImmutableTags, Login, Namespace, PartialIndexes, PathClass, Permission,
            Ranges, Reachable, ReferrersApi, ReplicationRule, Report, Request, Scan, ScannerState,
            Signatures, Standing, Store, TokenAnswer, Visibility, World, WorldError, Writes, entry, seed,
        };
        /// See [`crate::demo::world::authority`].
        pub mod authority {
            pub use crate::demo::world::authority::{Authority, Validity};
        }
        /// See [`crate::demo::world::content`].
        pub mod content {
            pub use crate::demo::world::content::{
                Content, DOCKER_LIST, DOCKER_MANIFEST, Flavour, OCI_INDEX, OCI_MANIFEST, sha256,
            };
        }
        /// See [`crate::demo::world::faults`].
        pub mod faults {
            pub use crate::demo::world::faults::{Fault, Redirect, Scope};
        }
    }
}
/// See [`crate::domain`].
pub mod domain {
    /// See [`crate::domain::api_group`].
    pub mod api_group {
        pub use crate::domain::api_group::API_GROUP;
    }
    /// See [`crate::domain::breaker`].
    pub mod breaker {
        pub use crate::domain::breaker::{Breaker, FIRST_PERIOD, Phase, Signal, THRESHOLD};
    }
    /// See [`crate::domain::case`].
    pub mod case {
        pub use crate::domain::case::{Case, Exemption, Place, PodContext, Pull, Subject, with_enforcement};
    }
    /// See [`crate::domain::decide`].
    pub mod decide {
        pub use crate::domain::decide::{Admission, Step, admits, decide};
    }
    /// See [`crate::domain::decision`].
    pub mod decision {
        pub use crate::domain::decision::ImageDecision;
    }
    /// See [`crate::domain::digest`].
    pub mod digest {
        pub use crate::domain::digest::{Digest, DigestError};
    }
    /// See [`crate::domain::evidence`].
    pub mod evidence {
        pub use crate::domain::evidence::{
            Child, Children, Evidence, Layers, Observation, Presence, Query, Reachability, Shape, TagDigest,
            Wanted,
        };
    }
    /// See [`crate::domain::facts`].
    pub mod facts {
        pub use crate::domain::facts::{Accessory, Facts, Held, lag, missing_accessories, untagged};
    }
    /// See [`crate::domain::finding`].
    pub mod finding {
        pub use crate::domain::finding::{Action, FindingKind, PolicyKey};
    }
    /// See [`crate::domain::gap`].
    pub mod gap {
        pub use crate::domain::gap::{Axis, Gap, GapKey, GapKind, Version};
    }
    /// See [`crate::domain::healing`].
    pub mod healing {
        pub use crate::domain::healing::{HealOutcome, Remedy};
    }
    /// See [`crate::domain::image`].
    pub mod image {
        pub use crate::domain::image::{Reference, ReferenceError, Repository, Tag};
    }
    /// See [`crate::domain::mapping`].
    pub mod mapping {
        pub use crate::domain::mapping::{Flatten, Inverse, Mapping};
    }
    /// See [`crate::domain::messages`].
    pub mod messages {
        pub use crate::domain::messages::advice;
    }
    /// See [`crate::domain::name`].
    pub mod name {
        pub use crate::domain::name::{PolicyName, PullSecret, RegistryName, Site};
    }
    /// See [`crate::domain::text`].
    pub mod text {
        pub use crate::domain::text::{hanging, plain};
    }
    /// See [`crate::domain::outcome`].
    pub mod outcome {
        pub use crate::domain::outcome::Outcome;
    }
    /// See [`crate::domain::pattern`].
    pub mod pattern {
        pub use crate::domain::pattern::{ImagePattern, Pattern, PatternError};
    }
    /// See [`crate::domain::place`].
    pub mod place {
        pub use crate::domain::place::PlaceIx;
    }
    /// See [`crate::domain::platform`].
    pub mod platform {
        pub use crate::domain::platform::Platform;
    }
    /// See [`crate::domain::policy`].
    pub mod policy {
        pub use crate::domain::policy::{
            BreakGlass, Enforcement, Labels, Policy, Rules, SelectorId, Warning,
        };
    }
    /// See [`crate::domain::registry`].
    pub mod registry {
        pub use crate::domain::registry::{
            CredentialSource, Kind, Plugin, Registry, Service, SharedRegistry,
        };
    }
    /// See [`crate::domain::replication`].
    pub mod replication {
        pub use crate::domain::replication::{Observed, RuleGap, Standing, Status, rule_gaps};
    }
    /// See [`crate::domain::route`].
    pub mod route {
        pub use crate::domain::route::Collision;
    }
    /// See [`crate::domain::scan`].
    pub mod scan {
        pub use crate::domain::scan::{
            Allowlist, Report, Required, Requirement, ScanAnswer, ScanResult, ScanState, Scanner, Severity,
        };
    }
    /// See [`crate::domain::settings`].
    pub mod settings {
        pub use crate::domain::settings::Settings;
    }
    /// See [`crate::domain::unknown`].
    pub mod unknown {
        pub use crate::domain::unknown::{Cause, Unknown};
    }
    /// See [`crate::domain::verdict`].
    pub mod verdict {
        pub use crate::domain::verdict::{Reason, Ruling, Verdict};
    }
}
/// See [`crate::evidence`].
pub mod evidence {
    pub use crate::evidence::{
        Answers, Asking, CopyFacts, Damage, Damaged, Health, Imported, Inventory, Judgement, Look,
        Observatory, Pullable, Reading, Refusal, Replication, Right, Scope, Share, Unusable, decode, encode,
    };
    /// See [`crate::evidence::fuzz`].
    #[cfg(fuzzing)]
    pub mod fuzz {
        pub use crate::evidence::fuzz::{encode_text, read_all};
    }
}
/// See [`crate::harbor`].
pub mod harbor {
    pub use crate::harbor::Harbor;
    /// See [`crate::harbor::fuzz`].
    #[cfg(fuzzing)]
    pub mod fuzz {
        pub use crate::harbor::fuzz::{
            Overview, executions, facts, overview, project, pushes, rules, scanner, stored, tasks,
        };
    }
}
/// See [`crate::ledger`].
pub mod ledger {
    pub use crate::ledger::{
        Book, Keeper, LedgerMetrics, Met, Record, Recorder, Running, Sighting, Standing, State, Swept,
        recheck,
    };
}
/// See [`crate::pod`].
pub mod pod {
    pub use crate::pod::{AdmissionKind, Change, Entry, Mode, OldEntries, Plan, Pod, Slot, patch};
    /// See [`crate::pod::annotation`].
    pub mod annotation {
        pub use crate::pod::annotation::read;
    }
    /// See [`crate::pod::workload`].
    pub mod workload {
        pub use crate::pod::workload::essence;
    }
    /// See [`crate::pod::surface`].
    pub mod surface {
        pub use crate::pod::surface::{IMAGES, MODE, MOST_SECRETS};
    }
}
/// See [`crate::registry`].
pub mod registry {
    pub use crate::registry::{
        Blob, Challenge, Client, ClientError, Depth, Layer, Listed, LookedUp, Metrics, Scheme, SharedLookup,
        Target, Tasks, challenges, object,
    };
    /// See [`crate::registry::fuzz`].
    #[cfg(fuzzing)]
    pub mod fuzz {
        pub use crate::registry::fuzz::{children, listed, shape, token};
    }
}
/// See [`crate::report`].
pub mod report {
    pub use crate::report::audit::Audit;
    pub use crate::report::doctor;
    pub use crate::report::drill;
    pub use crate::report::explain::Explained;
}
/// See [`crate::server`].
pub mod server {
    pub use crate::server::{
        CallerCheck, CallerFile, Callers, CertificateFiles, Condition, ConditionName, Conditions, Drain,
        GapsOf, Limits, Listener, Pair, Served, ServerMetrics, ServingCertificate, Signals, State, Status,
        TlsError, TlsVersions, Transport, admin, hooks, server_config,
    };
}
