//! The ingresses of a module, split by region and account, because a client calls only one region.

use std::{collections::BTreeSet, sync::Arc};

use statefun_kinesis_client::KinesisClient;
use statefun_kinesis_consumer::Settings;
use statefun_kinesis_router::Ingress;
use statefun_kinesis_spec::{IngressSpec, Module};
use statefun_kinesis_types::{InvalidRecordHandling, StreamArn};

use crate::{ExitCode, backend::Backend, clients::StreamClient, failure::Failure};

/// The streams of one ingress in one region and account, with the client that reads them.
#[derive(Debug)]
pub(crate) struct RegionalIngress {
    pub(crate) spec: IngressSpec,
    pub(crate) client: Arc<dyn StreamClient>,
    /// The client for dead letters, if they go to another region or account.
    dead_letters: Option<Arc<dyn KinesisClient>>,
}

impl RegionalIngress {
    /// All parts of a module's ingresses, in the order of the module.
    pub(crate) async fn all_of(module: &Module, backend: &Backend) -> Result<Vec<Self>, Failure> {
        let mut parts = Vec::new();
        for ingress in &module.ingresses {
            for spec in by_place(ingress) {
                let place = spec.streams.iter().find_map(|route| route.stream.arn());
                let client = backend.ingress_client(&spec, place).await?;
                let dead_letters = match elsewhere(&spec, place)? {
                    Some(other) => Some(backend.ingress_client(&spec, Some(&other)).await? as Arc<dyn KinesisClient>),
                    None => None,
                };
                parts.push(Self { spec, client, dead_letters });
            }
        }
        Ok(parts)
    }

    /// The ingress for the router.
    pub(crate) fn ingress(&self, settings: Settings) -> Ingress {
        let mut ingress = Ingress::new(self.spec.clone(), Arc::clone(&self.client) as Arc<_>)
            .fan_out(Arc::clone(&self.client) as Arc<_>)
            .settings(settings);
        if let Some(client) = &self.dead_letters {
            ingress = ingress.dead_letters(Arc::clone(client));
        }
        ingress
    }
}

/// Splits an ingress by the region and account of its streams. Streams without an ARN are in the ingress' own region.
fn by_place(ingress: &IngressSpec) -> Vec<IngressSpec> {
    let mut places: Vec<(_, IngressSpec)> = Vec::new();
    for route in &ingress.streams {
        let here = route.stream.arn().map(place_of);
        match places.iter_mut().find(|(there, _)| *there == here) {
            Some((_, spec)) => spec.streams.push(route.clone()),
            None => {
                let mut spec = ingress.clone();
                spec.streams = vec![route.clone()];
                places.push((here, spec));
            }
        }
    }
    places.into_iter().map(|(_, spec)| spec).collect()
}

fn place_of(arn: &StreamArn) -> (&str, &str) {
    (arn.region(), arn.account())
}

/// A dead-letter stream in another region or account than the streams of the ingress.
fn elsewhere(spec: &IngressSpec, place: Option<&StreamArn>) -> Result<Option<StreamArn>, Failure> {
    let targets: BTreeSet<&StreamArn> = spec
        .streams
        .iter()
        .filter_map(|route| match spec.invalid_records_of(route) {
            InvalidRecordHandling::DeadLetter { stream, .. } => stream.arn(),
            InvalidRecordHandling::Fail | InvalidRecordHandling::Skip { .. } => None,
        })
        .collect();
    let places: BTreeSet<_> = targets.iter().map(|arn| place_of(arn)).collect();
    match (places.len(), targets.first()) {
        (1, Some(target)) if place.map(place_of) != Some(place_of(target)) => Ok(Some((*target).clone())),
        (0 | 1, _) => Ok(None),
        _ => Err(Failure::new(
            ExitCode::InvalidModule,
            format!("the dead-letter streams of ingress {} are in several regions or accounts", spec.id),
        )
        .hint("use dead-letter streams of one region and account, or split the ingress")),
    }
}

#[cfg(test)]
mod tests {
    use statefun_kinesis_spec::StreamRoute;
    use statefun_kinesis_types::{LogLevel, StreamRef};

    use super::*;

    fn ingress(streams: &[&str]) -> IngressSpec {
        let route = |stream: &&str| {
            let stream: StreamRef = stream.parse().unwrap();
            StreamRoute::new(stream, "a/b".parse().unwrap(), vec!["a/b".parse().unwrap()])
        };
        IngressSpec::new("example/orders".parse().unwrap(), streams.iter().map(route).collect())
    }

    const US: &str = "arn:aws:kinesis:us-east-1:123456789012:stream/one";
    const EU: &str = "arn:aws:kinesis:eu-west-1:123456789012:stream/two";
    const OTHER: &str = "arn:aws:kinesis:us-east-1:210987654321:stream/three";

    #[test]
    fn an_ingress_is_read_once_for_each_region_and_account() {
        let parts = by_place(&ingress(&[US, "four", EU, OTHER, "five"]));
        let names: Vec<Vec<String>> = parts
            .iter()
            .map(|part| part.streams.iter().map(|route| route.stream.name().to_string()).collect())
            .collect();
        assert_eq!(names, [vec!["one"], vec!["four", "five"], vec!["two"], vec!["three"]]);
    }

    #[test]
    fn dead_letters_may_go_to_one_other_place() {
        let mut spec = ingress(&[US]);
        let place: StreamArn = US.parse().unwrap();
        let mut check = |target: &str, expected: Option<&str>| {
            let stream = target.parse().unwrap();
            spec.invalid_records = InvalidRecordHandling::DeadLetter { stream, log: LogLevel::Warn };
            let found = elsewhere(&spec, Some(&place)).unwrap();
            assert_eq!(found.as_ref().map(StreamArn::as_str), expected, "{target}");
        };
        check("beside", None);
        check(&US.replace("one", "dead"), None);
        check(EU, Some(EU));
        check(OTHER, Some(OTHER));

        let mut both = ingress(&[US, OTHER]);
        for (route, target) in both.streams.iter_mut().zip([US, EU]) {
            let stream = target.parse().unwrap();
            route.invalid_records = Some(InvalidRecordHandling::DeadLetter { stream, log: LogLevel::Warn });
        }
        assert!(elsewhere(&both, Some(&place)).unwrap_err().to_string().contains("several regions"));
    }
}
