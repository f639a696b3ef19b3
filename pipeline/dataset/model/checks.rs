//! What is checked: setups in which nothing goes wrong, and for each rule what goes wrong without it.

use std::time::Instant;

use stateright::{Checker, HasDiscoveries, Model, Path};

use super::{Action, Flaw, LOST_TO_ANOTHER, ONE_RUN, REPORTED, Setup, WHOLE, World};

const RIVALS: Setup = Setup {
    flaw: Flaw::None,
    fingerprints: [1, 2],
    starts: [2, 1],
    outputs: 1,
    begun: true,
    store: false,
    sweeps: 1,
    reads: 1,
    power_losses: 0,
};
const TWINS: Setup = Setup { fingerprints: [1, 1], ..RIVALS };

/// The steps to a discovery, one a line.
fn trace(path: Path<World, Action>) -> String {
    let line = |(w, action): (World, Option<Action>)| match action? {
        Action::Writer(who) => {
            Some(format!("writer {who}, process {}: {:?}\n", w.writers[who].process, w.writers[who].at))
        }
        Action::Gc => Some(format!("gc: {:?}\n", w.gc.at)),
        Action::Reader => Some(format!("reader: {:?}\n", w.reader.at)),
        other => Some(format!("{other:?}\n")),
    };
    path.into_vec().into_iter().filter_map(line).collect()
}

/// Tries every order of a setup's steps: nothing goes wrong, and all that may happen does.
#[expect(clippy::print_stderr, reason = "the size of what was searched, for `cargo test -- --nocapture`")]
fn holds(name: &str, setup: Setup) {
    let began = Instant::now();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let checker = setup.checker().threads(threads).spawn_bfs().join();
    let (states, depth) = (checker.unique_state_count(), checker.max_depth());
    eprintln!("{name}: {states} states, {depth} steps deep, {:.1?}", began.elapsed());
    let mut discoveries = checker.discoveries();
    for property in checker.model().properties() {
        let discovery = discoveries.remove(property.name);
        if property.expectation.discovery_is_failure() {
            assert!(discovery.is_none(), "{name}: not so: {}\n{}", property.name, discovery.map(trace).unwrap());
        } else {
            assert!(discovery.is_some(), "{name}: never: {}", property.name);
        }
    }
}

/// The first thing that goes wrong without a rule, and the steps to it.
fn goes_wrong(setup: Setup) -> Option<(&'static str, String)> {
    let checker = setup.checker().finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    let is_failure = |name| checker.model().property(name).expectation.discovery_is_failure();
    let found = checker.discoveries().into_iter().filter(|(name, _)| is_failure(name));
    found.map(|(name, path)| (name, trace(path))).min_by_key(|(_, steps)| steps.lines().count())
}

#[test]
fn every_order_of_steps_is_safe() {
    holds("rivals", RIVALS);
    holds("twins", TWINS);
    holds("a first version", Setup { begun: false, reads: 0, ..RIVALS });
    holds("an object store", Setup { store: true, reads: 0, ..RIVALS });
    holds("two outputs", Setup { outputs: 2, reads: 0, ..RIVALS });
}

#[test]
fn every_power_loss_is_safe() {
    holds("rivals", Setup { power_losses: 1, reads: 0, ..RIVALS });
    holds("twins", Setup { power_losses: 1, reads: 0, ..TWINS });
}

#[test]
#[ignore = "minutes: run it when the protocol changes"]
fn more_of_everything_is_safe() {
    holds("a first version", Setup { begun: false, ..RIVALS });
    holds("a first version of twins", Setup { begun: false, ..TWINS });
    holds("an object store", Setup { store: true, ..RIVALS });
    holds("an object store, twins", Setup { store: true, ..TWINS });
    holds("gc twice", Setup { sweeps: 2, reads: 0, ..RIVALS });
    holds("two outputs, twins", Setup { outputs: 2, reads: 0, ..TWINS });
    holds("two outputs, power loss", Setup { outputs: 2, power_losses: 1, reads: 0, ..RIVALS });
    holds("two power losses", Setup { power_losses: 2, reads: 0, ..RIVALS });
    holds("two power losses, twins", Setup { power_losses: 2, reads: 0, ..TWINS });
    holds("four starts", Setup { starts: [2, 2], reads: 0, ..RIVALS });
    holds("four starts of twins", Setup { starts: [2, 2], reads: 0, ..TWINS });
}

#[test]
fn no_rule_can_be_left_out() {
    let power = Setup { power_losses: 1, reads: 0, ..RIVALS };
    let power_twins = Setup { power_losses: 1, reads: 0, ..TWINS };
    let outputs = Setup { outputs: 2, reads: 0, ..RIVALS };
    let store = Setup { store: true, reads: 0, ..RIVALS };
    for (flaw, setup, expected) in [
        (Flaw::PromoteLate, RIVALS, WHOLE),
        (Flaw::NoFence, RIVALS, LOST_TO_ANOTHER),
        (Flaw::NoFence, store, WHOLE),
        (Flaw::FencesByHead, RIVALS, LOST_TO_ANOTHER),
        (Flaw::NoBase, RIVALS, LOST_TO_ANOTHER),
        (Flaw::NoBase, store, WHOLE),
        (Flaw::ReuseUnnamed, TWINS, WHOLE),
        (Flaw::EntryFirst, RIVALS, WHOLE),
        (Flaw::BytesUnsynced, power, WHOLE),
        (Flaw::SyncsOwnBytes, power, WHOLE),
        (Flaw::SyncsBytesLate, power, WHOLE),
        (Flaw::ResumesUnchecked, power, WHOLE),
        (Flaw::AdoptsUnchecked, power, WHOLE),
        (Flaw::YieldsUnchecked, power_twins, WHOLE),
        (Flaw::PartsUnsynced, power, WHOLE),
        (Flaw::SyncsOwnOnly, power_twins, WHOLE),
        (Flaw::EntryUnsynced, power, REPORTED),
        (Flaw::DeletesUnsynced, power, WHOLE),
        (Flaw::TrustsTwin, power_twins, REPORTED),
        (Flaw::RetryIsLoss, RIVALS, WHOLE),
        (Flaw::PlacesByOutput, outputs, LOST_TO_ANOTHER),
        (Flaw::NoSettle, outputs, ONE_RUN),
        (Flaw::SkipsSame, outputs, ONE_RUN),
    ] {
        let (found, steps) = goes_wrong(Setup { flaw, ..setup }).unwrap_or_else(|| panic!("{flaw:?} is harmless"));
        assert_eq!(found, expected, "{flaw:?} does something else:\n{steps}");
    }
}
