//! `landfall generate harbor-webhook`, before the embedded Harbor.

use std::process::Output;

use landfall::facade::demo::world::seed;
use landfall::facade::demo::world::{Account, Embedded, Namespace, Permission, entry};
use serde_json::{Value, json};
use tokio::process::Command;

use super::replica::AMS;
use super::support::wait::ends;

/// Makes a policy as an administrator would, in a project of this Harbor.
pub async fn policy(harbor: &Embedded, project: &str, address: &str, secret: &str, format: &str) {
    let body = json!({
        "name": "by hand", "enabled": true,
        "event_types": ["PUSH_ARTIFACT", "DELETE_ARTIFACT", "SCANNING_COMPLETED", "SCANNING_FAILED"],
        "targets": [{
            "type": "http", "address": address, "auth_header": secret, "payload_format": format,
            "skip_cert_verify": false,
        }],
    });
    let client = reqwest::Client::builder().tls_danger_accept_invalid_certs(true).no_proxy().build().unwrap();
    let made = client
        .post(format!("{}/api/v2.0/projects/{project}/webhook/policies", harbor.url()))
        .basic_auth("robot$landfall", Some("landfall-Secret1"))
        .body(body.to_string())
        .send();
    assert_eq!(made.await.unwrap().status(), 201);
}

struct Administrator {
    demo: seed::Demo,
    config: std::path::PathBuf,
}

impl Administrator {
    async fn new() -> Self {
        let demo = seed::demo().await.unwrap();
        let secret = demo.world.write("notifications/ams", &format!("{AMS}\n")).unwrap();
        let fra = entry(&demo.fra.registry("fra", "harbor.fra.example.com"), "");
        let more = format!("notifications: {{secretFile: {:?}}}", secret.display().to_string());
        let ams = entry(&demo.ams.registry("ams", "harbor.ams.example.com"), &more);
        let text = format!(
            "site: ams\nregistries:\n  fra: {fra}\n  ams: {ams}\nroutes:\n\
             - {{name: p, primary: {{registry: fra, repositories: 'production/**'}}, replicas: [{{registry: ams}}]}}\n\
             - {{name: r, primary: {{registry: fra, repositories: 'regulated/**'}}, replicas: [{{registry: ams, namespace: regulated, flatten: 1}}]}}\n"
        );
        let config = demo.world.write("site.yaml", &text).unwrap();
        Self { demo, config }
    }

    async fn run(&self, flags: &[&str]) -> (i32, String) {
        let run = Command::new(env!("CARGO_BIN_EXE_landfall"))
            .args(["generate", "harbor-webhook", "--registry", "ams", "--config"])
            .arg(&self.config)
            .args(flags)
            .env_clear()
            .output();
        let Output { status, stdout, stderr } = ends("the command", run).await.unwrap();
        let said = String::from_utf8(stdout).unwrap() + &String::from_utf8(stderr).unwrap();
        assert!(!said.contains("the-secret-of"), "{said}");
        (status.code().unwrap(), said)
    }

    async fn policies(&self, project: &str) -> Vec<Value> {
        let client =
            reqwest::Client::builder().tls_danger_accept_invalid_certs(true).no_proxy().build().unwrap();
        let url = format!("{}/api/v2.0/projects/{project}/webhook/policies", self.demo.ams.url());
        let request = client.get(url).basic_auth("robot$landfall", Some("landfall-Secret1"));
        let text = request.send().await.unwrap().text().await.unwrap();
        serde_json::from_str(&text).unwrap()
    }
}

const ADDRESS: &str = "--address=https://landfall.example.com:8445/hooks/harbor";

#[tokio::test(flavor = "multi_thread")]
async fn the_policy_is_made_once_and_changed_where_it_differs() {
    let administrator = Administrator::new().await;
    let (status, said) = administrator.run(&[ADDRESS, "--dry-run"]).await;
    assert_eq!(status, 0, "{said}");
    for shown in [
        "POST /api/v2.0/projects/production/webhook/policies\n",
        "POST /api/v2.0/projects/regulated/webhook/policies\n",
        "\"auth_header\": \"<the content of secretFile>\"",
    ] {
        assert!(said.contains(shown), "{said}");
    }
    assert!(administrator.policies("production").await.is_empty(), "nothing was changed");

    let (status, said) = administrator.run(&[ADDRESS]).await;
    let made = "production: made the policy `landfall`\nregulated: made the policy `landfall`\n";
    assert_eq!((status, said.as_str()), (0, made));
    let (status, said) = administrator.run(&[ADDRESS]).await;
    assert_eq!(status, 0);
    assert_eq!(said.matches("is as it should be").count(), 2, "{said}");

    let (status, said) =
        administrator.run(&[ADDRESS, "--project=production", "--format=Default", "--skip-cert-verify"]).await;
    assert_eq!((status, said.as_str()), (0, "production: changed the policy `landfall`\n"));
    let [policy] = administrator.policies("production").await.try_into().unwrap();
    let target = &policy["targets"][0];
    assert_eq!(
        (&target["auth_header"], &target["payload_format"], &target["skip_cert_verify"]),
        (&json!(AMS), &json!("Default"), &json!(true))
    );
    assert!(policy["event_types"].as_array().unwrap().contains(&json!("TAG_RETENTION")));
}

/// Two sites have one Harbor in common: each has a policy of its own, and takes none from the other.
#[tokio::test(flavor = "multi_thread")]
async fn another_cluster_keeps_its_policy() {
    let administrator = Administrator::new().await;
    let other = "--address=https://landfall.other.example.com:8445/hooks/harbor";
    for (address, name) in [(ADDRESS, "landfall"), (other, "landfall-landfall.other.example.com")] {
        let (status, said) = administrator.run(&[address, "--project=production"]).await;
        assert_eq!((status, said), (0, format!("production: made the policy `{name}`\n")));
    }
    for address in [ADDRESS, other] {
        let (status, said) = administrator.run(&[address, "--project=production"]).await;
        assert!(status == 0 && said.contains("is as it should be"), "{said}");
    }
    let policies = administrator.policies("production").await;
    let addresses: Vec<_> =
        policies.iter().map(|policy| policy["targets"][0]["address"].as_str().unwrap()).collect();
    assert_eq!(addresses, [ADDRESS, other].map(|flag| flag.split_once('=').unwrap().1));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_said() {
    let administrator = Administrator::new().await;
    let store = || administrator.demo.ams.store();
    let reader = Account::robot("reader", Namespace::All, &[Permission::ProjectRead, Permission::Pull]);
    let (name, secret) = (reader.name.clone(), reader.secret.clone());
    store().add_account(reader);
    let folder = |name: &str, user: &str, password: &str| {
        let landfall::facade::domain::registry::CredentialSource::Dir(folder) =
            administrator.demo.world.credentials(name, user, password).unwrap()
        else {
            panic!("a folder")
        };
        format!("--credentials={}", folder.display())
    };
    for (flags, status, expected) in [
        (vec![folder("reader", &name, &secret)], 1, "production: Harbor refuses (403)"),
        (vec![folder("wrong", &name, "wrong")], 1, "production: Harbor rejects the credentials (401)"),
        (vec!["--project=nowhere".into()], 1, "nowhere: Harbor refuses (403)"),
    ] {
        let flags: Vec<&str> = flags.iter().map(String::as_str).chain([ADDRESS]).collect();
        let (found, said) = administrator.run(&flags).await;
        assert!(found == status && said.contains(expected), "{flags:?}: {found} {said}");
    }
    let (status, said) = administrator.run(&["--address=http://landfall/hooks/harbor"]).await;
    assert!(status == 2 && said.contains("write `https://<host>:<port>/hooks/harbor`"), "{said}");
    administrator.demo.ams.down().await;
    let (status, said) = administrator.run(&[ADDRESS]).await;
    assert!(status == 1 && said.contains("production: cannot connect to"), "{said}");
}
