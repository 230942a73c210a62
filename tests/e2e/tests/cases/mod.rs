//! One file for each thing that is tried, from the wire upwards.

mod admin;
mod aggregation;
mod chaos;
mod check_live;
mod conformance;
mod counter;
mod custom_endpoint;
mod dead_letters;
mod endpoints;
mod exactly_once;
mod fan_out;
mod flow;
mod full_disk;
mod functions;
mod invalid_records;
mod large_state;
mod log;
mod memory;
mod orders;
mod outage;
mod recovery;
mod refusals;
mod regions;
mod reshard;
mod signals;
mod soak;
mod startup;
mod template;
mod transport;
mod vault;
mod wire;

use statefun_kinesis_e2e::Suite;

/// Adds every case there is.
pub(crate) fn add_all(suite: &mut Suite) {
    if suite.environment().besides.is_some() {
        // As below, the longest first.
        chaos::add(suite);
        soak::add(suite);
        fan_out::add(suite);
        recovery::add_by_fan_out(suite);
        reshard::add_by_fan_out(suite);
        large_state::add(suite);
        memory::add(suite);
        conformance::add(suite);
        return;
    }
    if !conformance::capabilities(&suite.environment().backend).streams_by_arn {
        suite.without_program("for a backend with `streams_by_arn`: the program names streams by ARN");
    }
    // These take longest, and mostly wait: the others run beside them.
    chaos::add(suite);
    soak::add(suite);
    exactly_once::add(suite);
    recovery::add(suite);
    full_disk::add(suite);
    wire::add(suite);
    transport::add(suite);
    conformance::add(suite);
    orders::add(suite);
    log::add(suite);
    startup::add(suite);
    custom_endpoint::add(suite);
    regions::add(suite);
    reshard::add(suite);
    refusals::add(suite);
    check_live::add(suite);
    endpoints::add(suite);
    admin::add(suite);
    signals::add(suite);
    outage::add(suite);
    fan_out::add(suite);
    dead_letters::add(suite);
    invalid_records::add(suite);
    aggregation::add(suite);
    counter::add(suite);
    large_state::add(suite);
    memory::add(suite);
}
