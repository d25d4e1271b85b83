//! `lifecycle` and `reconcile`: what happens to objects and backends by themselves.

use std::collections::BTreeMap;
use std::time::Duration;

use types::BucketName;

use crate::report::Place;
use crate::section::{empty, or, required, section};
use crate::sections::Bucket;

section! {
    /// Objects that expire.
    pub struct Lifecycle {
        /// Each rule by itself.
        pub rules: Vec<LifecycleRule> = empty(),
        /// Objects looked at, and at most removed, in one transaction.
        pub batch_size: u32 = or(100_u32),
    }
}

section! {
    /// Which objects expire, and when. A prefix or tags are required, so that a slip does not empty everything.
    pub struct LifecycleRule {
        /// Keys that begin with this, in every bucket. One that begins with the name of a bucket and a slash means that
        /// bucket alone, as in the Go program: `photos/tmp/` is `tmp/` in bucket photos.
        pub prefix: String = or(""),
        /// Objects that carry all of these tags.
        pub tags: BTreeMap<String, String> = or(BTreeMap::new()),
        /// Days since the object was written. Moving its bytes makes it no younger, writing or copying over it does.
        pub expiration_days: u32 = required(),
    }
}

section! {
    /// Comparing backends with the catalog.
    pub struct Reconcile {
        /// Whether they are compared by themselves.
        pub enabled: bool = or(false),
        /// Pause between two runs.
        pub interval: Duration = or(Duration::from_secs(24 * 3600)),
    }
}

impl Lifecycle {
    pub(crate) fn check(&self, at: &Place<'_>, buckets: &[Bucket]) {
        at.key("batch_size").at_least(self.batch_size, 1);
        for (index, rule) in self.rules.iter().enumerate() {
            let place = at.key("rules").item(index);
            if !place.is_sound() {
                continue;
            }
            place.key("expiration_days").at_least(rule.expiration_days, 1);
            if rule.prefix.is_empty() && rule.tags.is_empty() {
                place.key("prefix").refuse("is required, or tags");
            }
            if rule.tags.is_empty()
                && let [(bucket, rest)] = &rule.reach(buckets)[..]
                && rest.is_empty()
            {
                place.key("prefix").warn(format!("means every object of bucket {bucket}"), None);
            }
            let same = |other: &LifecycleRule| other.prefix == rule.prefix && other.tags == rule.tags;
            if let Some(first) = self.rules[..index].iter().position(same) {
                place.refuse(format!("has the same filter as rules[{first}]"));
            }
        }
    }
}

section! {
    /// The journal on its way to the backends: what a lost catalog comes back from.
    pub struct Journal {
        /// Least pause between two segments; 0 chooses it by the backends that take them: a second for directories,
        /// a minute for S3, and longer where a limit on requests says so.
        pub interval: Duration = or(Duration::ZERO),
    }
}

impl LifecycleRule {
    /// Where the rule reaches: a bucket, and what keys in it begin with.
    #[must_use]
    pub fn reach<'a>(&self, buckets: &'a [Bucket]) -> Vec<(&'a BucketName, String)> {
        let named = self.prefix.split_once('/').and_then(|(name, rest)| {
            let bucket = buckets.iter().find(|bucket| bucket.name.as_str() == name)?;
            Some(vec![(&bucket.name, rest.to_owned())])
        });
        named.unwrap_or_else(|| buckets.iter().map(|bucket| (&bucket.name, self.prefix.clone())).collect())
    }
}

impl Reconcile {
    pub(crate) fn check(&self, at: &Place<'_>) {
        at.key("interval").above_zero(self.interval);
    }
}

#[cfg(test)]
mod tests {
    use crate::Config;

    fn reach(prefix: &str) -> Vec<String> {
        let text = format!(
            "server: {{ listen_addr: \":1\" }}\nbuckets:\n{}backends: [{{ type: directory, path: /d }}]\n\
             lifecycle: {{ rules: [{{ prefix: \"{prefix}\", expiration_days: 1, tags: {{ a: b }} }}] }}\n",
            ["photos", "tmp"].map(|name| format!(
                "  - {{ name: {name}, credentials: [{{ access_key_id: {name}, secret_access_key: s }}] }}\n"
            )).concat()
        );
        let config = Config::parse(&text, "f", &|_| None).unwrap().config;
        let reach = config.lifecycle.rules[0].reach(&config.buckets);
        reach.into_iter().map(|(bucket, prefix)| format!("{bucket}:{prefix}")).collect()
    }

    #[test]
    fn n133_a_prefix_is_one_of_keys_or_names_a_bucket_first() {
        assert_eq!(reach("old/"), ["photos:old/", "tmp:old/"]);
        assert_eq!(reach("photos/old/"), ["photos:old/"]);
        assert_eq!(reach("photos"), ["photos:photos", "tmp:photos"]);
        assert_eq!(reach("tmp/"), ["tmp:"]);
        assert_eq!(reach(""), ["photos:", "tmp:"]);
    }
}
