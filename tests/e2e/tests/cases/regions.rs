//! Streams in several regions and accounts, each with credentials of its own, in one run.

use anyhow::{Result, ensure};
use statefun_kinesis_aws::AwsKinesis;
use statefun_kinesis_client::{KinesisAdmin, KinesisClient};
use statefun_kinesis_e2e::{Case, StreamReader, Suite, Text, until};
use statefun_kinesis_types::{PutRecord, StreamArn};

pub(crate) fn add(suite: &mut Suite) {
    let name = "regions::two_ingresses_and_an_egress_use_three_regions_and_credentials";
    if ["localstack", "fake"].contains(&suite.environment().backend.as_str()) {
        suite.program_case(name, two_ingresses_and_an_egress_use_three_regions_and_credentials);
    } else {
        suite.not_applicable(name, "the server does not tell accounts apart by their access keys".to_owned());
    }
}

/// A stream in a region and an account; servers take twelve digits as access key for the account of that number.
pub(crate) struct Place {
    client: AwsKinesis,
    stream: StreamArn,
}

impl Place {
    pub(crate) async fn new(case: &Case, what: &str, region: &str, account: &str) -> Result<Self> {
        let client = case.client_in(region, account).await?;
        let name = case.name(what);
        client.create_stream(&name, 1).await?;
        let stream = StreamArn::new(region, account, &name)?;
        until("the stream to become usable", async || {
            let summary = client.describe_stream_summary(&stream.clone().into()).await?;
            Ok(summary.status.is_usable().then_some(()))
        })
        .await?;
        Ok(Self { client, stream })
    }

    pub(crate) fn client(&self) -> &AwsKinesis {
        &self.client
    }

    pub(crate) fn stream(&self) -> &StreamArn {
        &self.stream
    }

    /// Puts records into the stream, in one request.
    pub(crate) async fn put(&self, texts: &[Text]) -> Result<()> {
        let record = |text: &Text| Ok(PutRecord::new(text.key.parse()?, text.payload.clone()));
        let records = texts.iter().map(record).collect::<Result<Vec<_>>>()?;
        for outcome in self.client.put_records(&self.stream.clone().into(), &records).await? {
            outcome?;
        }
        Ok(())
    }

    /// Removes the stream.
    pub(crate) async fn delete(self) -> Result<()> {
        Ok(self.client.delete_stream(&self.stream.into()).await?)
    }

    /// Where the module finds it.
    fn spec(&self, case: &Case) -> String {
        format!(
            "  awsRegion: {{type: custom-endpoint, endpoint: '{}', id: {}}}\n  awsCredentials: {{type: basic, \
             accessKeyId: '{}', secretAccessKey: test}}\n",
            case.environment().endpoint,
            self.stream.region(),
            self.stream.account(),
        )
    }

    pub(crate) fn ingress(&self, case: &Case, id: &str) -> String {
        format!(
            "kind: io.statefun.kinesis.v1/ingress\nspec:\n  id: example/{id}\n{}  startupPosition: {{type: \
             trim-horizon}}\n  streams:\n    - streamArn: {}\n      valueType: example/Value\n      targets: \
             [example/fn]\n---\n",
            self.spec(case),
            self.stream,
        )
    }
}

async fn two_ingresses_and_an_egress_use_three_regions_and_credentials(case: &Case) -> Result<()> {
    let one = Place::new(case, "one", "us-east-1", "111111111111").await?;
    let two = Place::new(case, "two", "eu-west-1", "222222222222").await?;
    let out = Place::new(case, "out", "ap-southeast-2", "333333333333").await?;
    for (place, payload) in [(&one, "from one"), (&two, "from two")] {
        place.put(&[Text::new("key", payload)]).await?;
    }
    let module = format!(
        "{}{}kind: io.statefun.kinesis.v1/egress\nspec:\n  id: example/out\n{}  streamName: {}\n",
        one.ingress(case, "one"),
        two.ingress(case, "two"),
        out.spec(case),
        out.stream.name(),
    );
    let mut program = case.run(&module, &["--functions", "echo"])?;
    program.ready().await?;
    let mut egress = StreamReader::of(&out.client, &out.stream);
    until("both records to come out", async || {
        ensure!(program.is_running()?, "the program ended");
        egress.read_on().await?;
        Ok((egress.records().len() >= 2).then_some(()))
    })
    .await?;
    program.stop("TERM").await?;

    egress.read_to_tip().await?;
    let mut came_out = egress.texts()?;
    came_out.sort();
    ensure!(came_out == [Text::new("key", "from one"), Text::new("key", "from two")], "{came_out:#?} came out");
    for place in [one, two, out] {
        place.delete().await?;
    }
    Ok(())
}
