//! The cause and the message of an error of the HTTP stack.

use std::error::Error;
use std::fmt::Write as _;
use std::io;

use rustls::CertificateError;

use crate::domain::unknown::{Cause, Unknown};

use super::address::NotPublic;

/// Why a request got no answer, or only part of one. `host` may name the proxy as well.
pub(super) fn failure(host: &str, error: reqwest::Error) -> Unknown {
    // The message names the host already, and the query of the URL may hold secrets.
    let error = error.without_url();
    let cause = cause(&error);
    let mut detail = match cause {
        Cause::Tls => format!("TLS with {host} failed"),
        Cause::Redirect => format!("no request is sent to {host}"),
        Cause::Connect => format!("cannot connect to {host}"),
        Cause::Deadline => format!("{host} did not answer in time"),
        Cause::NotRegistry => format!("{host} does not speak HTTP"),
        _ => format!("the connection to {host} broke"),
    };
    if let Some(root) = chain(&error).last() {
        // Writing to a String cannot fail.
        let _written = match root.downcast_ref() {
            // rustls shows what the verifier says as code.
            Some(rustls::Error::InvalidCertificate(CertificateError::Other(said))) => {
                write!(detail, ": {said}")
            }
            _ => write!(detail, ": {root}"),
        };
    }
    Unknown::new(cause, detail)
}

fn cause(error: &reqwest::Error) -> Cause {
    for link in chain(error) {
        if link.is::<NotPublic>() {
            return Cause::Redirect;
        }
        if link.is::<rustls::Error>() {
            return Cause::Tls;
        }
        if let Some(error) = link.downcast_ref::<io::Error>() {
            match error.kind() {
                io::ErrorKind::ConnectionReset
                | io::ErrorKind::ConnectionAborted
                | io::ErrorKind::BrokenPipe
                | io::ErrorKind::UnexpectedEof => return Cause::Broken,
                _ => {}
            }
        }
        if link.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_parse) {
            return Cause::NotRegistry;
        }
    }
    if error.is_connect() {
        // Also for a connect timeout: packets are dropped there, which is not a slow answer.
        Cause::Connect
    } else if error.is_timeout() {
        Cause::Deadline
    } else {
        Cause::Broken
    }
}

/// An error and its sources. An [`io::Error`] hides the error it wraps from `source`: it is unwrapped here.
fn chain(error: &reqwest::Error) -> impl Iterator<Item = &(dyn Error + 'static)> {
    std::iter::successors(Some(error as &(dyn Error + 'static)), |link| {
        let link: &(dyn Error + 'static) = *link;
        match link.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(wrapped) => Some(wrapped),
            None => link.source(),
        }
    })
}
