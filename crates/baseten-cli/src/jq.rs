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
/// byte of the filter, three and eight times that without optimisation.
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
    #[error("the jq filter is not valid at character {position}: {problem}")]
    Invalid {
        /// Counted in characters, from 1.
        position: usize,
        /// What is wrong there.
        problem: String,
    },
    /// It is longer than any filter needs to be.
    #[error("the jq filter is longer than {MAX_BYTES} bytes")]
    TooLong,
    /// It compiled, but failed on a record. The text may quote the record.
    #[error("the jq filter failed: {0}")]
    Failed(String),
    /// It used up its time, its steps or its stack.
    #[error("the jq filter was stopped: {0}")]
    Stopped(&'static str),
    /// There is no thread to run it on.
    #[error("the jq filter could not be started")]
    Thread(#[source] std::io::Error),
}

impl FilterError {
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
#[expect(clippy::needless_pass_by_value, reason = "jaq calls it so")]
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
        problem: for_terminal(&problem),
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

    /// Counts a step. Where that was one too many, the thread never returns from here: jaq has no
    /// way to be told to stop, and to unwind what is nested too deeply takes as much stack again.
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
    FilterError::Failed(for_terminal(text.as_ref()))
}

/// The text without control characters and bidirectional overrides, and without its middle where
/// it is long.
fn for_terminal(text: &str) -> String {
    const HEAD: usize = 160;
    const TAIL: usize = 60;
    let length = text.chars().count();
    let (head, tail) = if length > HEAD + TAIL { (HEAD, TAIL) } else { (length, 0) };
    let visible = |character: char| match character {
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
            char::REPLACEMENT_CHARACTER
        }
        character if character.is_whitespace() => ' ',
        character if character.is_control() => char::REPLACEMENT_CHARACTER,
        character => character,
    };
    let mut shown: String = text.chars().take(head).map(visible).collect();
    if tail > 0 {
        shown.push('…');
        shown.extend(text.chars().skip(length - tail).map(visible));
    }
    shown
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn compile(expression: &str) -> Filter {
        Filter::compile(expression).unwrap_or_else(|e| panic!("{expression}: {e}"))
    }

    /// The results as the lines that they would be on stdout.
    fn lines(expression: &str, record: &str) -> Vec<String> {
        let record = serde_json::from_str(record).expect("JSON");
        let results = compile(expression).apply(&record);
        let results = results.unwrap_or_else(|e| panic!("{expression}: {e}"));
        results.iter().map(Value::to_string).collect()
    }

    fn line(expression: &str, record: &str) -> String {
        lines(expression, record).join(" | ")
    }

    fn invalid(expression: &str) -> String {
        match Filter::compile(expression).map(|_| ()) {
            Err(error @ FilterError::Invalid { .. }) => error.to_string(),
            other => panic!("{expression}: {other:?}"),
        }
    }

    fn failure(expression: &str, record: &str) -> String {
        let record = serde_json::from_str(record).expect("JSON");
        let error = compile(expression).apply(&record).expect_err(expression);
        error.to_string()
    }

    const LOGIN: &str = r#"{"profile":"a@b.c","user_id":"u1","email":"a@b.c","name":""}"#;

    #[test]
    fn paths_select_from_the_record() {
        assert_eq!(line(".", LOGIN), LOGIN);
        assert_eq!(line(".profile", LOGIN), r#""a@b.c""#);
        assert_eq!(line(".missing", LOGIN), "null");
        assert_eq!(line(".missing.deeper[0]", LOGIN), "null");
        assert_eq!(line(".profile, .user_id", LOGIN), r#""a@b.c" | "u1""#);
        assert_eq!(line(".[]?", "1"), "");
        assert_eq!(line(".a[1:]", r#"{"a":[1,2,3]}"#), "[2,3]");
    }

    #[test]
    fn the_order_of_keys_survives() {
        assert_eq!(line(".", r#"{"z":1,"a":{"y":2,"b":3}}"#), r#"{"z":1,"a":{"y":2,"b":3}}"#);
        assert_eq!(line("{name, profile}", LOGIN), r#"{"name":"","profile":"a@b.c"}"#);
        assert_eq!(line("keys_unsorted", r#"{"z":1,"a":2}"#), r#"["z","a"]"#);
        assert_eq!(line("keys", r#"{"z":1,"a":2}"#), r#"["a","z"]"#);
    }

    #[test]
    fn numbers_come_out_as_they_went_in() {
        for number in [
            "0",
            "-1",
            "9007199254740993",
            "-9223372036854775808",
            "18446744073709551615",
            "1.5",
            "1.0",
        ] {
            assert_eq!(line(".", number), number);
            assert_eq!(line(".[0].n", &format!(r#"[{{"n":{number}}}]"#)), number);
        }
        assert_eq!(line("9223372036854775807 + 1", "null"), "9223372036854775808");
        assert_eq!(line("nan, infinite, 1e999", "null"), {
            format!("null | {max} | {max}", max = json!(f64::MAX))
        });
    }

    #[test]
    fn strings_keep_their_characters() {
        let text = r#""\"\\\n\u0000é\u202e😀""#;
        assert_eq!(line(".", text), json!("\"\\\n\0é\u{202e}😀").to_string());
        assert_eq!(line(r#""\(.)!""#, r#""a\"b""#), r#""a\"b!""#);
        assert_eq!(line("tojson", r#"{"a":"b"}"#), r#""{\"a\":\"b\"}""#);
        assert_eq!(line("tojson | fromjson", r#"{"z":[1,"b",null],"a":-0.5}"#), {
            r#"{"z":[1,"b",null],"a":-0.5}"#
        });
    }

    #[test]
    fn the_library_is_there() {
        for (expression, record, expected) in [
            ("select(.profile == \"x\")", LOGIN, ""),
            ("select(.user_id == \"u1\") | .email", LOGIN, r#""a@b.c""#),
            ("empty", LOGIN, ""),
            ("to_entries[0]", LOGIN, r#"{"key":"profile","value":"a@b.c"}"#),
            ("with_entries(select(.key == \"name\"))", LOGIN, r#"{"name":""}"#),
            ("map(. + 1)", "[1,2]", "[2,3]"),
            ("del(.name) | length", LOGIN, "3"),
            ("if .name == \"\" then \"none\" else .name end", LOGIN, r#""none""#),
            (".name // null", r#"{"name":null}"#, "null"),
            ("[paths]", r#"{"a":[1]}"#, r#"[["a"],["a",0]]"#),
            ("ascii_downcase", r#""ABC""#, r#""abc""#),
            (".email | test(\"^[a-z]+@\")", LOGIN, "true"),
            (".email | sub(\"@.*\"; \"\")", LOGIN, r#""a""#),
            (".email | capture(\"(?<user>.*)@(?<host>.*)\") | .host", LOGIN, r#""b.c""#),
            ("split(\".\") | last", r#""a.b.c""#, r#""c""#),
            ("[\"a b\", 1] | @sh", "null", r#""'a b' 1""#),
            ("@base64, @uri", r#""a b""#, r#""YSBi" | "a%20b""#),
            (
                "fromdate | . - 60 | todate",
                r#""2026-11-01T00:00:00Z""#,
                r#""2026-10-31T23:59:00Z""#,
            ),
            ("now > 1700000000", "null", "true"),
            ("try error(\"x\") catch .", "null", r#""x""#),
            ("tonumber", r#""12""#, "12"),
            (". as {email: $e} | $e", LOGIN, r#""a@b.c""#),
            ("def f: . + 1; f | f", "1", "3"),
            ("reduce .[] as $x (0; . + $x)", "[1,2,3]", "6"),
            ("[limit(3; repeat(1))]", "null", "[1,1,1]"),
            ("first(range(10; 0; -1))", "null", "10"),
        ] {
            assert_eq!(line(expression, record), expected, "{expression}");
        }
    }

    #[test]
    fn rows_are_formatted_as_in_jq() {
        let row = r#"["a\tb\\c\nd\re", 1.5, true, null, "x,\"y\"", ""]"#;
        assert_eq!(
            line("@tsv", row),
            json!("a\\tb\\\\c\\nd\\re\t1.5\ttrue\t\tx,\"y\"\t").to_string()
        );
        assert_eq!(
            line("@csv", row),
            json!("\"a\tb\\c\nd\re\",1.5,true,,\"x,\"\"y\"\"\",\"\"").to_string()
        );
        assert_eq!(line("@tsv \"\\([.a, .b])\"", r#"{"a":1,"b":2}"#), r#""1\t2""#);
        assert!(failure("@tsv", "[[1]]").contains("a row cannot hold an array"));
        assert!(failure("@csv", "{}").contains("only an array can be a row"));
    }

    #[test]
    fn nothing_outside_the_record_can_be_reached() {
        for name in ["env", "$ENV", "input", "inputs", "halt", "halt_error", "debug", "stderr"] {
            for expression in [name.to_owned(), format!("[.[]? | {name}] | select(.)")] {
                let message = invalid(&expression);
                assert!(
                    message.contains(&format!("`{name}` is not available, since")),
                    "{message}"
                );
            }
        }
        for expression in [
            "halt(1)",
            "halt_error(1)",
            "debug(1)",
            "env.PATH",
            "$ENV.PATH",
            "localtime",
            "stderr_empty",
            "input_filename",
            "strflocaltime(\"%Z\")",
            "get_search_list",
            "$__prog_args",
        ] {
            invalid(expression);
        }
        for expression in [
            r#"include "x"; ."#,
            r#"import "x" as x; ."#,
            r#"import "x" as $x; $x"#,
            r#"import "x" as $x; ."#,
            r#"include "x" {search: "/"}; ."#,
        ] {
            assert!(invalid(expression).contains("cannot load modules or files"), "{expression}");
        }
    }

    /// Only then may the definitions be left out where a filter compiles without them.
    #[test]
    fn no_definition_hides_a_function() {
        let functions: Vec<_> = functions().map(|(name, args, _)| (name, args.len())).collect();
        for definition in definitions() {
            assert!(
                !functions.contains(&(definition.name, definition.args.len())),
                "{}",
                definition.name
            );
        }
    }

    #[test]
    fn compile_errors_say_where_and_what() {
        for (expression, expected) in [
            ("", "at character 1: expected term, found the end"),
            (".a |", "at character 5: expected term, found the end"),
            ("\"é\" | [1, 2", "at character 7: `[` has no closing bracket"),
            (".a = \"x", "at character 6: `\"` has no closing quote"),
            (".a ) .b", "at character 4: expected token, found `) .b`"),
            (".a .b & 1", "at character 7: expected token, found `& 1`"),
            ("if . then 1", "at character 12: expected else or end, found the end"),
            ("{a:}", "at character 4: expected term, found `}`"),
            (". | nope", "at character 5: there is no filter `nope`"),
            ("\"é\" | map(1; 2)", "at character 7: there is no filter `map` with 2 arguments"),
            (". + $x", "at character 5: there is no variable `$x`"),
            ("break $x", "at character 7: there is no label `$x`"),
            ("a::b", "at character 1: there is no module `a`"),
        ] {
            let expected = format!("the jq filter is not valid {expected}");
            assert_eq!(invalid(expression), expected, "{expression}");
        }
    }

    #[test]
    fn runtime_errors_say_what() {
        for (expression, expected) in [
            ("error(\"no \\(.name)\")", "no x"),
            ("error", r#"{"name":"x"}"#),
            ("error({a: 1})", r#"{"a":1}"#),
            ("error(null)", "null"),
            (".name.first", r#"cannot index "x" with "first""#),
            (".name + 1", r#"cannot calculate "x" + 1"#),
            (".name | fromjson", "not JSON: expected value at line 1 column 1"),
            ("{(1): 2}", "the key 1 of a result is not a string"),
            ("1, error(\"late\")", "late"),
        ] {
            let expected = format!("the jq filter failed: {expected}");
            assert_eq!(failure(expression, r#"{"name":"x"}"#), expected, "{expression}");
        }
    }

    #[test]
    fn messages_are_short_and_safe_to_print() {
        let message = failure("error(\"\\(.)\")", r#""a\u001b[31m\n\u202eb\u009b""#);
        assert_eq!(message, "the jq filter failed: a\u{fffd}[31m \u{fffd}b\u{fffd}");
        let message = failure(".x", &json!("é".repeat(5000)).to_string());
        assert!(message.chars().count() < 260, "{message}");
        assert!(message.ends_with("\" with \"x\""), "{message}");
        assert!(invalid("\u{1b}").ends_with("found `\u{fffd}`"));
        assert!(invalid(&"a".repeat(4000)).chars().count() < 300);
    }

    #[test]
    fn a_secret_can_be_kept_out_of_the_message() {
        let filter = compile(".token.x");
        let error = filter.apply(&json!({"token": "canary"})).expect_err("no object");
        assert!(error.to_string().contains("canary"));
        assert!(!format!("{:?}", error.without_quotes()).contains("canary"));
    }

    #[test]
    fn nesting_in_the_filter_overflows_no_stack() {
        for part in [
            "[",
            "(",
            "{a:",
            "-",
            "try ",
            "\"\\(",
            "def f:",
            "if ",
            "reduce ",
            "label $x|",
            ".[",
            "f(",
            ". as [",
            "1|",
            "1+",
            "1,",
            "1 as $x|",
            ".a?//",
            "if 1 then ",
        ] {
            let deep = part.repeat(MAX_BYTES / part.len());
            assert!(matches!(Filter::compile(&deep), Err(FilterError::Invalid { .. })), "{part}");
        }
        let deep = "[".repeat(100_000);
        assert!(matches!(Filter::compile(&deep), Err(FilterError::TooLong)));
        for (open, close) in [("[", "]"), ("(", ")"), ("-", ""), ("1|", ""), ("1 as $x|", "")] {
            let levels = (MAX_BYTES - 1) / (open.len() + close.len());
            let deep = format!("{}1{}", open.repeat(levels), close.repeat(levels));
            let _ = compile(&deep).apply(&Value::Null);
        }
        let array = format!("{}{}", "[".repeat(MAX_DEPTH), "]".repeat(MAX_DEPTH));
        assert_eq!(line(&array, "null"), array);
        assert!(failure(&format!("[{array}]"), "null").contains("nested more than 128 levels"));
    }

    #[test]
    fn recursion_overflows_no_stack() {
        for expression in [
            "def f: [f]; f",
            "def f: 1 + f; f",
            "def f: f | f; f",
            "def f: {a: f}; f",
            "def f: .[f]; f",
            "def f: (f as $x | 1); f",
            "def f: try f catch f; f",
            "def f: f?; f",
            "def f: \"\\(f)\"; f",
            "def f: if f then 1 else 2 end; f",
            "def f: reduce f as $x (0; 1); f",
            "def f: first(f); f",
            "def f: [1, 2] | sort_by(f); f",
            "def f: f; f",
            "def f(g): f(1 | g); f(.)",
            "[recurse(.)]",
            "repeat(1)",
            "last(repeat([.]))",
            "reduce range(1000000) as $i (.; [.])",
            "[0] | .[range(1000000) | 0] |= [.]",
            "def f: def g: 3 | g | f; [g]; f",
            "def f: f | .a; path(f)",
            "last(path(repeat(.a)))",
            "[.[]?, 0] | until(false; [.] | tojson | [0])",
        ] {
            let message = failure(expression, "null");
            assert!(
                message.starts_with("the jq filter was stopped: it "),
                "{expression}: {message}"
            );
        }
    }

    #[test]
    fn values_as_deep_as_the_steps_allow_overflow_no_stack() {
        for tail in [
            "empty",
            "tojson | empty",
            "[.] == [.] | empty",
            "{(tojson): 1} | empty",
            ". * {}",
            "error",
            ".a",
            ".",
            "contains([[[]]])",
            "tobytes | empty",
            "[., .] | sort | empty",
        ] {
            let expression = format!("reduce range(33000) as $i ([]; [.]) | {tail}");
            let _ = compile(&expression).apply(&Value::Null);
        }
        assert!(failure("\"[\" * 100000 | fromjson", "null").contains("recursion limit"));
        assert!(failure("\"(\" * 100000 | . as $r | test($r)", "null").contains("invalid regex"));
    }

    #[test]
    fn a_panic_in_jaq_is_an_error() {
        for expression in [r#""ab" | [match("(?:(b)|(a))*")]"#, "\"ab\" * 9223372036854775807"] {
            let message = failure(expression, "null");
            assert!(message.starts_with("the jq filter was stopped: jaq"), "{message}");
        }
    }

    #[test]
    fn a_filter_that_takes_too_long_is_left_behind() {
        // The range is no step. It does end, so that the thread will not be in others' way.
        let endless = compile("last(range(10000000))");
        let error = endless.apply_within(Duration::from_millis(50), &Value::Null);
        assert_eq!(
            error.expect_err("endless").to_string(),
            "the jq filter was stopped: it takes too long"
        );
    }

    #[test]
    fn the_steps_suffice_for_real_work() {
        let records: Vec<_> =
            (0..500).map(|i| json!({"profile": format!("p{i}"), "current": i == 7})).collect();
        let expression = "map(select(.current or (.profile | test(\"^p49\"))) | .profile | ascii_upcase) | length";
        assert_eq!(line(expression, &json!(records).to_string()), "12");
        let token = json!("header.".repeat(100));
        assert_eq!(line("gsub(\"[aeiou]\"; \"\") | length", &token.to_string()), "400");
    }

    /// Pieces of filters; no `range` and no division, whose endless results would fill the memory.
    const PIECES: &[&str] = &[
        ".",
        ".a",
        ".[]",
        "..",
        "|",
        ",",
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        "{a",
        ":",
        ";",
        "?",
        "//",
        "=",
        "|=",
        "+=",
        "+",
        "-",
        "*",
        "==",
        "<",
        "and",
        "or",
        "not",
        "1",
        "0",
        "-1",
        "2.5",
        "\"a\"",
        "\"\\(",
        "$x",
        "as $x |",
        "as [$x] |",
        "def f:",
        "def f(g):",
        "f",
        "f(",
        "g",
        "if",
        "then",
        "else",
        "end",
        "try",
        "catch",
        "reduce",
        "foreach",
        "label $x |",
        "break $x",
        "map(",
        "select(",
        "path(",
        "first(",
        "limit(3;",
        "recurse",
        "recurse(",
        "repeat(",
        "sort_by(",
        "group_by(",
        "to_entries",
        "with_entries(",
        "tojson",
        "fromjson",
        "tostring",
        "tonumber",
        "keys",
        "length",
        "add",
        "any",
        "test(",
        "match(",
        "gsub(",
        "split(",
        "join(",
        "explode",
        "implode",
        "@tsv",
        "@base64d",
        "@sh",
        "ascii_downcase",
        "error",
        "error(",
        "empty",
        "null",
        "true",
        "nan",
        "getpath(",
        "setpath(",
        "del(",
        "walk(",
        "env",
        "input",
        "halt",
        "#",
        "\n",
        "\\",
        "é",
        "\u{202e}",
        "&",
        "$",
        "@",
    ];

    proptest! {
        #[test]
        fn no_filter_harms_the_process(
            pieces in prop::collection::vec(prop::sample::select(PIECES), 0..24),
        ) {
            let expression = pieces.join(" ");
            let record = json!({"a": [1, "b", {"c": null}], "b": "2026-11-01T00:00:00Z"});
            let results = Filter::compile(&expression).and_then(|filter| filter.apply(&record));
            if let Err(error) = results {
                let message = error.to_string();
                prop_assert!(message.chars().count() < 400 && !message.contains(char::is_control));
            }
        }

        #[test]
        fn no_text_harms_the_compiler(expression in any::<String>()) {
            let _ = Filter::compile(&expression);
        }

        #[test]
        fn the_identity_is_one(text in any::<String>(), integer in any::<i64>()) {
            let record = json!({"text": text, "integer": integer, "list": [null, true, {}]});
            let filter = compile(".");
            prop_assert_eq!(filter.apply(&record).expect("identity"), vec![record]);
        }
    }
}
