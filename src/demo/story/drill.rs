//! The drill before a site goes dark: which stories of an act will not start, forecast by the code of `landfall drill`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use prometheus_client::registry::Registry as Page;

use super::StoryError;
use super::script::{Act, Event, Way, Who};
use super::stage::Stage;
use crate::config::{self, Files};
use crate::domain::image::Reference;
use crate::domain::name::RegistryName;
use crate::domain::registry::folded;
use crate::domain::settings::Settings;
use crate::evidence::Observatory;
use crate::pod::Pod;
use crate::report::drill::{Bandwidth, Drill, Forecast, Keys, ManifestKeys, Subject, without};

impl Stage {
    /// Forecasts which new Pods of an act start, before its events happen. `None`: no registry goes down in it.
    ///
    /// # Errors
    /// If a story is malformed.
    pub async fn drill(&self, act: &Act) -> Result<Option<Forecast>, StoryError> {
        let down = act.events.iter().filter_map(|event| match event {
            Event::Down(Who::Fra) => Some(RegistryName::new("fra")),
            Event::Down(Who::Ams) => Some(RegistryName::new("ams")),
            _ => None,
        });
        let lost: BTreeSet<RegistryName> = down.collect();
        let loaded = config::parse(&self.configuration, "demo.yaml", Files::Check, Timestamp::now());
        let settings = loaded.map_err(|problems| StoryError::Settings { problems })?.settings;
        // Its names are those of the demo's own registries.
        let Ok(then) = without(&settings, &lost) else { return Ok(None) };
        if lost.is_empty() {
            return Ok(None);
        }
        let mut subjects = Vec::new();
        for story in act.stories.iter().filter(|story| story.way == Way::BothDoors) {
            let review = story.sent.review(story.name)?;
            let text = |pointer: &str| review.pointer(pointer).and_then(serde_json::Value::as_str);
            let pod = review.pointer("/request/object").map(ToString::to_string).unwrap_or_default();
            if text("/request/operation") == Some("CREATE") && is_of(&settings, &pod) {
                let namespace = text("/request/namespace").unwrap_or_default().to_owned();
                subjects.push(Subject {
                    kind: "Pod".to_owned(),
                    namespace,
                    name: story.name.to_owned(),
                    pods: vec![pod],
                });
            }
        }
        // Its files are read in a moment.
        let observatory = Arc::new(Observatory::new(&then, &mut Page::default()));
        let drill = Drill {
            settings: &then,
            observatory: &observatory,
            lost: &lost,
            keys: &Keys::Manifests(ManifestKeys::beside(None)),
            labels: &BTreeMap::new(),
            own_namespace: Some("landfall"),
            gaps: &[],
            now: Timestamp::now(),
        };
        let forecast = drill.forecast(&subjects, Bandwidth::Unknown, |_, _| {}).await;
        observatory.close().await;
        Ok(Some(forecast))
    }
}

/// Whether all images of a Pod are named at the demo's own registries: the demo asks nobody else.
fn is_of(settings: &Settings, pod: &str) -> bool {
    let ours = |image: &str| {
        let hosts = settings.registries.values().flat_map(|registry| registry.hosts());
        Reference::parse(image).is_ok_and(|image| {
            hosts.map(|host| host.as_str().to_owned()).any(|host| host == folded(image.host))
        })
    };
    serde_json::from_str::<Pod<'_>>(pod).is_ok_and(|pod| pod.slots().all(|slot| ours(slot.image)))
}
