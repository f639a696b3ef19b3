//! The intake as the three stages see it, partition by partition.

use std::collections::BTreeMap;

use dataset::plan::Digest;
use dataset::{Account, InputRef, RawFile, Result, Rows, Source};

use super::articles::{PARTS, Versions};
use super::intake::{Intake, booked};
use super::quarantine::Entries;
use super::settle::Bucket;

pub(super) struct ArticleSource<'a>(pub(super) &'a Intake<'a>);

impl Source for ArticleSource<'_> {
    type Rows = Versions;

    fn partitions(&self) -> u32 {
        PARTS
    }

    fn inputs(&self) -> BTreeMap<String, InputRef> {
        self.0.inputs()
    }

    fn raw_files(&self) -> Vec<RawFile> {
        self.0.raw_files(&self.0.articles)
    }

    fn carries(&self, _: &str) -> Option<u64> {
        self.0.carried.as_ref().map(|carried| carried.news.snapshot().manifest.version)
    }

    fn key(&self, _: u32) -> Digest {
        self.0.files.clone()
    }

    fn memory_bytes(&self, part: u32) -> u64 {
        self.0.articles.get().into_iter().flatten().map(|(_, spill)| spill.memory_bytes(part)).sum()
    }

    fn user_key_check(&self) -> Option<&str> {
        None
    }

    fn prepare(&self) -> Result<()> {
        self.0.articles().map(|_| ())
    }

    fn read(&self, part: u32) -> Result<Versions> {
        let spills = self.0.articles()?;
        let mut spilled = Vec::new();
        for (_, spill) in spills {
            spilled.extend(spill.read(part)?);
        }
        let booked = if part == 0 { booked(spills) } else { Account::default() };
        let carried = match &self.0.carried {
            Some(carried) => carried.news.read(part)?,
            None => Rows::empty(),
        };
        Ok(Versions { spilled, carried, booked })
    }
}

pub(super) struct QuarantineSource<'a>(pub(super) &'a Intake<'a>);

impl Source for QuarantineSource<'_> {
    type Rows = Entries;

    fn partitions(&self) -> u32 {
        1
    }

    fn inputs(&self) -> BTreeMap<String, InputRef> {
        self.0.inputs()
    }

    fn prepare(&self) -> Result<()> {
        self.0.articles()?;
        self.0.behaviours().map(|_| ())
    }

    fn raw_files(&self) -> Vec<RawFile> {
        self.0.raw_files(&self.0.behaviours)
    }

    fn carries(&self, _: &str) -> Option<u64> {
        self.0.carried.as_ref().map(|carried| carried.quarantine.snapshot().manifest.version)
    }

    fn key(&self, _: u32) -> Digest {
        self.0.files.clone()
    }

    fn memory_bytes(&self, _: u32) -> u64 {
        0
    }

    fn user_key_check(&self) -> Option<&str> {
        None
    }

    fn read(&self, part: u32) -> Result<Entries> {
        let spills = self.0.articles()?.iter().chain(self.0.behaviours()?);
        let fresh = spills.flat_map(|(file, spill)| {
            spill
                .tally()
                .quarantined
                .iter()
                .map(|(line, reason)| (file.path.clone(), *line, reason.clone(), file.source.clone()))
        });
        let fresh = fresh.collect();
        let carried = match &self.0.carried {
            Some(carried) => carried.quarantine.read(part)?,
            None => Rows::empty(),
        };
        Ok(Entries { fresh, carried })
    }
}

pub(super) struct BehaviourSource<'a>(pub(super) &'a Intake<'a>);

impl Source for BehaviourSource<'_> {
    type Rows = Bucket;

    fn partitions(&self) -> u32 {
        self.0.settings.buckets
    }

    fn inputs(&self) -> BTreeMap<String, InputRef> {
        self.0.inputs()
    }

    fn raw_files(&self) -> Vec<RawFile> {
        self.0.raw_files(&self.0.behaviours)
    }

    fn carries(&self, dataset: &str) -> Option<u64> {
        let carried = self.0.carried.as_ref()?;
        let (events, truth) = (carried.events.snapshot(), carried.truth.snapshot());
        [events, truth].iter().find(|s| s.dataset.name() == dataset).map(|s| s.manifest.version)
    }

    fn key(&self, _: u32) -> Digest {
        self.0.files.clone()
    }

    fn memory_bytes(&self, bucket: u32) -> u64 {
        let spilled: u64 =
            self.0.behaviours.get().into_iter().flatten().map(|(_, spill)| spill.memory_bytes(bucket)).sum();
        let carried = self.0.carried.as_ref();
        spilled + carried.map_or(0, |c| c.events.memory_bytes(bucket) + c.truth.memory_bytes(bucket))
    }

    fn user_key_check(&self) -> Option<&str> {
        Some(&self.0.key_check)
    }

    fn prepare(&self) -> Result<()> {
        self.0.behaviours().map(|_| ())
    }

    fn read(&self, bucket: u32) -> Result<Bucket> {
        let spills = self.0.behaviours()?;
        let mut spilled = Vec::new();
        for (file, spill) in spills {
            spilled.extend(spill.read(bucket)?.into_iter().map(|batch| (file.source.clone(), batch)));
        }
        let booked = if bucket == 0 { booked(spills) } else { Account::default() };
        let (events, truth) = match &self.0.carried {
            Some(carried) => (carried.events.read(bucket)?, carried.truth.read(bucket)?),
            None => (Rows::empty(), Rows::empty()),
        };
        Ok(Bucket { spilled, events, truth, booked })
    }
}
