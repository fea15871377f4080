//! What filters do, and what they can't.

use serde_json::json;

use super::*;

fn results(expression: &str, record: Value) -> Result<Vec<Value>, FilterError> {
    let program = compile(expression).unwrap_or_else(|e| panic!("{expression}: {e}"));
    let mut results = Vec::new();
    apply(&program, record, |result| results.push(result))?;
    Ok(results)
}

/// The results as the lines that they would be on stdout.
fn lines(expression: &str, record: &str) -> Vec<String> {
    let record = serde_json::from_str(record).expect("JSON");
    let results = results(expression, record).unwrap_or_else(|e| panic!("{expression}: {e}"));
    results.iter().map(Value::to_string).collect()
}

fn line(expression: &str, record: &str) -> String {
    lines(expression, record).join(" | ")
}

fn invalid(expression: &str) -> String {
    match compile(expression).map(|_| ()) {
        Err(error @ FilterError::Invalid { .. }) => error.to_string(),
        other => panic!("{expression}: {other:?}"),
    }
}

#[test]
fn an_empty_filter_is_the_identity() {
    assert_eq!(line("", r#"{"a":1}"#), r#"{"a":1}"#);
    assert_eq!(line(" \n", r#"{"a":1}"#), r#"{"a":1}"#);
}

fn failure(expression: &str, record: &str) -> String {
    let record = serde_json::from_str(record).expect("JSON");
    results(expression, record).expect_err(expression).to_string()
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
        ("fromdate | . - 60 | todate", r#""2026-11-01T00:00:00Z""#, r#""2026-10-31T23:59:00Z""#),
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
    assert_eq!(line("@tsv", row), json!("a\\tb\\\\c\\nd\\re\t1.5\ttrue\t\tx,\"y\"\t").to_string());
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
            assert!(message.contains(&format!("`{name}` is not available")), "{message}");
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

/// The definitions are left out if a filter compiles without them, so none may have the name of a
/// function.
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
        let expected = format!("the --jq filter is not valid {expected}");
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
        (".name | fromjson", r#"cannot parse "x" as JSON: byte offset 0: value expected"#),
        ("{(1): 2}", "the key 1 of a result is not a string"),
        ("1, error(\"late\")", "late"),
    ] {
        let expected = format!("the --jq filter failed: {expected}");
        assert_eq!(failure(expression, r#"{"name":"x"}"#), expected, "{expression}");
    }
}

#[test]
fn messages_are_short_and_safe_to_print() {
    let message = failure("error(\"\\(.)\")", r#""a\u001b[31m\n\u202eb\u009b""#);
    assert_eq!(message, "the --jq filter failed: a[31m b");
    let message = failure(".x", &json!("é".repeat(5000)).to_string());
    assert!(message.chars().count() < 340, "{message}");
    assert!(invalid("\u{1b}").ends_with("found ``"));
    assert!(invalid(&"a".repeat(4000)).chars().count() < 400);
}

#[test]
fn a_secret_can_be_kept_out_of_the_message() {
    let error = results(".token.x", json!({"token": "canary"})).expect_err("no object");
    assert!(error.to_string().contains("canary"));
    assert!(!format!("{:?}", error.without_quotes()).contains("canary"));
}

#[test]
fn real_work_is_done() {
    let records: Vec<_> =
        (0..500).map(|i| json!({"profile": format!("p{i}"), "current": i == 7})).collect();
    let expression =
        "map(select(.current or (.profile | test(\"^p49\"))) | .profile | ascii_upcase) | length";
    assert_eq!(line(expression, &json!(records).to_string()), "12");
    let token = json!("header.".repeat(100));
    assert_eq!(line("gsub(\"[aeiou]\"; \"\") | length", &token.to_string()), "400");
}
