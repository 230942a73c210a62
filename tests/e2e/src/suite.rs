use std::cell::RefCell;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use anyhow::{Result, anyhow, bail};
use futures::FutureExt;
use libtest_mimic::{Arguments, Completion, Failed, Trial};

use crate::{Case, Environment};

/// The longest that a case may take altogether, beside a length that it has by itself.
const CASE_LIMIT: Duration = Duration::from_secs(400);

/// Cases that run side by side when the command line does not say: most of their time is waiting.
const THREADS: usize = 8;

thread_local! {
    /// What the case on this thread said when it panicked: shown with its failure, not between the lines of others.
    static PANICS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// The cases, and the server that they run against.
#[derive(Debug)]
pub struct Suite {
    environment: Arc<Environment>,
    /// Held for reading by each case, and for writing by one that must be alone.
    alone: Arc<RwLock<()>>,
    no_program: Option<String>,
    trials: Vec<Trial>,
    /// Those that run alone. They come last: each waits for the others to end, and others would wait behind it.
    trials_alone: Vec<Trial>,
}

impl Suite {
    /// A suite without cases.
    pub fn new(environment: Environment) -> Self {
        Self {
            environment: Arc::new(environment),
            alone: Arc::default(),
            no_program: None,
            trials: Vec::new(),
            trials_alone: Vec::new(),
        }
    }

    /// The server.
    pub fn environment(&self) -> &Environment {
        &self.environment
    }

    /// Adds a case that can run beside all others.
    pub fn case<F>(&mut self, name: &str, case: F)
    where
        F: AsyncFnOnce(&Case) -> Result<()> + Send + 'static,
    {
        self.case_within(CASE_LIMIT, name, case);
    }

    fn case_within<F>(&mut self, limit: Duration, name: &str, case: F)
    where
        F: AsyncFnOnce(&Case) -> Result<()> + Send + 'static,
    {
        let (environment, alone) = (Arc::clone(&self.environment), Arc::clone(&self.alone));
        self.trials.push(Trial::test(name, move || {
            let _beside = alone.read().unwrap_or_else(PoisonError::into_inner);
            run(environment, limit, case)
        }));
    }

    /// Declares that the program cannot work with this server: cases that run it are not applicable.
    pub fn without_program(&mut self, reason: &str) {
        self.no_program = Some(reason.to_owned());
    }

    /// Adds a case that runs the program under test, beside all others.
    pub fn program_case<F>(&mut self, name: &str, case: F)
    where
        F: AsyncFnOnce(&Case) -> Result<()> + Send + 'static,
    {
        match self.no_program.clone() {
            Some(reason) => self.not_applicable(name, reason),
            None => self.case(name, case),
        }
    }

    /// Adds a case that runs the program, beside all others, for `length` and as long as any other case.
    pub fn long_program_case<F>(&mut self, length: Duration, name: &str, case: F)
    where
        F: AsyncFnOnce(&Case) -> Result<()> + Send + 'static,
    {
        match self.no_program.clone() {
            Some(reason) => self.not_applicable(name, reason),
            None => self.case_within(CASE_LIMIT.saturating_add(length), name, case),
        }
    }

    /// Adds a case that runs the program, and during which no other one runs, because it stops the server.
    pub fn program_case_alone<F>(&mut self, name: &str, case: F)
    where
        F: AsyncFnOnce(&Case) -> Result<()> + Send + 'static,
    {
        if self.no_program.is_none() && self.environment.control.is_none() {
            return self.not_applicable(name, "the server was not started by cargo xtask e2e".to_owned());
        }
        self.heavy_program_case(name, case);
    }

    /// Adds a case that runs the program, and during which no other one runs, because it keeps the server busy: the others
    /// would wait longer than they may.
    pub fn heavy_program_case<F>(&mut self, name: &str, case: F)
    where
        F: AsyncFnOnce(&Case) -> Result<()> + Send + 'static,
    {
        self.long_heavy_program_case(Duration::ZERO, name, case);
    }

    /// The same for `length` and as long as any other case.
    pub fn long_heavy_program_case<F>(&mut self, length: Duration, name: &str, case: F)
    where
        F: AsyncFnOnce(&Case) -> Result<()> + Send + 'static,
    {
        if let Some(reason) = self.no_program.clone() {
            return self.not_applicable(name, reason);
        }
        let (environment, alone) = (Arc::clone(&self.environment), Arc::clone(&self.alone));
        let limit = CASE_LIMIT.saturating_add(length);
        self.trials_alone.push(Trial::test(name, move || {
            let _alone = alone.write().unwrap_or_else(PoisonError::into_inner);
            run(environment, limit, case)
        }));
    }

    /// Adds a case that says nothing about this server, and why. It is shown as ignored, and never as passed.
    pub fn not_applicable(&mut self, name: &str, reason: String) {
        self.trials.push(Trial::ignorable_test(name, move || Ok(Completion::ignored_with(reason))));
    }

    /// Runs the cases that the arguments select.
    ///
    /// # Errors
    ///
    /// When one failed, or none ran: a filter that fits nothing must not look like success.
    pub fn run(self, arguments: &Arguments) -> Result<()> {
        std::panic::set_hook(Box::new(|panic| PANICS.with_borrow_mut(|panics| panics.push(panic.to_string()))));
        let arguments = Arguments { test_threads: arguments.test_threads.or(Some(THREADS)), ..arguments.clone() };
        let trials = self.trials.into_iter().chain(self.trials_alone).collect();
        let conclusion = libtest_mimic::run(&arguments, trials);
        if conclusion.has_failed() {
            bail!("{} case(s) failed", conclusion.num_failed);
        }
        if conclusion.num_passed == 0 && !arguments.list {
            bail!("no case ran");
        }
        Ok(())
    }
}

fn run<F>(environment: Arc<Environment>, limit: Duration, body: F) -> Result<(), Failed>
where
    F: AsyncFnOnce(&Case) -> Result<()>,
{
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let case = Case::new(environment).await.map_err(|error| chain(&error))?;
        let outcome = tokio::time::timeout(limit, AssertUnwindSafe(body(&case)).catch_unwind()).await;
        let outcome = match outcome {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(anyhow!("{}", PANICS.take().join("\n"))),
            Err(_) => Err(anyhow!("the case took longer than {limit:?}")),
        };
        let failed = outcome.map_err(|error| Failed::from(format!("{}{}", chain(&error), case.transcripts())));
        case.clear().await;
        failed
    })
}

/// An error and its causes, a line each.
fn chain(error: &anyhow::Error) -> String {
    let lines: Vec<String> = error.chain().map(ToString::to_string).collect();
    lines.join("\n  because: ")
}
