//! `landfall break-glass`: in an emergency, LandingPolicies only report for some time.

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use jiff::{SignedDuration, Timestamp};

use super::plugin::{Called, Target};
use crate::cluster::{Cluster, Glass, Written};
use crate::domain::policy::bounds::{EMERGENCY, REASON_LENGTH};
use crate::domain::policy::{BreakGlass, Enforcement};

/// How it is used.
const EXAMPLES: &str = "\
Examples:
  landfall break-glass --for 1h --reason INC-42
  landfall break-glass --for 30m --reason INC-42 -n payments --policy regulated
  landfall break-glass --close";

/// How often a policy is written again that somebody else has changed at the same time.
const ATTEMPTS: u32 = 5;

/// Open policies in an emergency: for some time they only report what they would have denied.
///
/// All LandingPolicies that enforce are opened, or those that --policy names; in all namespaces that they select, or in
/// those that --namespace names. Your own rights count. It ends by itself.
///
/// Policies in the configuration file are opened there: `breakGlass` in the `spec` of the policy.
///
/// Exit status: 0, it is done; 1, there is nothing to open or to close; 2, it could not be done, or not everywhere.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// How long, such as `1h`; 24 hours at most.
    #[arg(long = "for", value_name = "DURATION", value_parser = duration, required_unless_present = "close")]
    lasts: Option<SignedDuration>,
    /// Why. It stands in the policy, and so in the audit log of the API server.
    #[arg(long, value_name = "TEXT", value_parser = reason, required_unless_present = "close")]
    reason: Option<String>,
    /// Only in this namespace. May be given several times.
    #[arg(short, long = "namespace", value_name = "NAME")]
    namespaces: Vec<Box<str>>,
    /// Only this policy. May be given several times.
    #[arg(long = "policy", value_name = "NAME")]
    policies: Vec<String>,
    /// End it now.
    #[arg(long, conflicts_with_all = ["lasts", "reason", "namespaces"])]
    close: bool,
    #[command(flatten)]
    target: Target,
}

fn duration(text: &str) -> Result<SignedDuration, String> {
    let lasts: SignedDuration = text.parse().map_err(|_| format!("`{text}` is no duration such as `1h`"))?;
    if lasts < SignedDuration::from_secs(1) {
        return Err("it must last a second at least".to_owned());
    }
    if lasts > EMERGENCY {
        return Err(
            "at most 24h: what must last longer is a change of the policy, and should be reviewed as one"
                .to_owned(),
        );
    }
    Ok(lasts)
}

fn reason(text: &str) -> Result<String, String> {
    let text = text.trim();
    match text.chars().count() {
        0 => Err("say why, for those who read the audit log, such as `INC-42`".to_owned()),
        1..=REASON_LENGTH => Ok(text.to_owned()),
        _ => Err(format!("at most {REASON_LENGTH} characters; name the ticket that says more")),
    }
}

pub(super) fn run(args: &Args, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    // Before anything uses TLS. It fails if a provider is installed already, which can only be the same.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = tokio::runtime::Runtime::new().context("the async runtime cannot be started")?;
    // Its client needs the runtime from the start.
    runtime.block_on(async { act(args, &args.target.cluster()?, Timestamp::now(), out).await })
}

async fn act(
    args: &Args,
    cluster: &Cluster,
    now: Timestamp,
    out: &mut impl Write,
) -> anyhow::Result<ExitCode> {
    let glass = glass(args, now)?;
    let found = cluster.glasses().await?;
    let chosen = chosen(args, &found, now)?;
    if chosen.is_empty() {
        let verb = if args.close { "is open" } else { "enforces" };
        writeln!(out, "no LandingPolicy {verb}: nothing is done. {IN_THE_FILE}")?;
        return Ok(ExitCode::FAILURE);
    }
    for policy in &chosen {
        write(cluster, policy, glass.as_ref()).await?;
        let name = &policy.name;
        match &glass {
            None => writeln!(out, "closed `{name}`: it acts again")?,
            Some(BreakGlass { until, namespaces, .. }) if namespaces.is_empty() => {
                writeln!(out, "opened `{name}` until {until}: everywhere it only reports")?;
            }
            Some(BreakGlass { until, namespaces, .. }) => {
                writeln!(out, "opened `{name}` until {until}: it only reports in {}", namespaces.join(", "))?;
            }
        }
        if let Some(before) = policy.until.filter(|before| glass.is_some() && *before > now) {
            writeln!(out, "        it was open until {before} already: that is replaced")?;
        }
        writeln!(out, "        the same by hand: {}", policy.command(glass.as_ref()))?;
    }
    writeln!(out, "Every replica knows within two seconds. {IN_THE_FILE}")?;
    if glass.is_some() {
        writeln!(out, "It ends by itself. To end it now: {} break-glass --close", Called::now())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// What this command does not do.
const IN_THE_FILE: &str = "Policies in the configuration file are opened there (`breakGlass`).";

/// How the policies are to be open; `None`: they are to be closed.
fn glass(args: &Args, now: Timestamp) -> anyhow::Result<Option<BreakGlass>> {
    let Args { lasts, reason, namespaces, .. } = args;
    let Some((lasts, reason)) = lasts.zip(reason.as_deref()) else { return Ok(None) };
    let until = now.checked_add(lasts).context("that is too far away")?;
    // In whole seconds, as people write it.
    let until = Timestamp::from_second(until.as_second())?;
    Ok(Some(BreakGlass { until, namespaces: namespaces.clone(), reason: reason.into() }))
}

/// The policies to write. Nothing is written if one that is named is not there.
fn chosen<'a>(args: &Args, found: &'a [Glass], now: Timestamp) -> anyhow::Result<Vec<&'a Glass>> {
    for name in &args.policies {
        let there = || found.iter().map(|policy| format!("`{}`", policy.name)).collect::<Vec<_>>().join(", ");
        anyhow::ensure!(
            found.iter().any(|policy| policy.name == *name),
            "there is no LandingPolicy `{name}`; there are: {}. {IN_THE_FILE}",
            there()
        );
    }
    let is_meant = |policy: &&Glass| args.policies.is_empty() || args.policies.contains(&policy.name);
    let has_use = |policy: &&Glass| match args.close {
        true => policy.until.is_some_and(|until| until > now),
        false => policy.enforcement == Enforcement::Enforce,
    };
    Ok(found.iter().filter(is_meant).filter(has_use).collect())
}

/// Writes one policy; again, if somebody else has changed it since.
async fn write(cluster: &Cluster, policy: &Glass, glass: Option<&BreakGlass>) -> anyhow::Result<()> {
    let mut policy = policy.clone();
    for _ in 0..ATTEMPTS {
        if cluster.open(&policy, glass).await? == Written::Done {
            return Ok(());
        }
        let found = cluster.glasses().await?.into_iter().find(|one| one.name == policy.name);
        policy = found.with_context(|| format!("LandingPolicy `{}` is gone", policy.name))?;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    anyhow::bail!("LandingPolicy `{}` changes all the time; try again", policy.name)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn args(line: &[&str]) -> Result<Args, String> {
        let line = std::iter::once(&"break-glass").chain(line);
        Line::try_parse_from(line).map(|line| line.args).map_err(|error| error.to_string())
    }

    #[test]
    fn it_lasts_a_day_at_most_and_has_a_reason() {
        for (line, says) in [
            (&["--for=25h", "--reason=x"][..], "at most 24h"),
            (&["--for=0s", "--reason=x"], "a second at least"),
            (&["--for=soon", "--reason=x"], "is no duration such as `1h`"),
            (&["--for=1h"], "--reason"),
            (&["--for=1h", "--reason= "], "say why"),
            (&["--reason=x"], "--for"),
            (&["--close", "--for=1h"], "cannot be used with"),
        ] {
            let said = args(line).unwrap_err();
            assert!(said.contains(says), "{line:?}: {said}");
        }
        args(&["--close"]).unwrap();
        args(&["--for=24h", "--reason=INC-42", "--namespace=shop", "--namespace=web"]).unwrap();
    }

    #[test]
    fn those_that_enforce_are_opened_and_those_that_are_open_are_closed() {
        let now: Timestamp = "2026-11-27T12:00:00.5Z".parse().unwrap();
        let policy = |name: &str, enforcement, until: Option<&str>| Glass {
            name: name.into(),
            version: "1".into(),
            enforcement,
            until: until.map(|until| until.parse().unwrap()),
        };
        let found = [
            policy("closed", Enforcement::Enforce, Some("2026-11-27T11:00:00Z")),
            policy("open", Enforcement::Enforce, Some("2026-11-27T13:00:00Z")),
            policy("watched", Enforcement::Observe, None),
        ];
        let names = |line: &[&str]| -> Vec<String> {
            let args = args(line).unwrap();
            let chosen = chosen(&args, &found, now).unwrap();
            chosen.iter().map(|policy| policy.name.clone()).collect()
        };
        let open = ["--for=1h", "--reason=x"];
        assert_eq!(names(&open), ["closed", "open"]);
        assert_eq!(names(&[&open[..], &["--policy=closed"]].concat()), ["closed"]);
        assert!(names(&[&open[..], &["--policy=watched"]].concat()).is_empty());
        assert_eq!(names(&["--close"]), ["open"]);
        let unknown = args(&[&open[..], &["--policy=other"]].concat()).unwrap();
        let said = chosen(&unknown, &found, now).unwrap_err().to_string();
        assert!(said.contains("there is no LandingPolicy `other`; there are: `closed`, `open`"), "{said}");
        let glass = glass(&args(&open).unwrap(), now).unwrap().unwrap();
        assert_eq!(glass.until.to_string(), "2026-11-27T13:00:00Z");
    }
}
