//! Notes about a policy: what the policy itself cannot express.

use std::collections::BTreeSet;

use statefun_kinesis_spec::{EgressSpec, Module};
use statefun_kinesis_types::{AwsCredentials, StreamRef};

use crate::needs::{self, Need, Purpose};

/// The notes about the policies for these needs. `principals` is the number of policies.
pub(super) fn notes(module: &Module, needs: &[Need], principals: usize) -> Vec<String> {
    let mut notes = Vec::new();
    notes.extend(streams_without_arn(needs));
    if principals > 1 {
        notes.push(
            "the module uses several credentials: each entry of `principals` has the policy for one of them".to_owned(),
        );
    }
    notes.extend(trust_policies(needs));
    notes.extend(encryption(needs));
    notes.extend(needs::open_egresses(module).map(open_egress));
    notes
}

fn streams_without_arn(needs: &[Need]) -> Option<String> {
    let by_name: BTreeSet<String> = needs
        .iter()
        .filter(|need| matches!(need.stream, StreamRef::Name(_)))
        .map(|need| need.stream.to_string())
        .collect();
    let names = by_name.into_iter().collect::<Vec<_>>().join(", ");
    (!names.is_empty()).then(|| {
        format!(
            "the module names these streams without an ARN, so replace each `*` with the account, and with the region \
             where it is missing: {names}"
        )
    })
}

fn trust_policies(needs: &[Need]) -> impl Iterator<Item = String> {
    let uses = |is_meant: fn(&AwsCredentials) -> bool| needs.iter().any(|need| is_meant(&need.credentials));
    let web_identity = uses(|credentials| matches!(credentials, AwsCredentials::WebIdentity { .. })).then(|| {
        "the trust policy of a web identity role has to allow sts:AssumeRoleWithWebIdentity to its identity provider"
            .to_owned()
    });
    let assumed = uses(|credentials| matches!(credentials, AwsCredentials::AssumeRole { .. })).then(|| {
        "the trust policy of an assumed role has to name the credentials that assume it; attach to each role its own \
         policy"
            .to_owned()
    });
    web_identity.into_iter().chain(assumed)
}

fn encryption(needs: &[Need]) -> Option<String> {
    let writes = needs.iter().any(|need| matches!(need.purpose, Purpose::Write | Purpose::DeadLetter));
    let reads = needs.iter().any(|need| matches!(need.purpose, Purpose::Poll | Purpose::FanOut { .. }));
    let actions = match (reads, writes) {
        (true, true) => "kms:Decrypt to read, kms:GenerateDataKey to write",
        (true, false) => "kms:Decrypt",
        (false, true) => "kms:GenerateDataKey",
        (false, false) => return None,
    };
    Some(format!("a stream that is encrypted with a customer managed KMS key also needs, on that key: {actions}"))
}

fn open_egress(egress: &EgressSpec) -> String {
    let allowed = egress.stream_name.as_ref().map_or("the listed streams", |stream| stream.as_str());
    format!(
        "records of the egress {} may name any stream, but the policy allows only {allowed}: list the others in \
         `allowedStreams`",
        egress.id
    )
}
