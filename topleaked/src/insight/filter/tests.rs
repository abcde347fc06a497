use proptest::prelude::*;

use super::*;

fn parsed(text: &str) -> Filter {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn fault(text: &str) -> String {
    text.parse::<Filter>().expect_err(text).to_string()
}

#[test]
fn and_binds_closer_than_or() {
    assert_eq!(parsed("leaked or live and size>1K").to_string(), "leaked or (live and size > 1024)");
    assert_eq!(parsed("(leaked or live) and not size == 0x30").to_string(), "(leaked or live) and not size == 48");
    assert_eq!(parsed("not not unreferenced").to_string(), "not not unreferenced");
}

#[test]
fn names_may_hold_what_types_hold() {
    let name = |text: &str| match parsed(text) {
        Filter::Test(Test::Type(pattern)) => pattern.text,
        other => panic!("{other:?}"),
    };
    assert_eq!(name("type ~ net::Client*"), "net::Client*");
    assert_eq!(name("type == std::map<int,(anonymous)::A>"), "std::map<int,(anonymous)::A>");
    assert_eq!(name("type == f()::'lambda'()"), "f()::'lambda'()");
    assert_eq!(name(r#"type == "a \"b\" \\ c""#), r#"a "b" \ c"#);
    assert_eq!(parsed("(type ~ A*)").to_string(), r#"type ~ "A*""#);
}

#[test]
fn members_are_paths_and_values() {
    let texts = [
        ("state == CLOSING", "this.state == CLOSING"),
        ("+0x18 == 3 and (+0x2c != null)", "+0x18 == 3 and +0x2c != null"),
        ("conn.tls != null", "this.conn.tls != null"),
        ("conn->tls == nullptr", "this.conn.tls == null"),
        ("items[2].id >= -7", "this.items[2].id >= -7"),
        ("this.size > 1K", "this.size > 1024"),
        ("load < 0.5", "this.load < 0.5"),
        ("name ~ session-*", r#"this.name ~ "session-*""#),
        ("mode == net::Mode::Idle", "this.mode == net::Mode::Idle"),
        ("made > 2026-02-01", "this.made > 2026-02-01"),
        ("made > 2026-02-01T10:00:00Z and a == 1", "this.made > 2026-02-01T10:00:00Z and this.a == 1"),
        ("ratio < 2.5e-7", "this.ratio < 2.5e-7"),
        ("name == 007", "this.name == 007"),
        ("letter == 'a'", r#"this.letter == "a""#),
        ("(name ~ 'a b*')", r#"this.name ~ "a b*""#),
        ("notes == 1", "this.notes == 1"),
        ("typed == 1 and sizes == 2", "this.typed == 1 and this.sizes == 2"),
    ];
    for (text, meant) in texts {
        assert_eq!(parsed(text).to_string(), meant, "{text}");
    }
    assert_eq!(parsed("leaked and (a == 1 or not b.c == X)").member_tests().len(), 2);
}

#[test]
fn a_fault_is_pointed_at() {
    assert_eq!(
        fault(""),
        "column 1: a condition is expected, such as `leaked`, `size > 1K` or `type ~ Client*`, not the end"
    );
    assert_eq!(fault("size > big"), "column 8: a size is expected, such as 4096 or 1K, not `big`");
    assert_eq!(fault("size 5"), "column 6: ==, !=, <, <=, > or >= is expected, not `5`");
    assert_eq!(fault("letter == 'a"), "column 11: this quote is never closed");
    assert_eq!(fault("(leaked"), "column 1: this `(` is never closed");
    assert_eq!(fault("leaked)"), "column 7: there is no `(` for this `)`");
    assert_eq!(fault("leaked live"), "column 8: `and`, `or` or the end is expected, not `live`");
    assert_eq!(fault("type < A"), "column 6: ~, !~, == or != is expected, not `<`");
    assert_eq!(fault("type ~ \"A"), "column 8: this quote is never closed");
    assert_eq!(fault("address in 0x20-0x10"), "column 17: the range ends before it begins");
    assert_eq!(fault("größe ="), "column 7: a comparison is expected: ==, !=, <, <=, >, >=, ~ or !~, not `=`");
    assert!(fault("leakt").starts_with("column 1: a condition is expected: `leaked`, `live`"), "{}", fault("leakt"));
    assert_eq!(
        fault("state == "),
        "column 10: a value is expected: a number, an enumerator, null, or a text in quotes, not the end"
    );
    assert_eq!(fault(&"(".repeat(500)), "column 65: brackets and negations go too deep");
    assert_eq!(fault(&"not ".repeat(500)), "column 257: brackets and negations go too deep");
}

#[test]
fn stars_stand_for_any_characters() {
    let holds =
        |pattern: &str, name: &str| Pattern { text: pattern.to_owned(), wild: true, negated: false }.holds(name);
    assert!(holds("Client*", "Client") && holds("Client*", "ClientPool") && !holds("Client*", "net::Client"));
    assert!(holds("*Client", "net::Client") && holds("*C?ient*", "net::Client<int>") && holds("*", ""));
    assert!(!holds("?", "") && !holds("a*b", "a") && holds("a*b*c", "abbc"));
    // What takes exponential time for a matcher that tries everything.
    assert!(!holds(&"*a".repeat(2000), &"a".repeat(1000)));
}

fn filters() -> impl Strategy<Value = Filter> {
    let comparison = prop_oneof![
        Just(Comparison::Equal),
        Just(Comparison::NotEqual),
        Just(Comparison::Less),
        Just(Comparison::LessOrEqual),
        Just(Comparison::Greater),
        Just(Comparison::GreaterOrEqual),
    ];
    let pattern =
        (".{0,12}", any::<bool>(), any::<bool>()).prop_map(|(text, wild, negated)| Pattern { text, wild, negated });
    let literal = prop_oneof![
        any::<i64>().prop_map(|number| Literal::Integer(number.into())),
        (-1e9..1e9f64).prop_map(Literal::Float),
        "[A-Z][A-Z_]{0,6}".prop_map(Literal::Word),
        ".{0,8}".prop_map(Literal::Text),
        Just(Literal::Null),
    ];
    let path = "[a-z_][a-z0-9_]{0,5}(\\.[a-z]{1,4}|\\[[0-9]\\]){0,3}";
    let test = prop_oneof![
        prop_oneof![Just(Reach::Leaked), Just(Reach::Anchored), Just(Reach::PossiblyLeaked), Just(Reach::Unreferenced)]
            .prop_map(Test::Reach),
        (comparison.clone(), any::<u64>()).prop_map(|(comparison, size)| Test::Size(comparison, size)),
        pattern.clone().prop_map(Test::Type),
        pattern.clone().prop_map(Test::Module),
        (comparison.clone(), any::<u64>()).prop_map(|(comparison, at)| Test::Address(comparison, Addr(at))),
        (any::<u32>(), any::<u32>()).prop_map(|(a, b)| Test::AddressIn(Addr(a.min(b).into()), Addr(a.max(b).into()))),
        (path, comparison, literal).prop_map(|(path, comparison, literal)| Test::Member(MemberTest {
            path,
            condition: MemberCondition::Compare(comparison, literal)
        })),
        (path, pattern).prop_map(|(path, pattern)| Test::Member(MemberTest {
            path,
            condition: MemberCondition::Matches(Pattern { wild: true, ..pattern })
        })),
    ];
    test.prop_map(Filter::Test).prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 2..4).prop_map(Filter::And),
            prop::collection::vec(inner.clone(), 2..4).prop_map(Filter::Or),
            inner.prop_map(|part| Filter::Not(Box::new(part))),
        ]
    })
}

proptest! {
    #[test]
    fn a_filter_reads_back_what_it_writes(filter in filters()) {
        prop_assert_eq!(filter.to_string().parse::<Filter>(), Ok(filter));
    }

    #[test]
    fn any_text_is_a_filter_or_a_fault_within_it(text in ".{0,60}|[a-z()~=<>\" .\\[\\]-]{0,60}") {
        match text.parse::<Filter>() {
            Ok(filter) => prop_assert_eq!(filter.to_string().parse::<Filter>(), Ok(filter)),
            Err(error) => prop_assert!((1..=text.chars().count() + 1).contains(&error.column)),
        }
    }
}
