//! The language of filters: jaq's, without functions that reach beyond the record.
//! There are no limits here: a filter can run for ever or crash. `process` has the limits.

use baseten_auth::internal::display_text;
use jaq_core::data::JustLut;
use jaq_core::load::{self, Arena, File, Loader, lex, parse};
use jaq_core::{Compiler, Ctx, Error, Exn, Vars, compile, native};
use jaq_json::{Num, Val};
use serde::{Deserialize, Serialize};
use serde_json::Value;

type Language = JustLut<Val>;

/// A compiled filter.
pub(crate) type Program = jaq_core::Filter<Language>;

/// Why a filter has no result. The texts are short and safe to print.
#[derive(Debug, thiserror::Error, Serialize, Deserialize)]
pub(crate) enum FilterError {
    /// It does not compile.
    #[error("the --jq filter is not valid at character {position}: {problem}")]
    Invalid {
        /// Counted in characters, from 1.
        position: usize,
        /// What is wrong there.
        problem: String,
    },
    /// Compiling it takes more time or memory than any filter needs.
    #[error("the --jq filter is too complex")]
    TooComplex,
    /// It compiled, but failed on a record. The text may quote the record.
    #[error("the --jq filter failed: {0}")]
    Failed(String),
    /// It used up its time.
    #[error("the --jq filter was stopped because it took too long")]
    TookTooLong,
    /// Its process crashed.
    #[error(
        "the --jq filter crashed: it needs too much memory, nests too deeply, or hits a bug of jaq"
    )]
    Crashed,
    /// Its process could not be started.
    #[error("the process for the --jq filter could not be started")]
    #[serde(skip)]
    NotStarted(#[source] std::io::Error),
}

impl FilterError {
    /// The same error without quotes from the record, which may contain a secret.
    pub(crate) fn without_quotes(self) -> Self {
        match self {
            Self::Failed(_) => Self::Failed("it does not fit the record".to_owned()),
            error => error,
        }
    }
}

/// Filters of jq that are left out, because they read the environment, the time zone or more input,
/// end the program or write to stderr.
fn is_left_out(name: &str) -> bool {
    let name = name.trim_end_matches("_empty");
    let names = "$ENV env input inputs input_filename input_line_number localtime strflocaltime \
                 halt halt_error debug stderr get_search_list modulemeta";
    names.split(' ').any(|left_out| left_out == name)
}

/// The functions that are written in Rust.
fn functions() -> impl Iterator<Item = native::Fun<Language>> {
    let functions = jaq_core::funs().chain(jaq_std::funs()).chain(jaq_json::funs());
    functions.filter(|(name, ..)| !is_left_out(name))
}

/// The functions that are written in jq, which build on those written in Rust.
fn definitions() -> Vec<parse::Def<&'static str>> {
    let of_jaq = jaq_core::defs().chain(jaq_std::defs()).chain(jaq_json::defs());
    let ours = load::parse(ROWS, |parser| parser.defs()).unwrap_or_default();
    of_jaq.filter(|definition| !is_left_out(definition.name)).chain(ours).collect()
}

/// jq's two formats for rows, which jaq's library does not have.
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

// ---- Compiling ----

/// Compiles a filter. As in jq, an empty one is the identity.
pub(crate) fn compile(expression: &str) -> Result<Program, FilterError> {
    let expression = if expression.trim().is_empty() { "." } else { expression };
    // Most filters are a path, and parsing jaq's definitions takes a hundred times as long as
    // compiling a path. So they are parsed only if the filter does not compile without them.
    compile_with(Vec::new(), expression).or_else(|_| compile_with(definitions(), expression))
}

fn compile_with(
    definitions: Vec<parse::Def<&'static str>>,
    expression: &str,
) -> Result<Program, FilterError> {
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

/// The place where a filter cannot be parsed, and the reason.
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
    match kind {
        _ if is_left_out(name) => {
            format!("`{name}` is not available: a filter sees its record and the clock only")
        }
        compile::Undefined::Filter(0) => format!("there is no filter `{name}`"),
        compile::Undefined::Filter(arguments) => {
            format!("there is no filter `{name}` with {arguments} arguments")
        }
        kind => format!("there is no {} `{name}`", kind.as_str()),
    }
}

/// Where a part of a text begins, in characters from 1; the end of the text for any other text.
fn position(text: &str, part: &str) -> usize {
    let offset = part.as_ptr().addr().checked_sub(text.as_ptr().addr());
    let before = offset.and_then(|offset| text.get(..offset)).unwrap_or(text);
    before.chars().count() + 1
}

// ---- Applying ----

/// Gives each result for a record, in order, until one is an error.
pub(crate) fn apply(
    program: &Program,
    record: Value,
    mut each: impl FnMut(Value),
) -> Result<(), FilterError> {
    let input = Val::deserialize(record).map_err(|error| failed(error.to_string()))?;
    let context = Ctx::<Language>::new(&program.lut, Vars::new([]));
    for output in program.id.run((context, input)) {
        let output = output.map_err(explain_exception)?;
        each(to_json(&output)?);
    }
    Ok(())
}

fn explain_exception(exception: Exn<'_, Val>) -> FilterError {
    match exception.get_err().map(Error::into_val) {
        Ok(Val::TStr(text) | Val::BStr(text)) => failed(String::from_utf8_lossy(&text)),
        Ok(value) => failed(value.to_string()),
        Err(_) => failed("it ended early"),
    }
}

fn to_json(value: &Val) -> Result<Value, FilterError> {
    Ok(match value {
        Val::Null => Value::Null,
        Val::Bool(bool) => Value::Bool(*bool),
        Val::Num(number) => number_to_json(number),
        Val::TStr(text) | Val::BStr(text) => String::from_utf8_lossy(text).into(),
        Val::Arr(values) => values.iter().map(to_json).collect::<Result<_, _>>()?,
        Val::Obj(entries) => {
            let entry = |(key, value): (&Val, &Val)| match key {
                Val::TStr(key) => Ok((String::from_utf8_lossy(key).into_owned(), to_json(value)?)),
                key => Err(failed(format!("the key {key} of a result is not a string"))),
            };
            Value::Object(entries.iter().map(entry).collect::<Result<_, _>>()?)
        }
    })
}

/// Integers of up to 64 bits stay exact. As in jq, NaN becomes null and infinity the largest number.
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

fn failed(text: impl AsRef<str>) -> FilterError {
    FilterError::Failed(display_text(text.as_ref()))
}

#[cfg(test)]
mod tests;
