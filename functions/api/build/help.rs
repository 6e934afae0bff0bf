//! The pages of `docs/` for those who use a deployment, as HTML. Answers of the API link to them.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use pulldown_cmark::{CowStr, Event, Options, Parser, Tag, TagEnd, html};

/// The folders of the pages. A page has the path of its file, below `/docs/` and without `.md`.
const FOLDERS: [&str; 3] = ["problems", "receive", "use"];

/// The page that lists the others, and its path.
const GUIDES: (&str, &str) = ("README.md", "guides");

/// Writes `help.rs`, which lists the paths of the pages and their HTML.
pub(crate) fn write(package: &Path, repository: &Path, output: &Path) -> Result<(), Box<dyn Error>> {
    let (docs, template) = (repository.join("docs"), package.join("help/page.html"));
    let mut paths = BTreeMap::from([(GUIDES.0.to_owned(), GUIDES.1.to_owned())]);
    for folder in FOLDERS {
        println!("cargo:rerun-if-changed={}", docs.join(folder).display());
        for entry in fs::read_dir(docs.join(folder))? {
            let file = entry?.file_name().into_string().map_err(|name| format!("{} is no text", name.display()))?;
            let path = match file.trim_end_matches(".md") {
                "README" => folder.to_owned(),
                name => format!("{folder}/{name}"),
            };
            paths.insert(format!("{folder}/{file}"), path);
        }
    }
    println!("cargo:rerun-if-changed={}", template.display());
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

/// Returns a page as HTML. A link to a page that is not served becomes its text, and so does a picture.
fn to_html(markdown: &str, file: &str, paths: &BTreeMap<String, String>) -> String {
    let events: Vec<_> = Parser::new_ext(markdown, Options::ENABLE_TABLES).collect();
    let (mut kept, mut links) = (Vec::new(), Vec::new());
    for (index, event) in events.iter().enumerate() {
        match event {
            Event::Start(Tag::Heading { level, classes, attrs, .. }) => {
                let texts = events[index..].iter().take_while(|event| !matches!(event, Event::End(TagEnd::Heading(_))));
                let mut heading = String::new();
                for event in texts {
                    if let Event::Text(text) | Event::Code(text) = event {
                        heading += text;
                    }
                }
                let (id, classes, attrs) = (Some(CowStr::from(anchor(&heading))), classes.clone(), attrs.clone());
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
            Event::Start(Tag::Image { .. }) | Event::End(TagEnd::Image) => {}
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
    let mut parts: Vec<_> = file.split('/').collect();
    parts.pop();
    for part in page.split('/') {
        if part == ".." {
            parts.pop()?;
        } else {
            parts.push(part);
        }
    }
    let path = paths.get(&parts.join("/"))?;
    Some(if anchor.is_empty() { format!("/docs/{path}") } else { format!("/docs/{path}#{anchor}") })
}
