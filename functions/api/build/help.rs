//! The pages of `docs/` that answers of the API link to, as HTML.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use pulldown_cmark::{CowStr, Event, Options, Parser, Tag, TagEnd, html};

/// The folder with a page for each problem.
const PROBLEMS: &str = "problems";

/// Further pages, and their paths below `/docs/`.
const PAGES: [(&str, &str); 2] = [("use/verdicts.md", "verdicts"), ("use/warnings.md", "warnings")];

/// Writes `help.rs`, which lists the paths of the pages and their HTML.
pub(crate) fn write(package: &Path, repository: &Path, output: &Path) -> Result<(), Box<dyn Error>> {
    let (docs, template) = (repository.join("docs"), package.join("help/page.html"));
    let mut paths: BTreeMap<_, _> = PAGES.map(|(file, path)| (file.to_owned(), path.to_owned())).into();
    for entry in fs::read_dir(docs.join(PROBLEMS))? {
        let file = entry?.file_name().into_string().map_err(|name| format!("{} is no text", name.display()))?;
        let path = match file.trim_end_matches(".md") {
            "README" => PROBLEMS.to_owned(),
            name => format!("{PROBLEMS}/{name}"),
        };
        paths.insert(format!("{PROBLEMS}/{file}"), path);
    }
    println!("cargo:rerun-if-changed={}", template.display());
    println!("cargo:rerun-if-changed={}", docs.join(PROBLEMS).display());
    let template = fs::read_to_string(template)?;
    let mut list = "static PAGES: &[(&str, &str)] = &[\n".to_owned();
    for (file, path) in &paths {
        println!("cargo:rerun-if-changed={}", docs.join(file).display());
        let markdown = fs::read_to_string(docs.join(file))?;
        let title = markdown.lines().next().unwrap_or_default().trim_start_matches("# ").replace('`', "");
        let page = template.replace("{title}", &title).replace("{content}", &to_html(&markdown, file, &paths));
        writeln!(list, "({path:?}, {page:?}),")?;
    }
    fs::write(output.join("help.rs"), format!("{list}];\n"))?;
    Ok(())
}

/// Returns a page as HTML. A link to a page that is not served becomes its text.
fn to_html(markdown: &str, file: &str, paths: &BTreeMap<String, String>) -> String {
    let events: Vec<_> = Parser::new_ext(markdown, Options::ENABLE_TABLES).collect();
    let (mut kept, mut links) = (Vec::new(), Vec::new());
    for (index, event) in events.iter().enumerate() {
        match event {
            Event::Start(Tag::Heading { level, classes, attrs, .. }) => {
                let text = match events.get(index + 1) {
                    Some(Event::Text(text) | Event::Code(text)) => anchor(text),
                    _ => String::new(),
                };
                let (id, classes, attrs) = (Some(CowStr::from(text)), classes.clone(), attrs.clone());
                kept.push(Event::Start(Tag::Heading { level: *level, id, classes, attrs }));
            }
            Event::Start(Tag::Link { link_type, dest_url, title, id }) => {
                let target = target(dest_url, file, paths);
                links.push(target.is_some());
                if let Some(dest_url) = target.map(CowStr::from) {
                    let (link_type, title, id) = (*link_type, title.clone(), id.clone());
                    kept.push(Event::Start(Tag::Link { link_type, dest_url, title, id }));
                }
            }
            Event::End(TagEnd::Link) => kept.extend(links.pop().unwrap_or_default().then(|| event.clone())),
            Event::Start(_)
            | Event::End(_)
            | Event::Text(_)
            | Event::Code(_)
            | Event::InlineMath(_)
            | Event::DisplayMath(_)
            | Event::Html(_)
            | Event::InlineHtml(_)
            | Event::FootnoteReference(_)
            | Event::SoftBreak
            | Event::HardBreak
            | Event::Rule
            | Event::TaskListMarker(_) => kept.push(event.clone()),
        }
    }
    let mut page = String::new();
    html::push_html(&mut page, kept.into_iter());
    page
}

/// Returns the anchor of a heading, as GitHub and mdBook make it.
fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|char| char.is_alphanumeric() || " -_".contains(*char));
    kept.map(|char| if char == ' ' { '-' } else { char.to_ascii_lowercase() }).collect()
}

/// Returns where a link leads in a deployment, if anywhere.
fn target(link: &str, file: &str, paths: &BTreeMap<String, String>) -> Option<String> {
    if link.starts_with("https://") || link.starts_with('#') {
        return Some(link.to_owned());
    }
    let (page, anchor) = link.split_once('#').unwrap_or((link, ""));
    let (folder, _) = file.rsplit_once('/')?;
    let page = page.strip_prefix("../").map_or_else(|| format!("{folder}/{page}"), str::to_owned);
    let path = paths.get(&page)?;
    Some(if anchor.is_empty() { format!("/docs/{path}") } else { format!("/docs/{path}#{anchor}") })
}
