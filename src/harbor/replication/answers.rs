//! What Harbor's JSON means of replication rules, executions and tasks, and of the artifacts that were pushed last.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::domain::pattern::Pattern;
use crate::domain::replication::{
    Copies, Execution, Filter, On, Push, Remote, Rule, Selects, Standing, Status, Tasks, Trigger,
};
use crate::domain::text::plain;
use crate::harbor::answer::Malformed;
use crate::harbor::api::PAGE;
use crate::harbor::overview::time;
use crate::registry::{Object, object};

/// The most filters of a rule, and the most tags of a push.
const MOST_PARTS: usize = 64;

/// A page of rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Its rules.
    pub rules: Vec<Rule>,
    /// Whether it is full, so that another may follow.
    pub full: bool,
}

/// All fields are optional: Harbor leaves out what is empty, zero or false, or writes null.
#[derive(Deserialize)]
struct RawRule<'a> {
    id: Option<i64>,
    #[serde(borrow)]
    name: Option<Cow<'a, str>>,
    enabled: Option<bool>,
    #[serde(borrow)]
    trigger: Option<Object<RawTrigger<'a>>>,
    #[serde(borrow)]
    filters: Option<Vec<Object<RawFilter<'a>>>>,
    #[serde(borrow)]
    src_registry: Option<Object<RawRegistry<'a>>>,
    #[serde(borrow)]
    dest_registry: Option<Object<RawRegistry<'a>>>,
    #[serde(borrow)]
    dest_namespace: Option<Cow<'a, str>>,
    dest_namespace_replace_count: Option<i64>,
    #[serde(rename = "override")]
    overrides: Option<bool>,
    #[serde(borrow)]
    creation_time: Option<Cow<'a, str>>,
    #[serde(borrow)]
    update_time: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct RawTrigger<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow)]
    trigger_settings: Option<Object<RawSettings<'a>>>,
}

#[derive(Deserialize)]
struct RawSettings<'a> {
    #[serde(borrow)]
    cron: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct RawFilter<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow)]
    value: Option<Value<'a>>,
    #[serde(borrow)]
    decoration: Option<Cow<'a, str>>,
}

/// The value of a filter: a pattern, or, of labels, a list.
#[derive(Deserialize)]
#[serde(untagged)]
enum Value<'a> {
    Text(#[serde(borrow)] Cow<'a, str>),
    Other(IgnoredAny),
}

#[derive(Deserialize)]
struct RawRegistry<'a> {
    id: Option<i64>,
    #[serde(borrow)]
    name: Option<Cow<'a, str>>,
    #[serde(borrow)]
    url: Option<Cow<'a, str>>,
    #[serde(borrow, rename = "type")]
    kind: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct RawExecution<'a> {
    id: Option<i64>,
    #[serde(borrow)]
    status: Option<Cow<'a, str>>,
    #[serde(borrow)]
    status_text: Option<Cow<'a, str>>,
    #[serde(borrow)]
    start_time: Option<Cow<'a, str>>,
    #[serde(borrow)]
    end_time: Option<Cow<'a, str>>,
    total: Option<i64>,
    succeed: Option<i64>,
    failed: Option<i64>,
    in_progress: Option<i64>,
    stopped: Option<i64>,
}

#[derive(Deserialize)]
struct RawTask<'a> {
    id: Option<i64>,
    #[serde(borrow)]
    status: Option<Cow<'a, str>>,
    #[serde(borrow)]
    src_resource: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct RawPush<'a> {
    #[serde(borrow)]
    repository_name: Option<Cow<'a, str>>,
    #[serde(borrow)]
    push_time: Option<Cow<'a, str>>,
    #[serde(borrow)]
    tags: Option<Vec<Object<RawTag<'a>>>>,
}

#[derive(Deserialize)]
struct RawTag<'a> {
    #[serde(borrow)]
    name: Option<Cow<'a, str>>,
}

/// Reads a page of rules. One without a number, a name or another registry is none that Harbor makes, and is left out.
///
/// # Errors
/// [`Malformed`] if it is not a list of JSON objects with the types that Harbor documents.
pub fn rules(body: &[u8]) -> Result<Page, Malformed> {
    let (mut rules, mut read) = (Vec::new(), 0);
    for raw in list::<RawRule<'_>>("list of replication policies", body)? {
        read += 1;
        rules.extend(rule(raw));
    }
    Ok(Page { rules, full: read >= PAGE })
}

/// Reads a page of executions.
///
/// # Errors
/// As [`rules`].
pub fn executions(body: &[u8]) -> Result<Vec<Execution>, Malformed> {
    Ok(list::<RawExecution<'_>>("list of replication executions", body)?.filter_map(one).collect())
}

/// Reads one execution; `None`: it has no number.
///
/// # Errors
/// [`Malformed`] if it is not a JSON object with the types that Harbor documents.
pub fn execution(body: &[u8]) -> Result<Option<Execution>, Malformed> {
    let raw = object(body).map_err(|source| Malformed::json("replication execution", source))?;
    Ok(one(raw))
}

/// Reads the number of the first task of a list.
///
/// # Errors
/// As [`rules`].
pub fn failed_task(body: &[u8]) -> Result<Option<i64>, Malformed> {
    Ok(list::<RawTask<'_>>("list of replication tasks", body)?.find_map(|task| task.id))
}

/// Reads the tasks of an execution: how many stand how, and what the first that failed was about.
///
/// # Errors
/// As [`rules`].
pub fn tasks(body: &[u8]) -> Result<(Tasks, Option<Box<str>>), Malformed> {
    let (mut tasks, mut about) = (Tasks::default(), None);
    for raw in list::<RawTask<'_>>("list of replication tasks", body)? {
        tasks.total += 1;
        match status(raw.status.as_deref()) {
            Status::Succeed => tasks.succeeded += 1,
            Status::Stopped => tasks.stopped += 1,
            Status::InProgress => tasks.in_progress += 1,
            Status::Failed => {
                tasks.failed += 1;
                about = about.or_else(|| raw.src_resource.map(|text| plain(&text).into()));
            }
        }
    }
    Ok((tasks, about))
}

/// Reads the artifacts that were pushed last.
///
/// # Errors
/// As [`rules`].
pub fn pushes(body: &[u8]) -> Result<Vec<Push>, Malformed> {
    let push = |raw: RawPush<'_>| {
        let tags = raw.tags.into_iter().flatten().filter_map(|Object(tag)| tag.name).take(MOST_PARTS);
        Some(Push {
            repository: raw.repository_name?.into(),
            at: raw.push_time.as_deref().and_then(time)?,
            tags: tags.map(Into::into).collect(),
        })
    };
    Ok(list::<RawPush<'_>>("list of artifacts", body)?.filter_map(push).collect())
}

/// The objects of a list; `null` is an empty one.
fn list<'a, T: Deserialize<'a>>(
    what: &'static str,
    body: &'a [u8],
) -> Result<impl Iterator<Item = T>, Malformed> {
    let list: Option<Vec<Object<T>>> =
        serde_json::from_slice(body).map_err(|source| Malformed::json(what, source))?;
    Ok(list.into_iter().flatten().take(PAGE).map(|Object(raw)| raw))
}

fn rule(raw: RawRule<'_>) -> Option<Rule> {
    let remote = |raw: Option<Object<RawRegistry<'_>>>| {
        let Object(raw) = raw?;
        // The number 0 is the Harbor itself.
        raw.id.filter(|id| *id > 0)?;
        let text = |text: Option<Cow<'_, str>>| Box::from(plain(&text.unwrap_or_default()));
        Some(Remote { name: text(raw.name), url: text(raw.url), kind: text(raw.kind) })
    };
    let copies = match (remote(raw.src_registry), remote(raw.dest_registry)) {
        (None, Some(destination)) => Copies::To(destination),
        (Some(source), None) => Copies::From(source),
        (None, None) | (Some(_), Some(_)) => return None,
    };
    let filters = raw.filters.into_iter().flatten().take(MOST_PARTS);
    let namespace = raw.dest_namespace.unwrap_or_default();
    Some(Rule {
        id: raw.id?,
        name: plain(&raw.name?).into(),
        standing: if raw.enabled == Some(true) { Standing::Enabled } else { Standing::Disabled },
        trigger: raw.trigger.map_or(Trigger::Manual, |Object(raw)| trigger(raw)),
        copies,
        filters: filters.filter_map(|Object(raw)| filter(&raw)).collect(),
        destination: (plain(&namespace).into(), raw.dest_namespace_replace_count.unwrap_or(-1)),
        overrides: raw.overrides == Some(true),
        created: raw.creation_time.as_deref().and_then(time),
        updated: raw.update_time.as_deref().and_then(time),
    })
}

fn trigger(raw: RawTrigger<'_>) -> Trigger {
    let cron = raw.trigger_settings.and_then(|Object(settings)| settings.cron).unwrap_or_default();
    match raw.kind.as_deref() {
        None | Some("" | "manual") => Trigger::Manual,
        Some("event_based") => Trigger::OnPush,
        Some("scheduled") => {
            cron.parse().map_or_else(|_| Trigger::Unread(plain(&cron).into()), Trigger::Scheduled)
        }
        Some(other) => Trigger::Unread(plain(other).into()),
    }
}

/// `None`: an empty filter, which lets everything through.
fn filter(raw: &RawFilter<'_>) -> Option<Filter> {
    let kind = raw.kind.as_deref().unwrap_or_default();
    let selects = match raw.decoration.as_deref() {
        None | Some("" | "matches") => Selects::Matching,
        Some("excludes") => Selects::Others,
        Some(other) => {
            return Some(Filter { on: On::Other(plain(other).into()), selects: Selects::Matching });
        }
    };
    let text = match &raw.value {
        None => return None,
        Some(Value::Text(text)) if text.is_empty() => return None,
        Some(Value::Text(text)) => text,
        Some(Value::Other(_)) => return Some(Filter { on: On::Other(plain(kind).into()), selects }),
    };
    let on = match (kind, Pattern::new(text)) {
        ("name", Ok(pattern)) => On::Name(pattern),
        ("tag", Ok(pattern)) => On::Tag(pattern),
        // Harbor's rules for images say so, and nothing here is about anything else.
        ("resource", _) if matches!(&**text, "image" | "artifact") => return None,
        _ => On::Other(plain(kind).into()),
    };
    Some(Filter { on, selects })
}

fn one(raw: RawExecution<'_>) -> Option<Execution> {
    let number = |number: Option<i64>| u32::try_from(number.unwrap_or_default()).unwrap_or_default();
    let reason = raw.status_text.unwrap_or_default();
    Some(Execution {
        id: raw.id?,
        status: status(raw.status.as_deref()),
        reason: plain(reason.trim()).into(),
        started: raw.start_time.as_deref().and_then(time),
        ended: raw.end_time.as_deref().and_then(time),
        tasks: Tasks {
            total: number(raw.total),
            succeeded: number(raw.succeed),
            failed: number(raw.failed),
            in_progress: number(raw.in_progress),
            stopped: number(raw.stopped),
        },
    })
}

/// A word that is not known says that it has not ended: no judgement rests on that.
fn status(word: Option<&str>) -> Status {
    word.and_then(|word| word.parse().ok()).unwrap_or(Status::InProgress)
}
