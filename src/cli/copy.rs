//! `landfall copy`: closes a gap by hand, with every byte as it is at the primary.

mod show;
mod work;

use std::io::Write;
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use jiff::Timestamp;
use tokio::signal::unix::{SignalKind, signal};

use super::Output;
use super::plugin::Target;
use crate::config::{self, Files};
use crate::copy::{Options, Pace, Referrers, Run, Shared, Tags};
use crate::domain::gap::{Axis, GapSubject, Version};
use crate::domain::platform::PlatformPattern;
use crate::report::gaps::{Selection, rows};

use show::Show;
use work::{Wanted, Work};

/// How it is used.
const EXAMPLES: &str = "\
Examples:
  landfall copy --config admin.yaml --missing --dry-run
  landfall copy --config admin.yaml harbor.fra.example.com/production/shop/web:1.4.2 --to ams
  landfall copy --config admin.yaml --gap GAP --bandwidth 20000000";

/// Copy an image to a registry that lacks it, byte by byte, and prove that it is there.
///
/// Manifests keep their digests; an index goes with all of its children, an image with its signatures and whatever else refers
/// to it. Blobs that are there are not copied, unless the target's storage has lost them: then they are repaired. In the end the
/// target serves each manifest and the first byte of each blob. Whatever stops it, run it again: it goes on where it was.
///
/// It writes with credentials of its own (`registries.<name>.copy.credentials`, or --credentials), never with those that
/// Landfall reads with. Where only a digest is in use, the tag `landfall-<12 hex>` holds it, so that garbage collection leaves it.
///
/// Exit status: 0, all is copied and verified, or nothing was to do; 1, something could not be copied; 2, the command line
/// or the configuration is wrong, or the cluster does not answer.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
#[command(group(clap::ArgGroup::new("what").required(true).args(["image", "gap", "missing"])))]
pub(super) struct Args {
    /// The image, as Pods name it: by its primary or by a replica. The route says what it is called at the target.
    #[arg(value_name = "IMAGE", requires = "to")]
    image: Option<String>,
    /// The registry that lacks it, by its name in the configuration.
    #[arg(long, value_name = "REGISTRY", requires = "image")]
    to: Option<String>,
    /// What this ReplicationGap says: its image, to its registry.
    #[arg(long, value_name = "NAME")]
    gap: Option<String>,
    /// What all open gaps say that lack a copy, the worst first.
    #[arg(long)]
    missing: bool,
    /// At most so many of them.
    #[arg(long, value_name = "N", default_value_t = 50, requires = "missing")]
    limit: usize,
    /// The configuration.
    #[arg(long, env = "LANDFALL_CONFIG", value_name = "FILE")]
    config: PathBuf,
    /// Read it from this registry. If not given: from the primary, or from another Place of its route that has it.
    #[arg(long, value_name = "REGISTRY")]
    from: Option<String>,
    /// Of an index only this platform; may be repeated. Many registries refuse an index without all of its children.
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    platform: Vec<PlatformPattern>,
    /// Leave signatures and whatever else refers to the image out.
    #[arg(long)]
    no_referrers: bool,
    /// Move a tag of the target that names another digest. Otherwise it stays, and the image is there under its digest.
    #[arg(long)]
    move_tag: bool,
    /// Write with these: a folder with `username` and `password`, or a docker configuration.
    #[arg(long, value_name = "DIR|FILE")]
    credentials: Option<PathBuf>,
    /// How many blobs are copied at once.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=32))]
    parallel: u8,
    /// At most so many bytes a second.
    #[arg(long, value_name = "BYTES")]
    bandwidth: Option<NonZeroU64>,
    /// Look at both ends, tell what would be copied, and write nothing.
    #[arg(long)]
    dry_run: bool,
    /// The format of the output: lines, or one JSON object for each step.
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    output: Output,
    #[command(flatten)]
    target: Target,
}

pub(super) fn run(args: &Args, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    // Before anything uses TLS. It fails if a provider is installed already, which can only be the same.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = tokio::runtime::Runtime::new().context("the async runtime cannot be started")?;
    let show = Show::new(args.output, out);
    let ended = runtime.block_on(async {
        tokio::select! {
            done = copy(args, &show) => Some(done),
            () = asked_to_leave() => None,
        }
    });
    match ended {
        Some(done) => done,
        None => {
            show.stopped()?;
            Ok(ExitCode::FAILURE)
        }
    }
}

/// Ctrl-C at a terminal, SIGTERM to a Job.
async fn asked_to_leave() {
    let Ok(mut term) = signal(SignalKind::terminate()) else { return std::future::pending().await };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = term.recv() => {}
    }
}

async fn copy<W: Write>(args: &Args, show: &Show<W>) -> anyhow::Result<ExitCode> {
    // What the registries' clients need is read when they are used: not all files have to be here.
    let loaded = config::load(&args.config, Files::Skip, Timestamp::now());
    let settings =
        loaded.map_err(|problems| anyhow::anyhow!("the configuration cannot be used:\n{problems}"))?.settings;
    let options = Options {
        platforms: args.platform.clone(),
        referrers: if args.no_referrers { Referrers::LeftOut } else { Referrers::Along },
        tags: if args.move_tag { Tags::Move } else { Tags::Stay },
        run: if args.dry_run { Run::Dry } else { Run::Real },
        parallel: args.parallel.into(),
    };
    let work = Work {
        settings: &settings,
        from: args.from.as_deref(),
        credentials: args.credentials.as_deref(),
        options: &options,
        shared: &Shared::new(Pace::new(args.bandwidth)),
        show,
    };
    let wanted = wanted(args).await?;
    let mut failed = 0;
    for one in &wanted {
        match work.one(one).await {
            Ok(true) => {}
            Ok(false) => failed += 1,
            // Of several, the others can be copied.
            Err(error) if args.missing => {
                failed += 1;
                show.cannot(&one.image, &one.to, &format!("{error:#}"))?;
            }
            Err(error) => return Err(error),
        }
    }
    if args.missing {
        show.sum(wanted.len(), failed)?;
    }
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What is to be copied, from the command line or from the cluster.
async fn wanted(args: &Args) -> anyhow::Result<Vec<Wanted>> {
    if let (Some(image), Some(to)) = (&args.image, &args.to) {
        return Ok(vec![Wanted { image: image.clone(), to: to.clone() }]);
    }
    let listed = args.target.cluster()?.gaps().list().await?;
    let listed = listed
        .context("the cluster does not know the resource ReplicationGap, which comes with the chart")?;
    if let Some(name) = &args.gap {
        let found = listed.iter().find(|object| object.name == *name);
        let found = found.with_context(|| format!("there is no ReplicationGap `{name}`"))?;
        let tag = found.record.as_ref().and_then(|record| record.tag.as_deref());
        let Some(wanted) = Wanted::of(&found.key, tag) else {
            bail!("`{name}` is about a replication rule, not about an image");
        };
        return Ok(vec![wanted]);
    }
    let entries: Vec<_> =
        listed.into_iter().filter_map(|object| Some((object.key, object.record?))).collect();
    let lacking = |(key, record): &&(_, crate::ledger::Record)| {
        record.lacking(Axis::Presence).is_some() && Wanted::of(key, record.tag.as_deref()).is_some()
    };
    let entries: Vec<_> = entries.iter().filter(lacking).cloned().collect();
    let ranked = rows(&entries, &Selection::default(), Timestamp::now());
    let ranked = ranked.iter().take(args.limit).filter_map(|row| {
        let of = |(key, _): &&(crate::domain::gap::GapKey, _)| {
            key.subject.to_string() == row.subject && key.registry.as_str() == row.registry
        };
        let (key, record) = entries.iter().find(of)?;
        Wanted::of(key, record.tag.as_deref())
    });
    Ok(ranked.collect())
}

impl Wanted {
    /// What a gap lacks; `None` where it is about a rule.
    fn of(key: &crate::domain::gap::GapKey, tag: Option<&str>) -> Option<Self> {
        let GapSubject::Image { name, version } = &key.subject else { return None };
        let image = match (version, tag) {
            (Version::Digest(digest), Some(tag)) => format!("{name}:{tag}@{digest}"),
            (Version::Digest(digest), None) => format!("{name}@{digest}"),
            (Version::Tag(tag), _) => format!("{name}:{tag}"),
        };
        Some(Self { image, to: key.registry.as_str().to_owned() })
    }
}
