//! References: what is printed is read back as it was, and a second parser of the grammar agrees.
#![no_main]

use container_image_dist_ref::ImgRef;
use landfall::facade::domain::image::Reference;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let ours = Reference::parse(text);
    if let Ok(one) = &ours {
        let printed = one.to_string();
        let two = Reference::parse(&printed);
        let two = two.unwrap_or_else(|error| panic!("`{text}` prints as `{printed}`: {error}"));
        assert_eq!((one.host, &one.path, one.tag, one.digest), (two.host, &two.path, two.tag, two.digest));
        assert_eq!(two.to_string(), printed);
        assert_eq!(
            printed.strip_prefix(&one.name()).map(|rest| rest.is_empty() || rest.starts_with([':', '@'])),
            Some(true)
        );
    }
    // The other parser knows the grammar alone, not Docker Hub's names: it is asked where the first component is a
    // host for both. It counts the host into the limit of 255.
    let first = text.split_once('/').map_or("", |(first, _)| first);
    if !first.contains(['.', ':']) || matches!(first, "docker.io" | "index.docker.io") {
        return;
    }
    let (Ok(ours), Ok(theirs)) = (ours, ImgRef::new(text)) else { return };
    if theirs.domain().is_none() {
        return;
    }
    assert_eq!(Some(ours.host), theirs.domain().map(|domain| domain.to_str()));
    assert_eq!(&*ours.path, theirs.path().to_str());
    assert_eq!(ours.tag, theirs.tag());
    let digest = theirs.digest().map(|digest| digest.to_str().to_owned());
    assert_eq!(ours.digest.map(|digest| digest.to_string()), digest);
});
