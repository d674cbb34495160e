//! The judge for people: what stands, what does not, and what to do about it, as data that `cli/` prints.

pub mod doctor;
