use std::fmt;

use statefun_kinesis_types::FunctionType;

use crate::{EgressSpec, EndpointSpec, IngressSpec};

/// The declarations of a module file, checked on their own and against each other.
///
/// Ids are unique among the ingresses and among the egresses, and no two routes of an ingress have the same stream.
///
/// Values of variables in the file may be secret, so `Debug` prints only the number of ingresses, egresses and
/// endpoints.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Module {
    /// The ingresses, in file order.
    pub ingresses: Vec<IngressSpec>,
    /// The egresses, in file order.
    pub egresses: Vec<EgressSpec>,
    /// The endpoints of remote functions, in file order.
    pub endpoints: Vec<EndpointSpec>,
}

impl Module {
    /// Returns the endpoint of a function: the one that names the function, or else one that names its namespace.
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
