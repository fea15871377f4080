use super::*;

const HELPER: &Path = &["apiKeyHelper"];
const URL: &Path = &["env", "URL"];

fn changed(format: Format, text: &str, change: impl Fn(&mut Settings)) -> Change {
    let mut settings = Settings::parse(format, Some(text.as_bytes())).unwrap();
    change(&mut settings);
    settings.change()
}

fn set(settings: &mut Settings) {
    settings.set(HELPER, &"h".into()).unwrap();
    settings.set(URL, &"u".into()).unwrap();
}

#[test]
fn json_members_are_laid_out_like_their_neighbours_and_taken_out_again() {
    for (before, after) in [
        (r#"{"a":1}"#, r#"{"a":1,"apiKeyHelper": "h","env": {"URL": "u"}}"#),
        (r#"{ "a": 1 }"#, r#"{ "a": 1, "apiKeyHelper": "h", "env": {"URL": "u"} }"#),
        (
            "\u{feff}{\r\n\t\"b\" : [1,\r\n2],\r\n\t\"a\": 1.0E5\r\n}\r\n\r\n",
            "\u{feff}{\r\n\t\"b\" : [1,\r\n2],\r\n\t\"a\": 1.0E5,\r\n\t\"apiKeyHelper\": \"h\",\r\n\
             \t\"env\": {\r\n\t\t\"URL\": \"u\"\r\n\t}\r\n}\r\n\r\n",
        ),
        (
            "{\n    \"env\": {\n        \"X\": \"\\u0041\"\n    },\n\n    \"z\": null }",
            "{\n    \"env\": {\n        \"X\": \"\\u0041\",\n        \"URL\": \"u\"\n    },\n\n    \
             \"z\": null,\n\n    \"apiKeyHelper\": \"h\" }",
        ),
    ] {
        let text = changed(Format::Json, before, set);
        assert_eq!(text, Change::Text(after.to_owned()));
        let taken_out = changed(Format::Json, after, |settings| {
            settings.remove(HELPER).unwrap();
            settings.remove(URL).unwrap();
        });
        assert_eq!(taken_out, Change::Text(before.to_owned()));
    }
}

#[test]
fn json_without_members_gets_lines() {
    let lines = "{\n  \"apiKeyHelper\": \"h\",\n  \"env\": {\n    \"URL\": \"u\"\n  }\n}";
    for (before, after) in [
        ("", format!("{lines}\n")),
        (" \n", format!("{lines}\n")),
        ("{}", lines.to_owned()),
        ("{ \n}\n", format!("{lines}\n")),
        (
            "\n{\"env\":{}}",
            r#"
{"env":{"URL": "u"},"apiKeyHelper": "h"}"#
                .to_owned(),
        ),
        (
            "{\n \"env\": { }\n}",
            "{\n \"env\": {\n  \"URL\": \"u\"\n },\n \"apiKeyHelper\": \"h\"\n}".to_owned(),
        ),
    ] {
        assert_eq!(changed(Format::Json, before, set), Change::Text(after), "{before:?}");
    }
    let taken_out = changed(Format::Json, lines, |settings| {
        settings.remove(URL).unwrap();
        settings.remove(HELPER).unwrap();
    });
    assert_eq!(taken_out, Change::Removal("{}".to_owned()));
}

#[test]
fn json_values_are_replaced_and_removed_in_place() {
    let text = "{\"apiKeyHelper\" :null , \"env\": {\"URL\":7,\"B\":1},\"c\":[]}";
    let after = "{\"apiKeyHelper\" :\"h\" , \"env\": {\"URL\":\"u\",\"B\":1},\"c\":[]}";
    assert_eq!(changed(Format::Json, text, set), Change::Text(after.to_owned()));
    let after = changed(Format::Json, text, |settings| {
        assert_eq!(settings.get(HELPER).unwrap(), None);
        assert_eq!(settings.get(URL).unwrap(), Some(Value::Other));
        settings.remove(HELPER).unwrap();
        settings.remove(URL).unwrap();
    });
    assert_eq!(after, Change::Text("{\"env\": {\"B\":1},\"c\":[]}".to_owned()));
}

#[test]
fn text_that_is_not_a_json_object_is_refused() {
    for text in [
        "// c\n{}",
        "{} // c",
        "{/* */}",
        "[1]",
        "1",
        "{\"a\":1,}",
        "{'a':1}",
        "{a:1}",
        "{\"a\":+1}",
        "{\"a\":01}",
        "{\"a\":1}{}",
        "{\"a\":\"\t\"}",
        "{",
        "\u{a0}{}",
        "{\"a\":[}",
    ] {
        let refused = Settings::parse(Format::Json, Some(text.as_bytes()));
        assert!(matches!(refused, Err(SettingsError::Malformed { .. })), "{text}");
    }
    let settings = |text: &str| Settings::parse(Format::Json, Some(text.as_bytes())).unwrap();
    let twice = settings("{\"apiKeyHelper\":1,\"\\u0061piKeyHelper\":2}");
    assert!(matches!(twice.get(HELPER), Err(SettingsError::Malformed { .. })));
    for text in ["{\"env\":[]}", "{\"env\":null}", "{\"env\":\"\"}"] {
        let refused = settings(text).set(URL, &"u".into());
        assert!(matches!(refused, Err(SettingsError::Form(_))), "{text}");
    }
}

const TOP: &Path = &["model_provider"];
const NAME: &Path = &["model_providers", "baseten", "name"];
const ARGS: &Path = &["model_providers", "baseten", "auth", "args"];

fn set_toml(settings: &mut Settings) {
    settings.set(TOP, &"b".into()).unwrap();
    settings.set(NAME, &"n\"\u{7f}".into()).unwrap();
    settings.set(ARGS, &Value::List(vec!["a".to_owned(), "b".to_owned()])).unwrap();
}

fn remove_toml(settings: &mut Settings) {
    for path in [ARGS, NAME, TOP] {
        settings.remove(path).unwrap();
    }
}

#[test]
fn toml_keeps_all_else_and_loses_again_what_it_got() {
    let tables = "\n[model_providers.baseten]\nname = \"n\\\"\\u007F\"\n\n[model_providers.baseten.auth]\nargs = [\"a\", \"b\"]\n";
    for (before, after) in [
        (
            "a.b = 1 # c\nc = 2\na . d=3 # d\n\n# e\n[x]\n[b]\n[x.y]\n",
            "a.b = 1 # c\nc = 2\na . d=3 # d\n^\n# e\n[x]\n[b]\n[x.y]\n@",
        ),
        ("# c\n[x]\ny = 1\n", "^# c\n[x]\ny = 1\n@"),
        ("a = [\n 1, # one\n]\n\n\n", "a = [\n 1, # one\n]\n^\n\n@"),
        (
            "\u{feff}a = 1\r\n# c\r\n[b]\r\nc = \"x\" # k\r\n",
            "\u{feff}a = 1\r\n^# c\r\n[b]\r\nc = \"x\" # k\r\n@",
        ),
        ("[x]\n[b]\n", "^[x]\n[b]\n@"),
        (
            "a = 1\n[[model_providers.azure.x]]\nb=1\n",
            "a = 1\n^[[model_providers.azure.x]]\nb=1\n@",
        ),
    ] {
        let end = line_end(before);
        let top = format!("model_provider = \"b\"{end}");
        let after = after.replace('^', &top).replace('@', &tables.replace('\n', end));
        assert_eq!(changed(Format::Toml, before, set_toml), Change::Text(after.clone()));
        let taken_out = changed(Format::Toml, &after, remove_toml);
        assert_eq!(taken_out, Change::Text(before.to_owned()));
    }
    let fresh = changed(Format::Toml, "", set_toml);
    assert_eq!(fresh, Change::Text(format!("model_provider = \"b\"\n{tables}")));
    let cut = changed(Format::Toml, "a = 1", |settings| settings.set(TOP, &"b".into()).unwrap());
    assert_eq!(cut, Change::Text("a = 1\nmodel_provider = \"b\"\n".to_owned()));
}

#[test]
fn toml_tables_that_are_there_are_used() {
    let text = "[model_providers.baseten.auth] # x\nargs = [] # y\n[model_providers]\n\
                [model_providers . \"baseten\"]\n# z\nretries = 1\n[last]\n";
    let after = "model_provider = \"b\"\n[model_providers.baseten.auth] # x\nargs = [\"a\", \"b\"] # y\n\
                 [model_providers]\n[model_providers . \"baseten\"]\n# z\nretries = 1\n\
                 name = \"n\\\"\\u007F\"\n[last]\n";
    assert_eq!(changed(Format::Toml, text, set_toml), Change::Text(after.to_owned()));
    let left = "[model_providers]\n[model_providers . \"baseten\"]\n# z\nretries = 1\n[last]\n";
    assert_eq!(changed(Format::Toml, after, remove_toml), Change::Text(left.to_owned()));
}

#[test]
fn toml_that_would_need_another_layout_is_refused() {
    for text in [
        "model_providers = { azure = { name = 'x' } }\n",
        "model_providers.baseten.base_url = 'x'\n",
        "[model_providers]\nbaseten = { base_url = 'x' }\n",
        "[[model_providers]]\n",
        "model_providers = 1\n",
        "[model_providers.baseten.name]\n",
    ] {
        let mut settings = Settings::parse(Format::Toml, Some(text.as_bytes())).unwrap();
        let refused = settings.set(NAME, &"n".into());
        assert!(matches!(refused, Err(SettingsError::Form(_))), "{text}: {refused:?}");
    }
    let text = "model_providers = { baseten = { name = 'x' } }\n";
    let mut settings = Settings::parse(Format::Toml, Some(text.as_bytes())).unwrap();
    assert!(matches!(settings.remove(NAME), Err(SettingsError::Form(_))));
    let secret = "a = 1\nkey = canary\n";
    let error = Settings::parse(Format::Toml, Some(secret.as_bytes())).unwrap_err().to_string();
    assert_eq!(error, "it is not valid TOML: line 2");
}
