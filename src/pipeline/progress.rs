//! Progress of a run, as those who start it are shown it.

/// Shows a pipeline's progress; the command line draws bars.
pub trait Progress: Send {
    /// A line for the user.
    fn note(&mut self, text: &str);
    /// A warning, which the report and the results repeat.
    fn warn(&mut self, text: &str) {
        self.note(&format!("warning: {text}"));
    }
    /// Work of `total` pieces begins.
    fn begin(&mut self, label: &str, total: usize);
    /// `done` pieces are done.
    fn advance(&mut self, done: usize, message: &str);
    /// The work is done.
    fn end(&mut self);
    /// The observer of a training run.
    fn training(&mut self) -> &mut dyn ofa_train::shrinking::Observer;
}

/// Shows progress, and keeps the warnings.
pub struct KeepingWarnings<'a> {
    pub inner: &'a mut dyn Progress,
    pub warnings: Vec<String>,
}

impl Progress for KeepingWarnings<'_> {
    fn note(&mut self, text: &str) {
        self.inner.note(text);
    }

    fn warn(&mut self, text: &str) {
        self.warnings.push(text.to_owned());
        self.inner.warn(text);
    }

    fn begin(&mut self, label: &str, total: usize) {
        self.inner.begin(label, total);
    }

    fn advance(&mut self, done: usize, message: &str) {
        self.inner.advance(done, message);
    }

    fn end(&mut self) {
        self.inner.end();
    }

    fn training(&mut self) -> &mut dyn ofa_train::shrinking::Observer {
        self.inner.training()
    }
}
