use std::fmt;

use statefun_kinesis_types::FunctionType;

use crate::{EgressSpec, EndpointSpec, IngressSpec};

/// What the documents of a module file declare, checked one by one and against each other.
///
/// Ids are unique among the ingresses and among the egresses, and no two routes of an ingress share a stream.
///
/// What variables of the file stand for may be secret, so `Debug` prints only how many of each there are.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Module {
    /// Where records come from, in file order.
    pub ingresses: Vec<IngressSpec>,
    /// Where records go to, in file order.
    pub egresses: Vec<EgressSpec>,
    /// Which remote functions are served where, in file order.
    pub endpoints: Vec<EndpointSpec>,
}

impl Module {
    /// The endpoint that serves a function: the one that names it, else the one that names its namespace.
    pub fn endpoint_for(&self, function: &FunctionType) -> Option<&EndpointSpec> {
        let serving = || self.endpoints.iter().filter(|endpoint| endpoint.functions.matches(function));
        serving().find(|endpoint| endpoint.functions.is_specific()).or_else(|| serving().next())
    }
}

impl fmt::Debug for Module {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Module")
            .field("ingresses", &self.ingresses.len())
            .field("egresses", &self.egresses.len())
            .field("endpoints", &self.endpoints.len())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_endpoint_that_names_a_function_wins_over_the_one_of_its_namespace() {
        let endpoint =
            |functions: &str| EndpointSpec::new(functions.parse().unwrap(), "http://localhost/".parse().unwrap());
        let module = Module { endpoints: vec![endpoint("a/*"), endpoint("a/one")], ..Module::default() };
        for (function, served) in [("a/one", Some("a/one")), ("a/two", Some("a/*")), ("b/one", None)] {
            let found = module.endpoint_for(&function.parse().unwrap()).map(|endpoint| endpoint.functions.to_string());
            assert_eq!(found.as_deref(), served, "{function}");
        }
    }
}
