//! The platform that a Pod asks for.

use super::surface::Pod;
use crate::domain::platform::PlatformDemand;

/// Reads the Pod's platform demand: from the node selector first, because the scheduler follows it, then from `spec.os`.
#[must_use]
pub fn demand(pod: &Pod<'_>) -> PlatformDemand {
    let selector = &pod.spec.node_selector;
    let first = |texts: [&Option<std::borrow::Cow<'_, str>>; 3]| {
        texts.into_iter().flatten().find(|text| !text.is_empty()).map(|text| Box::from(&**text))
    };
    PlatformDemand {
        os: first([&selector.os, &selector.beta_os, &pod.spec.os.name]),
        architecture: first([&selector.arch, &selector.beta_arch, &None]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_selector_speaks_before_the_os_field() {
        for (spec, os, architecture) in [
            ("{}", None, None),
            (r#"{"os":{"name":"windows"}}"#, Some("windows"), None),
            (r#"{"os":{"name":"windows"},"nodeSelector":{"kubernetes.io/os":"linux"}}"#, Some("linux"), None),
            (r#"{"nodeSelector":{"kubernetes.io/arch":"arm64","disk":"ssd"}}"#, None, Some("arm64")),
            (
                r#"{"nodeSelector":{"beta.kubernetes.io/arch":"amd64","beta.kubernetes.io/os":"linux"}}"#,
                Some("linux"),
                Some("amd64"),
            ),
            (
                r#"{"nodeSelector":{"kubernetes.io/os":"","kubernetes.io/arch":null},"os":{"name":""}}"#,
                None,
                None,
            ),
            (r#"{"nodeSelector":null,"os":null}"#, None, None),
        ] {
            let body = format!(r#"{{"spec":{spec}}}"#);
            let pod: Pod<'_> = serde_json::from_str(&body).unwrap();
            let expected =
                PlatformDemand { os: os.map(Box::from), architecture: architecture.map(Box::from) };
            assert_eq!(demand(&pod), expected, "{spec}");
        }
    }
}
