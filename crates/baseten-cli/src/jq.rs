//! `--jq`: a filter that is compiled before anything else happens and applied to each record.
//!
//! A filter sees its record and the clock, and nothing else: no environment, no files, no
//! streams, no way to end the process. It comes from the command line, so it may also be wrong
//! in any way; jaq has no limits of its own, so the ones here are ours.

use std::cell::{Cell, RefCell};
use std::panic;
use std::ptr;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Once};
use std::thread;
use std::time::Duration;

use baseten_auth::display_text;
use jaq_core::data::HasLut;
use jaq_core::load::{self, Arena, File, Loader, lex, parse};
use jaq_core::{Compiler, Ctx, Cv, DataT, Error, Exn, Lut, RunPtr, ValXs, Vars, compile, native};
use jaq_json::{Num, Val};
use jaq_std::ValT as _;
use serde::Deserialize;
use serde_json::Value;

/// The longest filter, in bytes. It bounds how deeply the parser can recurse.
const MAX_BYTES: usize = 4096;

/// How many terms one application may evaluate. It bounds how deeply a value can be nested, and
/// thus how deeply jaq recurses when it compares, prints or drops one.
const MAX_STEPS: u32 = 100_000;

/// How deeply a result may be nested; the limit that JSON parsers have.
const MAX_DEPTH: usize = 128;

/// The stack of the thread that a filter is compiled or applied on, in bytes. Only what is
/// touched of it costs memory. Measured need: 1 KiB for a level of a value and 1.4 KiB for a
/// byte of the filter, four and eight times that without optimisation.
const STACK: usize = if cfg!(debug_assertions) { 256 << 20 } else { 128 << 20 };

/// How much of the stack nested calls may use, in bytes. The rest is for values.
const MAX_STACK_OF_CALLS: usize = STACK / 8;

/// How long one compilation or application may take.
const MAX_TIME: Duration = Duration::from_secs(10);

/// A compiled filter.
#[derive(Clone)]
pub(crate) struct Filter(Arc<Program>);

/// Why a filter has no result. The texts fit on a terminal's line or two and have no control
/// characters.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FilterError {
    /// It does not compile.
    #[error("the --jq filter is not valid at character {position}: {problem}")]
    Invalid {
        /// Counted in characters, from 1.
        position: usize,
        /// What is wrong there.
        problem: String,
    },
    /// It is longer than any filter needs to be.
    #[error("the --jq filter is longer than {MAX_BYTES} bytes")]
    TooLong,
    /// It compiled, but failed on a record. The text may quote the record.
    #[error("the --jq filter failed: {0}")]
    Failed(String),
    /// It used up its time, its steps or its stack.
    #[error("the --jq filter was stopped: {0}")]
    Stopped(&'static str),
    /// There is no thread to run it on.
    #[error("the --jq filter could not be started")]
    Thread(#[source] std::io::Error),
}

impl FilterError {
    /// Whether the filter is none, rather than one that does not fit the record.
    pub(crate) fn is_mistake(&self) -> bool {
        match self {
            Self::Invalid { .. } | Self::TooLong => true,
            Self::Failed(_) | Self::Stopped(_) | Self::Thread(_) => false,
        }
    }

    /// The same error without what it quotes, for a record that holds a secret.
    pub(crate) fn without_quotes(self) -> Self {
        match self {
            Self::Failed(_) => Self::Failed("it does not fit the record".to_owned()),
            error => error,
        }
    }
}

impl Filter {
    /// Compiles a filter.
    ///
    /// [`FilterError::Invalid`] says where it is wrong.
    pub(crate) fn compile(expression: &str) -> Result<Self, FilterError> {
        // As in jq, an empty one is the identity.
        let expression = if expression.trim().is_empty() { "." } else { expression };
        if expression.len() > MAX_BYTES {
            return Err(FilterError::TooLong);
        }
        let expression = expression.to_owned();
        let program = apart(MAX_TIME, move || {
            // Most filters are a path. Parsing the definitions costs a hundred times as much as
            // compiling a path does, so they are there only for the filters that need them.
            compile_with(Vec::new(), &expression)
                .or_else(|_| compile_with(definitions(), &expression))
        })?;
        Ok(Self(Arc::new(program)))
    }

    /// The results for a record, in order.
    ///
    /// Any result that is an error makes it an error as a whole.
    pub(crate) fn apply(&self, record: &Value) -> Result<Vec<Value>, FilterError> {
        self.apply_within(MAX_TIME, record)
    }

    fn apply_within(&self, time: Duration, record: &Value) -> Result<Vec<Value>, FilterError> {
        let (program, record) = (Arc::clone(&self.0), record.clone());
        apart(time, move || {
            let input = Val::deserialize(record).map_err(|error| failed(error.to_string()))?;
            let run = Run::new(&program);
            let outputs = program.id.run((Ctx::<Language>::new(&run, Vars::new([])), input));
            outputs.map(|output| run.result(output)).collect()
        })
    }
}

// ---- What the language has ----

type Program = jaq_core::Filter<Language>;
type Definition = parse::Def<&'static str>;
type Function = native::Fun<Language>;

/// jaq's value, and the limits of a [`Run`] as the data that travels with an evaluation.
struct Language;

impl DataT for Language {
    type V<'a> = Val;
    type Data<'a> = &'a Run<'a>;
}

/// What is in jaq's library but not in ours, or in jq but not in jaq, and what each would do.
fn forbidden(name: &str) -> Option<&'static str> {
    Some(match name {
        "env" | "$ENV" => "it would read the environment",
        "localtime" | "strflocaltime" => "it would read the environment's time zone",
        "input" | "inputs" | "input_filename" | "input_line_number" => "it would read more input",
        "halt" | "halt_error" => "it would end the program",
        "debug" | "stderr" | "debug_empty" | "stderr_empty" => "it would write to stderr",
        "get_search_list" | "modulemeta" => "it would read modules",
        _ => return None,
    })
}

/// The functions that are written in Rust.
fn functions() -> impl Iterator<Item = Function> {
    let of_jaq = jaq_core::funs().chain(jaq_std::funs()).chain(jaq_json::funs());
    let ours: native::Filter<RunPtr<Language>> = ("fromjson", native::v(0), from_json);
    let replaced = ours.0;
    of_jaq
        .filter(move |(name, ..)| forbidden(name).is_none() && *name != replaced)
        .chain([native::run::<Language>(ours)])
}

/// The functions that are written in jq, which build on those written in Rust.
fn definitions() -> Vec<Definition> {
    let of_jaq = jaq_core::defs().chain(jaq_std::defs()).chain(jaq_json::defs());
    let ours = load::parse(ROWS, |parser| parser.defs()).unwrap_or_default();
    of_jaq.filter(|definition| forbidden(definition.name).is_none()).chain(ours).collect()
}

/// The two formats for rows, which jq has and jaq's library leaves out.
const ROWS: &str = r#"
def _row(text; separator):
  if isarray then
    map(
      if isstring then text
      elif . == null then ""
      elif isarray or isobject then error("a row cannot hold an \(type)")
      else tostring end)
    | join(separator)
  else error("only an array can be a row") end;
def @csv: _row("\"" + (split("\"") | join("\"\"")) + "\""; ",");
def @tsv: _row(
  reduce (["\\", "\\\\"], ["\t", "\\t"], ["\n", "\\n"], ["\r", "\\r"]) as [$character, $escape]
    (.; split($character) | join($escape)); "\t");
"#;

/// jaq's own parser has no limit for nesting, so JSON inside a string goes through ours.
#[expect(clippy::needless_pass_by_value, reason = "the form that jaq wants")]
fn from_json(input: Cv<'_, Language>) -> ValXs<'_, Val> {
    let values: Vec<_> = match input.1.try_as_utf8_bytes() {
        Ok(text) => serde_json::Deserializer::from_slice(text)
            .into_iter()
            .map(|value| value.map_err(|e| Exn::from(Error::str(format!("not JSON: {e}")))))
            .collect(),
        Err(error) => vec![Err(Exn::from(error))],
    };
    Box::new(values.into_iter())
}

// ---- Compiling ----

fn compile_with(definitions: Vec<Definition>, expression: &str) -> Result<Program, FilterError> {
    let arena = Arena::default();
    let file = File { code: expression, path: () };
    let invalid = |part: &str, problem: String| FilterError::Invalid {
        position: position(expression, part),
        problem: display_text(&problem),
    };
    let modules = Loader::new(definitions)
        .load(&arena, file)
        // `import "…" as $data` loads, but would leave the variable without a value.
        .and_then(|modules| load::import(&modules, |_| Err(String::new())).map(|()| modules))
        .map_err(|errors| {
            let (part, problem) = explain(errors);
            invalid(part, problem)
        })?;
    Compiler::default().with_funs(functions()).compile(modules).map_err(|errors| {
        let first = errors.into_iter().flat_map(|(_, errors)| errors).next();
        let (name, kind) = first.unwrap_or(("", compile::Undefined::Mod));
        invalid(name, undefined(name, &kind))
    })
}

/// Where a filter cannot be parsed, and why.
fn explain(errors: load::Errors<&str, ()>) -> (&str, String) {
    let expected = |what: &str, found: &str| match found.chars().take(20).collect::<String>() {
        found if found.is_empty() => format!("expected {what}, found the end"),
        found => format!("expected {what}, found `{found}`"),
    };
    match errors.into_iter().next().map(|(_, error)| error) {
        Some(load::Error::Lex(errors)) => match errors.into_iter().next() {
            Some((what @ lex::Expect::Delim(open), _)) => {
                (open, format!("`{open}` has no {}", what.as_str()))
            }
            Some((what, found)) => (found, expected(what.as_str(), found)),
            None => ("", String::new()),
        },
        Some(load::Error::Parse(errors)) => match errors.into_iter().next() {
            Some((what, found)) => (found, expected(what.as_str(), found)),
            None => ("", String::new()),
        },
        Some(load::Error::Io(paths)) => {
            let path = paths.into_iter().next().map_or("", |(path, _)| path);
            (path, "a filter cannot load modules or files".to_owned())
        }
        None => ("", String::new()),
    }
}

fn undefined(name: &str, kind: &compile::Undefined) -> String {
    match (forbidden(name), kind) {
        (Some(reason), _) => format!("`{name}` is not available, since {reason}"),
        (None, compile::Undefined::Filter(0)) => format!("there is no filter `{name}`"),
        (None, compile::Undefined::Filter(arguments)) => {
            format!("there is no filter `{name}` with {arguments} arguments")
        }
        (None, kind) => format!("there is no {} `{name}`", kind.as_str()),
    }
}

/// Where a part of a text begins in it, in characters from 1; what is no part begins at its end.
fn position(text: &str, part: &str) -> usize {
    let offset = part.as_ptr().addr().checked_sub(text.as_ptr().addr());
    let before = offset.and_then(|offset| text.get(..offset)).unwrap_or(text);
    before.chars().count() + 1
}

// ---- Applying ----

/// One application of a program, and what it has used up.
struct Run<'a> {
    program: &'a Program,
    steps: Cell<u32>,
    stack_base: usize,
}

/// jaq asks for the program at each term that it evaluates: there the limits are enforced.
impl<'a> HasLut<'a, Language> for &'a Run<'a> {
    fn lut(&self) -> &'a Lut<Language> {
        self.step();
        &self.program.lut
    }
}

impl<'a> Run<'a> {
    fn new(program: &'a Program) -> Self {
        Self { program, steps: Cell::new(0), stack_base: stack_position() }
    }

    /// Counts a step. Where that was one too many, the thread never returns from here: there is
    /// no way out of jaq that a filter could not catch, and unwinding what is nested too deeply
    /// would need as much stack again.
    fn step(&self) {
        self.steps.set(self.steps.get() + 1);
        if self.steps.get() > MAX_STEPS {
            give_up(FilterError::Stopped("it takes too many steps"));
        }
        if self.stack_base.abs_diff(stack_position()) > MAX_STACK_OF_CALLS {
            give_up(FilterError::Stopped("it calls itself too deeply"));
        }
    }

    fn result(&self, output: Result<Val, Exn<'_, Val>>) -> Result<Value, FilterError> {
        self.step();
        let output =
            output.map_err(|exception| match exception.get_err().map(Error::into_val) {
                Ok(Val::TStr(text) | Val::BStr(text)) => failed(String::from_utf8_lossy(&text)),
                Ok(value) => failed(value.to_string()),
                Err(_) => failed("it ended early"),
            })?;
        to_json(&output, 0)
    }
}

/// About where the stack ends now.
fn stack_position() -> usize {
    let here = 0_u8;
    ptr::from_ref(&here).addr()
}

fn to_json(value: &Val, depth: usize) -> Result<Value, FilterError> {
    Ok(match value {
        Val::Null => Value::Null,
        Val::Bool(bool) => Value::Bool(*bool),
        Val::Num(number) => number_to_json(number),
        Val::TStr(text) | Val::BStr(text) => String::from_utf8_lossy(text).into(),
        Val::Arr(_) | Val::Obj(_) if depth == MAX_DEPTH => {
            return Err(failed(format!("a result is nested more than {MAX_DEPTH} levels deep")));
        }
        Val::Arr(values) => {
            values.iter().map(|value| to_json(value, depth + 1)).collect::<Result<_, _>>()?
        }
        Val::Obj(entries) => {
            let entry = |(key, value): (&Val, &Val)| match key {
                Val::TStr(key) => {
                    Ok((String::from_utf8_lossy(key).into_owned(), to_json(value, depth + 1)?))
                }
                key => Err(failed(format!("the key {key} of a result is not a string"))),
            };
            Value::Object(entries.iter().map(entry).collect::<Result<_, _>>()?)
        }
    })
}

/// An integer stays one as far as 64 bits go. As in jq, what JSON has no number for becomes
/// null (not a number) or the largest number (infinity).
fn number_to_json(number: &Num) -> Value {
    if let Some(integer) = number.as_isize() {
        return integer.into();
    }
    let text = number.to_string();
    if let Ok(integer) = text.parse::<u64>() {
        return integer.into();
    }
    text.parse::<f64>().map_or(Value::Null, |float| float.clamp(f64::MIN, f64::MAX).into())
}

// ---- The thread of its own ----

const UNFIT: FilterError = FilterError::Stopped("jaq, which interprets it, cannot cope with it");

type Escape = Box<dyn Fn(FilterError)>;

thread_local! {
    /// Ends the wait of whoever waits for this thread; set only on the threads of [`apart`].
    static ESCAPE: RefCell<Option<Escape>> = const { RefCell::new(None) };
}

/// Runs a task on a thread with a large stack, and leaves the thread behind where it does not
/// come to an end: by time, by [`give_up`] or by a panic. It then ends with the process.
fn apart<T: Send + 'static>(
    time: Duration,
    task: impl FnOnce() -> Result<T, FilterError> + Send + 'static,
) -> Result<T, FilterError> {
    catch_panics();
    let (answer, waiting) = mpsc::channel();
    let work = move || {
        let escape = answer.clone();
        ESCAPE.set(Some(Box::new(move |error| drop(escape.send(Err(error))))));
        // Nobody listens any more once the time is over.
        drop(answer.send(task()));
    };
    thread::Builder::new().stack_size(STACK).spawn(work).map_err(FilterError::Thread)?;
    waiting.recv_timeout(time).unwrap_or_else(|error| match error {
        RecvTimeoutError::Timeout => Err(FilterError::Stopped("it takes too long")),
        RecvTimeoutError::Disconnected => Err(UNFIT),
    })
}

/// Ends the wait for this thread with an error, and the thread's work with it.
fn give_up(error: FilterError) -> ! {
    ESCAPE.with_borrow(|escape| {
        if let Some(escape) = escape {
            escape(error);
        }
    });
    loop {
        thread::park();
    }
}

/// jaq has panics that a filter can reach. On such a thread they are silent, and give up before
/// they would end a release build.
fn catch_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let previous = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            let here = ESCAPE.try_with(|escape| escape.borrow().is_some()).unwrap_or(false);
            if !here {
                previous(panic);
            } else if cfg!(panic = "abort") {
                give_up(UNFIT);
            }
        }));
    });
}

// ---- Messages ----

fn failed(text: impl AsRef<str>) -> FilterError {
    FilterError::Failed(display_text(text.as_ref()))
}

#[cfg(test)]
mod tests;
