//! `landfall copy` beside `skopeo copy`: the same image from the same registry to the same Debian `docker-registry`.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use landfall::facade::demo::world::content::Content;
use landfall::facade::demo::world::{Certificate, Login, World, entry};
use tokio::time::{Instant, sleep};

use crate::Scale;
use crate::table::Row;

/// The layers, in bytes.
const LAYERS: u64 = 600_000_000;

const REPOSITORY: &str = "production/web";

/// A registry with an empty storage.
struct Target {
    process: Child,
    address: String,
}

impl Target {
    async fn start(folder: &Path, round: &str) -> Result<Self> {
        let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let (address, config) = (format!("127.0.0.1:{port}"), folder.join("registry.yml"));
        let storage = folder.join(format!("registry-{round}"));
        std::fs::write(
            &config,
            format!(
                "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {storage:?}}}}}\nhttp: {{addr: \"{address}\"}}\n"
            ),
        )?;
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(&config).stdout(Stdio::null()).stderr(Stdio::null());
        let process = command.spawn().context("Debian's docker-registry is needed")?;
        while std::net::TcpStream::connect(&address).is_err() {
            sleep(Duration::from_millis(20)).await;
        }
        Ok(Self { process, address })
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        let _ended_already = self.process.kill();
        let _ended_already = self.process.wait();
    }
}

/// Runs it, and returns megabytes a second and the peak of its memory in MiB.
async fn run(mut command: Command) -> Result<(f64, f64)> {
    let begin = Instant::now();
    let mut child = command.stdout(Stdio::null()).spawn().with_context(|| format!("{command:?}"))?;
    let (file, mut peak) = (format!("/proc/{}/status", child.id()), 0.0_f64);
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB"));
        peak = peak.max(line.and_then(|kib| kib.parse::<f64>().ok()).unwrap_or_default() / 1024.0);
        sleep(Duration::from_millis(10)).await;
    };
    ensure!(status.success(), "{command:?} ended with {status}");
    let megabytes = 600.0;
    Ok((megabytes / begin.elapsed().as_secs_f64(), peak))
}

/// Whether it can be run here.
fn there(program: &str) -> bool {
    Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}

pub async fn rows(scale: Scale) -> Result<Vec<Row>> {
    if let Some(missing) = ["skopeo", "docker-registry"].into_iter().find(|program| !there(program)) {
        return Ok(vec![Row::alone("copy beside skopeo", format!("skipped: no {missing} here"), "≥ 0.9 ×")]);
    }
    let world = World::new()?;
    let source = world.plain("fra", Login::Open).await?;
    source.present(&world, Certificate::Plaintext)?;
    source.store().push_large(REPOSITORY, "1", Content::image("web"), LAYERS);
    let folder = tempfile::tempdir()?;
    let (mut rates, mut peaks) = (Vec::new(), Vec::new());
    for round in 0..scale.rounds.min(3) {
        let target = Target::start(folder.path(), &format!("skopeo-{round}")).await?;
        let mut skopeo = Command::new("skopeo");
        skopeo.args([
            "--insecure-policy",
            "copy",
            "--all",
            "--preserve-digests",
            "--src-tls-verify=false",
            "--dest-tls-verify=false",
        ]);
        skopeo.arg(format!("docker://{}/{REPOSITORY}:1", source.address()));
        skopeo.arg(format!("docker://{}/{REPOSITORY}:1", target.address));
        let theirs = run(skopeo).await?;
        drop(target);
        let target = Target::start(folder.path(), &format!("landfall-{round}")).await?;
        let config = format!(
            "site: ams\nregistries:\n  fra: {}\n  ams: {{host: ams.example.com, site: ams, kind: distribution, url: \"http://{}\"}}\nroutes:\n- name: all\n  primary: {{registry: fra, repositories: \"**\"}}\n  replicas: [{{registry: ams}}]\n",
            entry(&source.registry("fra", "fra.example.com"), ""),
            target.address
        );
        let config = world.write("landfall.yaml", &config)?;
        let mut landfall = Command::new(env!("CARGO_BIN_EXE_landfall"));
        landfall.arg("copy").arg("--config").arg(config);
        landfall.arg(format!("fra.example.com/{REPOSITORY}:1")).arg("--to=ams");
        let ours = run(landfall).await?;
        rates.push((theirs.0, ours.0));
        peaks.push((theirs.1, ours.1));
        for name in ["skopeo", "landfall"] {
            std::fs::remove_dir_all(folder.path().join(format!("registry-{name}-{round}")))?;
        }
    }
    Ok(vec![
        Row::compared("copy of 600 MB, beside skopeo", "MB/s", &rates, "≥ 0.9 ×"),
        Row::compared("peak memory of the copy", "MiB", &peaks, "64 MiB"),
    ])
}
