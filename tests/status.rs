//! The status page, of the demo's server: what stands on it, who may read it, and what a browser makes of it.
#![cfg(feature = "demo")]
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "support/browser.rs"]
mod browser;
#[path = "status/colours.rs"]
mod colours;
#[path = "support/wait.rs"]
#[expect(dead_code, reason = "other suites wait for more")]
mod wait;

use std::path::Path;
use std::time::Duration;

use browser::browse;
use landfall::facade::demo::story::{Pages, Stage, script};
use serde_json::json;
use wait::PATIENCE;

/// How many acts are played: those in which nothing is broken, and two in which a replica lacks something.
const ACTS: usize = 5;

/// Plays some stories, serves the pages, and does this with them meanwhile.
async fn with_pages(check: impl AsyncFnOnce(&Stage, &str, &str)) {
    let stage = Stage::build().await.unwrap();
    for act in script().into_iter().take(ACTS) {
        stage.play(act).await.unwrap();
    }
    let pages = Pages::open().await.unwrap();
    let (status, world) = (pages.status.clone(), pages.world.clone());
    tokio::select! {
        () = stage.serve(pages) => panic!("the pages are gone"),
        () = check(&stage, &status, &world) => {}
    }
    stage.close().await;
}

fn client() -> reqwest::Client {
    let without = reqwest::redirect::Policy::none();
    reqwest::Client::builder().no_proxy().redirect(without).build().unwrap()
}

async fn read(url: &str) -> String {
    client().get(url).send().await.unwrap().text().await.unwrap()
}

/// Reads the page until it says this.
async fn until(url: &str, says: &str) -> String {
    let wait = async {
        loop {
            let page = read(url).await;
            if page.contains(says) {
                return page;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    match tokio::time::timeout(PATIENCE, wait).await {
        Ok(page) => page,
        Err(_) => panic!("never `{says}` on {}", read(url).await),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_says_what_is_missing_where_and_what_to_do() {
    with_pages(async |_, status, world| {
        let page = until(status, "missing here, or cannot be pulled here,").await;
        for said in [
            "landfall copy --missing",
            "production/shop/checkout",
            "Missing",
            "here, but not scanned here as required,",
            "harbor.ams.example.com",
            "Served locally",
        ] {
            assert!(page.contains(said), "{said}: {page}");
        }
        // A registry goes dark on the page of the world, and comes back.
        assert_eq!(client().post(format!("{world}Frankfurt/dark")).send().await.unwrap().status(), 303);
        until(status, "Registry fra (of site fra) is Down").await;
        assert!(read(world).await.contains("<strong>Frankfurt</strong> is dark."));
        client().post(format!("{world}Frankfurt/up")).send().await.unwrap();
        let page = until(status, "✓ Up</span><div class=\"small\">answers and accepts our credentials").await;
        assert!(page.contains("Last decisions"));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_tenant_writes_is_text_and_nothing_else() {
    with_pages(async |stage, status, _| {
        let evil = "<script>alert(1)</script>\u{202e}\u{1b}[31m";
        let review = json!({
            "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
            "request": {
                "uid": "u-1", "kind": {"group": "", "version": "v1", "kind": "Pod"},
                "resource": {"group": "", "version": "v1", "resource": "pods"},
                "namespace": "lab", "operation": "CREATE", "userInfo": {"username": "dev"}, "dryRun": false,
                "object": {
                    "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "evil", "namespace": "lab"},
                    "spec": {"containers": [{"name": "\"><img src=x onerror=alert(2)>", "image": evil}]},
                },
            },
        });
        let ca = std::fs::read(stage.ca_file()).unwrap();
        let ca = reqwest::Certificate::from_pem(&ca).unwrap();
        let door = reqwest::Client::builder().no_proxy().tls_certs_only([ca]).build().unwrap();
        let asked = async || {
            let body = door.post(stage.url()).header("content-type", "application/json");
            assert_eq!(body.body(review.to_string()).send().await.unwrap().status(), 200);
        };
        // Of many Pods at once only some are shown.
        let page = loop {
            asked().await;
            let page = read(status).await;
            if page.contains("lab/evil") {
                break page;
            }
            tokio::time::sleep(Duration::from_millis(30)).await;
        };
        assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;"), "{page}");
        assert!(!page.contains("<script>alert") && !page.contains("<img"), "{page}");
        assert!(!page.contains('\u{202e}') && !page.contains('\u{1b}'), "{page}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_for_who_forwards_a_port_alone() {
    with_pages(async |_, status, _| {
        for host in ["landfall.example", "10.0.0.7:8080", "localhost.evil.example"] {
            let answer = client().get(status).header("host", host).send().await.unwrap();
            assert_eq!(answer.status(), 403, "{host}");
            assert!(answer.text().await.unwrap().contains("landfall open"));
        }
        let answer = client().get(status).header("host", "localhost:8080").send().await.unwrap();
        assert_eq!(answer.status(), 200);
        let policy = answer.headers()["content-security-policy"].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'"), "{policy}");
        // Nobody changes anything by it.
        assert_eq!(client().post(status).send().await.unwrap().status(), 405);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_has_nothing_to_complain_of() {
    with_pages(async |_, status, _| {
        until(status, "missing here, or cannot be pulled here,").await;
        let url = status.to_owned();
        let seen = tokio::task::spawn_blocking(move || {
            // Twelve seconds of its own time: the page is taken again twice.
            let page = browse("status page", &url, &["--virtual-time-budget=12000", "--dump-dom"])?;
            let print = tempfile::tempdir().unwrap();
            let paper = print.path().join("page.pdf");
            browse("status page", &url, &[&format!("--print-to-pdf={}", paper.display())])?;
            Some((page, std::fs::read(paper).unwrap()))
        });
        let Some((page, paper)) = seen.await.unwrap() else { return };
        // After its own script has replaced what changed, all of it is there, once.
        for once in ["<main", "<h1", "id=\"attention\"", "id=\"gaps\"", "id=\"decisions\"", "id=\"replica\""]
        {
            assert_eq!(page.matches(once).count(), 1, "{once}: {page}");
        }
        assert!(!page.contains("does not answer any more"), "{page}");
        assert!(paper.starts_with(b"%PDF"));
    })
    .await;
}

/// WCAG 2.2, 1.4.3: text has a contrast of 4.5 to what is behind it, by day and by night.
#[test]
fn every_colour_can_be_read() {
    let style = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/server/status/status.css");
    let style = std::fs::read_to_string(style).unwrap();
    let schemes = colours::schemes(&style);
    assert_eq!(schemes.len(), 2);
    for scheme in schemes {
        for text in ["ink", "soft", "good", "bad", "link", "sea"] {
            for behind in ["paper", "card"] {
                let contrast = colours::contrast(&scheme[text], &scheme[behind]);
                assert!(contrast >= 4.5, "{text} on {behind}: {contrast:.2}");
            }
        }
        for text in ["ink", "soft", "link"] {
            for behind in ["now", "soon"] {
                let contrast = colours::contrast(&scheme[text], &scheme[behind]);
                assert!(contrast >= 4.5, "{text} on {behind}: {contrast:.2}");
            }
        }
    }
}
