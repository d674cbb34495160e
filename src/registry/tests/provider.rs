//! Credentials from a credential provider: a program of the test's own, and registries whose credentials end.

use std::path::PathBuf;
use std::process::Command;

use futures::future::{join, join_all};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::domain::evidence::{Presence, Shape};
use crate::domain::registry::Plugin;
use crate::domain::unknown::Cause;

use super::super::token::basic;
use super::server::{Reply, Seen, Server, reply};
use super::*;

/// Notes each run and its request, waits if there is a gate, says what is to be said, and answers.
const SCRIPT: &str = r#"
echo $$ >> "$DIR/runs"
request=$(cat); echo "$request" >> "$DIR/requests"
echo "$* $GIVEN ${PATH:+inherited}" > "$DIR/seen"
if [ -p "$DIR/gate" ]; then cat "$DIR/gate"; fi
if [ -f "$DIR/words" ]; then cat "$DIR/words" >&2; fi
if [ -f "$DIR/status" ]; then exit $(cat "$DIR/status"); fi
cat "$DIR/answer"
"#;

struct Program(TempDir);

impl Program {
    fn new() -> Self {
        let program = Self(tempfile::tempdir().unwrap());
        program.put("plugin.sh", SCRIPT);
        program
    }

    fn put(&self, file: &str, text: &str) {
        std::fs::write(self.path(file), text).unwrap();
    }

    fn path(&self, file: &str) -> PathBuf {
        self.0.path().join(file)
    }

    fn lines(&self, file: &str) -> Vec<String> {
        let text = std::fs::read_to_string(self.path(file)).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    fn runs(&self) -> usize {
        self.lines("runs").len()
    }

    /// It answers this password for the host of the tests.
    fn answers(&self, scope: &str, duration: Option<&str>, password: &str) {
        self.answers_for(
            scope,
            duration,
            json!({"harbor.example.com": {"username": "AWS", "password": password}}),
        );
    }

    fn answers_for(&self, scope: &str, duration: Option<&str>, auth: Value) {
        let answer = json!({
            "kind": "CredentialProviderResponse", "apiVersion": "credentialprovider.kubelet.k8s.io/v1",
            "cacheKeyType": scope, "cacheDuration": duration, "auth": auth,
        });
        self.put("answer", &answer.to_string());
    }

    /// It waits until the gate is opened.
    fn gate(&self) -> PathBuf {
        let gate = self.path("gate");
        assert!(Command::new("mkfifo").arg(&gate).status().unwrap().success());
        gate
    }

    fn plugin(&self) -> Plugin {
        let script = self.path("plugin.sh").display().to_string();
        let dir = self.0.path().display().to_string();
        Plugin {
            command: "/bin/sh".into(),
            args: vec![script.into(), "get-credentials".into(), "--a b; exit 3".into()],
            env: vec![("DIR".into(), dir.into()), ("GIVEN".into(), "given".into())],
        }
    }

    fn client(&self, url: &Url) -> Client {
        at(url, self.plugin())
    }
}

fn at(url: &Url, plugin: Plugin) -> Client {
    client(Registry { credentials: CredentialSource::Provider(Arc::new(plugin)), ..registry(url) })
}

/// A registry that knows one password, which may change, or two, with a `|` between.
#[derive(Clone)]
struct Password(Arc<std::sync::Mutex<String>>);

impl Password {
    fn of(password: &str) -> Self {
        Self(Arc::new(std::sync::Mutex::new(password.to_owned())))
    }

    fn becomes(&self, password: &str) {
        *self.0.lock().unwrap() = password.to_owned();
    }

    async fn server(&self) -> Server {
        let known = self.clone();
        Server::http(move |seen| known.answer(seen)).await
    }

    fn answer(&self, seen: &Seen) -> Reply {
        if self.0.lock().unwrap().split('|').any(|right| seen.authorization() == header(right)) {
            return reply(200, &[("docker-content-digest", &digest_of("x")), ("content-type", MANIFEST)], "");
        }
        reply(
            401,
            &[(
                "www-authenticate",
                r#"Basic realm="https://harbor.example.com/",service="ecr.amazonaws.com""#,
            )],
            "",
        )
    }
}

fn header(password: &str) -> String {
    basic("AWS", &password.to_owned().into()).unwrap().to_str().unwrap().to_owned()
}

fn present() -> Presence {
    Presence::Present { digest: digest(&digest_of("x")), shape: Shape::Manifest }
}

async fn of(client: &Client, repository: &str) -> Presence {
    client.presence(&Repository::new(repository), Target::Tag(&Tag::new("v1")), soon()).await
}

/// Lets the clock of all timers jump. Real sockets and processes go on with theirs.
async fn later(by: Duration) {
    tokio::time::pause();
    tokio::time::advance(by).await;
    tokio::time::resume();
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let started = std::time::Instant::now();
    while !holds() {
        assert!(started.elapsed() < Duration::from_secs(20), "never: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn it_is_run_once_for_all_who_ask_as_the_kubelet_runs_it() {
    let (program, password) = (Program::new(), Password::of("one"));
    program.answers("Registry", Some("12h"), "one");
    let (gate, server) = (program.gate(), password.server().await);
    let client = program.client(&server.url);
    let asked = join_all((0..20).map(|n| {
        let client = &client;
        async move { of(client, &format!("project/app{n}")).await }
    }));
    // Polled after all others, which wait by then.
    let open = async {
        until("a run", || program.runs() == 1).await;
        tokio::task::spawn_blocking(move || std::fs::write(gate, "")).await.unwrap().unwrap();
    };
    let (answers, ()) = join(asked, open).await;
    assert!(answers.iter().all(|answer| *answer == present()), "{answers:?}");
    assert_eq!(program.runs(), 1);
    let request: Value = serde_json::from_str(&program.lines("requests")[0]).unwrap();
    assert_eq!(
        request,
        json!({
            "apiVersion": "credentialprovider.kubelet.k8s.io/v1",
            "kind": "CredentialProviderRequest",
            "image": "harbor.example.com/project/app0",
        })
    );
    assert_eq!(
        program.lines("seen"),
        ["get-credentials --a b; exit 3 given inherited"],
        "no shell reads arguments"
    );
    assert_eq!(client.credentials_seen(), 0);
}

#[tokio::test]
async fn its_answer_serves_whom_it_says_for_as_long_as_it_says() {
    for (scope, duration, runs) in [
        ("Registry", Some("12h"), 1),
        ("Global", Some("12h"), 1),
        ("Image", Some("12h"), 2),
        ("Registry", None, 1),
        // Asked for each pull by the kubelet; here there are many requests a second.
        ("Registry", Some("0s"), 1),
        ("Image", Some("0s"), 2),
    ] {
        let (program, password) = (Program::new(), Password::of("one"));
        program.answers(scope, duration, "one");
        let server = password.server().await;
        let client = program.client(&server.url);
        for repository in ["project/a", "project/b", "project/a", "project/b"] {
            assert_eq!(of(&client, repository).await, present(), "{scope} {duration:?}");
        }
        assert_eq!(program.runs(), runs, "{scope} {duration:?}");
    }
}

#[tokio::test]
async fn images_that_need_credentials_of_their_own_get_them_though_all_ask_at_once() {
    let (program, password) = (Program::new(), Password::of("one"));
    program.answers("Image", Some("12h"), "one");
    let server = password.server().await;
    let client = program.client(&server.url);
    let names: Vec<_> = (0..8).map(|n| format!("project/app{n}")).collect();
    let answers = join_all(names.iter().chain(&names).map(|name| of(&client, name))).await;
    assert!(answers.iter().all(|answer| *answer == present()), "{answers:?}");
    let mut requests = program.lines("requests");
    requests.sort();
    requests.dedup();
    assert_eq!((program.runs(), requests.len()), (8, 8));
}

#[tokio::test]
async fn credentials_that_end_at_the_registry_are_replaced_while_the_request_runs() {
    let (program, password) = (Program::new(), Password::of("one"));
    program.answers("Registry", Some("12h"), "one");
    let server = password.server().await;
    let client = program.client(&server.url);
    assert_eq!(by_tag(&client).await, present());
    password.becomes("two");
    program.answers("Registry", Some("12h"), "two");
    // A moment ago they were right: the program is not run for each refusal, of an image that does not exist, say.
    assert_eq!(unknown(by_tag(&client).await).cause, Cause::Unauthorized);
    assert_eq!((program.runs(), client.credentials_seen()), (1, 0));
    later(Duration::from_secs(31)).await;
    assert_eq!(by_tag(&client).await, present());
    assert_eq!(program.runs(), 2);
    assert_eq!(client.credentials_version().await, 1, "what was refused may be allowed now");
    assert_eq!(by_tag(&client).await, present());
    assert_eq!(program.runs(), 2);
    // One that fails is not run for each refusal either, and what the registry says is told.
    password.becomes("three");
    program.put("status", "1");
    later(Duration::from_secs(31)).await;
    for _ in 0..3 {
        assert_unknown(by_tag(&client).await, Cause::Unauthorized, "user name and password were rejected");
    }
    assert_eq!(program.runs(), 3);
}

#[tokio::test]
async fn credentials_for_other_hosts_are_of_no_use_until_others_come() {
    let (program, password) = (Program::new(), Password::of("one"));
    program.answers_for(
        "Registry",
        Some("10m"),
        json!({"other.example.com": {"username": "AWS", "password": "one"}}),
    );
    let server = password.server().await;
    let client = program.client(&server.url);
    assert_unknown(by_tag(&client).await, Cause::Unauthorized, "but for `other.example.com`");
    program.answers("Registry", Some("10m"), "one");
    later(Duration::from_secs(601)).await;
    assert_eq!(by_tag(&client).await, present());
    assert_eq!((program.runs(), client.credentials_version().await), (2, 1));
}

#[tokio::test]
async fn they_are_renewed_before_they_end_and_nobody_waits_for_it() {
    let (program, password) = (Program::new(), Password::of("one|two"));
    program.answers("Registry", Some("10m"), "one");
    let server = password.server().await;
    let client = program.client(&server.url);
    assert_eq!(by_tag(&client).await, present());
    later(Duration::from_secs(470)).await;
    assert_eq!(by_tag(&client).await, present());
    assert_eq!(program.runs(), 1);
    let gate = program.gate();
    program.answers("Registry", Some("10m"), "two");
    later(Duration::from_secs(20)).await;
    assert_eq!(by_tag(&client).await, present(), "the program has not answered yet");
    until("a second run", || program.runs() == 2).await;
    tokio::task::spawn_blocking(move || std::fs::write(gate, "")).await.unwrap().unwrap();
    std::fs::remove_file(program.path("gate")).unwrap();
    let started = std::time::Instant::now();
    while server.seen().last().unwrap().authorization() != header("two") {
        assert!(started.elapsed() < Duration::from_secs(20), "the new one is never used");
        assert_eq!(by_tag(&client).await, present());
    }
    assert_eq!((program.runs(), client.credentials_version().await), (2, 0), "a renewal outdates no answer");
    // Where it cannot be renewed, the old one is used until it ends.
    program.put("status", "7");
    later(Duration::from_secs(500)).await;
    assert_eq!(by_tag(&client).await, present());
    until("a third run", || program.runs() == 3).await;
    let third = PathBuf::from("/proc").join(&program.lines("runs")[2]);
    until("the end of the third run", || !third.exists()).await;
    later(Duration::from_secs(101)).await;
    let ended = unknown(by_tag(&client).await);
    assert!(ended.detail.contains("ended with exit status: 7"), "{ended}");
}

#[tokio::test]
async fn a_failure_is_kept_for_a_moment_and_its_end_is_noticed_without_a_pod() {
    let (program, password) = (Program::new(), Password::of("one"));
    program.put("status", "1");
    program.answers("Registry", Some("12h"), "one");
    let server = password.server().await;
    let client = program.client(&server.url);
    for _ in 0..3 {
        let failed = unknown(by_tag(&client).await);
        assert_eq!(failed.cause, Cause::Unauthorized, "{failed}");
    }
    assert_eq!(client.credentials_version().await, 0);
    assert_eq!(program.runs(), 1);
    std::fs::remove_file(program.path("status")).unwrap();
    later(Duration::from_secs(6)).await;
    let started = std::time::Instant::now();
    while client.credentials_version().await == 0 {
        assert!(started.elapsed() < Duration::from_secs(20), "never run again");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(by_tag(&client).await, present());
    assert_eq!(program.runs(), 2);
}

#[tokio::test]
async fn what_it_answers_badly_is_told_in_words() {
    let server = Password::of("one").server().await;
    let program = Program::new();
    program.answers("Registry", None, "pa55");
    let good = std::fs::read_to_string(program.path("answer")).unwrap();
    type Plant = fn(&Program);
    let cases: [(Plant, &str); 8] = [
        (
            |program| {
                program.put("status", "3");
                program.put("words", "\n  no \u{1b}[31mrole\u{202e} is bound\nsecond line");
            },
            "ended with exit status: 3: no  [31mrole is bound",
        ),
        (
            |program| program.put("status", "3"),
            "ended with exit status: 3: it says nothing on its standard error",
        ),
        (|program| program.put("answer", "pa55"), "did not answer a JSON object (at line 1)"),
        (|program| program.put("answer", ""), "did not answer a JSON object (at line 1)"),
        (
            |program| program.put("answer", r#"{"kind":"CredentialProviderRequest","password":"pa55"}"#),
            r#"answered `kind: "CredentialProviderRequest"`, not `CredentialProviderResponse`"#,
        ),
        (|program| program.put("answer", &" ".repeat(70_000)), "answered more than 64 KiB"),
        (
            |program| {
                program.answers_for(
                    "Registry",
                    None,
                    json!({"*.dkr.ecr.*.amazonaws.com": {"username": "AWS", "password": "pa55"}}),
                )
            },
            "answered no credentials for `harbor.example.com/project/app`, but for `*.dkr.ecr.*.amazonaws.com`",
        ),
        (
            |program| program.answers_for("Registry", None, Value::Null),
            "for `harbor.example.com/project/app`, but for nothing",
        ),
    ];
    for (plant, words) in cases {
        for file in ["status", "words"] {
            let _none = std::fs::remove_file(program.path(file));
        }
        program.put("answer", &good);
        plant(&program);
        let unknown = unknown(by_tag(&program.client(&server.url)).await);
        assert_eq!(unknown.cause, Cause::Unauthorized, "{unknown}");
        assert!(unknown.detail.starts_with("the credential provider /bin/sh "), "{unknown}");
        assert!(unknown.detail.contains(words) && !unknown.detail.contains("pa55"), "{words}: {unknown}");
    }
    let plain = program.path("plugin.sh");
    for (command, words) in
        [(plain, "Permission denied"), ("/nowhere/plugin".into(), "No such file or directory")]
    {
        let plugin = Plugin { command, ..program.plugin() };
        let unknown = unknown(by_tag(&at(&server.url, plugin)).await);
        assert!(unknown.detail.contains("cannot be run") && unknown.detail.contains(words), "{unknown}");
    }
    assert!(server.seen().is_empty(), "nobody is asked without the credentials that are configured");
}

#[tokio::test]
async fn it_may_talk_much_and_leave_its_request_unread() {
    let (program, password) = (Program::new(), Password::of("one"));
    program.answers("Registry", None, "one");
    program.put("words", &"word ".repeat(200_000));
    program.put("plugin.sh", r#"exec < /dev/null; cat "$DIR/words" >&2; cat "$DIR/answer""#);
    let server = password.server().await;
    assert_eq!(by_tag(&program.client(&server.url)).await, present());
}

#[tokio::test]
async fn one_that_does_not_end_is_killed() {
    let program = Program::new();
    let _gate = program.gate();
    program.put("plugin.sh", "echo $$ >> \"$DIR/runs\"; exec cat \"$DIR/gate\"");
    let server = Password::of("one").server().await;
    let client = program.client(&server.url);
    let wait = async {
        until("a run", || program.runs() == 1).await;
        later(Duration::from_secs(11)).await;
    };
    let (presence, ()) = join(by_tag(&client), wait).await;
    assert_unknown(
        presence,
        Cause::Unauthorized,
        "the credential provider /bin/sh gave no answer within 10 s",
    );
    let process = PathBuf::from("/proc").join(&program.lines("runs")[0]);
    until("its end", || !process.exists()).await;
}

#[tokio::test]
async fn of_several_entries_the_most_specific_that_matches_is_used() {
    let (program, password) = (Program::new(), Password::of("right"));
    let entry = |password: &str| json!({"username": "AWS", "password": password});
    program.answers_for(
        "Registry",
        None,
        json!({
            "*.example.com": entry("glob"),
            "harbor.example.com": entry("host"),
            "harbor.example.com/project": entry("path"),
            "harbor.example.com/project/app": entry("right"),
            "harbor.example.com:443/project/app": entry("port"),
            "harbor.example.com/project/apple": entry("other"),
        }),
    );
    let server = password.server().await;
    assert_eq!(by_tag(&program.client(&server.url)).await, present());
    // As for ECR, over all accounts and regions.
    program.answers_for("Registry", None, json!({"*.dkr.ecr.*.amazonaws.com": entry("right")}));
    let credentials = CredentialSource::Provider(Arc::new(program.plugin()));
    let host = "123456789012.dkr.ecr.eu-central-1.amazonaws.com".into();
    let ecr = client(Registry { credentials, host, ..registry(&server.url) });
    assert_eq!(by_tag(&ecr).await, present());
    assert_eq!(ecr.base(super::super::Endpoint::Base, soon()).await.unwrap().status, 200);
}

#[tokio::test]
async fn its_password_fetches_tokens_where_the_registry_wants_one() {
    let program = Program::new();
    program.answers("Registry", Some("12h"), "refresh");
    let server = Server::http(|seen| match (&*seen.path, seen.authorization()) {
        ("/token", proof) if proof == header("refresh") => reply(200, &[], r#"{"access_token":"good"}"#),
        ("/token", _) => reply(401, &[], ""),
        (_, "Bearer good") => {
            reply(200, &[("docker-content-digest", &digest_of("x")), ("content-type", MANIFEST)], "")
        }
        _ => {
            let challenge = format!(r#"Bearer realm="http://{}/token",service="acr""#, seen.host());
            reply(401, &[("www-authenticate", &challenge)], "")
        }
    })
    .await;
    let client = program.client(&server.url);
    assert_eq!(by_tag(&client).await, present());
    assert_eq!(by_tag(&client).await, present());
    assert_eq!(server.lines().iter().filter(|line| *line == "GET /token").count(), 1);
}

#[tokio::test]
async fn a_password_that_the_token_server_refuses_is_replaced_once() {
    let (program, password) = (Program::new(), Password::of("one"));
    program.answers("Registry", Some("12h"), "one");
    let known = password.clone();
    let server = Server::http(move |seen| match (&*seen.path, seen.authorization()) {
        ("/token", proof) if proof == header(&known.0.lock().unwrap()) => {
            reply(200, &[], r#"{"token":"good","expires_in":60}"#)
        }
        ("/token", _) => reply(401, &[], ""),
        (_, "Bearer good") => {
            reply(200, &[("docker-content-digest", &digest_of("x")), ("content-type", MANIFEST)], "")
        }
        _ => {
            let challenge = format!(r#"Bearer realm="http://{}/token""#, seen.host());
            reply(401, &[("www-authenticate", &challenge)], "")
        }
    })
    .await;
    let client = program.client(&server.url);
    assert_eq!(by_tag(&client).await, present());
    password.becomes("two");
    program.answers("Registry", Some("12h"), "two");
    later(Duration::from_secs(61)).await;
    assert_eq!(by_tag(&client).await, present());
    assert_eq!((program.runs(), client.credentials_seen()), (2, 1));
    // Where the program has no other, that is told, and it is not run again and again.
    password.becomes("three");
    later(Duration::from_secs(61)).await;
    for _ in 0..3 {
        assert_eq!(unknown(by_tag(&client).await).cause, Cause::Unauthorized);
    }
    assert_eq!((program.runs(), client.credentials_seen()), (3, 1));
}
