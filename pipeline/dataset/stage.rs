//! Stages: pure functions over one partition's rows.

use arrow::array::RecordBatch;
use schemas::{Contract, Table};
use serde::Serialize;

use crate::{Account, Result, Rows};

/// A pure function over one partition. It knows nothing of paths, threads, retries or shards; `self` is its settings,
/// which are serialised into fingerprints and manifests.
pub trait Stage: Serialize + Sync {
    /// The job's name.
    const NAME: &'static str;
    /// Raised whenever the same input and settings give another output.
    const VERSION: u32;
    /// What its account counts.
    const UNIT: &'static str;
    /// What it reads per partition.
    type Inputs;
    /// What it writes per partition: [`Rows`], or a tuple of them with the primary dataset first.
    type Outputs: Outputs;

    /// One partition.
    fn run(&self, partition: u32, inputs: Self::Inputs) -> Result<Done<Self::Outputs>>;

    /// Bytes of memory that a partition takes at its peak, given its inputs' size as Arrow arrays.
    fn memory_bytes(&self, input_bytes: u64) -> u64 {
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
