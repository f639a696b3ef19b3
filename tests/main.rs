//! End-to-end tests: the real binary over real files.

mod abtest;
mod annotate;
mod baselines;
mod cleaner;
mod cli;
mod disk;
mod erase;
mod faults;
mod freshness;
mod hostile;
mod impressions;
mod layouts;
mod newcomers;
mod news;
mod notebooks;
mod policy;
mod reward;
mod simulation;
mod support;
mod training;
