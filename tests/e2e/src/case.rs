use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use statefun_kinesis_aws::AwsKinesis;
use statefun_kinesis_client::{ErrorKind, KinesisAdmin, KinesisClient, StreamStatus};
use statefun_kinesis_types::{AwsCredentials, AwsRegion, Secret, StreamArn, StreamName, StreamRef};
use tokio::time::Instant;

use crate::program::{Files, Program, Transcript};
use crate::{Control, Environment};

/// How long something may take that has been set going. LocalStack on two busy cores needs up to 20 s for a start, and
/// what takes ten times as long as it should is broken.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Between two looks at whether something has become true.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Looks again and again until there is something to see.
///
/// # Errors
///
/// The look's own, and that [`PATIENCE`] was at its end.
pub async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Result<Option<T>>) -> Result<T> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(seen) = look().await.with_context(|| format!("while waiting for {what}"))? {
            return Ok(seen);
        }
        if Instant::now() > deadline {
            bail!("waited {PATIENCE:?} in vain for {what}");
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

async fn client(environment: &Environment, region: &str, access_key: &str) -> Result<AwsKinesis> {
    let builder = AwsKinesis::builder()
        .region(AwsRegion::CustomEndpoint { endpoint: environment.endpoint.clone(), id: region.to_owned() })
        .credentials(AwsCredentials::Basic {
            access_key_id: Secret::new(access_key),
            secret_access_key: Secret::new("test"),
            session_token: None,
        });
    Ok(builder.build().await?)
}

/// What a case works with. Its streams and files are its own, and are removed when it is over.
#[derive(Debug)]
pub struct Case {
    environment: Arc<Environment>,
    client: AwsKinesis,
    suffix: String,
    folder: PathBuf,
    streams: Mutex<Vec<StreamName>>,
    transcripts: Mutex<Vec<Arc<Transcript>>>,
}

impl Case {
    /// The account of the access key `test`, on every server.
    pub const ACCOUNT: &str = "000000000000";
    /// The region in which all streams are.
    pub const REGION: &str = "us-east-1";

    pub(crate) async fn new(environment: Arc<Environment>) -> Result<Self> {
        let suffix = format!("{:016x}", RandomState::new().hash_one("case"));
        let folder = std::env::temp_dir().join(format!("statefun-kinesis-e2e-{suffix}"));
        std::fs::create_dir_all(&folder)?;
        let client = client(&environment, Self::REGION, "test").await?;
        Ok(Self { environment, client, suffix, folder, streams: Mutex::default(), transcripts: Mutex::default() })
    }

    /// The server under test, and what it is.
    pub fn environment(&self) -> &Environment {
        &self.environment
    }

    /// The client of the server.
    pub fn client(&self) -> &AwsKinesis {
        &self.client
    }

    /// A client of the same server in another region, with another access key.
    ///
    /// # Errors
    ///
    /// When region or key are none.
    pub async fn client_in(&self, region: &str, access_key: &str) -> Result<AwsKinesis> {
        client(&self.environment, region, access_key).await
    }

    /// Stops and starts the server.
    ///
    /// # Errors
    ///
    /// When the server is not ours. The suite then does not run cases that need it.
    pub fn control(&self) -> Result<&Control> {
        self.environment.control.as_ref().context("the server was not started by cargo xtask e2e")
    }

    /// A name that no stream has, which begins with `what`. The stream of that name is removed after the case.
    pub fn name(&self, what: &str) -> StreamName {
        let mut streams = lock(&self.streams);
        let name = format!("{what}-{}-{}", self.suffix, streams.len());
        let name: StreamName = name.parse().expect("letters, digits and dashes");
        streams.push(name.clone());
        name
    }

    /// The ARN of a stream in the account and region of the cases.
    pub fn arn(&self, name: &StreamName) -> StreamArn {
        StreamArn::new(Self::REGION, Self::ACCOUNT, name).expect("region and account are valid")
    }

    /// Makes a stream of a fresh name and waits until it can be used.
    ///
    /// # Errors
    ///
    /// The server's.
    pub async fn stream(&self, what: &str, shards: usize) -> Result<StreamArn> {
        let arn = self.arn(&self.name(what));
        self.create(&arn, shards).await?;
        Ok(arn)
    }

    /// Makes a stream and waits until it can be used.
    ///
    /// # Errors
    ///
    /// The server's.
    pub async fn create(&self, stream: &StreamArn, shards: usize) -> Result<()> {
        // Five streams of an account may be CREATING at a time, and other cases make theirs.
        until("the stream to be created", async || match self.client.create_stream(&stream.name(), shards).await {
            Ok(()) => Ok(Some(())),
            Err(error) if matches!(error.kind(), ErrorKind::LimitExceeded | ErrorKind::Throttled) => Ok(None),
            Err(error) => Err(error.into()),
        })
        .await?;
        self.wait_until_active(stream).await
    }

    /// Waits until a stream is ACTIVE.
    ///
    /// # Errors
    ///
    /// The server's, and that it takes too long.
    pub async fn wait_until_active(&self, stream: &StreamArn) -> Result<()> {
        let stream = StreamRef::from(stream.clone());
        until("the stream to become ACTIVE", async || {
            let status = self.client.describe_stream_summary(&stream).await?.status;
            Ok((status == StreamStatus::Active).then_some(()))
        })
        .await
    }

    /// Writes a file of the case, and gives its path.
    ///
    /// # Errors
    ///
    /// The file system's.
    pub fn file(&self, name: &str, content: &str) -> Result<PathBuf> {
        let path = self.folder.join(name);
        std::fs::write(&path, content)?;
        Ok(path)
    }

    /// A path in the folder of the case, at which nothing is yet.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Starts the program under test: `run` with a module file of this content. Its environment and its home are its own.
    ///
    /// # Errors
    ///
    /// When it does not start.
    pub fn run(&self, module: &str, arguments: &[&str]) -> Result<Program> {
        self.run_in(&HashMap::new(), module, arguments)
    }

    /// The same with environment variables.
    ///
    /// # Errors
    ///
    /// When it does not start.
    pub fn run_in(&self, variables: &HashMap<&str, String>, module: &str, arguments: &[&str]) -> Result<Program> {
        self.run_with(Files::AsEver, variables, module, arguments)
    }

    /// The same with files that may not grow without limit.
    ///
    /// # Errors
    ///
    /// When it does not start.
    pub fn run_with(
        &self,
        files: Files,
        variables: &HashMap<&str, String>,
        module: &str,
        arguments: &[&str],
    ) -> Result<Program> {
        let count = lock(&self.transcripts).len();
        let module = self.file(&format!("module-{count}.yaml"), module)?.display().to_string();
        let mut all = vec!["run", &module];
        all.extend(arguments);
        self.program_in(variables, &all, files)
    }

    /// Starts the program under test with these arguments. Its environment and its home are its own.
    ///
    /// # Errors
    ///
    /// When it does not start.
    pub fn program(&self, arguments: &[&str]) -> Result<Program> {
        self.program_in(&HashMap::new(), arguments, Files::AsEver)
    }

    fn program_in(&self, variables: &HashMap<&str, String>, arguments: &[&str], files: Files) -> Result<Program> {
        let program = Program::start(&self.environment.command_line, &self.folder, variables, arguments, files)?;
        lock(&self.transcripts).push(program.transcript());
        Ok(program)
    }

    /// Prints a line for the person who runs the cases, at once: how a long case can be repeated, and what it has seen.
    #[expect(clippy::print_stderr, reason = "the runner talks to the person who started it")]
    pub fn tell(&self, text: &str) {
        eprintln!("{text}");
    }

    /// What the programs of the case said, for the one who reads about its failure.
    pub(crate) fn transcripts(&self) -> String {
        lock(&self.transcripts).iter().map(|transcript| transcript.to_string()).collect()
    }

    /// Removes what the case made. A stream that is gone already is none to remove, and a server that has gone has none.
    pub(crate) async fn clear(self) {
        let streams = std::mem::take(&mut *lock(&self.streams));
        for stream in streams {
            let _ = self.client.delete_stream(&stream.into()).await;
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
