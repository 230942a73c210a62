use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use bytes::Bytes;
use md5::{Digest, Md5};
use statefun_kinesis_types::{FunctionType, StreamArn, StreamRef, TypeName};

use crate::{
    Commit, Error, ErrorKind, Result, Store, StoreExt, Table, key,
    wire::{Reader, Writer},
};

/// The name in [`Table::Meta`].
const NAME: &str = "module";

/// What of a module its state depends on: kept in the store, to tell when a store is opened with another module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModuleRecord {
    /// Each ingress with its streams.
    pub ingresses: BTreeMap<TypeName, BTreeMap<StreamArn, StreamRecord>>,
    /// Each egress with the stream that it writes to, when it names one.
    pub egresses: BTreeMap<TypeName, Option<StreamRef>>,
}

/// What a [`ModuleRecord`] says about a stream of an ingress.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamRecord {
    /// The type that its records' values have.
    pub value_type: TypeName,
    /// The functions that get a message per record. Their order counts.
    pub targets: Vec<FunctionType>,
}

/// A difference between the module that a store was written with and the one that it is to go on with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ModuleChange {
    /// An ingress is new. Its streams start at their startup position.
    IngressAdded {
        /// The ingress.
        ingress: TypeName,
    },
    /// An ingress was removed: what its streams hold behind their positions is not read.
    IngressRemoved {
        /// The ingress.
        ingress: TypeName,
    },
    /// A stream of an ingress is new. It starts at the startup position.
    StreamAdded {
        /// The ingress.
        ingress: TypeName,
        /// The stream.
        stream: StreamArn,
    },
    /// A stream of an ingress was removed: what it holds behind its position is not read.
    StreamRemoved {
        /// The ingress.
        ingress: TypeName,
        /// The stream.
        stream: StreamArn,
    },
    /// Records of a stream go to other functions, or in another order: those that were read already do not.
    TargetsChanged {
        /// The ingress.
        ingress: TypeName,
        /// The stream.
        stream: StreamArn,
        /// Targets before.
        before: Vec<FunctionType>,
        /// Targets now.
        now: Vec<FunctionType>,
    },
    /// Records of a stream have values of another type: those that were read already and wait in mailboxes do not.
    ValueTypeChanged {
        /// The ingress.
        ingress: TypeName,
        /// The stream.
        stream: StreamArn,
        /// The type before.
        before: TypeName,
        /// The type now.
        now: TypeName,
    },
    /// An egress is new.
    EgressAdded {
        /// The egress.
        egress: TypeName,
    },
    /// An egress is gone: records that it had not stored yet, and those that functions still send to it, have nowhere
    /// to go.
    EgressRemoved {
        /// The egress.
        egress: TypeName,
    },
    /// An egress writes to another stream: also the records that it had not stored yet.
    EgressStreamChanged {
        /// The egress.
        egress: TypeName,
        /// The stream before.
        before: Option<StreamRef>,
        /// The stream now.
        now: Option<StreamRef>,
    },
}

/// A kind of [`ModuleChange`] that is refused unless somebody allows it, because records or effects may be lost by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Allow {
    /// [`ModuleChange::IngressRemoved`].
    RemovedIngress,
    /// [`ModuleChange::StreamRemoved`].
    RemovedStream,
    /// [`ModuleChange::TargetsChanged`].
    ChangedTargets,
    /// [`ModuleChange::ValueTypeChanged`].
    ChangedValueType,
    /// [`ModuleChange::EgressRemoved`].
    RemovedEgress,
    /// [`ModuleChange::EgressStreamChanged`].
    ChangedEgressStream,
}

impl Allow {
    /// Every kind.
    pub const ALL: [Self; 6] = [
        Self::RemovedIngress,
        Self::RemovedStream,
        Self::ChangedTargets,
        Self::ChangedValueType,
        Self::RemovedEgress,
        Self::ChangedEgressStream,
    ];

    /// The switch of the command line that allows it, without the dashes.
    pub const fn switch(self) -> &'static str {
        match self {
            Self::RemovedIngress => "allow-removed-ingress",
            Self::RemovedStream => "allow-removed-stream",
            Self::ChangedTargets => "allow-changed-targets",
            Self::ChangedValueType => "allow-changed-value-type",
            Self::RemovedEgress => "allow-removed-egress",
            Self::ChangedEgressStream => "allow-changed-egress-stream",
        }
    }
}

impl ModuleChange {
    /// What has to be allowed for the store to go on; none for a change that loses nothing.
    pub const fn needs(&self) -> Option<Allow> {
        match self {
            Self::IngressAdded { .. } | Self::StreamAdded { .. } | Self::EgressAdded { .. } => None,
            Self::IngressRemoved { .. } => Some(Allow::RemovedIngress),
            Self::StreamRemoved { .. } => Some(Allow::RemovedStream),
            Self::TargetsChanged { .. } => Some(Allow::ChangedTargets),
            Self::ValueTypeChanged { .. } => Some(Allow::ChangedValueType),
            Self::EgressRemoved { .. } => Some(Allow::RemovedEgress),
            Self::EgressStreamChanged { .. } => Some(Allow::ChangedEgressStream),
        }
    }
}

impl fmt::Display for ModuleChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::IngressAdded { ingress } => write!(f, "the ingress `{ingress}` is new"),
            Self::IngressRemoved { ingress } => write!(f, "the ingress `{ingress}` is gone"),
            Self::StreamAdded { ingress, stream } => write!(f, "the stream {stream} of the ingress `{ingress}` is new"),
            Self::StreamRemoved { ingress, stream } => {
                write!(f, "the stream {stream} of the ingress `{ingress}` is gone")
            }
            Self::TargetsChanged { stream, before, now, .. } => {
                let names = |targets: &[FunctionType]| {
                    targets.iter().map(|target| format!("`{target}`")).collect::<Vec<_>>().join(", ")
                };
                write!(f, "the targets of {stream} were {} and are {}", names(before), names(now))
            }
            Self::ValueTypeChanged { stream, before, now, .. } => {
                write!(f, "the value type of {stream} was `{before}` and is `{now}`")
            }
            Self::EgressAdded { egress } => write!(f, "the egress `{egress}` is new"),
            Self::EgressRemoved { egress } => write!(f, "the egress `{egress}` is gone"),
            Self::EgressStreamChanged { egress, before, now } => {
                let name = |stream: &Option<StreamRef>| {
                    stream.as_ref().map_or_else(|| "none of its own".to_owned(), |stream| format!("`{stream}`"))
                };
                write!(f, "the stream of the egress `{egress}` was {} and is {}", name(before), name(now))
            }
        }
    }
}

impl ModuleRecord {
    /// What is different in this module from the one before, ingresses first.
    ///
    /// ```
    /// use statefun_kinesis_store::{Allow, ModuleRecord};
    ///
    /// let mut before = ModuleRecord::default();
    /// before.ingresses.insert("example/orders".parse()?, Default::default());
    /// let changes = ModuleRecord::default().changes_since(&before);
    /// assert_eq!(changes[0].to_string(), "the ingress `example/orders` is gone");
    /// assert_eq!(changes[0].needs().map(Allow::switch), Some("allow-removed-ingress"));
    /// # Ok::<(), statefun_kinesis_types::InvalidValue>(())
    /// ```
    pub fn changes_since(&self, before: &Self) -> Vec<ModuleChange> {
        let mut changes = Vec::new();
        for ingress in union(&before.ingresses, &self.ingresses) {
            match (before.ingresses.get(&ingress), self.ingresses.get(&ingress)) {
                (Some(_), None) => changes.push(ModuleChange::IngressRemoved { ingress }),
                (Some(before), Some(now)) => streams_changed(&ingress, before, now, &mut changes),
                _ => changes.push(ModuleChange::IngressAdded { ingress }),
            }
        }
        for egress in union(&before.egresses, &self.egresses) {
            match (before.egresses.get(&egress), self.egresses.get(&egress)) {
                (Some(_), None) => changes.push(ModuleChange::EgressRemoved { egress }),
                (Some(before), Some(now)) if before != now => {
                    let (before, now) = (before.clone(), now.clone());
                    changes.push(ModuleChange::EgressStreamChanged { egress, before, now });
                }
                (Some(_), Some(_)) => {}
                _ => changes.push(ModuleChange::EgressAdded { egress }),
            }
        }
        changes
    }

    /// A short name that is the same for two modules when nothing in these records differs: 32 hexadecimal digits.
    pub fn fingerprint(&self) -> String {
        let digest: [u8; 16] = Md5::digest(self.encode()).into();
        format!("{:032x}", u128::from_be_bytes(digest))
    }

    /// Reads what the module was at the last commit that put it; none in a new store.
    ///
    /// # Errors
    ///
    /// When the store cannot be read, or holds something else: [`ErrorKind::Damaged`].
    pub async fn load(store: &(impl Store + ?Sized)) -> Result<Option<Self>> {
        let Some(value) = store.get_one(Table::Meta, key::meta(NAME)).await? else { return Ok(None) };
        let record = Self::decode(&value);
        record.map(Some).ok_or_else(|| Error::new(ErrorKind::Damaged, "what the module was cannot be read"))
    }

    /// Puts what the module is. The first commit of a run does it.
    pub fn put(&self, commit: &mut Commit) {
        commit.put(Table::Meta, key::meta(NAME), self.encode());
    }

    fn encode(&self) -> Bytes {
        let mut writer = Writer::default();
        writer.count(self.ingresses.len());
        for (ingress, streams) in &self.ingresses {
            writer.text(ingress.as_str()).count(streams.len());
            for (stream, record) in streams {
                writer.text(stream.as_str()).text(record.value_type.as_str()).count(record.targets.len());
                for target in &record.targets {
                    writer.text(target.as_str());
                }
            }
        }
        writer.count(self.egresses.len());
        for (egress, stream) in &self.egresses {
            let stream = stream.as_ref().map(ToString::to_string).unwrap_or_default();
            writer.text(egress.as_str()).text(&stream);
        }
        writer.finish()
    }

    fn decode(value: &[u8]) -> Option<Self> {
        let mut reader = Reader(value);
        let mut record = Self::default();
        for _ in 0..reader.count()? {
            let ingress = reader.text()?.parse().ok()?;
            let mut streams = BTreeMap::new();
            for _ in 0..reader.count()? {
                let stream = reader.text()?.parse().ok()?;
                let value_type = reader.text()?.parse().ok()?;
                let mut targets = Vec::new();
                for _ in 0..reader.count()? {
                    targets.push(reader.text()?.parse().ok()?);
                }
                streams.insert(stream, StreamRecord { value_type, targets });
            }
            record.ingresses.insert(ingress, streams);
        }
        for _ in 0..reader.count()? {
            let egress = reader.text()?.parse().ok()?;
            let stream = reader.text()?;
            let stream = if stream.is_empty() { None } else { Some(stream.parse().ok()?) };
            record.egresses.insert(egress, stream);
        }
        reader.0.is_empty().then_some(record)
    }
}

fn streams_changed(
    ingress: &TypeName,
    before: &BTreeMap<StreamArn, StreamRecord>,
    now: &BTreeMap<StreamArn, StreamRecord>,
    changes: &mut Vec<ModuleChange>,
) {
    for stream in union(before, now) {
        let ingress = ingress.clone();
        let (before, now) = match (before.get(&stream), now.get(&stream)) {
            (Some(before), Some(now)) => (before, now),
            (Some(_), None) => {
                changes.push(ModuleChange::StreamRemoved { ingress, stream });
                continue;
            }
            _ => {
                changes.push(ModuleChange::StreamAdded { ingress, stream });
                continue;
            }
        };
        if before.targets != now.targets {
            let (ingress, stream) = (ingress.clone(), stream.clone());
            let (before, now) = (before.targets.clone(), now.targets.clone());
            changes.push(ModuleChange::TargetsChanged { ingress, stream, before, now });
        }
        if before.value_type != now.value_type {
            let (before, now) = (before.value_type.clone(), now.value_type.clone());
            changes.push(ModuleChange::ValueTypeChanged { ingress, stream, before, now });
        }
    }
}

fn union<K: Clone + Ord, V>(a: &BTreeMap<K, V>, b: &BTreeMap<K, V>) -> BTreeSet<K> {
    a.keys().chain(b.keys()).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MemoryStore;

    fn name(text: &str) -> TypeName {
        text.parse().unwrap()
    }

    fn arn(stream: &str) -> StreamArn {
        format!("arn:aws:kinesis:us-east-1:123456789012:stream/{stream}").parse().unwrap()
    }

    fn module() -> ModuleRecord {
        let stream = |targets: &[&str]| StreamRecord {
            value_type: name("t/V"),
            targets: targets.iter().map(|target| name(target)).collect(),
        };
        let streams = [(arn("orders"), stream(&["f/a", "f/b"])), (arn("users"), stream(&["f/c"]))];
        ModuleRecord {
            ingresses: [(name("i/orders"), streams.into()), (name("i/empty"), BTreeMap::new())].into(),
            egresses: [(name("e/out"), Some("out".parse().unwrap())), (name("e/none"), None)].into(),
        }
    }

    #[track_caller]
    fn check(change: impl FnOnce(&mut ModuleRecord), expect: &[(&str, Option<Allow>)]) {
        let before = module();
        let mut now = before.clone();
        change(&mut now);
        let changes = now.changes_since(&before);
        let found: Vec<_> = changes.iter().map(|change| (change.to_string(), change.needs())).collect();
        let expect: Vec<_> = expect.iter().map(|(text, needs)| ((*text).to_owned(), *needs)).collect();
        assert_eq!(found, expect);
        assert_eq!(before.fingerprint() == now.fingerprint(), expect.is_empty());
    }

    fn orders(module: &mut ModuleRecord) -> &mut BTreeMap<StreamArn, StreamRecord> {
        module.ingresses.get_mut(&name("i/orders")).unwrap()
    }

    #[test]
    fn every_rejected_change_is_reported_with_its_switch() {
        check(|_| {}, &[]);
        check(
            |now| drop(now.ingresses.remove(&name("i/orders"))),
            &[("the ingress `i/orders` is gone", Some(Allow::RemovedIngress))],
        );
        check(
            |now| drop(now.ingresses.insert(name("i/more"), BTreeMap::new())),
            &[("the ingress `i/more` is new", None)],
        );
        check(
            |now| {
                let users = orders(now).remove(&arn("users")).unwrap();
                orders(now).insert(arn("people"), users);
            },
            &[
                (
                    "the stream arn:aws:kinesis:us-east-1:123456789012:stream/people of the ingress `i/orders` is new",
                    None,
                ),
                (
                    "the stream arn:aws:kinesis:us-east-1:123456789012:stream/users of the ingress `i/orders` is gone",
                    Some(Allow::RemovedStream),
                ),
            ],
        );
        check(
            |now| orders(now).get_mut(&arn("orders")).unwrap().targets.reverse(),
            &[(
                "the targets of arn:aws:kinesis:us-east-1:123456789012:stream/orders were `f/a`, `f/b` and are `f/b`, `f/a`",
                Some(Allow::ChangedTargets),
            )],
        );
        check(
            |now| orders(now).get_mut(&arn("orders")).unwrap().value_type = name("t/W"),
            &[(
                "the value type of arn:aws:kinesis:us-east-1:123456789012:stream/orders was `t/V` and is `t/W`",
                Some(Allow::ChangedValueType),
            )],
        );
        check(
            |now| drop(now.egresses.remove(&name("e/out"))),
            &[("the egress `e/out` is gone", Some(Allow::RemovedEgress))],
        );
        check(|now| drop(now.egresses.insert(name("e/x"), None)), &[("the egress `e/x` is new", None)]);
        check(
            |now| drop(now.egresses.insert(name("e/out"), None)),
            &[("the stream of the egress `e/out` was `out` and is none of its own", Some(Allow::ChangedEgressStream))],
        );
    }

    #[test]
    fn switches_differ() {
        let switches: BTreeSet<_> = Allow::ALL.map(Allow::switch).into();
        assert_eq!(switches.len(), Allow::ALL.len());
        assert!(switches.iter().all(|switch| switch.starts_with("allow-")));
    }

    #[tokio::test]
    async fn a_store_knows_its_module() {
        let store = MemoryStore::new();
        assert_eq!(ModuleRecord::load(&store).await.unwrap(), None);
        let mut commit = Commit::new();
        module().put(&mut commit);
        store.commit(commit).await.unwrap();
        assert_eq!(ModuleRecord::load(&store).await.unwrap(), Some(module()));

        // A record that is cut short, or goes on, is none.
        let whole = module().encode();
        for wrong in (0..whole.len()).map(|end| whole.slice(..end)).chain([[&whole[..], &[0]].concat().into()]) {
            let mut commit = Commit::new();
            commit.put(Table::Meta, key::meta(NAME), wrong);
            store.commit(commit).await.unwrap();
            assert_eq!(ModuleRecord::load(&store).await.unwrap_err().kind(), ErrorKind::Damaged);
        }
    }

    /// The encoding is on disks: it may not change.
    #[test]
    fn the_fingerprint_stays_as_it_is() {
        assert_eq!(ModuleRecord::default().fingerprint(), "7dea362b3fac8e00956a4952a3d4f474");
    }
}
