//! Lists of all namespaces, page by page.
//!
//! A page is handed on as the text that the API server sent: who reads it takes the few fields that it needs, and a page is
//! gone from memory before the next one is asked for.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use futures::AsyncReadExt;
use http::Request;
use http::header::ACCEPT;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::{ClusterError, call};

/// How many objects one page has: a Pod takes some 10 kB there.
const PAGE: u32 = 200;

/// The most bytes of a page. Whoever may create objects may create large ones (etcd takes 1.5 MiB), and a page of those would be more
/// than the memory of a replica: so it is asked for anew with fewer objects.
const MOST_PAGE: u64 = 8 << 20;

/// What is asked for of each object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Of {
    /// All of it.
    Everything,
    /// Its metadata.
    Metadata,
}

/// A reader of lists. A clone reads on with pages of the same size.
#[derive(Clone)]
pub(super) struct Pages {
    client: kube::Client,
    /// How many objects the next page has.
    limit: Arc<AtomicU32>,
}

impl Pages {
    pub(super) fn new(client: kube::Client) -> Self {
        Self { client, limit: Arc::new(PAGE.into()) }
    }

    /// What counts of the metadata of each object of one page, and what to ask for the next page with; `None`: it was the last.
    /// The arguments are those of [`page`](Self::page).
    ///
    /// # Errors
    /// As [`page`](Self::page), or if it is no list of such objects.
    pub(super) async fn metadata<M: DeserializeOwned>(
        &self,
        what: impl Fn() -> String,
        path: &str,
        after: Option<&str>,
    ) -> Result<(Vec<M>, Option<String>), ClusterError> {
        let page = self.page(&what, path, Of::Metadata, after).await?;
        let List { metadata, items } = serde_json::from_str(&page).map_err(|source| ClusterError::Call {
            what: what(),
            source: Box::new(kube::Error::SerdeError(source)),
        })?;
        let items = items.into_iter().flatten().map(|Item { metadata }| metadata);
        Ok((items.collect(), metadata.next.filter(|next| !next.is_empty())))
    }

    /// One page of the list at `path`, which ends with `?` or `&`, as JSON: `{"metadata":{"continue":…},"items":[…]}`. `after`:
    /// what `metadata.continue` of the page before said; `None` for the first.
    ///
    /// # Errors
    /// If the API server cannot be asked or refuses it. 410: the list has changed too much since its first page.
    pub(super) async fn page(
        &self,
        what: impl Fn() -> String,
        path: &str,
        of: Of,
        after: Option<&str>,
    ) -> Result<String, ClusterError> {
        let after = after.map(|after| format!("&continue={}", encoded(after))).unwrap_or_default();
        loop {
            let limit = self.limit.load(Ordering::Relaxed);
            // One object alone is read whatever its size: etcd bounds it.
            let most = if limit == 1 { u64::MAX } else { MOST_PAGE };
            let uri = format!("{path}limit={limit}{after}");
            let page = async {
                let accept = match of {
                    Of::Everything => "application/json",
                    Of::Metadata => "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1",
                };
                let request = Request::get(uri).header(ACCEPT, accept).body(Vec::new());
                let request = request.map_err(kube::Error::HttpError)?;
                let mut page = Vec::new();
                // The rest of it is not read, but closed.
                let answer = self.client.request_stream(request).await?;
                answer.take(most).read_to_end(&mut page).await.map_err(kube::Error::ReadEvents)?;
                Ok(page)
            };
            let page = call(&what, page).await?;
            let length = u64::try_from(page.len()).unwrap_or(u64::MAX);
            if length < most {
                // Large objects often stand side by side: those of one namespace follow each other.
                if length < MOST_PAGE / 8 {
                    self.limit.store((limit * 2).min(PAGE), Ordering::Relaxed);
                }
                return String::from_utf8(page).map_err(|source| ClusterError::Call {
                    what: what(),
                    source: Box::new(kube::Error::FromUtf8(source)),
                });
            }
            self.limit.store((limit / 8).max(1), Ordering::Relaxed);
        }
    }
}

/// A list of metadata, as far as it counts.
#[derive(Deserialize)]
struct List<M> {
    #[serde(default)]
    metadata: ListMeta,
    /// Null on a page without any (measured with 1.36).
    items: Option<Vec<Item<M>>>,
}

#[derive(Deserialize, Default)]
struct ListMeta {
    #[serde(default, rename = "continue")]
    next: Option<String>,
}

#[derive(Deserialize)]
struct Item<M> {
    metadata: M,
}

/// A token of the API server in a query. It is base64 of the URL's alphabet today, which is nobody's promise.
fn encoded(token: &str) -> String {
    url::form_urlencoded::byte_serialize(token.as_bytes()).collect()
}
