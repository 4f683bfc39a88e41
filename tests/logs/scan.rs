//! Finds the log events in the tokens of the code. Comments, strings and tests do not count.

use std::{
    collections::{HashMap, HashSet},
    fs,
    path::Path,
};

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};

/// One place that logs.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Event {
    /// From the top of the repository.
    pub(crate) file: String,
    pub(crate) line: usize,
    /// The top-level module: the folder or file below `src`.
    pub(crate) module: String,
    pub(crate) level: &'static str,
    /// The message; for an outage, its `operation`. Empty if the call has no constant message.
    pub(crate) text: String,
}

impl Event {
    pub(crate) fn key(&self) -> (&str, &str) {
        (&self.module, &self.text)
    }
}

/// The operation that fails, if the event is an outage (`src/throttle.rs`). All outages share their messages, and differ in
/// this field.
pub(crate) fn outage(event: &str) -> Option<&str> {
    event.strip_prefix("operation=\"")?.strip_suffix('"')
}

/// The source files below a folder, with their paths in it, in order.
pub(crate) fn sources(folder: &Path) -> Vec<(String, String)> {
    let (mut files, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(folder).expect("below it").to_str().expect("UTF-8").to_owned();
                files.push((name, fs::read_to_string(path).expect("UTF-8")));
            }
        }
    }
    files.sort();
    files
}

/// The events of these files, except for those of tests.
pub(crate) fn events(files: &[(String, String)]) -> Vec<Event> {
    let files: Vec<File<'_>> = files
        .iter()
        .map(|(name, text)| {
            let tokens: TokenStream = text.parse().unwrap_or_else(|error| panic!("src/{name}: {error}"));
            let mut file = File { name, tokens: Vec::new(), tests: Vec::new(), constants: HashMap::new() };
            file.tokens = file.without_tests(tokens);
            file.find_constants();
            file
        })
        .collect();
    let tests: HashSet<&String> = files.iter().flat_map(|file| &file.tests).collect();
    let constants = files.iter().flat_map(|file| &file.constants).collect();
    let mut events = Vec::new();
    for file in files.iter().filter(|file| !tests.iter().any(|test| is_of(file.name, test))) {
        Scan { file: file.name, constants: &constants, events: &mut events }.read(&file.tokens);
    }
    events
}

/// Whether a file is the module `path` (`delivery/tests`) or below it.
fn is_of(name: &str, path: &str) -> bool {
    name.strip_prefix(path).is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
}

struct File<'a> {
    name: &'a str,
    /// Its tokens, without the items of `#[cfg(test)]`.
    tokens: Vec<TokenTree>,
    /// The paths of the modules that exist only in tests.
    tests: Vec<String>,
    constants: HashMap<String, String>,
}

impl File<'_> {
    /// The tokens, without the items of `#[cfg(test)]` on any level.
    fn without_tests(&mut self, tokens: TokenStream) -> Vec<TokenTree> {
        let mut kept = Vec::new();
        let mut tokens = tokens.into_iter().peekable();
        while let Some(token) = tokens.next() {
            let is_test = is_punct(Some(&token), '#')
                && matches!(tokens.peek(), Some(TokenTree::Group(group)) if group.to_string().replace(' ', "") == "[cfg(test)]");
            if !is_test {
                kept.push(match token {
                    TokenTree::Group(group) => {
                        let inner = self.without_tests(group.stream());
                        let mut without = Group::new(group.delimiter(), inner.into_iter().collect());
                        without.set_span(group.span());
                        TokenTree::Group(without)
                    }
                    token => token,
                });
                continue;
            }
            tokens.next();
            let mut item = Vec::new();
            for token in tokens.by_ref() {
                let ends = is_punct(Some(&token), ';')
                    || matches!(&token, TokenTree::Group(group) if group.delimiter() == Delimiter::Brace);
                item.push(token);
                if ends {
                    break;
                }
            }
            if let [.., TokenTree::Ident(keyword), TokenTree::Ident(module), TokenTree::Punct(_)] = &item[..]
                && keyword == "mod"
            {
                let folder = match self.name.rsplit_once('/') {
                    Some((folder, "mod.rs")) => format!("{folder}/"),
                    None if ["lib.rs", "main.rs"].contains(&self.name) => String::new(),
                    _ => format!("{}/", self.name.trim_end_matches(".rs")),
                };
                self.tests.push(format!("{folder}{module}"));
            }
        }
        kept
    }

    /// `const NAME: &str = "…";`
    fn find_constants(&mut self) {
        for tokens in self.tokens.windows(7) {
            if let [TokenTree::Ident(keyword), TokenTree::Ident(name), _, _, TokenTree::Ident(of), _, value] = tokens
                && keyword == "const"
                && of == "str"
                && let Some(text) = literal(value)
            {
                self.constants.insert(name.to_string(), text);
            }
        }
    }
}

struct Scan<'a> {
    file: &'a str,
    constants: &'a HashMap<&'a String, &'a String>,
    events: &'a mut Vec<Event>,
}

impl Scan<'_> {
    fn read(&mut self, tokens: &[TokenTree]) {
        for at in 0..tokens.len() {
            match &tokens[at..] {
                [TokenTree::Ident(name), mark, TokenTree::Group(group), ..] if is_punct(Some(mark), '!') => {
                    if let Some(level) = ["error", "warn", "info"].into_iter().find(|level| name == level) {
                        let text = self.message(group);
                        self.add(level, name.span().start().line, text);
                    }
                }
                [TokenTree::Ident(name), _, _, TokenTree::Ident(constructor), TokenTree::Group(group), ..]
                    if name == "Outage" =>
                {
                    let level = if constructor == "mild" { "warn" } else { "error" };
                    if let Some(what) = group.stream().into_iter().next().as_ref().and_then(literal) {
                        self.add(level, name.span().start().line, format!("operation=\"{what}\""));
                    }
                }
                _ => {}
            }
            if let TokenTree::Group(group) = &tokens[at] {
                self.read(&group.stream().into_iter().collect::<Vec<_>>());
            }
        }
    }

    fn add(&mut self, level: &'static str, line: usize, text: String) {
        let module = self.file.split('/').next().unwrap_or(self.file).trim_end_matches(".rs").to_owned();
        self.events.push(Event { file: format!("src/{}", self.file), line, module, level, text });
    }

    /// The message of a call: its first argument that is a string, and not the value of a field.
    fn message(&self, call: &Group) -> String {
        let tokens: Vec<_> = call.stream().into_iter().collect();
        let arguments: Vec<_> = tokens.split(|token| is_punct(Some(token), ',')).collect();
        for (at, argument) in arguments.iter().enumerate() {
            match argument {
                // The name of a field can be a string.
                [_, equals, ..] if is_punct(Some(equals), '=') && literal(&argument[0]).is_some() => {}
                [TokenTree::Ident(name), equals, text] if name == "message" && is_punct(Some(equals), '=') => {
                    return literal(text).unwrap_or_default();
                }
                [first, ..] => {
                    if let Some(text) = literal(first) {
                        return self.with_constants(text, arguments.get(at + 1).copied());
                    }
                }
                [] => {}
            }
        }
        String::new()
    }

    /// Replaces `{NAME}`, and `{}` before `NAME`, by the value of the constant `NAME`.
    fn with_constants(&self, mut text: String, next: Option<&[TokenTree]>) -> String {
        if let Some([TokenTree::Ident(name)]) = next {
            text = text.replacen("{}", &format!("{{{name}}}"), 1);
        }
        for (name, value) in self.constants {
            text = text.replace(&format!("{{{name}}}"), value);
        }
        text
    }
}

fn is_punct(token: Option<&TokenTree>, mark: char) -> bool {
    matches!(token, Some(TokenTree::Punct(punct)) if punct.as_char() == mark)
}

/// The value of a string literal.
fn literal(token: &TokenTree) -> Option<String> {
    let TokenTree::Literal(literal) = token else { return None };
    syn::parse_str::<syn::LitStr>(&literal.to_string()).ok().map(|text| text.value())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(files: &[(&str, &str)]) -> Vec<(String, usize, &'static str, String)> {
        let files: Vec<_> = files.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
        events(&files).into_iter().map(|event| (event.file, event.line, event.level, event.text)).collect()
    }

    fn texts(code: &str) -> Vec<String> {
        of(&[("a.rs", &format!("fn f() {{ {code} }}"))]).into_iter().map(|(_, _, _, text)| text).collect()
    }

    #[test]
    fn calls_of_one_line_and_of_many_are_found_with_file_line_and_level() {
        let code = "fn f() {\n    info!(\"one\");\n    tracing::warn!(\n        %error, kind = of(a, \"b\"),\n        \"two \\\n         words\"\n    );\n}\n";
        let found = of(&[("sink/http/mod.rs", code), ("b.rs", "fn g() { if true { error!(x, \"three\") } }")]);
        let expected = [
            ("src/sink/http/mod.rs", 2, "info", "one"),
            ("src/sink/http/mod.rs", 3, "warn", "two words"),
            ("src/b.rs", 1, "error", "three"),
        ];
        assert_eq!(found, expected.map(|(file, line, level, text)| (file.to_owned(), line, level, text.to_owned())));
    }

    #[test]
    fn a_field_is_no_message() {
        assert_eq!(texts(r#"info!(a = "field", "b.c" = "field", target: "t", "message", "argument")"#), ["message"]);
        assert_eq!(texts(r##"info!(message = "m", a = 1); info!(r#"raw "m""#)"##), ["m", "raw \"m\""]);
        assert_eq!(texts("info!(%error); info!()"), ["", ""]);
    }

    #[test]
    fn what_is_no_call_and_no_other_level_is_left_out() {
        let code = "// info!(\"comment\")\n let s = \"info!(\\\"string\\\")\"; let c = '\"'; debug!(\"d\"); let error = !warn; info(\"f\")";
        assert_eq!(texts(code), <[&str; 0]>::default());
    }

    #[test]
    fn calls_within_other_macros_are_found() {
        assert_eq!(
            texts("tokio::select! { () = a => warn!(\"aborted\"), () = b => { info!(\"b\") } }"),
            ["aborted", "b"]
        );
    }

    #[test]
    fn constants_stand_for_what_they_hold() {
        let code = "info!(\"{GONE}\"); warn!(kind, \"{}\", GONE); info!(\"{other}\")";
        let found = of(&[
            ("names.rs", "pub(crate) const GONE: &str = \"sink gone\";"),
            ("a.rs", &format!("fn f() {{ {code} }}")),
        ]);
        assert_eq!(found.into_iter().map(|(.., text)| text).collect::<Vec<_>>(), ["sink gone", "sink gone", "{other}"]);
    }

    #[test]
    fn tests_are_left_out() {
        let code = "fn f() { info!(\"a\") }\n#[cfg(test)]\nmod inner { fn g() { info!(\"b\") } }\n#[cfg(test)]\npub(crate) mod made;\nfn h() { info!(\"c\") }";
        let files = [
            ("x/mod.rs", code),
            ("x/made.rs", "fn f() { info!(\"d\") }"),
            ("x/made/more.rs", "fn f() { info!(\"e\") }"),
            ("x/made_up.rs", "fn f() { info!(\"f\") }"),
            ("y.rs", "#[cfg(test)] mod tests; fn f() { #[cfg(test)] info!(\"g\"); info!(\"h\") }"),
            ("y/tests.rs", "fn f() { info!(\"i\") }"),
        ];
        assert_eq!(of(&files).into_iter().map(|(.., text)| text).collect::<Vec<_>>(), ["a", "c", "f", "h"]);
    }

    #[test]
    fn outages_are_events_by_what_fails() {
        let code = "Outage::new(\"reading\"); Outage::mild(\"writing\").of_calls(); Outage::new(what)";
        let found = of(&[("a.rs", &format!("fn f() {{ {code} }}"))]);
        let found: Vec<_> = found.iter().map(|(_, _, level, text)| (*level, text.as_str())).collect();
        assert_eq!(found, [("error", "operation=\"reading\""), ("warn", "operation=\"writing\"")]);
        assert_eq!(outage("operation=\"reading\""), Some("reading"));
        assert_eq!(outage("reading"), None);
    }
}
