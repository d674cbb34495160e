//! The numbers of the metrics page, read back from its text: the status page shows the same numbers that Prometheus gets, and
//! no module has to tell them twice.

use std::collections::BTreeMap;

use prometheus_client::registry::Registry;

/// One sample: its labels and its value.
pub(super) type Sample = (BTreeMap<String, String>, f64);

/// The samples of a metrics page, by name.
#[derive(Debug, Default)]
pub(super) struct Numbers(BTreeMap<String, Vec<Sample>>);

impl Numbers {
    /// Those of a registry as they are now.
    pub(super) fn of(registry: &Registry) -> Self {
        let mut text = String::new();
        // A value that cannot be written is a bug in its collector. The page then shows what comes before it.
        let _ = prometheus_client::encoding::text::encode(&mut text, registry);
        Self::read(&text)
    }

    /// Reads OpenMetrics. It is our own text, so a line that is not understood is passed over.
    fn read(text: &str) -> Self {
        let mut all: BTreeMap<String, Vec<Sample>> = BTreeMap::new();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            if let Some((name, sample)) = sample(line) {
                all.entry(name.to_owned()).or_default().push(sample);
            }
        }
        Self(all)
    }

    /// The samples with this name.
    pub(super) fn all(&self, name: &str) -> &[Sample] {
        self.0.get(name).map(Vec::as_slice).unwrap_or_default()
    }

    /// The sum of those samples whose labels have all of these values.
    pub(super) fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let is_one = |known: &BTreeMap<String, String>| {
            labels.iter().all(|(label, value)| known.get(*label).is_some_and(|known| known == value))
        };
        self.all(name).iter().filter(|(known, _)| is_one(known)).map(|(_, value)| value).sum()
    }

    /// The bound below which this share of the observations of a histogram lie; `None` where there are none. The bounds are
    /// those of its buckets, so it is no less than the truth.
    pub(super) fn quantile(&self, name: &str, labels: &[(&str, &str)], share: f64) -> Option<f64> {
        let all = self.sum(&format!("{name}_count"), labels);
        let mut bounds: BTreeMap<u64, (f64, f64)> = BTreeMap::new();
        for (known, count) in self.all(&format!("{name}_bucket")) {
            let is_one = labels
                .iter()
                .all(|(label, value)| known.get(*label).is_some_and(|known| known.as_str() == *value));
            let bound = known.get("le").and_then(|le| le.replace("+Inf", "inf").parse::<f64>().ok());
            if let Some(bound) = bound.filter(|_| is_one) {
                // Bounds are not negative, and the order of such floats is that of their bits.
                bounds.entry(bound.to_bits()).or_insert((bound, 0.0)).1 += count;
            }
        }
        let reached = bounds.values().find(|(_, count)| all > 0.0 && *count >= all * share);
        reached.map(|(bound, _)| *bound)
    }
}

/// `name{label="value",…} 1.5`.
fn sample(line: &str) -> Option<(&str, Sample)> {
    let (name, rest) = line.split_at(line.find(['{', ' '])?);
    let mut labels = BTreeMap::new();
    let mut rest = rest;
    if let Some(mut text) = rest.strip_prefix('{') {
        while !text.starts_with('}') {
            let (label, value) = text.split_once("=\"")?;
            let (value, after) = quoted(value)?;
            labels.insert(label.trim_start_matches(',').to_owned(), value);
            text = after;
        }
        rest = text.strip_prefix('}')?;
    }
    // An exemplar or a timestamp may follow.
    let value = rest.split_whitespace().next()?.parse().ok()?;
    Some((name, (labels, value)))
}

/// A value up to its closing quote, and what follows.
fn quoted(text: &str) -> Option<(String, &str)> {
    let (mut value, mut rest) = (String::new(), text.chars());
    loop {
        match rest.next()? {
            '"' => return Some((value, rest.as_str())),
            '\\' => match rest.next()? {
                'n' => value.push('\n'),
                other => value.push(other),
            },
            other => value.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::metrics::counter::Counter;
    use prometheus_client::metrics::family::Family;
    use prometheus_client::metrics::histogram::Histogram;

    use super::*;

    #[test]
    fn what_is_encoded_is_read_back() {
        let mut page = Registry::default();
        let images = Family::<[(&'static str, String); 2], Counter>::default();
        page.register("images", "Images", images.clone());
        let hostile = "a\"b\\c\nd} 7";
        images
            .get_or_create_owned(&[("place", hostile.to_owned()), ("reason", "Local".to_owned())])
            .inc_by(3);
        images.get_or_create_owned(&[("place", String::new()), ("reason", "Fallback".to_owned())]).inc_by(2);
        let lag = Histogram::new([1.0, 300.0, 1e4]);
        page.register("lag", "Lag", lag.clone());
        [0.5, 0.5, 200.0, 5_000.0].into_iter().for_each(|seconds| lag.observe(seconds));
        let numbers = Numbers::of(&page);
        assert_eq!(numbers.sum("images_total", &[]), 5.0);
        assert_eq!(numbers.sum("images_total", &[("reason", "Local")]), 3.0);
        assert_eq!(numbers.sum("images_total", &[("place", hostile)]), 3.0);
        assert_eq!(numbers.sum("nothing", &[]), 0.0);
        assert_eq!(numbers.quantile("lag", &[], 0.5), Some(1.0));
        assert_eq!(numbers.quantile("lag", &[], 0.75), Some(300.0));
        assert_eq!(numbers.quantile("lag", &[], 0.95), Some(1e4));
        assert_eq!(numbers.quantile("nothing", &[], 0.95), None);
    }
}
