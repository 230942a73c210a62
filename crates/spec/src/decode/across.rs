use std::collections::{HashMap, HashSet};

use statefun_kinesis_types::{FunctionType, TypeName};

use super::{Decoder, Placed, listed, lookalike::with_lookalike, suggest};
use crate::{
    Code, FunctionPattern, Severity,
    findings::{Finding, Place},
};

/// What documents say that concerns other documents, gathered while they are read.
///
/// It is gathered from broken documents as well: a wrong field must not hide that an id is there twice.
#[derive(Debug, Default)]
pub(super) struct Across {
    declared: HashMap<(&'static str, String), Place>,
    targets: Vec<Placed<FunctionType>>,
    endpoints: Vec<Placed<FunctionPattern>>,
    /// An endpoint whose functions could not be read may serve anything.
    has_unreadable_endpoint: bool,
    /// A document of another transport was left out.
    pub(super) has_skipped: bool,
}

impl Decoder<'_> {
    /// Remembers the id of an ingress or egress, and reports one that is there already.
    pub(super) fn declare(&mut self, what: &'static str, id: &Placed<TypeName>) {
        self.declare_once(what, id.value.as_str(), id);
    }

    fn declare_once<T>(&mut self, what: &'static str, name: &str, placed: &Placed<T>) {
        let place = placed.place;
        let first = *self.across.declared.entry((what, name.to_owned())).or_insert(place);
        if first != place {
            let message = format!("two {what} `{}`", placed.shown(name));
            let finding = Finding::error(Code::DuplicateId, place, message).label(first, "the first one is here");
            self.findings.push(finding);
        }
    }

    pub(super) fn target(&mut self, target: &Placed<FunctionType>) {
        self.across.targets.push(target.clone());
    }

    /// Remembers which functions an endpoint serves; `None` when that could not be read.
    pub(super) fn serves(&mut self, functions: Option<&Placed<FunctionPattern>>) {
        match functions {
            Some(functions) => {
                self.declare_once("endpoints for", &functions.value.to_string(), functions);
                self.across.endpoints.push(functions.clone());
            }
            None => self.across.has_unreadable_endpoint = true,
        }
    }

    /// Reports targets that no endpoint serves, if the module has endpoints. Without any, its functions are elsewhere.
    pub(super) fn check_targets(&mut self) {
        let Across { targets, endpoints, has_unreadable_endpoint, .. } = &self.across;
        if *has_unreadable_endpoint || endpoints.is_empty() {
            return;
        }
        // A few names for the help are enough, however many endpoints there are.
        const NAMED: usize = 5;
        let names: Vec<String> = endpoints
            .iter()
            .take(NAMED)
            .map(|endpoint| endpoint.shown(&endpoint.value.to_string()).to_owned())
            .collect();
        let more = if endpoints.len() > NAMED { ", among others" } else { "" };
        let served = format!("the endpoints serve {}{more}", listed(names.iter().map(String::as_str), "and"));
        let mut functions = HashSet::new();
        let mut namespaces = HashSet::new();
        for endpoint in endpoints {
            match &endpoint.value {
                FunctionPattern::Function(function) => functions.insert(function.as_str()),
                FunctionPattern::Namespace(namespace) => namespaces.insert(namespace.as_str()),
            };
        }
        for target in targets {
            if !functions.contains(target.value.as_str()) && !namespaces.contains(target.value.namespace()) {
                let message = format!("no endpoint serves `{}`", target.shown(target.value.as_str()));
                let is_kept = self.findings.keeps(Severity::Error);
                let meant = if is_kept { meant(target, endpoints) } else { None };
                let help = match meant {
                    Some(function) => format!("did you mean `{function}`? {served}"),
                    None => served.clone(),
                };
                self.findings.push(
                    Finding::error(Code::UnservedTarget, target.place, message)
                        .label(endpoints[0].place, "functions of an endpoint")
                        .help(with_lookalike(help, target.shown(target.value.as_str()))),
                );
            }
        }
    }

    /// Reports endpoints that no ingress sends to. While another endpoint gets messages, its functions may send on to
    /// them, which the module does not show.
    pub(super) fn check_reach(&mut self) {
        // After an error, or beside a transport that is not served, it may be what is missing that sends.
        if self.findings.has_errors() || self.across.has_skipped {
            return;
        }
        let Across { targets, endpoints, .. } = &self.across;
        let functions: HashSet<&str> = targets.iter().map(|target| target.value.as_str()).collect();
        let specific: HashSet<&str> = endpoints
            .iter()
            .filter_map(|endpoint| match &endpoint.value {
                FunctionPattern::Function(function) => Some(function.as_str()),
                FunctionPattern::Namespace(_) => None,
            })
            .collect();
        let namespaces: HashSet<&str> = targets
            .iter()
            .filter(|target| !specific.contains(target.value.as_str()))
            .map(|target| target.value.namespace())
            .collect();
        let is_reached = |endpoint: &Placed<FunctionPattern>| match &endpoint.value {
            FunctionPattern::Function(function) => functions.contains(function.as_str()),
            FunctionPattern::Namespace(namespace) => namespaces.contains(namespace.as_str()),
        };
        let any_is_reached = endpoints.iter().any(is_reached);
        let unreached: Vec<_> = endpoints.iter().filter(|endpoint| !is_reached(endpoint)).collect();
        for endpoint in unreached {
            let served = endpoint.value.to_string();
            let served = endpoint.shown(&served);
            self.findings.push(if any_is_reached {
                let message = format!("no ingress sends to `{served}`: only other functions can");
                Finding::note(Code::UnreachedEndpoint, endpoint.place, message)
            } else {
                let message =
                    format!("nothing sends to `{served}`: no ingress of the module has a target that is served");
                Finding::warning(Code::UnreachedEndpoint, endpoint.place, message)
            });
        }
    }
}

/// The function that a target was probably meant to be: one that an endpoint names, or the one of that name in the
/// namespace of an endpoint.
fn meant(target: &Placed<FunctionType>, endpoints: &[Placed<FunctionPattern>]) -> Option<String> {
    // The values of variables may be secrets; and a module has few endpoints, so that more of them are not compared.
    const COMPARED: usize = 100;
    if target.written.is_some() {
        return None;
    }
    let known = || endpoints.iter().take(COMPARED).filter(|endpoint| endpoint.written.is_none());
    let functions = known().filter_map(|endpoint| match &endpoint.value {
        FunctionPattern::Function(function) => Some(function.as_str()),
        FunctionPattern::Namespace(_) => None,
    });
    let namespaces = known().filter_map(|endpoint| match &endpoint.value {
        FunctionPattern::Function(_) => None,
        FunctionPattern::Namespace(namespace) => Some(namespace.as_str()),
    });
    let function = suggest::nearest(target.value.as_str(), functions).map(str::to_owned);
    function.or_else(|| {
        let namespace = suggest::nearest(target.value.namespace(), namespaces)?;
        Some(format!("{namespace}/{}", target.value.name()))
    })
}
