//! Stages: pure functions over partitions, whose inputs are declared.

use arrow::array::RecordBatch;
use schemas::{Contract, Table};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{Account, Inputs, Resources, Result, Rows, Spill};

/// A pure function over one partition at a time.
///
/// `self` is its settings and nothing else: the runner writes them down, and what runs is what it reads back. Whatever else a stage
/// needs it declares in [`Stage::inputs`], so nothing reaches [`Stage::run`] that is in no fingerprint.
pub trait Stage: Serialize + DeserializeOwned + Sync {
    /// The job's name.
    const NAME: &'static str;
    /// Raised whenever the same inputs and settings give another output.
    const VERSION: u32;
    /// What its account counts.
    const UNIT: &'static str;
    /// One partition is worked on at a time, with all threads: for stages that share a large model.
    const ALONE: bool = false;
    /// It shows its progress itself, finer than by partition.
    const OWN_PROGRESS: bool = false;
    /// Handles of what it reads.
    type Inputs: Sync;
    /// What is expensive to open and shared by all partitions: models, pools. Opened only when a partition must be computed.
    type Shared: Sync;
    /// What it writes per partition: [`Rows`], or a tuple of them with the primary dataset first.
    type Outputs: Outputs;

    /// Declares what it reads.
    fn inputs(&self, declare: &mut Inputs<'_>) -> Result<Self::Inputs>;

    /// Opens what all partitions share.
    fn open(&self, inputs: &Self::Inputs, resources: &Resources) -> Result<Self::Shared>;

    /// The first half of a stage that regroups ([`Inputs::regroup`]): one task's rows, to partitions.
    fn map(&self, _inputs: &Self::Inputs, _task: usize, _spill: &mut Spill<'_>) -> Result<()> {
        Ok(())
    }

    /// Looks at what the first half found, before any partition is computed.
    fn mapped(&self, _inputs: &Self::Inputs, _resources: &Resources) -> Result<()> {
        Ok(())
    }

    /// One partition.
    fn run(&self, inputs: &Self::Inputs, shared: &Self::Shared, partition: u32) -> Result<Done<Self::Outputs>>;

    /// What is worth saying of what was shared, once all partitions are computed: how fast a model was.
    fn said(&self, _shared: &Self::Shared, _seconds: f64) -> Option<String> {
        None
    }

    /// Bytes of memory that what all partitions share takes.
    fn shared_bytes(&self, _shared: &Self::Shared) -> u64 {
        0
    }

    /// Bytes of memory that a partition takes at its peak, given its inputs' size as Arrow arrays.
    fn memory_bytes(&self, _shared: &Self::Shared, input_bytes: u64) -> u64 {
        3 * input_bytes
    }
}

/// What a stage made of one partition.
#[derive(Debug)]
pub struct Done<O> {
    /// The rows.
    pub outputs: O,
    /// One account per output; a missing one counts that output's rows.
    pub accounts: Vec<Account>,
}

/// One or several outputs.
pub trait Outputs {
    /// The tables, primary first.
    fn contracts() -> Vec<Contract>;
    /// The batches, in the same order.
    fn into_batches(self) -> Vec<Vec<RecordBatch>>;
}

impl<T: Table> Outputs for Rows<T> {
    fn contracts() -> Vec<Contract> {
        vec![T::contract()]
    }

    fn into_batches(self) -> Vec<Vec<RecordBatch>> {
        vec![Rows::into_batches(self)]
    }
}

macro_rules! outputs_of_tuples {
    ($($table:ident $field:tt),+) => {
        impl<$($table: Table),+> Outputs for ($(Rows<$table>,)+) {
            fn contracts() -> Vec<Contract> {
                vec![$($table::contract()),+]
            }

            fn into_batches(self) -> Vec<Vec<RecordBatch>> {
                vec![$(self.$field.into_batches()),+]
            }
        }
    };
}

outputs_of_tuples!(A 0, B 1);
outputs_of_tuples!(A 0, B 1, C 2);
outputs_of_tuples!(A 0, B 1, C 2, D 3);
outputs_of_tuples!(A 0, B 1, C 2, D 3, E 4);
