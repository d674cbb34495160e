//! A Pod's container: a process in a network namespace, a root and a user of its own. Its root is that of the image, with
//! this build of the program: what ships is what is tested.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{
    ConfigMap, Container, KeyToPath, Pod, Secret, ServiceAccount, Volume, VolumeProjection,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::api::{Api, PostParams};
use kube::{Client, ResourceExt};
use tempfile::TempDir;

use crate::kept::keep;
use crate::net::Host;
use crate::node::environment;
use crate::plane::Plane;

/// The user of containers that name none: the image's (`USER` of the Dockerfile).
const USER: i64 = 65532;

/// The most bytes of the root with this build, which is neither optimised nor stripped. (That of a release: `.ci/image-root`.)
const MOST: &str = "250000000";

pub struct Sandbox {
    pub host: Arc<Host>,
    arguments: Vec<String>,
    log: PathBuf,
    process: Child,
    dir: TempDir,
    probes: reqwest::Client,
}

impl Sandbox {
    /// # Errors
    /// Where a volume cannot be had (yet).
    pub async fn start(plane: &Plane, client: &Client, pod: &Pod, node: &Arc<Host>) -> kube::Result<Self> {
        let dir = tempfile::tempdir_in(plane.folder()).unwrap();
        let spec = pod.spec.as_ref().unwrap();
        let host = match spec.host_network {
            Some(true) => node.clone(),
            _ => Arc::new(plane.net.join()),
        };
        for volume in spec.volumes.iter().flatten() {
            Content::of(client, pod, volume).await?.write(&dir.path().join("volumes").join(&volume.name));
        }
        let root = dir.path().join("root");
        shell(&format!("cp -al {} {}", image(plane).display(), root.display()));
        fs::write(root.join("etc/resolv.conf"), resolv_conf(pod)).unwrap();
        fs::write(root.join("etc/hosts"), hosts(pod, &host)).unwrap();
        let script = script(dir.path(), &spec.containers[0], user(pod));
        let mut arguments = vec![
            "netns".to_owned(),
            "exec".to_owned(),
            host.namespace.clone(),
            "env".to_owned(),
            "-i".to_owned(),
        ];
        for (name, value) in environment(plane, pod, &host.address.to_string()) {
            arguments.push(format!("{name}={value}"));
        }
        arguments.extend(["unshare", "--mount", "sh", "-euc", &script].map(str::to_owned));
        let log = plane.log(&pod.name_any());
        let process = keep(Path::new("ip"), &arguments, &log);
        let probes = reqwest::Client::builder().tls_certs_only([]).no_proxy().timeout(Duration::from_secs(1));
        Ok(Self { host, arguments, log, process, dir, probes: probes.build().unwrap() })
    }

    /// The container once more, after it has ended: same address, same volumes.
    pub fn restart(&mut self) {
        self.process = keep(Path::new("ip"), &self.arguments, &self.log);
    }

    /// Volumes follow their objects, as a kubelet's do, if faster.
    pub async fn refresh(&self, client: &Client, pod: &Pod) {
        for volume in pod.spec.as_ref().unwrap().volumes.iter().flatten() {
            if (volume.config_map.is_some() || volume.secret.is_some())
                // What is gone stays as it was, as at a kubelet.
                && let Ok(content) = Content::of(client, pod, volume).await
            {
                content.write(&self.dir.path().join("volumes").join(&volume.name));
            }
        }
    }

    /// The process of its container.
    pub fn process(&self) -> u32 {
        self.process.id()
    }

    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.process.try_wait().unwrap()
    }

    /// SIGTERM, as a kubelet sends it.
    pub fn terminate(&self) {
        let pid = self.process.id().to_string();
        assert!(std::process::Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    }

    /// What the readiness probe says; a container without one is ready.
    pub async fn is_ready(&self, pod: &Pod) -> bool {
        let container = &pod.spec.as_ref().unwrap().containers[0];
        let Some(probe) = container.readiness_probe.as_ref().and_then(|probe| probe.http_get.as_ref()) else {
            return true;
        };
        let port = match &probe.port {
            IntOrString::Int(port) => *port,
            IntOrString::String(name) => {
                let mut ports = container.ports.iter().flatten();
                ports.find(|port| port.name.as_ref() == Some(name)).unwrap().container_port
            }
        };
        let path = probe.path.as_deref().unwrap_or("/");
        if let Some(address) = &probe.host {
            // From the node's network, as a kubelet asks.
            let ask = format!(
                "exec 3<>/dev/tcp/{address}/{port}; printf 'GET {path} HTTP/1.0\\r\\n\\r\\n' >&3; head -n 1 <&3 | grep -q ' 200 '"
            );
            let inside = ["netns", "exec", &self.host.namespace, "bash", "-euc", &ask];
            return Command::new("ip").args(inside).output().unwrap().status.success();
        }
        let asked = self.probes.get(format!("http://{}:{port}{path}", self.host.address)).send().await;
        asked.is_ok_and(|answer| answer.status().is_success())
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.process.kill());
        self.process.wait().unwrap();
    }
}

/// The root of the image with this build of the program, made once, and what the node itself needs in it.
fn image(plane: &Plane) -> &'static Path {
    static IMAGE: OnceLock<PathBuf> = OnceLock::new();
    IMAGE.get_or_init(|| {
        let root = plane.folder().join("image");
        let (at, program) = (root.display(), env!("CARGO_BIN_EXE_landfall"));
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join(".ci/image-root");
        shell(&format!("{} {program} {at} {MOST}", script.display()));
        // What a container runtime does from outside, `setpriv` does inside, by a loader and libraries of its own.
        shell(&format!(
            "mkdir {at}/{NODE}; setpriv=$(command -v setpriv); cp $setpriv $(ldd $setpriv | grep -o '/[^ ]*') {at}/{NODE}/"
        ));
        for folder in ["dev", "proc"] {
            fs::create_dir(root.join(folder)).unwrap();
        }
        root
    })
}

/// The folder of the node's own tools in a root. Nothing of the image looks there.
pub const NODE: &str = ".node";

fn shell(script: &str) {
    let output = Command::new("sh").args(["-euc", script]).output().unwrap();
    assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
}

/// `/etc/resolv.conf`, as far as `dnsConfig` says it: there is no DNS of the cluster.
fn resolv_conf(pod: &Pod) -> String {
    let mut text = String::new();
    let Some(dns) = &pod.spec.as_ref().unwrap().dns_config else { return text };
    for server in dns.nameservers.iter().flatten() {
        writeln!(text, "nameserver {server}").unwrap();
    }
    if let Some(searches) = &dns.searches {
        writeln!(text, "search {}", searches.join(" ")).unwrap();
    }
    for option in dns.options.iter().flatten() {
        let value = option.value.as_ref().map(|value| format!(":{value}")).unwrap_or_default();
        writeln!(text, "options {}{value}", option.name.as_deref().unwrap_or_default()).unwrap();
    }
    text
}

/// `/etc/hosts`.
fn hosts(pod: &Pod, host: &Host) -> String {
    let mut text = format!("127.0.0.1 localhost\n::1 localhost\n{} {}\n", host.address, pod.name_any());
    for alias in pod.spec.as_ref().unwrap().host_aliases.iter().flatten() {
        writeln!(text, "{} {}", alias.ip, alias.hostnames.clone().unwrap_or_default().join(" ")).unwrap();
    }
    text
}

/// Enters the root: nothing can be written there but what is mounted to be.
fn script(dir: &Path, container: &Container, user: i64) -> String {
    let root = dir.join("root");
    readable(dir);
    let at = root.display();
    let mut script = format!(
        "mount --make-rprivate /; mount --bind {at} {at}; mount --rbind /dev {at}/dev; loader=$(cd {at}; echo {NODE}/ld-*); "
    );
    for mount in container.volume_mounts.iter().flatten() {
        let (from, to) =
            (dir.join("volumes").join(&mount.name), root.join(mount.mount_path.trim_start_matches('/')));
        fs::create_dir_all(&from).unwrap();
        fs::create_dir_all(&to).unwrap();
        script += &format!("mount --bind {} {}; ", from.display(), to.display());
    }
    let arguments =
        [container.command.clone().unwrap_or_default(), container.args.clone().unwrap_or_default()].concat();
    // An image's entry point is the program itself.
    let arguments = arguments.iter().map(|argument| format!(" '{}'", argument.replace('\'', "'\\''")));
    script += &format!(
        "mount -o remount,bind,ro {at}; cd /; exec chroot {at} /$loader --library-path /{NODE} /{NODE}/setpriv --reuid {user} --regid {user} --clear-groups"
    );
    script += " --no-new-privs --bounding-set=-all --inh-caps=-all --pdeathsig KILL -- /landfall";
    script.extend(arguments);
    script
}

fn user(pod: &Pod) -> i64 {
    let spec = pod.spec.as_ref().unwrap();
    let own = spec.containers[0].security_context.as_ref().and_then(|context| context.run_as_user);
    own.or_else(|| spec.security_context.as_ref()?.run_as_user).unwrap_or(USER)
}

/// The files of a volume.
#[derive(Default)]
struct Content(Vec<(String, Vec<u8>)>);

impl Content {
    async fn of(client: &Client, pod: &Pod, volume: &Volume) -> kube::Result<Self> {
        let mut content = Self::default();
        let namespace = pod.namespace().unwrap();
        if let Some(source) = &volume.config_map {
            content.config_map(client, &namespace, &source.name, source.items.as_deref()).await?;
        } else if let Some(source) = &volume.secret {
            let name = source.secret_name.as_ref().unwrap();
            content.secret(client, &namespace, name, source.items.as_deref()).await?;
        } else if let Some(projected) = &volume.projected {
            for source in projected.sources.iter().flatten() {
                content.project(client, pod, source).await?;
            }
        } else {
            assert!(volume.empty_dir.is_some(), "this node knows no such volume: {volume:?}");
        }
        Ok(content)
    }

    async fn project(&mut self, client: &Client, pod: &Pod, source: &VolumeProjection) -> kube::Result<()> {
        let namespace = pod.namespace().unwrap();
        if let Some(source) = &source.config_map {
            self.config_map(client, &namespace, &source.name, source.items.as_deref()).await?;
        } else if let Some(source) = &source.secret {
            self.secret(client, &namespace, &source.name, source.items.as_deref()).await?;
        } else if let Some(source) = &source.service_account_token {
            let account = pod.spec.as_ref().unwrap().service_account_name.clone().unwrap();
            let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), &namespace);
            let audiences = source.audience.iter().cloned().collect();
            let spec = TokenRequestSpec {
                audiences,
                expiration_seconds: source.expiration_seconds,
                ..Default::default()
            };
            let request = TokenRequest { spec, ..Default::default() };
            let token = accounts.create_token_request(&account, &PostParams::default(), &request).await?;
            self.0.push((source.path.clone(), token.status.unwrap().token.into_bytes()));
        } else if let Some(source) = &source.downward_api {
            for file in source.items.iter().flatten() {
                let field = file.field_ref.as_ref().unwrap();
                assert_eq!(field.field_path, "metadata.namespace", "this node knows no other");
                self.0.push((file.path.clone(), namespace.clone().into_bytes()));
            }
        }
        Ok(())
    }

    async fn config_map(
        &mut self,
        client: &Client,
        namespace: &str,
        name: &str,
        items: Option<&[KeyToPath]>,
    ) -> kube::Result<()> {
        let map = Api::<ConfigMap>::namespaced(client.clone(), namespace).get(name).await?;
        self.keyed(map.data.into_iter().flatten().map(|(key, text)| (key, text.into_bytes())), items);
        Ok(())
    }

    async fn secret(
        &mut self,
        client: &Client,
        namespace: &str,
        name: &str,
        items: Option<&[KeyToPath]>,
    ) -> kube::Result<()> {
        let secret = Api::<Secret>::namespaced(client.clone(), namespace).get(name).await?;
        self.keyed(secret.data.into_iter().flatten().map(|(key, bytes)| (key, bytes.0)), items);
        Ok(())
    }

    fn keyed(&mut self, data: impl Iterator<Item = (String, Vec<u8>)>, items: Option<&[KeyToPath]>) {
        for (key, bytes) in data {
            let path = match items {
                None => Some(key),
                Some(items) => items.iter().find(|item| item.key == key).map(|item| item.path.clone()),
            };
            self.0.extend(path.map(|path| (path, bytes)));
        }
    }

    /// As a kubelet does it: the files lie in a folder of their own, `..data` leads there, and is swapped in one step.
    fn write(&self, volume: &Path) {
        let current = volume.join("..data");
        let same = |(name, bytes): &(String, Vec<u8>)| {
            fs::read(current.join(name)).is_ok_and(|there| there == *bytes)
        };
        if current.exists() && self.0.iter().all(same) {
            return;
        }
        fs::create_dir_all(volume).unwrap();
        let generation = tempfile::Builder::new().prefix("..").tempdir_in(volume).unwrap().keep();
        for (name, bytes) in &self.0 {
            let file = generation.join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, bytes).unwrap();
        }
        readable(&generation);
        let (swap, folder) = (volume.join("..data_tmp"), generation.file_name().unwrap());
        symlink(PathBuf::from(folder), &swap).unwrap();
        fs::rename(&swap, &current).unwrap();
        for (name, _) in &self.0 {
            let first = Path::new(name).components().next().unwrap();
            // It is there already but in the first generation that has this file.
            drop(symlink(Path::new("..data").join(first), volume.join(first)));
        }
    }
}

/// The container is another user.
fn readable(folder: &Path) {
    let all = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(folder, all).unwrap();
}
