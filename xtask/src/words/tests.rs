use super::prose::Word;
use super::source::{Kind, Part};
use super::*;

const LIST_TEXT: &str = r#"
    [phrases]
    "blue moon" = "rare"
    "of yore" = "long past"
    "^ lo" = "drop it"
    [comments]
    "Behold." = "say what it is"
    [names]
    "DeadParrot" = "Parrot"
    "walk_*" = "stroll_*"
    "*Fifo" = "Queue"
    [columns]
    md = 40
"#;

fn list(more: &str) -> List {
    List::parse(&format!("{LIST_TEXT}\n{more}")).unwrap()
}

/// The findings in a file, as `line: what`.
fn found(file: &str, text: &str) -> Vec<String> {
    let found = check::findings(file, text, &list(""));
    found.iter().map(|found| format!("{}: {}", found.line, found.finding.what)).collect()
}

#[test]
fn phrases_are_found_in_every_kind_of_text() {
    for (file, text) in [
        ("a.rs", "/// It can be blue moon."),
        ("a.rs", "//! It can be blue moon."),
        ("a.rs", "let a = 1; // Blue moon."),
        ("a.rs", "/* it is blue moon */"),
        ("a.rs", r#"const A: &str = "It is \"blue moon\".";"#),
        ("a.rs", r##"const A: &str = r#"It is "blue moon"."#;"##),
        ("a.rs", r#"error!("blue\nmoon");"#),
        ("a.rs", "#[error(\"blue moon\")]"),
        ("a.md", "It is **blue moon**, or *blue* not."),
        ("a.md", "- *Blue* moon"),
        ("a.html", "<p title=\"blue moon\"></p>"),
        ("a.toml", "# It is blue moon."),
        ("a.toml", "description = \"blue moon\""),
    ] {
        assert_eq!(found(file, text), ["1: blue moon"], "{file}: {text}");
    }
}

#[test]
fn a_phrase_may_go_over_the_end_of_a_line() {
    assert_eq!(found("a.rs", "fn a() {}\n\n    /// What can be blue\n    /// moon.\n"), ["3: blue moon"]);
    assert_eq!(found("a.rs", "f(\"it can be blue \\\n   moon\")"), ["1: blue moon"]);
    assert_eq!(found("a.md", "It is blue\nmoon.\n"), ["1: blue moon"]);
    assert_eq!(found("a.toml", "# It is blue\n# moon.\n"), ["1: blue moon"]);
}

#[test]
fn what_only_looks_like_a_phrase_is_left_alone() {
    for (file, text) in [
        ("a.rs", "/// It blue. Moon it went."),
        ("a.rs", "/// It blue\n\n/// moon."),
        ("a.rs", "// It blue\n/// moon."),
        ("a.rs", "let blue = moon; blue(moon); blue moon"),
        ("a.rs", "/// `blue moon`"),
        ("a.rs", "/// It blue `x` moon."),
        ("a.rs", "/// ```\n/// blue moon\n/// ```"),
        ("a.rs", "/// sblue moonst"),
        ("a.rs", "f::<'a>(\"blue\", \"moon\", '\"', 'a', '\\'', b'\\\\') // moon"),
        ("a.md", "It blue (moon)."),
        ("a.md", "It blue\n\nmoon"),
        ("a.md", "| blue | moon |"),
        ("a.md", "```\nblue moon\n```"),
    ] {
        assert_eq!(found(file, text), [""; 0], "{file}: {text}");
    }
}

#[test]
fn a_phrase_can_be_meant_for_the_head_of_a_sentence() {
    assert_eq!(found("a.md", "Somebody lo asks. Lo asks?\n\nLo asks: lo"), ["1: ^ lo", "3: ^ lo", "3: ^ lo"]);
}

#[test]
fn a_comment_can_be_refused_as_a_whole() {
    let text = "struct A {\n    /// Behold.\n    a: bool,\n    /// Behold. Or not.\n    b: bool,\n}";
    assert_eq!(found("a.rs", text), ["2: Behold."]);
}

#[test]
fn names_are_found_in_code_only() {
    for (file, text) in [
        ("a.rs", "struct DeadParrot;"),
        ("a.rs", "/// See [`DeadParrot`]."),
        ("a.rs", "/// ```\n/// DeadParrot\n/// ```"),
        ("a.md", "The engine's `Vec<DeadParrot>`"),
    ] {
        assert_eq!(found(file, text).len(), 1, "{text}");
    }
    assert_eq!(found("a.rs", "fn walk_up() { walk(); a.walk_all() }"), ["1: walk_*", "1: walk_*"]);
    assert_eq!(found("a.rs", "type A = CellFifo; type B = Fifos;"), ["1: *Fifo"]);
    for text in ["// DeadParrot", "const A: &str = \"DeadParrot\";", "struct DeadParrots; struct dead_parrot;"] {
        assert_eq!(found("a.rs", text), [""; 0], "{text}");
    }
}

#[test]
fn lines_of_prose_are_not_too_long() {
    let long = "word ".repeat(9);
    let what = "lines over 40 columns in *.md";
    assert_eq!(found("a.md", &format!("short\n{long}\n")), [format!("2: {what}")]);
    assert_eq!(found("a.md", &format!("{}\n", "é".repeat(40))), [""; 0], "columns, not bytes");
    for text in [
        format!("| {long} |"),
        format!("```\n{long}\n```"),
        format!("word [word](https://{})", "a".repeat(50)),
        format!("word https://{}", "a".repeat(50)),
    ] {
        assert_eq!(found("a.md", &text), [""; 0], "{text}");
    }
    assert_eq!(found("a.rs", &format!("// {long}")), [""; 0], "only where the list says so");
}

#[test]
fn a_finding_says_where_what_and_what_is_better() {
    let found = check::findings("docs/a.md", "\nIt is blue moon.", &list(""));
    assert_eq!(found[0].to_string(), "docs/a.md:2: `blue moon`: rare");
    let error = WordsError::Broken(vec![found[0].to_string()]).to_string();
    let advice = "1 refused word or phrase; see docs/development.md";
    assert_eq!(error, format!("docs/a.md:2: `blue moon`: rare\n{advice}"));
}

#[test]
fn an_exception_allows_one_line() {
    let list = list(
        r#"
        [[exceptions]]
        file = "a.md"
        what = "blue moon"
        line = "This is"
        reason = "somebody else's words"
    "#,
    );
    let found = |text| check::without_exceptions(check::findings("a.md", text, &list), &list.exceptions);
    assert_eq!(found("This is blue moon."), [""; 0]);
    assert_eq!(found("This is blue moon.\n\nThat is blue moon."), ["a.md:3: `blue moon`: rare"]);
    let unused = "xtask/words.toml: the exception for `blue moon` in a.md is no longer needed; remove it";
    assert_eq!(found("Nothing."), [unused]);
    assert_eq!(found("This is of yore."), ["a.md:1: `of yore`: long past", unused]);
}

#[test]
fn what_is_not_refused_yet_is_counted() {
    let list = list("[later.phrases]\n\"on par\" = \"equal\"\n\"at sea\" = \"lost\"");
    let found = check::findings("a.md", "On par, and blue moon on par.", &list);
    let (later, refused): (Vec<_>, _) = found.into_iter().partition(|found| found.finding.later);
    assert_eq!(refused.len(), 1);
    let expected = ["     2  pending: `on par`: equal", "     0  pending: `at sea`: lost"];
    assert_eq!(counts(&list, &later), expected);
}

#[test]
fn a_list_that_makes_no_sense_is_refused() {
    for (text, expected) in [
        ("phrases = 1", "invalid type"),
        ("words = {}", "unknown field"),
        ("[later]\nwords = {}", "unknown field"),
        ("[phrases]\n\"^\" = \"\"", "`^` has no words"),
        (
            r#"exceptions = [{ file = "a", what = "b", line = "c", reason = "" }]"#,
            "the exception for `b` in a has no reason",
        ),
    ] {
        let error = List::parse(text).unwrap_err().to_string();
        assert!(error.contains(expected), "{text}: {error}");
    }
}

#[test]
fn a_file_is_taken_apart() {
    let parts = source::parts("//! A\n//! b.\n\nlet a = \"c\\\"\"; // d\n/// e\n");
    let kinds: Vec<_> = parts.iter().map(|Part { kind, line, text }| (*kind, *line, &**text)).collect();
    assert_eq!(
        kinds,
        [
            (Kind::Doc, 1, " A\n b."),
            (Kind::Code, 2, "\n\nlet a = "),
            (Kind::Literal, 4, "c\""),
            (Kind::Code, 4, "; "),
            (Kind::Comment, 4, " d"),
            (Kind::Code, 4, "\n"),
            (Kind::Doc, 5, " e"),
            (Kind::Code, 5, "\n"),
        ]
    );
}

#[test]
fn text_that_is_no_rust_is_no_error() {
    for text in ["\"", "'", "r#\"", "/*", "//", "'\\", "b'\\", "\"\\", "\u{fffc}'é'r\"", "/*/", "'\\''"] {
        source::parts(text);
        check::findings("a.rs", text, &list(""));
    }
}

#[test]
fn words_know_their_lines() {
    let words = prose::words("A b\nc", 7);
    let lines: Vec<_> = words.iter().map(|Word { text, line, .. }| (&**text, *line)).collect();
    assert_eq!(lines, [("a", 7), ("b", 7), ("c", 8)]);
}
