//! End-to-end tests: the real binary over real files.

mod cli;
mod disk;
mod faults;
mod notebooks;
mod simulation;
mod support;
