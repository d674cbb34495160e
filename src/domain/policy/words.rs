//! The words of a written policy. The configuration file and the resource LandingPolicy read the same ones.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::domain::finding::Action;

/// An action for findings with which the copy cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Elsewhere {
    /// Use another site's copy.
    Fallback,
    /// Deny the Pod.
    Block,
}

/// An action for findings with which the copy can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Any {
    /// Use the copy nevertheless.
    Accept,
    /// Use another site's copy.
    Fallback,
    /// Deny the Pod.
    Block,
}

/// An action for findings that the copies of other sites have, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum InPlace {
    /// Use the copy nevertheless.
    Accept,
    /// Deny the Pod.
    Block,
}

/// An action for images that no route covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Outside {
    /// Do not change it.
    Allow,
    /// Deny the Pod.
    Block,
}

/// What a requirement of a selector asks of a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Operator {
    /// The label has one of the values.
    In,
    /// The label has none of the values, or is not there.
    NotIn,
    /// The label is there.
    Exists,
    /// The label is not there.
    DoesNotExist,
}

impl From<Elsewhere> for Action {
    fn from(word: Elsewhere) -> Self {
        match word {
            Elsewhere::Fallback => Self::Fallback,
            Elsewhere::Block => Self::Block,
        }
    }
}

impl From<Any> for Action {
    fn from(word: Any) -> Self {
        match word {
            Any::Accept => Self::Accept,
            Any::Fallback => Self::Fallback,
            Any::Block => Self::Block,
        }
    }
}

impl From<InPlace> for Action {
    fn from(word: InPlace) -> Self {
        match word {
            InPlace::Accept => Self::Accept,
            InPlace::Block => Self::Block,
        }
    }
}

impl From<Outside> for Action {
    fn from(word: Outside) -> Self {
        match word {
            Outside::Allow => Self::Accept,
            Outside::Block => Self::Block,
        }
    }
}
