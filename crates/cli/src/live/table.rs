//! The results of `--live` as text: a table with a line for each use of a stream, then problems, then notes.

use annotate_snippets::{Group, Level, Renderer, renderer::DecorStyle};

use super::{
    consumer::CONSUMERS_MAX,
    finding::{Answer, Problem, Verdict},
    findings::Findings,
    json,
};
use crate::{github, policy};

const HEADINGS: [&str; 9] =
    ["STREAM", "REGION", "USED BY", "FOR", "STATUS", "SHARDS", "RECORD", "CONSUMERS", "PERMISSIONS"];

/// The text of an empty cell.
const EMPTY: &str = "-";

impl Findings {
    /// The table, the problems with their remedies, and the notes.
    pub(crate) fn as_text(&self, colour: bool) -> String {
        let mut text = self.table();
        let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
        let renderer = renderer.decor_style(DecorStyle::Ascii);
        for endpoint in &self.endpoints {
            text.push_str(&endpoint.line());
            text.push('\n');
        }
        for (document, problem) in self.problems() {
            text.push('\n');
            text.push_str(&renderer.render(&[group(&title(&document, problem), problem)]));
            text.push('\n');
        }
        for answer in &self.answers {
            for note in answer.notes.iter().cloned().chain(untested(answer)) {
                let title = format!("{}, {}: {note}", answer.need.document, answer.need.stream.name());
                text.push('\n');
                text.push_str(&renderer.render(&[Group::with_title(Level::NOTE.primary_title(title.as_str()))]));
            }
        }
        for endpoint in &self.endpoints {
            if let Some(note) = &endpoint.note {
                let title = format!("endpoint {}: {note}", endpoint.functions);
                text.push('\n');
                text.push_str(&renderer.render(&[Group::with_title(Level::NOTE.primary_title(title.as_str()))]));
            }
        }
        if !text.ends_with('\n') {
            text.push('\n');
        }
        text
    }

    /// The problems as workflow commands.
    pub(crate) fn for_github(&self) -> String {
        let command = |(document, problem): (String, &Problem)| {
            let message = format!("{}\nhelp: {}", title(&document, problem), problem.help);
            github::error("check --live", &message)
        };
        self.problems().map(command).collect()
    }

    /// One line: what was checked, and the result.
    pub(crate) fn verdict(&self) -> String {
        let count = |number: usize, noun: &str| format!("{number} {noun}{}", if number == 1 { "" } else { "s" });
        let untested: usize =
            self.answers.iter().map(|answer| answer.count(|verdict| matches!(verdict, Verdict::Untested(_)))).sum();
        let problems = match self.problems().count() {
            0 => "no problems".to_owned(),
            problems => count(problems, "problem"),
        };
        let untested = match untested {
            0 => String::new(),
            untested => format!(", {} not tested", count(untested, "permission")),
        };
        let endpoints = match self.endpoints.len() {
            0 => String::new(),
            number => format!(" and {}", count(number, "function")),
        };
        format!("{} of streams{endpoints} checked: {problems}{untested}", count(self.answers.len(), "use"))
    }

    fn table(&self) -> String {
        let mut rows = vec![HEADINGS.map(str::to_owned)];
        rows.extend(self.answers.iter().map(row));
        let widths: Vec<usize> = (0..HEADINGS.len())
            .map(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default())
            .collect();
        // Columns without any values are left out.
        let shown = |column: usize| rows[1..].iter().any(|row| row[column] != EMPTY);
        let mut text = String::new();
        for row in &rows {
            let mut line = String::new();
            for (column, cell) in row.iter().enumerate().filter(|(column, _)| shown(*column)) {
                line += &format!("{cell:<width$}  ", width = widths[column]);
            }
            text += line.trim_end();
            text.push('\n');
        }
        text
    }
}

fn row(answer: &Answer) -> [String; HEADINGS.len()] {
    let need = &answer.need;
    let or_empty = |cell: Option<String>| cell.unwrap_or_else(|| EMPTY.to_owned());
    let summary = answer.summary.as_ref();
    let size = |bytes: usize| match bytes {
        bytes if bytes % (1 << 20) == 0 => format!("{} MiB", bytes >> 20),
        bytes => format!("{} KiB", bytes >> 10),
    };
    [
        need.stream.name().to_string(),
        or_empty(need.region.id().map(str::to_owned)),
        need.document.to_string(),
        need.purpose.as_str().to_owned(),
        or_empty(summary.map(|summary| summary.status.to_string())),
        or_empty(summary.map(|summary| format!("{} {}", summary.open_shards, json::mode(summary.mode)))),
        or_empty(summary.map(|summary| size(summary.max_record_bytes))),
        or_empty(answer.consumers.map(|count| format!("{count} of {CONSUMERS_MAX}"))),
        permissions(answer),
    ]
}

fn permissions(answer: &Answer) -> String {
    let counts = [
        (answer.count(|verdict| *verdict == Verdict::Allowed), "allowed"),
        (answer.count(|verdict| *verdict == Verdict::Denied), "missing"),
        (answer.count(|verdict| matches!(verdict, Verdict::Untested(_))), "not tested"),
    ];
    let shown: Vec<String> =
        counts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect();
    shown.join(", ")
}

/// The untested calls, one line for each reason.
fn untested(answer: &Answer) -> Vec<String> {
    let mut reasons: Vec<(&str, Vec<String>)> = Vec::new();
    for permission in &answer.permissions {
        let Verdict::Untested(why) = &permission.verdict else { continue };
        let action = policy::action(permission.operation);
        match reasons.iter_mut().find(|(reason, _)| reason == why) {
            Some((_, actions)) => actions.push(action),
            None => reasons.push((why, vec![action])),
        }
    }
    reasons.iter().map(|(why, actions)| format!("not tested, because {why}: {}", actions.join(", "))).collect()
}

fn title(document: &str, problem: &Problem) -> String {
    format!("{document}: {}", problem.message)
}

fn group<'a>(title: &'a str, problem: &'a Problem) -> Group<'a> {
    let mut group = Group::with_title(Level::ERROR.primary_title(title));
    for line in &problem.because {
        group = group.element(Level::NOTE.message(line.as_str()));
    }
    group.element(Level::HELP.message(problem.help.as_str()))
}
