//! A control plane: etcd, kube-apiserver, kube-controller-manager and kube-scheduler in a network of our own, shared by
//! the tests of this binary: each works in namespaces of its own. A test that judges the API server's own counts, or stops
//! it, has one apart.

use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{LazyLock, Mutex, Once};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use landfall::facade::demo::world::authority::{Authority, Validity};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa};
use serde_json::{Map, Value};
use tempfile::TempDir;

use crate::kept::keep;
use crate::net::Net;

/// A cold control plane answers in five seconds, and a CronJob makes its Pod within a minute; a busy machine takes longer.
const PATIENCE: Duration = Duration::from_secs(180);

/// Who may ask the API server: `token,name,uid,groups`. None but the administrator has a right that no test gives it.
const TOKENS: &str = "admin,admin,1,\"system:masters\"
tenant,tenant,2
editor,editor,3
node,system:node:tenant,4
";

/// What is in the audit log: the requests of those who are tried, and no body. Nobody else's, so that it costs the others nothing.
const AUDITED: &str = r#"{
    "apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"],
    "rules": [{"level": "Metadata", "users": ["tenant", "editor", "system:node:tenant"]}]
}"#;

/// Looks until there is something to see.
pub fn until<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    until_seen(what, Duration::from_millis(50), look)
}

fn until_seen<T>(what: &str, pause: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let patience = Instant::now() + PATIENCE;
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(Instant::now() < patience, "never: {what}");
        std::thread::sleep(pause);
    }
}

static PLANE: LazyLock<Plane> = LazyLock::new(Plane::start);

/// The control plane.
pub fn plane() -> &'static Plane {
    &PLANE
}

pub struct Plane {
    pub net: Net,
    /// The API server's port at [`Net::here`].
    pub port: u16,
    /// Whether it has its node, see [`crate::node`].
    pub node: Once,
    dir: TempDir,
    tools: PathBuf,
    authority: Authority,
    processes: Mutex<BTreeMap<&'static str, Process>>,
    /// The processes of its node's containers, by the names of their Pods.
    pub containers: Mutex<BTreeMap<String, u32>>,
    over: AtomicBool,
    off: AtomicBool,
}

struct Process {
    arguments: Vec<String>,
    /// None where it was killed.
    child: Option<Child>,
}

impl Process {
    fn has_ended(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| child.try_wait().unwrap().is_some())
    }
}

/// A control plane of one test; it ends with this.
pub struct Apart(pub &'static Plane);

impl Apart {
    pub fn start() -> Self {
        // Its node has a thread of its own, which may look at it a moment longer.
        Self(Box::leak(Box::new(Plane::start())))
    }
}

impl Drop for Apart {
    fn drop(&mut self) {
        self.0.over.store(true, Ordering::Relaxed);
        for program in ["kube-scheduler", "kube-controller-manager", "kube-apiserver", "etcd"] {
            self.0.kill(program);
        }
        // The rest goes when the test binary does; this is the most of it.
        drop(fs::remove_dir_all(self.0.path("etcd")));
    }
}

impl Plane {
    fn start() -> Self {
        let tools = tools();
        let dir = tempfile::tempdir().unwrap();
        let net = Net::new(dir.path());
        let authority = Authority::new("control plane").unwrap();
        let (etcd, port) = (free_port(Ipv4Addr::LOCALHOST), free_port(net.here()));
        let (node, processes, containers) = (Once::new(), Mutex::default(), Mutex::default());
        let (over, off) = (AtomicBool::new(false), AtomicBool::new(false));
        let plane = Self { net, port, node, dir, tools, authority, processes, containers, over, off };
        plane.write("kubeconfig", &plane.kubeconfig());
        plane.run("etcd", plane.etcd(etcd));
        plane.run("kube-apiserver", plane.api_server(etcd));
        plane.until_ready();
        plane.run("kube-controller-manager", plane.controller_manager());
        plane.run("kube-scheduler", plane.scheduler());
        plane.define_policies();
        plane
    }

    fn etcd(&self, port: u16) -> Vec<String> {
        let mut arguments = Arguments::default();
        arguments.say("data-dir", self.path("etcd").display());
        arguments.say("unsafe-no-fsync", true);
        arguments.say("listen-client-urls", format!("http://127.0.0.1:{port}"));
        arguments.say("advertise-client-urls", format!("http://127.0.0.1:{port}"));
        arguments.say("listen-peer-urls", "http://127.0.0.1:0");
        arguments.say("log-level", "error");
        arguments.0
    }

    fn api_server(&self, etcd: u16) -> Vec<String> {
        let here = self.net.here().to_string();
        let serving = self.authority.issue(&[&here], Validity::Current).unwrap();
        let signing = rcgen::KeyPair::generate().unwrap();
        self.write("ca.crt", &self.authority.pem());
        self.write("sa.key", &signing.serialize_pem());
        let mut arguments = Arguments::default();
        arguments.say("etcd-servers", format!("http://127.0.0.1:{etcd}"));
        arguments.say("bind-address", &here);
        arguments.say("advertise-address", &here);
        arguments.say("secure-port", self.port);
        // Webhooks are called at the addresses of their endpoints: there is no kube-proxy.
        arguments.say("enable-aggregator-routing", true);
        arguments.say("endpoint-reconciler-type", "none");
        arguments.say("cert-dir", self.path("certs").display());
        arguments.say("tls-cert-file", self.write("api.crt", &serving.certificate_pem).display());
        arguments.say("tls-private-key-file", self.write("api.key", &serving.key_pem).display());
        arguments.say("client-ca-file", self.path("ca.crt").display());
        arguments.say("token-auth-file", self.write("tokens", TOKENS).display());
        arguments.say("audit-policy-file", self.write("audit.json", AUDITED).display());
        arguments.say("audit-log-path", self.path("audit.log").display());
        arguments.say("authorization-mode", "RBAC");
        arguments.say("service-cluster-ip-range", "10.0.0.0/24");
        arguments.say("allow-privileged", true);
        arguments.say("service-account-issuer", "https://kubernetes.default.svc");
        arguments.say("service-account-key-file", self.write("sa.pub", &signing.public_key_pem()).display());
        arguments.say("service-account-signing-key-file", self.path("sa.key").display());
        arguments.say("admission-control-config-file", self.callers().display());
        arguments.0
    }

    /// How the API server proves itself to webhooks that ask: as `kube-apiserver`, to any of them.
    fn callers(&self) -> PathBuf {
        let mut of_authority = CertificateParams::default();
        of_authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority =
            CertifiedIssuer::self_signed(of_authority, rcgen::KeyPair::generate().unwrap()).unwrap();
        let mut of_caller = CertificateParams::default();
        of_caller.distinguished_name.push(DnType::CommonName, "kube-apiserver");
        of_caller.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = of_caller.signed_by(&key, &authority).unwrap();
        fs::write(self.authority_of_callers(), authority.pem()).unwrap();
        let certificate = self.write("caller.crt", &certificate.pem());
        let key = self.write("caller.key", &key.serialize_pem());
        let kubeconfig = self.write(
            "callers.kubeconfig",
            &format!(
                "{{apiVersion: v1, kind: Config, users: [{{name: '*', user: {{client-certificate: '{}', client-key: '{}'}}}}]}}",
                certificate.display(),
                key.display()
            ),
        );
        let version = "apiserver.config.k8s.io/v1";
        let webhooks = serde_json::json!({
            "apiVersion": version, "kind": "WebhookAdmissionConfiguration", "kubeConfigFile": kubeconfig,
        });
        let plugins = ["MutatingAdmissionWebhook", "ValidatingAdmissionWebhook"]
            .map(|name| serde_json::json!({"name": name, "configuration": webhooks}));
        let text = serde_json::json!({
            "apiVersion": version, "kind": "AdmissionConfiguration", "plugins": plugins,
        });
        self.write("admission.json", &text.to_string())
    }

    /// The authority of the certificate that the API server shows to webhooks (PEM).
    pub fn authority_of_callers(&self) -> PathBuf {
        self.path("callers.crt")
    }

    fn controller_manager(&self) -> Vec<String> {
        let mut arguments = Arguments::default();
        arguments.say("kubeconfig", self.path("kubeconfig").display());
        arguments.say("service-account-private-key-file", self.path("sa.key").display());
        arguments.say("root-ca-file", self.path("ca.crt").display());
        arguments.say("leader-elect", false);
        arguments.say("bind-address", "127.0.0.1");
        arguments.say("secure-port", 0);
        arguments.say("kube-api-qps", 500);
        arguments.say("kube-api-burst", 1000);
        arguments.0
    }

    fn scheduler(&self) -> Vec<String> {
        let mut arguments = Arguments::default();
        arguments.say("kubeconfig", self.path("kubeconfig").display());
        arguments.say("leader-elect", false);
        arguments.say("bind-address", "127.0.0.1");
        arguments.say("secure-port", free_port(Ipv4Addr::LOCALHOST));
        arguments.0
    }

    /// Takes the power from the node, or gives it back: its containers die, and their addresses answer no more.
    pub fn power(&self, on: bool) {
        self.off.store(!on, Ordering::Relaxed);
        until("the node is dark", || (on || self.containers.lock().unwrap().is_empty()).then_some(()));
    }

    /// Whether the node has no power.
    pub fn is_off(&self) -> bool {
        self.off.load(Ordering::Relaxed)
    }

    fn run(&self, program: &'static str, arguments: Vec<String>) {
        let child = keep(&self.tools.join(program), &arguments, &self.log_of(program));
        self.processes.lock().unwrap().insert(program, Process { arguments, child: Some(child) });
    }

    /// Ends one of its programs, without a word.
    pub fn kill(&self, program: &str) {
        let child = self.processes.lock().unwrap().get_mut(program).and_then(|process| process.child.take());
        if let Some(mut child) = child {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Starts a program again that was killed.
    pub fn revive(&self, program: &'static str) {
        let arguments = self.processes.lock().unwrap()[program].arguments.clone();
        self.run(program, arguments);
    }

    /// The process of one of its programs.
    pub fn process(&self, program: &str) -> u32 {
        self.processes.lock().unwrap()[program].child.as_ref().unwrap().id()
    }

    /// Whether the test that it was for has ended.
    pub fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    pub fn until_ready(&self) {
        until("the API server is ready", || {
            if self.processes.lock().unwrap().values_mut().any(Process::has_ended) {
                let logs = ["etcd", "kube-apiserver"].map(|program| self.said(program));
                panic!("it ended:\n{}", logs.join("\n"));
            }
            self.kubectl(&["get", "--raw", "/readyz"]).status.success().then_some(())
        });
    }

    /// The annotations of a request in the audit log, by the `Audit-ID` of its answer.
    pub fn audited(&self, id: &str) -> Map<String, Value> {
        // The API server writes it beside its answer.
        until_seen("the request is in the audit log", Duration::from_millis(2), || {
            let log = fs::read_to_string(self.path("audit.log")).unwrap_or_default();
            // The last line may be written just now.
            let entry = log.lines().rev().find(|line| line.contains(id))?;
            let mut entry: Value = serde_json::from_str(entry).ok()?;
            Some(entry["annotations"].as_object_mut().map(std::mem::take).unwrap_or_default())
        })
    }

    /// The sum of one of the API server's counters, over all its series.
    pub fn count(&self, counter: &str) -> u64 {
        let page = self.told(&["get", "--raw", "/metrics"]);
        let series = page.lines().filter_map(|line| line.strip_prefix(counter));
        let series = series.filter(|rest| rest.starts_with(['{', ' ']));
        series.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap() as u64).sum()
    }

    /// What one of its programs has logged so far.
    pub fn said(&self, program: &str) -> String {
        fs::read_to_string(self.log_of(program)).unwrap()
    }

    /// Where one of its programs writes its log.
    fn log_of(&self, program: &str) -> PathBuf {
        self.path(&format!("{program}.log"))
    }

    /// Runs kubectl as the cluster's administrator.
    pub fn kubectl(&self, arguments: &[&str]) -> Output {
        let kubeconfig = self.path("kubeconfig");
        let mut kubectl = Command::new(self.tools.join("kubectl"));
        kubectl.arg("--kubeconfig").arg(kubeconfig).args(arguments).output().unwrap()
    }

    /// Runs helm as the cluster's administrator, in a home of its own.
    pub fn helm(&self, arguments: &[&str]) -> Output {
        let mut helm = Command::new(self.tools.join("helm"));
        for home in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"] {
            helm.env(home, self.path("helm"));
        }
        helm.arg("--kubeconfig").arg(self.path("kubeconfig")).args(arguments).output().unwrap()
    }

    /// Runs commands as the cluster's administrator would, with our `landfall` at hand, and says what they say. They must
    /// not fail.
    pub fn shell(&self, folder: &Path, script: &str) -> String {
        let ours = Path::new(env!("CARGO_BIN_EXE_landfall")).parent().unwrap();
        let path = format!("{}:{}:/usr/bin:/bin", self.tools.display(), ours.display());
        let mut shell = Command::new("sh");
        for home in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"] {
            shell.env(home, self.path("helm"));
        }
        shell.env("PATH", path).env("KUBECONFIG", self.kubeconfig_of_admin()).current_dir(folder);
        let output = shell.args(["-euc", script]).output().unwrap();
        let said = [output.stdout, output.stderr].map(|said| String::from_utf8(said).unwrap()).concat();
        assert!(output.status.success(), "{script}{said}");
        said
    }

    /// The resource LandingPolicy, of which there is one for all releases.
    fn define_policies(&self) {
        let definition =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests/crds.yaml").display().to_string();
        self.told(&["apply", "--server-side", "-f", &definition]);
        self.told(&["wait", "--for=condition=Established", "--timeout=60s", "-f", &definition]);
    }

    /// The resources of cert-manager and of Prometheus's operator, as they define them.
    pub fn define_others(&self) {
        let crds = self.tools.join("definitions.yaml").display().to_string();
        // On the server: their text is too long for the note that kubectl would leave on each.
        self.told(&["apply", "--server-side", "-f", &crds]);
        self.told(&["wait", "--for=condition=Established", "--timeout=60s", "-f", &crds]);
    }

    /// What kubectl says; it must not complain.
    pub fn told(&self, arguments: &[&str]) -> String {
        let output = self.kubectl(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Applies objects, where they say themselves.
    pub fn apply(&self, objects: &str) -> String {
        self.told(&["apply", "-f", &self.write_new(objects).display().to_string()])
    }

    /// Creates objects in a namespace. (`apply` would leave a note of its own on each.)
    pub fn create(&self, namespace: &str, objects: &str) -> String {
        self.told(&["create", "-n", namespace, "-f", &self.write_new(objects).display().to_string()])
    }

    /// A new namespace, with the account that its Pods run as.
    pub fn namespace(&self, name: &str) {
        self.told(&["create", "namespace", name]);
        let account = ["get", "serviceaccount", "default", "-n", name];
        until("the namespace has its account", || self.kubectl(&account).status.success().then_some(()));
    }

    /// The administrator's way to the API server.
    pub fn kubeconfig_of_admin(&self) -> PathBuf {
        self.path("kubeconfig")
    }

    /// The same way for a ServiceAccount, with a token of its own and its rights alone.
    pub fn kubeconfig_of(&self, namespace: &str, account: &str) -> PathBuf {
        let token = self.told(&["create", "token", account, "-n", namespace]);
        let admin = fs::read_to_string(self.kubeconfig_of_admin()).unwrap();
        let own = admin.replace("token: admin", &format!("token: {}", token.trim()));
        self.write(&format!("{namespace}-{account}.kubeconfig"), &own)
    }

    /// Writes objects down for kubectl.
    pub fn write_new(&self, text: &str) -> PathBuf {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        self.write(&format!("objects-{}.yaml", NEXT.fetch_add(1, Ordering::Relaxed)), text)
    }

    /// A client for the runtime that asks for it; the cluster's administrator.
    pub async fn client(&self) -> Client {
        let kubeconfig = Kubeconfig::read_from(self.path("kubeconfig")).unwrap();
        let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
        Client::try_from(config).unwrap()
    }

    /// Where a Pod's container writes its log.
    pub fn log(&self, pod: &str) -> PathBuf {
        self.path(&format!("pod-{pod}.log"))
    }

    fn kubeconfig(&self) -> String {
        let (server, ca) =
            (format!("https://{}:{}", self.net.here(), self.port), STANDARD.encode(self.authority.pem()));
        format!(
            "apiVersion: v1
kind: Config
current-context: plane
contexts: [{{name: plane, context: {{cluster: plane, user: admin}}}}]
users: [{{name: admin, user: {{token: admin}}}}]
clusters: [{{name: plane, cluster: {{server: \"{server}\", certificate-authority-data: {ca}}}}}]
"
        )
    }

    /// Where everything of this plane lies; it is gone when the test binary is.
    pub fn folder(&self) -> &Path {
        self.dir.path()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder().join(name)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        path
    }
}

#[derive(Default)]
struct Arguments(Vec<String>);

impl Arguments {
    fn say(&mut self, flag: &str, value: impl std::fmt::Display) {
        self.0.push(format!("--{flag}={value}"));
    }
}

/// The folder with the programs, built now where they are not.
fn tools() -> PathBuf {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cluster/tools");
    let built = Command::new(script).args(std::env::var("LANDFALL_KUBERNETES")).output().unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    String::from_utf8(built.stdout).unwrap().trim().into()
}

/// A port that nobody listens on now.
pub fn free_port(address: Ipv4Addr) -> u16 {
    TcpListener::bind((address, 0)).unwrap().local_addr().unwrap().port()
}
