//! Reads a project's page in the simple repository API: the HTML form of PEP 503
//! and the JSON form of PEP 691.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;
use serde::Deserialize;
use url::Url;

use super::error::{BootstrapError, shown};

/// What is asked for. HTML is what every index can give, JSON is the form whose
/// meaning does not depend on how it is read.
pub(super) const ACCEPT: &str = "application/vnd.pypi.simple.v1+json, \
     application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.1";

/// The project, in the normal form that the API asks for.
const PROJECT: &str = "uv";

/// The address of the project's page; the slash at its end saves a redirect.
pub(super) fn project_url(index: &Url) -> Url {
    let mut url = index.clone();
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.pop_if_empty().push(PROJECT).push("");
    }
    url
}

/// The address that the page gives for a file.
///
/// `url` is where the page came from, after redirects: links are relative to it.
/// Digests on the page are not read: the pin is what counts.
pub(crate) fn find_file(
    page: &[u8],
    content_type: &str,
    url: &Url,
    file: &str,
) -> Result<Url, BootstrapError> {
    let not_an_index = || BootstrapError::NotAnIndex { url: shown(url) };
    let links = match essence(content_type).as_str() {
        "application/vnd.pypi.simple.v1+json" | "application/json" => {
            json_links(page, url).ok_or_else(not_an_index)?
        }
        "application/vnd.pypi.simple.v1+html" | "text/html" | "application/xhtml+xml" | "" => {
            let links = html_links(page, url);
            // Any page has links; only an index has links to the project's files.
            if !links.iter().any(is_distribution) {
                return Err(not_an_index());
            }
            links
        }
        _ => return Err(not_an_index()),
    };
    links
        .into_iter()
        .find(|link| matches!(link.scheme(), "http" | "https") && file_name(link) == file)
        .ok_or_else(|| BootstrapError::FileNotListed {
            file: file.to_owned(),
            url: shown(url),
        })
}

/// The media type without its parameters.
fn essence(content_type: &str) -> String {
    let essence = content_type.split(';').next().unwrap_or_default();
    essence.trim().to_ascii_lowercase()
}

fn json_links(page: &[u8], url: &Url) -> Option<Vec<Url>> {
    #[derive(Deserialize)]
    struct Page {
        files: Vec<File>,
    }
    #[derive(Deserialize)]
    struct File {
        url: String,
    }

    let page: Page = serde_json::from_slice(page).ok()?;
    Some(
        page.files
            .iter()
            .filter_map(|file| url.join(&file.url).ok())
            .collect(),
    )
}

fn html_links(page: &[u8], url: &Url) -> Vec<Url> {
    let page = String::from_utf8_lossy(page);
    let Ok(document) = tl::parse(&page, tl::ParserOptions::default()) else {
        return Vec::new();
    };
    let mut base = None;
    let mut links = Vec::new();
    for tag in document.nodes().iter().filter_map(tl::Node::as_tag) {
        let Some(href) = tag.attributes().get("href").flatten() else {
            continue;
        };
        let href = href.as_utf8_str();
        // What is no known entity is an address with a bare `&`.
        let href = quick_xml::escape::unescape(&href).unwrap_or(Cow::Borrowed(&href));
        let name = tag.name().as_utf8_str();
        if name.eq_ignore_ascii_case("a") {
            links.extend(base.as_ref().unwrap_or(url).join(href.trim()).ok());
        } else if name.eq_ignore_ascii_case("base") && base.is_none() {
            base = url.join(href.trim()).ok();
        }
    }
    links
}

fn file_name(link: &Url) -> String {
    let last = link.path().rsplit('/').next().unwrap_or_default();
    percent_decode_str(last).decode_utf8_lossy().into_owned()
}

fn is_distribution(link: &Url) -> bool {
    let name = file_name(link);
    name.starts_with("uv-")
        && [".whl", ".tar.gz", ".zip"]
            .iter()
            .any(|extension| name.ends_with(extension))
}
