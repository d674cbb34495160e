//! Reports as pages that stand alone: one HTML file, without a script, that prints on A4.
//!
//! Who reads it from top to bottom is a manager, an engineer, an auditor: the result in one sentence, what does not work and
//! since when, how it was found out and what was not looked at, the hashes of what went in, and a line to sign. It never says
//! that somebody complies with something; it says for which articles it may be evidence.

mod audit;
mod changes;
mod drill;
mod frame;
mod sites;

pub use audit::audit;
pub use changes::changes;
pub use drill::drill;
pub use frame::Input;
pub use sites::sites;
