//! `portcullis canary`: a new version gets more and more of the traffic, and none as soon as it is worse than agreed (L5,
//! K026).
//!
//! How much it gets is one small file that Envoy follows. Whatever ends this command leaves it in a defined state: at
//! 100 % when all steps went well, else at 0 %.

mod envoys;
mod evidence;
mod plan;
mod weights;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use serde::Serialize;

use crate::outcome::{Failure, Outcome};
use envoys::Envoys;
use evidence::{Evidence, Judgement};
use plan::Plan;
use weights::Weights;

/// Answers that Prometheus may fail to give in a row.
const PATIENCE: u32 = 3;
/// How soon a signal is noticed.
const NOTICES_AFTER: Duration = Duration::from_millis(50);

/// Give a new version more and more of the traffic, and take it back when an SLO is not kept
#[derive(Debug, Args)]
pub struct Canary {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Go through the steps. Exit code 0: it has all traffic. 1: it has none any more. SIGTERM and SIGINT: it gets none.
    Run(Which),
    /// Give it this share at once, 0 to 100, and look at nothing. 0 undoes a release.
    Set {
        #[command(flatten)]
        which: Which,
        #[arg(value_parser = clap::value_parser!(u8).range(0..=100))]
        percent: u8,
    },
    /// Say what it gets now
    Show(Which),
}

#[derive(Debug, Args)]
struct Which {
    /// What is released, in which steps, and what it is measured by: see ops/canary/orders.toml
    plan: PathBuf,
}

/// How it went.
#[derive(Debug, Serialize)]
struct Report {
    canary: String,
    outcome: End,
    /// What it gets now.
    percent: u8,
    /// The steps that went well.
    passed: Vec<u8>,
    /// Why it ended before the last step.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum End {
    Promoted,
    RolledBack,
    Interrupted,
    /// It was told what it gets, or asked.
    Told,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self.outcome {
            End::Promoted => "promoted: ",
            End::RolledBack => "rolled back: ",
            End::Interrupted => "interrupted: ",
            End::Told => "",
        };
        write!(f, "{word}{} gets {} %", self.canary, self.percent)?;
        match &self.reason {
            Some(reason) => write!(f, "; {reason}"),
            None => Ok(()),
        }
    }
}

impl Canary {
    pub fn run(self) -> Result<Outcome, Failure> {
        match self.action {
            Action::Run(which) => run(&Plan::read(&which.plan)?),
            Action::Set { which, percent } => {
                let plan = Plan::read(&which.plan)?;
                plan.weights().write(percent)?;
                Envoys::new(&plan)?
                    .await_share(&plan.weights(), percent, &never())
                    .map_err(Failure::new)?;
                tell(&plan, percent)
            }
            Action::Show(which) => {
                let plan = Plan::read(&which.plan)?;
                tell(&plan, plan.weights().read()?)
            }
        }
    }
}

fn tell(plan: &Plan, percent: u8) -> Result<Outcome, Failure> {
    let report = Report {
        canary: plan.canary.clone(),
        outcome: End::Told,
        percent,
        passed: Vec::new(),
        reason: None,
    };
    Outcome::new(&report, true)
}

fn never() -> Arc<AtomicBool> {
    Arc::default()
}

/// All that a release needs.
struct Release<'a> {
    plan: &'a Plan,
    weights: Weights,
    envoys: Envoys,
    evidence: Evidence,
    interrupted: Arc<AtomicBool>,
}

/// Why a step did not go well.
enum Stop {
    Because(String),
    Signal,
}

fn run(plan: &Plan) -> Result<Outcome, Failure> {
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT] {
        signal_hook::flag::register(signal, Arc::clone(&interrupted))
            .map_err(|e| Failure::new(format!("signals cannot be caught: {e}")))?;
    }
    let release = Release {
        plan,
        weights: plan.weights(),
        envoys: Envoys::new(plan)?,
        evidence: Evidence::new(plan)?,
        interrupted,
    };
    let mut passed = Vec::new();
    for step in &plan.steps {
        if let Err(stop) = release.step(*step) {
            // Above all.
            release.weights.write(0)?;
            let (outcome, reason) = match stop {
                Stop::Because(reason) => (End::RolledBack, reason),
                Stop::Signal => (End::Interrupted, "a signal came".to_owned()),
            };
            eprintln!("{}: 0 %: {reason}", plan.canary);
            // Whoever has not taken it by now is named; it will when it can.
            let late = release.envoys.await_share(&release.weights, 0, &never());
            let reason = match late {
                Ok(()) => reason,
                Err(late) => format!("{reason}; and {late}"),
            };
            let report = Report {
                canary: plan.canary.clone(),
                outcome,
                percent: 0,
                passed,
                reason: Some(reason),
            };
            return Outcome::new(&report, false);
        }
        passed.push(*step);
    }
    let report = Report {
        canary: plan.canary.clone(),
        outcome: End::Promoted,
        percent: 100,
        passed,
        reason: None,
    };
    Outcome::new(&report, true)
}

impl Release<'_> {
    /// Gives the canary this share and looks at it for as long as a step takes.
    fn step(&self, percent: u8) -> Result<(), Stop> {
        self.noticed()?;
        eprintln!("{}: {percent} %", self.plan.canary);
        let failed = |failure: Failure| Stop::Because(failure.to_string());
        self.weights.write(percent).map_err(failed)?;
        let taken = (self.envoys).await_share(&self.weights, percent, &self.interrupted);
        self.noticed()?;
        taken.map_err(Stop::Because)?;
        let began = Instant::now();
        let mut unanswered = 0;
        loop {
            self.rest(self.plan.check_every)?;
            let over = began.elapsed() >= self.plan.hold;
            match self.evidence.judge() {
                Judgement::Kept if over => return Ok(()),
                // What is missing has time to come until the step is over.
                Judgement::Missing(what) if over => return Err(Stop::Because(what)),
                Judgement::Kept | Judgement::Missing(_) => unanswered = 0,
                Judgement::Broken(what) => return Err(Stop::Because(what)),
                Judgement::Unanswered(why) => {
                    unanswered = u32::saturating_add(unanswered, 1);
                    if unanswered >= PATIENCE || over {
                        return Err(Stop::Because(format!("Prometheus does not answer: {why}")));
                    }
                }
            }
        }
    }

    fn rest(&self, time: Duration) -> Result<(), Stop> {
        let began = Instant::now();
        while began.elapsed() < time {
            self.noticed()?;
            std::thread::sleep(NOTICES_AFTER.min(time));
        }
        self.noticed()
    }

    fn noticed(&self) -> Result<(), Stop> {
        if self.interrupted.load(Ordering::Relaxed) {
            Err(Stop::Signal)
        } else {
            Ok(())
        }
    }
}
