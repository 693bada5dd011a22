//! Handlers: plain async functions from typed arguments to a typed result.

use std::any::Any;
use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::Result;
use crate::executor::{Executor, Failure, Outcome, Output, Repeat, TaskContext};
use crate::lane::Capability;

/// What a handler answers instead of a result.
///
/// Any error converts with `?` into a failure that the job's retry policy judges; the other answers have names of
/// their own.
#[derive(Debug)]
pub struct HandlerError(Answer);

#[derive(Debug)]
enum Answer {
    Failure {
        message: String,
        class: Option<String>,
        repeat: Repeat,
    },
    Snooze(Duration),
    Cancelled(String),
}

impl HandlerError {
    /// It failed; the retry policy decides.
    pub fn new(message: impl fmt::Display) -> Self {
        Self(Answer::Failure {
            message: message.to_string(),
            class: None,
            repeat: Repeat::ByPolicy,
        })
    }

    /// It failed and can't work: no retry.
    pub fn fatal(message: impl fmt::Display) -> Self {
        Self(Answer::Failure {
            message: message.to_string(),
            class: None,
            repeat: Repeat::Never,
        })
    }

    /// It failed; retry after this time, as long as the policy's count allows.
    pub fn retry_after(pause: Duration, message: impl fmt::Display) -> Self {
        Self(Answer::Failure {
            message: message.to_string(),
            class: None,
            repeat: Repeat::After(pause),
        })
    }

    /// Not yet: come back after this time. Doesn't count as a failure.
    pub const fn snooze(pause: Duration) -> Self {
        Self(Answer::Snooze(pause))
    }

    /// It ended because it was told to.
    pub fn cancelled(message: impl fmt::Display) -> Self {
        Self(Answer::Cancelled(message.to_string()))
    }

    /// Names the class of the error, for the job's retry policy.
    #[must_use]
    pub fn class(mut self, name: impl Into<String>) -> Self {
        if let Answer::Failure { class, .. } = &mut self.0 {
            *class = Some(name.into());
        }
        self
    }

    /// The outcome of an attempt that failed with this message.
    pub(crate) fn failure(message: impl fmt::Display) -> Outcome {
        Self::new(message).into_outcome()
    }

    /// The outcome of an attempt that answers with this: for executors of one's own.
    pub fn into_outcome(self) -> Outcome {
        match self.0 {
            Answer::Failure {
                message,
                class,
                repeat,
            } => Outcome::Failure(Failure {
                output: Output {
                    error: message,
                    ..Output::default()
                },
                class,
                repeat,
            }),
            Answer::Snooze(pause) => Outcome::Snooze(pause),
            Answer::Cancelled(message) => Outcome::Cancelled(Output {
                error: message,
                ..Output::default()
            }),
        }
    }
}

impl<E: std::error::Error> From<E> for HandlerError {
    /// The message with its causes.
    fn from(error: E) -> Self {
        let mut message = error.to_string();
        let mut cause = error.source();
        while let Some(inner) = cause {
            message.push_str(": ");
            message.push_str(&inner.to_string());
            cause = inner.source();
        }
        Self::new(message)
    }
}

type Answering<'a> = Pin<Box<dyn Future<Output = Outcome> + Send + 'a>>;

/// A registered handler, its types erased.
trait Erased: Send + Sync {
    fn call(&self, cx: TaskContext) -> Answering<'_>;
}

struct Typed<F, A>(F, std::marker::PhantomData<fn(A)>);

impl<F, A, Fut, T, E> Erased for Typed<F, A>
where
    F: Fn(A, TaskContext) -> Fut + Send + Sync,
    A: DeserializeOwned,
    Fut: Future<Output = Result<T, E>> + Send + 'static,
    T: Serialize,
    E: Into<HandlerError>,
{
    fn call(&self, cx: TaskContext) -> Answering<'_> {
        let arguments = match cx.arguments().decode::<A>() {
            Ok(arguments) => arguments,
            Err(error) => {
                let outcome = undecodable(&cx, &error);
                return Box::pin(std::future::ready(outcome));
            }
        };
        let answer = (self.0)(arguments, cx);
        Box::pin(async move {
            match answer.await {
                Ok(value) => succeeded(&value),
                Err(error) => error.into().into_outcome(),
            }
        })
    }
}

fn succeeded(value: &impl Serialize) -> Outcome {
    match serde_json::to_string(value) {
        Ok(text) if text == "null" => Outcome::Success(Output::default()),
        Ok(output) => Outcome::Success(Output {
            output,
            ..Output::default()
        }),
        Err(error) => {
            HandlerError::fatal(format_args!("the result has no JSON form: {error}")).into_outcome()
        }
    }
}

/// Names the job, the handler and the field; the retry policy decides, so that a fixed version can still do the work.
fn undecodable(cx: &TaskContext, error: &serde_json::Error) -> Outcome {
    let (job_id, handler) = (cx.job_id(), &cx.job().definition.command.command);
    let message = format_args!("the arguments of job {job_id} don't fit handler {handler}: {error}");
    HandlerError::new(message).class("bad_arguments").into_outcome()
}

/// All handlers of a process, by name: the executor of jobs of kind `handler`.
#[derive(Clone, Default)]
pub struct Handlers(HashMap<String, Arc<dyn Erased>>);

impl Handlers {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Registers a function under a name; a second one under the same name replaces the first.
    ///
    /// # Errors
    /// `InvalidInput` if the name isn't 1 to 64 printable ASCII characters without `|`, `,` and `=`.
    pub fn register<F, A, Fut, T, E>(&mut self, name: &str, handler: F) -> Result<()>
    where
        F: Fn(A, TaskContext) -> Fut + Send + Sync + 'static,
        A: DeserializeOwned + 'static,
        Fut: Future<Output = Result<T, E>> + Send + 'static,
        T: Serialize,
        E: Into<HandlerError>,
    {
        Capability::handler(name)?;
        self.0.insert(
            name.to_owned(),
            Arc::new(Typed(handler, std::marker::PhantomData)),
        );
        Ok(())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Handlers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

#[async_trait]
impl Executor for Handlers {
    fn capabilities(&self) -> Vec<Capability> {
        let mut names: Vec<_> = self.0.keys().collect();
        names.sort_unstable();
        names
            .into_iter()
            .filter_map(|name| Capability::handler(name).ok())
            .collect()
    }

    async fn execute(&self, cx: TaskContext) -> Outcome {
        let name = &cx.job().definition.command.command;
        match self.0.get(name) {
            Some(handler) => handler.call(cx).await,
            None => {
                let job_id = cx.job_id();
                HandlerError::new(format_args!(
                    "job {job_id} needs handler {name}, which isn't registered here"
                ))
                .class("missing_handler")
                .into_outcome()
            }
        }
    }
}

/// The outcome of an attempt that panicked: a failure of class `panic`, with what the panic said.
pub fn panic_outcome(panic: &(dyn Any + Send)) -> Outcome {
    let message = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".to_owned());
    HandlerError::new(format_args!("panicked: {message}"))
        .class("panic")
        .into_outcome()
}
