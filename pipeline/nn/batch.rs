//! Batches of sequences, padded behind their ends: what is causal never sees the padding.

use candle_core::{Device, Result, Tensor};

/// Sequences of items with times, row by row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// Sequences.
    pub rows: usize,
    /// Places of the longest.
    pub length: usize,
    /// `[B·T]` items; 0 in the padding.
    pub items: Vec<u32>,
    /// `[B·T]` times in seconds; in the padding that of the last item.
    pub at_s: Vec<i64>,
    /// Places of each sequence.
    pub lengths: Vec<usize>,
}

impl Batch {
    /// Of sequences of items and their times, none empty.
    pub fn new(sequences: &[(Vec<u32>, Vec<i64>)]) -> Self {
        let length = sequences.iter().map(|(items, _)| items.len()).max().unwrap_or(0);
        let mut batch =
            Batch { rows: sequences.len(), length, items: Vec::new(), at_s: Vec::new(), lengths: Vec::new() };
        for (items, at_s) in sequences {
            let padding = length - items.len();
            batch.items.extend_from_slice(items);
            batch.items.extend(vec![0; padding]);
            batch.at_s.extend_from_slice(at_s);
            batch.at_s.extend(vec![at_s.last().copied().unwrap_or_default(); padding]);
            batch.lengths.push(items.len());
        }
        batch
    }

    /// The last place of each sequence.
    pub fn last(&self) -> Vec<u32> {
        self.lengths.iter().enumerate().map(|(row, length)| (row * self.length + length - 1) as u32).collect()
    }
}

/// Numbers as a tensor that selects rows.
pub fn select(x_nd: &Tensor, rows: &[u32]) -> Result<Tensor> {
    x_nd.index_select(&Tensor::from_slice(rows, rows.len(), &Device::Cpu)?, 0)
}

/// Sequences in groups of at most `together`, of like lengths: little is padded.
pub fn by_length(lengths: &[usize], together: usize) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..lengths.len()).collect();
    order.sort_by_key(|&at| lengths[at]);
    order.chunks(together.max(1)).map(<[usize]>::to_vec).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_lies_behind() -> Result<()> {
        let batch = Batch::new(&[(vec![7, 8, 9], vec![1, 2, 3]), (vec![5], vec![4])]);
        assert_eq!((batch.items.as_slice(), batch.at_s.as_slice()), (&[7, 8, 9, 5, 0, 0][..], &[1, 2, 3, 4, 4, 4][..]));
        assert_eq!(batch.last(), vec![2, 3]);
        assert_eq!(by_length(&[3, 1, 2, 1], 2), [vec![1, 3], vec![2, 0]]);
        let x = Tensor::from_slice(&[0.0_f32, 1.0, 2.0, 3.0], (2, 2), &Device::Cpu)?;
        assert_eq!(select(&x, &[1, 1])?.to_vec2::<f32>()?, [[2.0, 3.0], [2.0, 3.0]]);
        Ok(())
    }
}
