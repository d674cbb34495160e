//! `image: auto`: an injector puts the real image in its place after us, so it is no image yet.

use serde_json::Value;

use super::support::door::Door;

/// A door where a route covers all of Docker Hub.
async fn door() -> Door {
    Door::with(|site| {
        site.replace("registries:\n", "registries:\n  hub: {host: docker.io, url: \"http://127.0.0.1:9\", site: hub, kind: distribution}\n")
            .replace(
                "routes:\n",
                "routes:\n  - name: hub\n    primary: {registry: hub, repositories: \"**\"}\n    \
                 replicas: [{registry: ams, namespace: hub, flatten: 0}]\n",
            )
    })
    .await
}

fn untouched(response: &Value) -> bool {
    response["allowed"] == true && response["patch"].is_null() && response["warnings"].is_null()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_placeholder_is_kept_whatever_route_and_policy_cover_docker_hub() {
    let door = door().await;
    // `bank` enforces a policy that blocks what is missing; `trial` observes one.
    for namespace in ["shop", "bank", "trial"] {
        let response = door.pod(namespace, &["auto"]).await;
        assert!(untouched(&response), "{namespace}: {response}");
        assert_eq!(response["auditAnnotations"]["reason"], "Placeholder", "{namespace}: {response}");
        assert!(response["auditAnnotations"]["observed"].is_null(), "{namespace}: {response}");
    }
    // Only this text stands for another image. The others are images of Docker Hub, and are judged.
    for image in ["auto:latest", "docker.io/library/auto", "auto/auto", "automat"] {
        let response = door.pod("bank", &[image]).await;
        assert_eq!(response["allowed"], false, "{image}: {response}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_placeholder_is_kept_where_an_unrouted_image_is_denied_and_beside_images_that_are_rewritten() {
    // The policy of `bank` says `onUnrouted: Block`.
    let door = Door::open().await;
    assert_eq!(door.pod("bank", &["nginx"]).await["allowed"], false);
    let response = door.pod("bank", &["auto"]).await;
    assert!(untouched(&response), "{response}");
    let routed = "harbor.fra.example.com/production/shop/web:1.4.2";
    let response = door.pod("shop", &["auto", routed]).await;
    assert_eq!(response["auditAnnotations"]["reason"], "Local", "{response}");
    let said = response["auditAnnotations"]["images"].as_str().unwrap();
    assert!(said.contains("Placeholder"), "{said}");
}
