//! What the compiler has to notice when an enum of ours gets a new variant.
//!
//! A `match` on an enum of the workspace names every variant, so that a new one does not compile until each `match` says
//! what it means there. Two things would hide it: `#[non_exhaustive]`, which makes a catch-all arm necessary in other
//! crates, and the catch-all arm itself. `if let`, `let … else` and `matches!` ask for one variant and are free.
//!
//! The rule works on the syntax: it knows enums by their names and variants, follows imports, and looks into tuples and
//! into variants of other types, such as `Some(Kind::A)`. It does not see the inside of macro calls.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use proc_macro2::Span;
use syn::punctuated::Punctuated;
use syn::spanned::Spanned as _;
use syn::visit::{self, Visit};
use syn::{Arm, Expr, ExprMatch, File, ItemEnum, ItemImpl, ItemUse, Member, Pat, Path, Token, UseTree};

use super::code::shipped;
use super::{Finding, Package, Tree};

/// Enums of the workspace never are `#[non_exhaustive]`, and no `match` on one of them has a catch-all arm.
pub(crate) fn hidden_variants(tree: &Tree) -> Vec<Finding> {
    let mut ours = Enums::default();
    let mut findings = Vec::new();
    for file in tree.rust_files() {
        // Not every file of the tests is complete Rust; what ships is, or it would not compile.
        if let Ok(parsed) = syn::parse_file(&file.text) {
            ours.path = &file.path;
            ours.visit_file(&parsed);
        }
    }
    findings.append(&mut ours.findings);
    for source in shipped(tree) {
        let path = &source.file.path;
        let Ok(parsed) = syn::parse_file(&source.file.text) else {
            continue;
        };
        let package = tree.package_of(path);
        let mut matches =
            Matches { ours: &ours.variants, names: Names::of(&parsed, package), implementing: None, found: Vec::new() };
        matches.visit_file(&parsed);
        let outside_tests = matches.found.into_iter().filter(|(line, _)| !source.tests.covers(line - 1));
        findings.extend(outside_tests.map(|(line, name)| Finding {
            path: path.clone(),
            line,
            what: format!("a `match` on the enum `{name}` has an arm that takes any variant"),
            why: "a new variant would compile and silently mean what this arm says",
            remedy:
                "name the variants of the arm, or ask for the one that matters by `if let` or `matches!`".to_owned(),
        }));
    }
    findings
}

/// The enums that files declare.
#[derive(Default)]
struct Enums<'a> {
    path: &'a str,
    /// Names of variants by name of the enum. Enums of the same name share an entry.
    variants: HashMap<String, BTreeSet<String>>,
    findings: Vec<Finding>,
}

impl<'ast> Visit<'ast> for Enums<'_> {
    fn visit_item_enum(&mut self, item: &'ast ItemEnum) {
        let variants = self.variants.entry(item.ident.to_string()).or_default();
        variants.extend(item.variants.iter().map(|variant| variant.ident.to_string()));
        if let Some(attribute) = item.attrs.iter().find(|attribute| attribute.path().is_ident("non_exhaustive")) {
            self.findings.push(Finding {
                path: self.path.to_owned(),
                line: line(attribute.pound_token.span),
                what: format!("the enum `{}` is `#[non_exhaustive]`", item.ident),
                why: "other crates of the workspace would need a catch-all arm, which hides new variants",
                remedy: "remove the attribute: all crates are versioned together".to_owned(),
            });
        }
    }
}

/// What the names of a file mean, as far as its imports say.
struct Names {
    /// The full path of each imported name.
    imports: HashMap<String, Vec<String>>,
    /// Paths of which everything is imported.
    globs: Vec<Vec<String>>,
    /// Crates that are not of the workspace.
    foreign: BTreeSet<String>,
}

impl Names {
    fn of(file: &File, package: Option<&Package>) -> Self {
        let dependencies = package.into_iter().flat_map(|package| &package.dependencies);
        let mut foreign: BTreeSet<String> = dependencies
            .map(|dependency| dependency.name.replace('-', "_"))
            .filter(|name| !name.starts_with("statefun_kinesis"))
            .collect();
        foreign.extend(["std", "core", "alloc"].map(str::to_owned));
        let mut names = Self { imports: HashMap::new(), globs: Vec::new(), foreign };
        names.visit_file(file);
        names
    }

    fn import(&mut self, tree: &UseTree, mut path: Vec<String>) {
        match tree {
            UseTree::Path(inner) => {
                path.push(inner.ident.to_string());
                self.import(&inner.tree, path);
            }
            UseTree::Name(name) if name.ident == "self" => {
                self.imports.extend(path.last().cloned().map(|name| (name, path)));
            }
            UseTree::Name(name) => {
                path.push(name.ident.to_string());
                self.imports.insert(name.ident.to_string(), path);
            }
            UseTree::Rename(rename) => {
                path.push(rename.ident.to_string());
                self.imports.insert(rename.rename.to_string(), path);
            }
            UseTree::Glob(_) => self.globs.push(path),
            UseTree::Group(group) => group.items.iter().for_each(|item| self.import(item, path.clone())),
        }
    }

    /// The path with its first name replaced by what was imported under it.
    fn full(&self, path: &[String]) -> Vec<String> {
        match path.split_first().and_then(|(first, rest)| Some((self.imports.get(first)?, rest))) {
            Some((import, rest)) => import.iter().chain(rest).cloned().collect(),
            None => path.to_vec(),
        }
    }
}

impl<'ast> Visit<'ast> for Names {
    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        self.import(&item.tree, Vec::new());
    }
}

/// Where in a pattern another pattern stands: the name of the variant and the number or name of the field, at each level.
type Place = Vec<String>;

/// The `match` expressions of a file.
struct Matches<'a> {
    ours: &'a HashMap<String, BTreeSet<String>>,
    names: Names,
    /// What `Self` is.
    implementing: Option<String>,
    /// The line of each catch-all arm, and the enum of which it hides variants.
    found: Vec<(usize, String)>,
}

impl Matches<'_> {
    /// The enum of the workspace of which the path names a variant.
    fn enum_of(&self, path: &Path) -> Option<String> {
        let mut written: Vec<String> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        if let (Some(first), Some(implementing)) =
            (written.first_mut().filter(|first| *first == "Self"), &self.implementing)
        {
            first.clone_from(implementing);
        }
        let is_ours = |path: &[String]| -> Option<String> {
            let [.., name, variant] = path else {
                return None;
            };
            let known = self.ours.get(name).is_some_and(|variants| variants.contains(variant));
            (known && !self.names.foreign.contains(&path[0])).then(|| name.clone())
        };
        is_ours(&self.names.full(&written)).or_else(|| {
            let [variant] = written.as_slice() else {
                return None;
            };
            self.names
                .globs
                .iter()
                .find_map(|glob| is_ours(&[self.names.full(glob).as_slice(), std::slice::from_ref(variant)].concat()))
        })
    }

    /// The enums of which the pattern names variants, with their places.
    fn named(&self, pattern: &Pat, place: &Place, named: &mut BTreeMap<Place, String>) {
        let mut note = |path: &Path| {
            if let Some(name) = self.enum_of(path) {
                named.insert(place.clone(), name);
            }
        };
        match pattern {
            Pat::Path(pattern) => note(&pattern.path),
            Pat::Ident(pattern) => note(&pattern.ident.clone().into()),
            Pat::TupleStruct(pattern) => note(&pattern.path),
            Pat::Struct(pattern) => note(&pattern.path),
            _ => {}
        }
        for (step, inner) in inner(pattern) {
            self.named(inner, &[place.as_slice(), &step].concat(), named);
        }
    }

    /// Whether the pattern takes whatever stands at the place.
    fn takes_any(&self, pattern: &Pat, place: &[String]) -> bool {
        match pattern {
            Pat::Wild(_) => return true,
            // A name with a capital is a variant or a constant, such as `None`, and not a binding.
            Pat::Ident(binding) if binding.subpat.is_none() => {
                return !binding.ident.to_string().starts_with(char::is_uppercase);
            }
            _ => {}
        }
        let inner = inner(pattern);
        if let Pat::Or(_) | Pat::Reference(_) | Pat::Paren(_) | Pat::Ident(_) = pattern {
            return inner.iter().any(|(_, inner)| self.takes_any(inner, place));
        }
        let takes_apart = matches!(pattern, Pat::TupleStruct(_) | Pat::Struct(_) | Pat::Tuple(_) | Pat::Slice(_));
        if !takes_apart || place.first() != Some(&variant(pattern)) {
            return false;
        }
        match inner.iter().find(|(step, _)| place.starts_with(step)) {
            Some((step, inner)) => self.takes_any(inner, &place[step.len()..]),
            // What `..` leaves out.
            None => true,
        }
    }

    /// The enum of which the alternative hides variants, given what all arms of the match name.
    fn hides(&self, alternative: &Pat, named: &BTreeMap<Place, String>) -> Option<String> {
        let mut here = BTreeMap::new();
        self.named(alternative, &Vec::new(), &mut here);
        let hidden = named.iter().find(|(place, _)| {
            // A tuple that names a variant beside the place is about that variant, and not about all others.
            self.takes_any(alternative, place) && here.keys().all(|other| place.starts_with(other))
        });
        hidden.map(|(_, name)| name.clone())
    }
}

impl<'ast> Visit<'ast> for Matches<'_> {
    fn visit_item_impl(&mut self, item: &'ast ItemImpl) {
        let outer = self.implementing.take();
        if let syn::Type::Path(path) = &*item.self_ty {
            self.implementing = path.path.segments.last().map(|segment| segment.ident.to_string());
        }
        visit::visit_item_impl(self, item);
        self.implementing = outer;
    }

    fn visit_expr_match(&mut self, expression: &'ast ExprMatch) {
        let mut named = BTreeMap::new();
        for arm in &expression.arms {
            self.named(&arm.pat, &Vec::new(), &mut named);
        }
        for arm in &expression.arms {
            // With a guard, an arm does not count towards having named everything.
            if arm.guard.is_some() || gives_back(arm) {
                continue;
            }
            let hidden = alternatives(&arm.pat).into_iter().find_map(|pattern| self.hides(pattern, &named));
            self.found.extend(hidden.map(|name| (line(arm.pat.span()), name)));
        }
        visit::visit_expr_match(self, expression);
    }
}

fn line(span: Span) -> usize {
    span.start().line
}

/// Whether the arm is `other => other`, which says nothing about any variant.
fn gives_back(arm: &Arm) -> bool {
    let (Pat::Ident(binding), Expr::Path(body)) = (&arm.pat, &*arm.body) else {
        return false;
    };
    binding.subpat.is_none() && body.path.is_ident(&binding.ident)
}

/// The patterns between the bars of a pattern.
fn alternatives(pattern: &Pat) -> Vec<&Pat> {
    match pattern {
        Pat::Or(or) => or.cases.iter().flat_map(alternatives).collect(),
        Pat::Paren(inner) => alternatives(&inner.pat),
        pattern => vec![pattern],
    }
}

/// What a pattern takes apart: the last part of its path, or nothing for tuples and slices.
fn variant(pattern: &Pat) -> String {
    let path = match pattern {
        Pat::TupleStruct(pattern) => &pattern.path,
        Pat::Struct(pattern) => &pattern.path,
        _ => return String::new(),
    };
    path.segments.last().map(|segment| segment.ident.to_string()).unwrap_or_default()
}

/// The patterns within a pattern, each with the steps from one to the other.
fn inner(pattern: &Pat) -> Vec<(Place, &Pat)> {
    match pattern {
        Pat::Ident(binding) => binding.subpat.iter().map(|(_, inner)| (Vec::new(), &**inner)).collect(),
        Pat::Reference(reference) => vec![(Vec::new(), &*reference.pat)],
        Pat::Paren(paren) => vec![(Vec::new(), &*paren.pat)],
        Pat::Or(or) => or.cases.iter().map(|case| (Vec::new(), case)).collect(),
        Pat::Tuple(tuple) => numbered(pattern, &tuple.elems),
        Pat::Slice(slice) => numbered(pattern, &slice.elems),
        Pat::TupleStruct(tuple) => numbered(pattern, &tuple.elems),
        Pat::Struct(fields) => {
            fields.fields.iter().map(|field| (vec![variant(pattern), member(&field.member)], &*field.pat)).collect()
        }
        _ => Vec::new(),
    }
}

fn member(member: &Member) -> String {
    match member {
        Member::Named(name) => name.to_string(),
        Member::Unnamed(number) => number.index.to_string(),
    }
}

/// The elements of a tuple with their numbers. Those behind a `..` count from the end.
fn numbered<'a>(pattern: &Pat, elements: &'a Punctuated<Pat, Token![,]>) -> Vec<(Place, &'a Pat)> {
    let rest = elements.iter().position(|element| matches!(element, Pat::Rest(_))).unwrap_or(elements.len());
    let number = |index: usize| match index < rest {
        true => index.to_string(),
        false => format!("-{}", elements.len() - index),
    };
    let elements = elements.iter().enumerate().filter(|(index, _)| *index != rest);
    elements.map(|(index, element)| (vec![variant(pattern), number(index)], element)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::examples::tree;
    use super::*;

    /// Lines with findings in a file that has, in its first lines, `enum Kind { A, B, C(u8) }` and `enum Other { X, Y }`.
    #[track_caller]
    fn check(text: &str, expect: &[usize]) {
        let text = format!("enum Kind {{ A, B, C(u8), D(Other) }}\nenum Other {{ X, Y }}\n{text}");
        let files = [("crates/types/src/lib.rs", text.as_str())];
        let found = hidden_variants(&tree(&[("crates/types", &["tokio"])], &files));
        assert_eq!(found.iter().map(|finding| finding.line).collect::<Vec<_>>(), expect, "{text}");
    }

    /// A function with a `match` that has these arms, one a line; the first arm is on line 5.
    fn arms(arms: &str) -> String {
        format!("fn f() {{\n  match x {{\n{arms}\n  }}\n}}")
    }

    #[test]
    fn an_enum_of_ours_is_exhaustive() {
        check("/// Says which.\n#[non_exhaustive]\n#[derive(Debug)]\npub enum Which { A }", &[4]);
        check("#[non_exhaustive]\npub struct Fields { a: u8 }", &[]);
    }

    #[test]
    fn a_catch_all_arm_is_found() {
        check(&arms("Kind::A => 1,\n_ => 2,"), &[6]);
        check(&arms("crate::Kind::A => 1,\nother => 2,"), &[6]);
        check(&arms("Kind::A | Kind::B => 1,\nKind::C(_) => 2,\nKind::D(..) => 3,"), &[]);
        check(&arms("&Kind::A => 1,\n(_) => 2,"), &[6]);
        check(&arms("kind @ Kind::A => 1,\nKind::B | _ => 2,"), &[6]);
        check("impl Kind {\nfn f(self) { match self {\nSelf::A => 1,\n_ => 2,\n} } }", &[6]);
        check(&format!("use crate::Kind::{{A, B}};\n{}", arms("A => 1,\nB => 2,\n_ => 3")), &[8]);
        check(&format!("use crate::Kind::*;\n{}", arms("A => 1,\n_ => 3")), &[7]);
        check(&format!("use crate::Kind as K;\n{}", arms("K::A => 1,\n_ => 3")), &[7]);
    }

    #[test]
    fn tuples_and_variants_of_other_types_are_looked_into() {
        check(&arms("Some(Kind::A) => 1,\n_ => 2,"), &[6]);
        check(&arms("Some(Kind::A) => 1,\nSome(_) => 2,\nNone => 3"), &[6]);
        check(&arms("Ok(Kind::A) => 1,\nOk(Kind::B | Kind::C(_) | Kind::D(_)) => 2,\nErr(_) => 3"), &[]);
        check(&arms("Kind::D(Other::X) => 1,\nKind::D(_) => 2,\nKind::A | Kind::B | Kind::C(_) => 3"), &[6]);
        check(&arms("(Kind::A, 1) => 1,\n(_, 1) => 2,\n(_, _) => 3"), &[6, 7]);
        check(&arms("(Kind::A, Other::X) => 1,\n(Kind::A, _) => 2,\n(Kind::B, ..) => 3"), &[]);
        check(&arms("Place { kind: Kind::A, .. } => 1,\nPlace { .. } => 2"), &[6]);
        check(&arms("[.., Kind::A] => 1,\n[..] => 2"), &[6]);
    }

    #[test]
    fn what_asks_for_one_variant_is_free() {
        check("fn f() { if let Kind::A = x {} let Kind::A = x else { return }; matches!(x, Kind::A) }", &[]);
        check(&arms("Kind::A => 1,\n_ if late => 2,\nKind::B | Kind::C(_) | Kind::D(_) => 3"), &[]);
        check(&arms("Kind::A => Kind::B,\nother => other,"), &[]);
        check(&arms("0 => 1,\n_ => 2,"), &[]);
        check(&arms("Some(0) => 1,\n_ => 2,"), &[]);
        check("#[cfg(test)]\nmod tests {\nfn f() { match x {\nKind::A => 1,\n_ => 2,\n} } }", &[]);
    }

    #[test]
    fn enums_of_other_projects_may_have_a_catch_all_arm() {
        check(&format!("use std::io::Kind;\n{}", arms("Kind::A => 1,\n_ => 2,")), &[]);
        check(&format!("use std::io;\n{}", arms("io::Kind::A => 1,\n_ => 2,")), &[]);
        check(&format!("use tokio::Kind;\n{}", arms("Kind::A => 1,\n_ => 2,")), &[]);
        check(&arms("Kind::Unknown => 1,\n_ => 2,"), &[]);
    }
}
