//! `querent distill`: a teacher and a student to a better student.

use std::path::PathBuf;

use clap::Args;
use dataset::{Result, Summary};
use serde::{Deserialize, Serialize};

use crate::frame::{Context, Job};

/// Teach a small policy what a large one knows: on-policy distillation.
///
/// Reads profiles. Writes a folder that is a policy, with train_log/ (a row per step and figure) and rollouts/ (every list, with the log-probabilities
/// that student and teacher give its tokens) in it. Each step the student writes lists for some users, the teacher reads them, and the student's
/// distribution at each token moves towards the teacher's. The teacher may be behind a server (--teacher-endpoint), which is sent what a prompt shows of
/// people; it says how likely the lists' own tokens are, so their mean stands for the distance. Student and teacher have the same tokens: two models of
/// one family, or two from scratch (querent sft --init scratch --vocabulary-of TEACHER). Other ways to a student need no job of their own: one that learns the teacher's
/// lists is sft --lists NAME, one that learns by rewards is grpo. Users of the split train are learnt from, those of valid say which checkpoint is
/// kept, those of test are never seen. A killed run goes on from its last look, and ends with the same weights to the bit
/// (with a server: as far as it repeats its answers).
#[derive(Debug, Args, Serialize, Deserialize)]
#[group(skip)]
pub(crate) struct Distill {
    /// The folder to write [default: policy.distill under --data]
    #[arg(long, value_name = "FOLDER")]
    #[serde(skip_serializing)]
    output: Option<PathBuf>,
    #[command(flatten)]
    #[serde(flatten)]
    artifact: training::Distill,
}

impl Job for Distill {
    const NAME: &'static str = "distill";
    const NAMED: bool = true;

    fn check(&self) -> Result<()> {
        self.artifact.check()
    }

    fn run(&self, context: &Context) -> Result<Vec<Summary>> {
        let policy = context.folder(&self.artifact.policy)?;
        let teacher = match self.artifact.served.teacher_endpoint.is_empty() {
            true => context.folder(&self.artifact.teacher)?,
            false => PathBuf::new(),
        };
        let artifact = training::Distill { policy, teacher, ..self.artifact.clone() };
        Ok(vec![context.make(&artifact, &self.folder(context)?)?])
    }

    fn target(&self, context: &Context) -> Result<Option<PathBuf>> {
        self.folder(context).map(Some)
    }
}

impl Distill {
    fn folder(&self, context: &Context) -> Result<PathBuf> {
        context.output(self.output.as_deref(), &context.dataset("policy.distill"))
    }
}
