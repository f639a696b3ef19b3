//! A pass over a batch: a tree of a common prefix, prompts and lists, forward and back.
//!
//! What all prompts begin with is computed once a batch, each prompt once for all its lists, in both directions. A level's keys and values
//! are what the next one sees of it, and on the way back the gradients of these are what it gets from there. The gradients are those of
//! the sequences `prefix + prompt + list`, one by one.

use crate::Adapters;
use crate::attention_back::Span;
use crate::cache::{Piece, PieceGradient};
use crate::forward::{Block, Rows, Tape};
use crate::gradients::{Gradients, HeadGradient, LevelGradient};
use crate::head::Objective;
use crate::ops::{Rotary, add};
use crate::weights::Snapshot;

/// Rows of logits that are held at a time, unless a list alone has more.
const LOGITS_TOGETHER: usize = 256;

/// A prompt, without the common prefix, and lists that continue it.
#[derive(Debug, Clone)]
pub struct Tree<'a> {
    /// What follows the prefix; at least one token.
    pub prompt: &'a [u32],
    /// Each of at least one token.
    pub lists: Vec<&'a [u32]>,
}

/// The policy that a trained one is compared with: of any size, with the same tokens.
#[derive(Debug, Clone, Copy)]
pub struct Reference<'a> {
    /// Its weights: with adapters off those of the policy itself.
    pub snapshot: &'a Snapshot,
    /// Whether its adapters count.
    pub adapters: Adapters,
}

/// One version of the weights, and what the trees of a batch make of it.
#[derive(Debug)]
pub struct Pass<'a> {
    snapshot: &'a Snapshot,
    rotary: Rotary,
    prefix: &'a [u32],
    piece: Piece,
    reference: Option<Compared<'a>>,
    training: Option<Training>,
    /// Trees so far.
    trees: usize,
}

/// A reference, and what it makes of the prefix.
#[derive(Debug)]
struct Compared<'a> {
    of: Reference<'a>,
    rotary: Rotary,
    piece: Piece,
}

/// What the way back adds up.
#[derive(Debug)]
struct Training {
    prefix: Tape,
    /// Gradients of the prefix's keys and values, from prompts and from lists.
    from: [PieceGradient; 2],
    levels: [LevelGradient; 3],
    head: HeadGradient,
}

/// Prompts and lists of some trees, computed.
struct Grown {
    prompts: Vec<Piece>,
    lists: Vec<Piece>,
    /// Hidden states of the prompts' tokens, and of the lists'.
    hidden: [Vec<f32>; 2],
}

impl<'a> Pass<'a> {
    /// Computes the prefix. `positions`: tokens of the longest sequence, prefix included. With `training`, gradients are added up.
    pub fn new(
        snapshot: &'a Snapshot,
        prefix: &'a [u32],
        positions: usize,
        reference: Option<Reference<'a>>,
        training: bool,
    ) -> Self {
        let rotary = snapshot.rotary(positions);
        let mut tape = training.then(Tape::default);
        let begin = |snapshot: &Snapshot, rotary: &Rotary, adapters, tape: Option<&mut Tape>| {
            let mut piece = Piece::new(snapshot.shape(), prefix.len());
            if !prefix.is_empty() {
                let block = Block { shared: Vec::new(), rows: Rows::Prompt(&mut piece, prefix.len()) };
                snapshot.forward_onto(rotary, prefix, &mut [block], adapters, tape);
            }
            piece
        };
        let piece = begin(snapshot, &rotary, Adapters::On, tape.as_mut());
        let reference = reference.map(|of| {
            let rotary = of.snapshot.rotary(positions);
            Compared { piece: begin(of.snapshot, &rotary, of.adapters, None), of, rotary }
        });
        let training = tape.map(|prefix| Training {
            prefix,
            from: [PieceGradient::of(&piece), PieceGradient::of(&piece)],
            levels: [snapshot.level_gradient(), snapshot.level_gradient(), snapshot.level_gradient()],
            head: snapshot.head_gradient(),
        });
        Pass { snapshot, rotary, prefix, piece, reference, training, trees: 0 }
    }

    /// Puts some trees' lists to an objective; returns what it says of each. The gradients do not depend on how the trees of a batch are
    /// spread over calls, as long as their order stays.
    pub fn put<O: Objective>(&mut self, trees: &[Tree<'_>], objective: &O) -> Vec<Vec<O::Said>> {
        let prompts: Vec<u32> = trees.iter().flat_map(|tree| tree.prompt).copied().collect();
        // The last token of a list is said, and never read.
        let lists: Vec<(usize, &[u32])> = trees
            .iter()
            .enumerate()
            .flat_map(|(tree, t)| t.lists.iter().map(move |list| (tree, &list[..list.len() - 1])))
            .filter(|(_, list)| !list.is_empty())
            .collect();
        let mut tapes = self.training.is_some().then(|| [Tape::default(), Tape::default()]);
        let grown =
            grow(self.snapshot, &self.rotary, &self.piece, trees, &prompts, &lists, Adapters::On, tapes.as_mut());
        let reference = self.reference.as_ref().map(|Compared { of, rotary, piece }| {
            let grown = grow(of.snapshot, rotary, piece, trees, &prompts, &lists, of.adapters, None);
            (of.snapshot, grown.hidden)
        });

        let predicted = predicted(trees, self.trees);
        let width = self.snapshot.config.hidden_size;
        let gather = |hidden: &[Vec<f32>; 2], width: usize, lists: &[Predicted<'_>]| -> Vec<f32> {
            let rows = lists.iter().flat_map(|list| &list.rows);
            rows.flat_map(|(level, row)| &hidden[*level][row * width..][..width]).copied().collect()
        };
        let mut d = grown.hidden.each_ref().map(|hidden| vec![0.0; if tapes.is_some() { hidden.len() } else { 0 }]);
        let mut said: Vec<Vec<O::Said>> = trees.iter().map(|_| Vec::new()).collect();
        let mut left = predicted.as_slice();
        while !left.is_empty() {
            let mut rows = 0;
            let fits = |list: &&Predicted<'_>| {
                rows += list.tokens.len();
                rows <= LOGITS_TOGETHER
            };
            let (chunk, rest) = left.split_at(left.iter().take_while(fits).count().max(1));
            left = rest;
            let of_reference = reference.as_ref().map_or(Vec::new(), |(snapshot, hidden)| {
                snapshot.logits(&gather(hidden, snapshot.config.hidden_size, chunk))
            });
            let hidden = gather(&grown.hidden, width, chunk);
            let head = self.training.as_mut().map(|training| &mut training.head);
            let (words, back) = self.snapshot.put(chunk, &hidden, &of_reference, objective, head);
            for (list, word) in chunk.iter().zip(words) {
                said[list.tree - self.trees].push(word);
            }
            let places = chunk.iter().flat_map(|list| &list.rows);
            for ((level, row), back) in places.zip(back.chunks_exact(width)) {
                add(&mut d[*level][row * width..][..width], back);
            }
        }
        if let (Some(tapes), Some(training)) = (tapes, &mut self.training) {
            let batch = Batch { trees, prompts: &prompts, lists: &lists, grown: &grown };
            back(self.snapshot, &self.rotary, &self.piece, batch, tapes, d, training);
        }
        self.trees += trees.len();
        said
    }

    /// The gradients of all trees together.
    ///
    /// # Panics
    /// When the pass is not of training.
    pub fn finish(self) -> Gradients {
        let Training { prefix: tape, from: [mut prompts, lists], levels: [mut level, below, deepest], head } =
            self.training.expect("a pass of training");
        if !self.prefix.is_empty() {
            prompts.add(&lists);
            let d = vec![0.0; tape.last.len()];
            let spans = [Span { rows: 0..self.prefix.len(), shared: Vec::new(), piece: &self.piece }];
            let own = &mut [Some(&mut prompts)];
            self.snapshot.backward(&self.rotary, self.prefix, &spans, tape, d, own, &mut [], &mut level);
        }
        self.snapshot.gradients([level, below, deepest], head)
    }
}

/// A list that the head looks at.
pub(crate) struct Predicted<'a> {
    /// Number of the tree among all that were put to the pass.
    pub(crate) tree: usize,
    /// Number of the list in its tree.
    pub(crate) list: usize,
    pub(crate) tokens: &'a [u32],
    /// Where the hidden state lies that says each token: 0 and a row of the prompts, or 1 and a row of the lists.
    rows: Vec<(usize, usize)>,
}

/// The lists of some trees, of which the first has that number. A list's first token is said by the last one of the prompt.
fn predicted<'a>(trees: &[Tree<'a>], first: usize) -> Vec<Predicted<'a>> {
    let (mut end, mut row) = (0, 0);
    let mut predicted = Vec::new();
    for (tree, Tree { prompt, lists }) in (first..).zip(trees) {
        end += prompt.len();
        for (list, tokens) in lists.iter().enumerate() {
            let own = row..row + tokens.len() - 1;
            row = own.end;
            let rows = std::iter::once((0, end - 1)).chain(own.map(|row| (1, row))).collect();
            predicted.push(Predicted { tree, list, tokens, rows });
        }
    }
    predicted
}

/// Prompts and then lists, forward.
#[expect(clippy::too_many_arguments, reason = "two levels and their activations")]
fn grow(
    snapshot: &Snapshot,
    rotary: &Rotary,
    prefix: &Piece,
    trees: &[Tree<'_>],
    prompts: &[u32],
    lists: &[(usize, &[u32])],
    adapters: Adapters,
    tapes: Option<&mut [Tape; 2]>,
) -> Grown {
    let piece = |tokens: &[u32]| Piece::new(snapshot.shape(), tokens.len());
    let [prompt_tape, list_tape] = match tapes {
        Some([a, b]) => [Some(a), Some(b)],
        None => [None, None],
    };
    let mut prompt_pieces: Vec<Piece> = trees.iter().map(|tree| piece(tree.prompt)).collect();
    let mut blocks: Vec<Block<'_>> = prompt_pieces
        .iter_mut()
        .zip(trees)
        .map(|(piece, tree)| Block { shared: vec![prefix], rows: Rows::Prompt(piece, tree.prompt.len()) })
        .collect();
    let of_prompts = snapshot.forward_onto(rotary, prompts, &mut blocks, adapters, prompt_tape);
    let mut list_pieces: Vec<Piece> = lists.iter().map(|(_, list)| piece(list)).collect();
    let tokens: Vec<u32> = lists.iter().flat_map(|(_, list)| *list).copied().collect();
    let mut blocks: Vec<Block<'_>> = list_pieces
        .iter_mut()
        .zip(lists)
        .map(|(piece, (tree, list))| Block {
            shared: vec![prefix, &prompt_pieces[*tree]],
            rows: Rows::Prompt(piece, list.len()),
        })
        .collect();
    let of_lists = snapshot.forward_onto(rotary, &tokens, &mut blocks, adapters, list_tape);
    Grown { prompts: prompt_pieces, lists: list_pieces, hidden: [of_prompts, of_lists] }
}

/// Trees and what was computed of them.
struct Batch<'a> {
    trees: &'a [Tree<'a>],
    prompts: &'a [u32],
    lists: &'a [(usize, &'a [u32])],
    grown: &'a Grown,
}

/// Lists and then prompts, back.
fn back(
    snapshot: &Snapshot,
    rotary: &Rotary,
    prefix: &Piece,
    batch: Batch<'_>,
    [prompt_tape, list_tape]: [Tape; 2],
    [d_prompts, d_lists]: [Vec<f32>; 2],
    training: &mut Training,
) {
    let Batch { trees, prompts, lists, grown } = batch;
    let Training { from: [from_prompts, from_lists], levels: [_, prompt_level, list_level], .. } = training;
    // The prefix is the first of the shared pieces; the prompts follow.
    let empty = || PieceGradient::of(&Piece::new(snapshot.shape(), 0));
    let mut shared = vec![std::mem::replace(from_lists, empty())];
    shared.extend(grown.prompts.iter().map(PieceGradient::of));
    let mut row = 0;
    let mut rows = |len: usize| {
        row += len;
        row - len..row
    };
    let spans: Vec<Span<'_>> = lists
        .iter()
        .zip(&grown.lists)
        .map(|((tree, list), piece)| Span {
            rows: rows(list.len()),
            shared: vec![(0, prefix), (1 + tree, &grown.prompts[*tree])],
            piece,
        })
        .collect();
    let tokens: Vec<u32> = lists.iter().flat_map(|(_, list)| *list).copied().collect();
    let mut own: Vec<Option<&mut PieceGradient>> = spans.iter().map(|_| None).collect();
    snapshot.backward(rotary, &tokens, &spans, list_tape, d_lists, &mut own, &mut shared, list_level);
    *from_lists = shared.remove(0);

    row = 0;
    let mut rows = |len: usize| {
        row += len;
        row - len..row
    };
    let spans: Vec<Span<'_>> = trees
        .iter()
        .zip(&grown.prompts)
        .map(|(tree, piece)| Span { rows: rows(tree.prompt.len()), shared: vec![(0, prefix)], piece })
        .collect();
    let mut own: Vec<Option<&mut PieceGradient>> = shared.iter_mut().map(Some).collect();
    let mut above = [std::mem::replace(from_prompts, empty())];
    snapshot.backward(rotary, prompts, &spans, prompt_tape, d_prompts, &mut own, &mut above, prompt_level);
    let [above] = above;
    *from_prompts = above;
}
