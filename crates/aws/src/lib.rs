//! The AWS SDK behind the KinesisClient trait.
