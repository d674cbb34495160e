//! The act with the recorded reviews of a real API server, byte for byte.
//!
//! They are the test vectors of `tests/vectors/admission` (see the README there), included when the demo is compiled, so that
//! there is no second copy that could differ. The image is built without the demo.

use super::super::told::Admission;
use super::{Act, Sent, Story, Way};

/// A recording: its name, what it is, its body, and the expected number of images for each reason.
struct Recording(&'static str, &'static str, &'static str, &'static [(&'static str, usize)]);

/// The words that must be said about one of the recordings.
const UNMOVED: (&str, &str) = ("recorded-ephemeral-container", "the Pod lacks pull secret harbor-ams-creds");

macro_rules! recording {
    ($file:literal, $about:literal, $reasons:expr) => {
        Recording(
            concat!("recorded-", $file),
            $about,
            include_str!(concat!("../../../../tests/vectors/admission/", $file, ".json")),
            $reasons,
        )
    };
}

const RECORDINGS: [Recording; 17] = [
    recording!(
        "deployment-web",
        "A Deployment's Pod, with a mesh and a log shipper.",
        &[("Local", 3), ("NotRouted", 1)]
    ),
    recording!("statefulset-postgres", "A StatefulSet's Pod, from Docker Hub.", &[("NotRouted", 1)]),
    recording!("daemonset-agent", "A DaemonSet's Pod, excluded by the configuration.", &[("Excluded", 1)]),
    recording!("job-always", "A Job's Pod, without a tag.", &[("Local", 1)]),
    recording!("cronjob-job", "A CronJob's Pod.", &[("Local", 1)]),
    recording!("pod-generate-name", "A Pod that has no name yet.", &[("Local", 1)]),
    recording!("pod-server-side-apply", "By server-side apply.", &[("Local", 1)]),
    recording!("pod-dry-run", "A dry run: the same answer.", &[("Local", 1)]),
    recording!("pod-50-containers", "Fifty images in one Pod.", &[("Local", 50)]),
    recording!("pod-arm64", "For arm64 nodes.", &[("Local", 1)]),
    recording!("pod-windows", "For Windows nodes.", &[("Local", 1)]),
    recording!(
        "pod-unparsable-images",
        "One for an injector, one that is no reference, and two odd spellings of Frankfurt.",
        &[("Local", 2), ("Placeholder", 1), ("Unparsable", 1)]
    ),
    recording!(
        "pod-forged-annotation-image-volume",
        "With an image volume, and our annotation forged: it is written anew.",
        &[("Local", 2), ("NotRouted", 2)]
    ),
    recording!(
        "ephemeral-container",
        "kubectl debug on a Pod without Amsterdam's pull secret: judged, but not moved.",
        &[("Observed", 1)]
    ),
    recording!("update-image", "An update: never touched.", &[("-", 5)]),
    recording!("update-label-only", "An update of a label.", &[("-", 5)]),
    recording!("mirror-pod", "A mirror Pod that a kubelet reports.", &[("-", 1)]),
];

pub(super) fn act() -> Act {
    let story = |Recording(name, about, body, reasons): Recording| Story {
        name,
        about,
        sent: Sent::Recorded { body, reasons },
        admission: Admission::Allowed,
        way: Way::BothDoors,
        before: 0,
        says: Some(UNMOVED.1).filter(|_| name == UNMOVED.0),
    };
    Act {
        title: "As a real API server sends them",
        narration: "Seventeen requests recorded from kube-apiserver 1.36, sent again byte for byte.",
        events: Vec::new(),
        stories: RECORDINGS.map(story).into(),
    }
}

/// The bodies.
pub(in super::super) fn recordings() -> [&'static str; 17] {
    RECORDINGS.map(|Recording(_, _, body, _)| body)
}
