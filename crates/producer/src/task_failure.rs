use std::any::Any;

/// A task of a producer that ended with a panic. Everything that it was to do fails with this error.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the task `{task}` panicked: {message}")]
pub struct TaskFailure {
    task: &'static str,
    message: String,
}

impl TaskFailure {
    /// The name of the task, such as `driver`.
    pub fn task(&self) -> &'static str {
        self.task
    }

    /// What the panic said.
    pub fn message(&self) -> &str {
        &self.message
    }

    pub(crate) fn panicked(task: &'static str, panic: &(dyn Any + Send)) -> Self {
        Self { task, message: panic_message(panic).to_owned() }
    }

    /// A panic under the lock of the queue, in whichever task.
    pub(crate) fn of_queue() -> Self {
        Self { task: "queue", message: "it was interrupted in the middle of a change".to_owned() }
    }
}

/// What a panic said.
pub(crate) fn panic_message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied().or(panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("no message")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_names_the_task_and_what_its_panic_said() {
        #[track_caller]
        fn check(panic: &(dyn Any + Send), expect: &str) {
            let failure = TaskFailure::panicked("driver", panic);
            assert_eq!((failure.task(), failure.message()), ("driver", expect));
            assert_eq!(failure.to_string(), format!("the task `driver` panicked: {expect}"));
        }
        check(&"a bug", "a bug");
        check(&"a bug in shard 7".to_owned(), "a bug in shard 7");
        check(&7, "no message");
    }
}
