//! The imports of a source file, by its tokens: comments, strings and tests have none.

use std::iter::Peekable;

use proc_macro2::{Delimiter, TokenStream, TokenTree, token_stream::IntoIter};

/// One path that a file names, resolved against its own module: `crate::a::B` and `super::B` both begin at the root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Import {
    /// The module that names it.
    pub(crate) from: Vec<String>,
    /// The path from the root of the crate.
    pub(crate) to: Vec<String>,
    pub(crate) line: usize,
    /// Whether it stands in a `use`: other modules can then name it by this one.
    pub(crate) is_use: bool,
    /// Whether it begins with a bare name: that of a file of the module, or of another crate.
    pub(crate) is_bare: bool,
}

/// What a file says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Scanned {
    pub(crate) imports: Vec<Import>,
    /// The modules that it declares for tests alone.
    pub(crate) test_modules: Vec<Vec<String>>,
}

/// Reads the file of `module`.
pub(crate) fn scan(module: &[String], text: &str) -> Scanned {
    let mut scanned = Scanned::default();
    let tokens: TokenStream = text.parse().unwrap_or_else(|error| panic!("{}: {error}", module.join("::")));
    read(module, tokens, &mut scanned);
    scanned
}

fn read(module: &[String], tokens: TokenStream, scanned: &mut Scanned) {
    let mut tokens = tokens.into_iter().peekable();
    while let Some(token) = tokens.next() {
        match token {
            TokenTree::Punct(punct) if punct.as_char() == '#' && is_cfg_test(tokens.peek()) => {
                tokens.next();
                skip_item(module, &mut tokens, scanned);
            }
            TokenTree::Ident(word) if word == "use" => {
                let tree = tokens.by_ref().take_while(|token| !is_punct(token, ';')).collect();
                let leaves = leaves(&[], tree).into_iter();
                scanned.imports.extend(leaves.filter_map(|(path, line)| {
                    let is_bare = !["crate", "self", "super"].contains(&path.first()?.as_str());
                    let to = resolve(module, &path)?;
                    Some(Import { from: module.to_vec(), to, line, is_use: true, is_bare })
                }));
            }
            TokenTree::Ident(word) if word == "mod" => {
                let Some(TokenTree::Ident(name)) = tokens.next() else { continue };
                if let Some(TokenTree::Group(body)) = tokens.next() {
                    read(&[module, &[name.to_string()]].concat(), body.stream(), scanned);
                }
            }
            TokenTree::Ident(word) if word == "crate" || word == "super" => {
                let line = word.span().start().line;
                let mut path = vec![word.to_string()];
                while let Some(name) = next_segment(&mut tokens) {
                    path.push(name);
                }
                // Alone, it is a visibility: `pub(crate)`.
                let to = resolve(module, &path).filter(|_| path.len() > 1);
                scanned.imports.extend(to.map(|to| Import {
                    from: module.to_vec(),
                    to,
                    line,
                    is_use: false,
                    is_bare: false,
                }));
            }
            TokenTree::Group(group) => read(module, group.stream(), scanned),
            _ => {}
        }
    }
}

fn is_cfg_test(token: Option<&TokenTree>) -> bool {
    matches!(token, Some(TokenTree::Group(group)) if group.to_string().replace(' ', "") == "[cfg(test)]")
}

/// Passes over the item after a `#[cfg(test)]`, and notes the name of a module in another file.
fn skip_item(module: &[String], tokens: &mut Peekable<IntoIter>, scanned: &mut Scanned) {
    let mut words = Vec::new();
    for token in tokens.by_ref() {
        match token {
            TokenTree::Ident(word) => words.push(word.to_string()),
            TokenTree::Punct(punct) if punct.as_char() == ';' => {
                if let [.., keyword, name] = &words[..]
                    && keyword == "mod"
                {
                    scanned.test_modules.push([module, std::slice::from_ref(name)].concat());
                }
                return;
            }
            TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => return,
            _ => {}
        }
    }
}

fn is_punct(token: &TokenTree, wanted: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == wanted)
}

/// The name after `::`, where one follows.
fn next_segment(tokens: &mut Peekable<IntoIter>) -> Option<String> {
    let mut ahead = tokens.clone();
    let colons = [ahead.next()?, ahead.next()?];
    let Some(TokenTree::Ident(name)) = ahead.next() else { return None };
    if !colons.iter().all(|token| is_punct(token, ':')) {
        return None;
    }
    *tokens = ahead;
    Some(name.to_string())
}

/// The paths of a `use`, with their lines: `a::{b, c::{self, d as e}, f::*}` names `a::b`, `a::c`, `a::c::d` and `a::f`.
fn leaves(prefix: &[String], tree: Vec<TokenTree>) -> Vec<(Vec<String>, usize)> {
    let mut leaves = Vec::new();
    for part in tree.split(|token| is_punct(token, ',')) {
        let (mut path, mut line, mut is_done) = (prefix.to_vec(), 0, part.is_empty());
        for token in part {
            line = token.span().start().line;
            match token {
                TokenTree::Ident(word) if word == "as" => break,
                TokenTree::Ident(word) if word == "self" && !path.is_empty() => {}
                TokenTree::Ident(word) => path.push(word.to_string()),
                TokenTree::Group(group) => {
                    leaves.extend(self::leaves(&path, group.stream().into_iter().collect()));
                    is_done = true;
                }
                TokenTree::Punct(_) | TokenTree::Literal(_) => {}
            }
        }
        if !is_done {
            leaves.push((path, line));
        }
    }
    leaves
}

/// The path from the root of the crate; `None` where there is none. A bare name is taken for that of a file.
fn resolve(module: &[String], path: &[String]) -> Option<Vec<String>> {
    let supers = path.iter().take_while(|name| *name == "super").count();
    match path.first()?.as_str() {
        "crate" => Some(path[1..].to_vec()),
        "self" => Some([module, &path[1..]].concat()),
        "super" => Some([module.get(..module.len().checked_sub(supers)?)?, &path[supers..]].concat()),
        _ => Some([module, path].concat()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(path: &str) -> Vec<String> {
        path.split("::").filter(|name| !name.is_empty()).map(str::to_owned).collect()
    }

    /// What a file of `sink::http` imports: each line, and the path.
    fn imports(text: &str) -> Vec<(usize, String)> {
        let scanned = scan(&path("sink::http"), text);
        scanned
            .imports
            .into_iter()
            .filter(|import| !import.is_bare)
            .map(|import| (import.line, import.to.join("::")))
            .collect()
    }

    #[test]
    fn a_use_names_each_of_its_paths_in_its_own_line() {
        let text =
            "use std::fmt;\nuse crate::{\n    kind::Kind,\n    tls::{self, Tls as Settings},\n    redact::*,\n};\n";
        let named = [(3, "kind::Kind"), (4, "tls"), (4, "tls::Tls"), (5, "redact")];
        assert_eq!(imports(text), named.map(|(line, path)| (line, path.to_owned())));
    }

    #[test]
    fn super_and_self_are_resolved_against_the_module() {
        let text = "pub use self::fault::Fault;\nuse super::{super::record::Record, lease};\n";
        let named = [(1, "sink::http::fault::Fault"), (2, "record::Record"), (2, "sink::lease")];
        assert_eq!(imports(text), named.map(|(line, path)| (line, path.to_owned())));
        let [bare] = &scan(&path("sink::http"), "pub use fault::Fault;").imports[..] else { panic!("one") };
        assert_eq!((bare.is_bare, bare.to.join("::")), (true, "sink::http::fault::Fault".to_owned()));
        assert_eq!(imports("mod inner { use super::super::Sink; }"), [(1, "sink::Sink".to_owned())]);
    }

    #[test]
    fn a_path_in_the_code_counts_as_well() {
        let text = "fn f() -> Result<(), crate::lease::Error> {\n    warn!(at = super::NAME);\n    Ok(())\n}";
        assert_eq!(imports(text), [(1, "lease::Error".to_owned()), (2, "sink::NAME".to_owned())]);
    }

    #[test]
    fn comments_strings_and_tests_import_nothing() {
        let text = "//! See [`crate::source`].\n/// And [`super::Sink`].\nconst A: &str = \"crate::source::Source\";\n\
                    pub(crate) const B: u8 = 1;\n#[cfg(test)]\nuse crate::ledger::Ledger;\n#[cfg(test)]\nmod tests;\n\
                    #[cfg(test)]\nmod more {\n    use crate::source;\n}\n";
        let scanned = scan(&path("sink::http"), text);
        assert_eq!(scanned, Scanned { imports: Vec::new(), test_modules: vec![path("sink::http::tests")] });
    }
}
