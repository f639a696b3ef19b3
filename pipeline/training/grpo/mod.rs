//! `grpo`: a policy learns from rewards.
//!
//! A step takes some users, samples a group of lists for each, scores them, and makes what is better than its group's mean likelier:
//!
//! ```text
//! prompts ─ rollout ─ lists ─ rewards ─ advantages ─ pass (forward, objective, backward) ─ AdamW ─▶ next weights
//! ```

mod steps;

use std::path::PathBuf;

use clap::Args;
use dataset::{Artifact, Draft, Inputs, Resources, Result, Whole};
use policy::{Adapters, Model, Prompt, PromptSettings, Snapshot};
use reward::{RewardInputs, RewardSettings, Rewards};
use schemas::Profiles;
use serde::{Deserialize, Serialize};

use crate::checks::{check, pace};
use crate::draw::as_it_is;
use crate::groups::Advantage;
use crate::order::Order;
use crate::people::{self, People};
use crate::run::{Run, has_ended};
use crate::{AdamW, Adaptation, Form, Kl, Ratio, candle};

/// Settings of `grpo`, and the artifact that it makes: a policy, with `train_log/` and `rollouts/`.
#[derive(Debug, Clone, PartialEq, Args, Serialize, Deserialize)]
#[serde(default)]
pub struct TrainGrpo {
    /// The policy to start from: a path, or a step that makes one, such as sft
    #[arg(long, value_name = "PATH", default_value = "sft")]
    #[serde(skip_serializing)]
    pub policy: PathBuf,
    /// What users are asked
    #[command(flatten)]
    #[serde(flatten)]
    pub prompts: PromptSettings,
    /// Updates
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub steps: u64,
    /// Users in a step
    #[arg(long, value_name = "N", default_value_t = 4)]
    pub users: usize,
    /// Lists for each of them
    #[arg(long, value_name = "N", default_value_t = 8)]
    pub group: usize,
    /// How advantages follow from rewards
    #[arg(long, value_name = "HOW", value_enum, default_value_t = Advantage::Mean)]
    pub advantage: Advantage,
    /// What the ratio of probabilities is of
    #[arg(long, value_name = "OF", value_enum, default_value_t = Ratio::Sequence)]
    pub ratio: Ratio,
    /// How far a ratio may fall below 1 [default: 0.2; gspo: 3e-4]
    #[arg(long, value_name = "EPSILON")]
    pub clip_low: Option<f64>,
    /// How far it may rise above 1 [default: 0.2; gspo: 4e-4]
    #[arg(long, value_name = "EPSILON")]
    pub clip_high: Option<f64>,
    /// How the distance from where training began is measured
    #[arg(long, value_name = "HOW", value_enum, default_value_t = Kl::Exact)]
    pub kl: Kl,
    /// Weight of that distance; 0: none is measured
    #[arg(long, value_name = "BETA", default_value_t = 0.005)]
    pub beta: f64,
    /// What of the policy is trained
    #[command(flatten)]
    #[serde(flatten)]
    pub adaptation: Adaptation,
    /// The optimizer
    #[command(flatten)]
    #[serde(flatten)]
    pub optimizer: AdamW,
    /// Steps between looks at the users of the split `valid`, after each of which the run can go on
    #[arg(long, value_name = "STEPS", default_value_t = 10)]
    pub look_every: u64,
    /// Users of the split `valid` that are looked at
    #[arg(long, value_name = "N", default_value_t = 48)]
    pub valid_users: usize,
    /// Looks without a better one after which the run ends
    #[arg(long, value_name = "N", default_value_t = 6)]
    pub patience: usize,
    /// Another seed, another run
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(..=i64::MAX as u64))]
    pub seed: u64,
    /// How lists are scored
    #[command(flatten)]
    #[serde(flatten)]
    pub rewards: RewardSettings,
}

impl Default for TrainGrpo {
    fn default() -> Self {
        dataset::defaults()
    }
}

/// What a run of `grpo` reads.
#[derive(Debug)]
pub struct GrpoInputs {
    profiles: Whole<Profiles>,
    rewards: RewardInputs,
    policy: PathBuf,
    prompt: Prompt,
}

impl TrainGrpo {
    /// Checks that the settings make sense.
    pub fn check(&self) -> Result<()> {
        self.optimizer.check("grpo")?;
        self.rewards.check("grpo")?;
        self.adaptation.check("grpo")?;
        check("grpo", &pace(self.users, self.steps, self.look_every, self.valid_users))?;
        let beta = self.beta >= 0.0 && self.beta.is_finite();
        check(
            "grpo",
            &[
                ("group", (2..=1024).contains(&self.group), "2 to 1024", self.group.to_string()),
                ("patience", self.patience > 0, "at least 1", self.patience.to_string()),
                ("beta", beta, "a number from 0", self.beta.to_string()),
            ],
        )?;
        self.prompts.check("grpo")
    }

    /// `longest`: tokens of a list, at most.
    fn form(&self, longest: usize) -> Form {
        let (low, high) = if self.ratio == Ratio::Gspo { (3e-4, 4e-4) } else { (0.2, 0.2) };
        Form {
            ratio: self.ratio,
            clip_low: self.clip_low.unwrap_or(low),
            clip_high: self.clip_high.unwrap_or(high),
            kl: self.kl,
            beta: self.beta,
            temperature: 1.0,
            longest,
        }
    }
}

impl Artifact for TrainGrpo {
    const NAME: &'static str = "grpo";
    const VERSION: u32 = 2;
    type Inputs = GrpoInputs;

    fn inputs(&self, declare: &mut Inputs<'_>) -> Result<GrpoInputs> {
        self.check()?;
        declare.files("policy", &Model::files(&self.policy)?)?;
        let prompt = self.prompts.declare(declare, Some(&self.policy))?;
        let profiles = declare.whole::<Profiles>("profiles")?.columns(&people::COLUMNS);
        Ok(GrpoInputs { profiles, rewards: self.rewards.declare(declare)?, policy: self.policy.clone(), prompt })
    }

    fn make(&self, inputs: &GrpoInputs, draft: &Draft, resources: &Resources) -> Result<()> {
        if has_ended(draft)? {
            return Ok(());
        }
        let rewards = Rewards::open(&self.rewards, &inputs.rewards, resources.progress)?;
        let people = People::read(&inputs.profiles)?;
        people.suffice(self.users)?;
        let mut run = Run::begin(draft, Some(&inputs.policy), || self.adaptation.start(&inputs.policy, self.seed))?;
        let task = run.task(&inputs.prompt, &as_it_is(self.group))?;
        // What training begins with is the reference: the weights themselves where adapters are trained, else a copy of them.
        let frozen = match self.adaptation.lora_rank {
            0 if self.beta > 0.0 => {
                let policy = Model::open(&inputs.policy)?.policy.merged().map_err(candle)?;
                Some(Snapshot::new(&policy, Adapters::Off).map_err(candle)?)
            }
            _ => None,
        };
        let order = Order::new(people.train.len(), self.seed);
        steps::Training { settings: self, rewards, people, task, frozen, run, order, lists: Vec::new(), reward: 0.0 }
            .run(resources)
    }
}
